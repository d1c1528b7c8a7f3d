/* Lines of a .jsonl file, as `data` reads them, with a tokenizer of the 256 bytes and an end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/record.h"
#include "fuzz.h"
#include "tokenizer/tokenizer_internal.h"

enum { VOCABULARY = 257 };
static struct tokenizer *tokenizer;

static struct record_fields fields;

static void drop_tokenizer(void) {
    record_fields_free(&fields);
    tokenizer_free(tokenizer);
}

static void make_tokenizer(void) {
    struct text text = {0};
    text_append(&text,
                "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"merges\":[],\"vocab\":{");
    for (int byte = 0; byte < 256; byte++) text_append(&text, "\"<0x%02X>\":%d,", byte, byte);
    text_append(&text, "\"</s>\":256}}}");
    size_t length = text.length;
    char *json = text_finish(&text);
    if (!json || tokenizer_parse(&tokenizer, json, length, "bytes")) abort();
    free(json);
    if (record_fields_parse(&fields, "text=a,prompt=b,response=c,instruction=d,output=e")) abort();
    atexit(drop_tokenizer);
}

static void check(const struct record *record) {
    if (record->count && !record->ids) abort();
    for (size_t i = 0; i < record->count; i++) {
        if (record->ids[i] >= VOCABULARY) abort();
        if (record->mask && record->mask[i] > 1) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!tokenizer) make_tokenizer();
    /* The first byte chooses the rules. */
    int choice = size ? bytes[0] : 0;
    struct record_rules rules = {tokenizer,
                                 choice & 1 ? TOKENIZER_WHOLE : TOKENIZER_PLAIN,
                                 choice & 2 ? "\n" : NULL,
                                 choice & 4,
                                 256,
                                 choice & 8 ? &fields : NULL};
    const char *at = (const char *)bytes + (size > 0), *end = (const char *)bytes + size;
    for (uint64_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        struct record record;
        if (record_parse(&record, &rules, at, length, "fuzz", "line", line) == STATUS_OK) {
            check(&record);
            record_free(&record);
        }
        at += length + 1;
    }
    return 0;
}
