/* tokenizer.json, and behind a NUL a text for it. What is accepted must encode text into ids of its
 * own vocabulary and decode them, or say why not. */
#include <stdlib.h>

#include "fuzz.h"
#include "tokenizer/tokenizer_internal.h"

static const char usual[] = "Hello  world, it's 12345 ünïcode 漢字\n\t<s> x\xcc\x88 </s>";

static void use(const struct tokenizer *tokenizer, const char *text, size_t length) {
    uint32_t *ids;
    size_t count, decoded, where;
    char *back;
    if (tokenizer_encode(tokenizer, text, length, TOKENIZER_WHOLE, &ids, &count)) return;
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= tokenizer_vocab_size(tokenizer)) abort();
    for (int skip = 0; skip < 2; skip++) {
        if (tokenizer_decode(tokenizer, ids, count, skip, &back, &decoded)) continue;
        if (back[decoded] != '\0' || !utf8_valid(back, decoded, &where)) abort();
        free(back);
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct tokenizer *tokenizer;
    const uint8_t *end = memchr(bytes, 0, size);
    size_t length = end ? (size_t)(end - bytes) : size;
    if (tokenizer_parse(&tokenizer, (const char *)bytes, length, "fuzz")) return 0;
    use(tokenizer, usual, sizeof usual - 1);
    if (end) use(tokenizer, (const char *)end + 1, size - length - 1);
    tokenizer_free(tokenizer);
    return 0;
}
