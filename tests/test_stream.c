/* The text of tokens that come one by one, against the tokenizers library. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "check_main.h"
#include "generate/stream.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"
#define FAMILIES TEST_DATA "/tokenizers/"

static const char *const families[] = {"gpt2", "llama2", "llama3", "mistral", "qwen2", "smollm2"};

static void must(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status ? status_message() : "");
}

static struct tokenizer *read_family(const char *name) {
    struct tokenizer *tokenizer;
    char *path = text_format(FAMILIES "%s.json", name);
    must(tokenizer_read(&tokenizer, path));
    free(path);
    return tokenizer;
}

/* The text of `count` new ids behind a prompt, put together from its pieces, each of them whole. */
static char *decode_stream(size_t *out_length, const struct tokenizer *tokenizer,
                           const uint32_t *prompt, size_t prompt_count, const uint32_t *ids,
                           size_t count) {
    struct stream stream = {.tokenizer = tokenizer};
    struct text pieces = {0};
    size_t length, where;
    text_append(&pieces, "%s", "");
    stream_begin(&stream, prompt, prompt_count);
    for (size_t i = 0; i <= count; i++) {
        if (i < count)
            must(stream_add(&stream, ids[i]));
        else
            must(stream_finish(&stream));
        const char *piece = stream_next(&stream, i == count, &length);
        ck_assert(utf8_valid(piece, length, &where));
        text_append_bytes(&pieces, piece, length);
    }
    ck_assert_uint_eq(pieces.length, stream.text.length);
    stream_free(&stream);
    *out_length = pieces.length;
    return text_finish(&pieces);
}

static uint32_t *read_ids(size_t *count, const struct json *list) {
    *count = js_count(list);
    uint32_t *ids = memory_calloc(*count, sizeof *ids);
    for (size_t i = 0; i < *count; i++) ids[i] = (uint32_t)js_integer_or(js_element(list, i), -1);
    return ids;
}

static void check_sequence(const struct tokenizer *tokenizer, const struct json *sequence,
                           const char *name, size_t index) {
    const struct json *expected = js_member(sequence, "text");
    size_t prompt_count, count, length;
    uint32_t *prompt = read_ids(&prompt_count, js_member(sequence, "prompt"));
    uint32_t *ids = read_ids(&count, js_member(sequence, "new"));
    char *text = decode_stream(&length, tokenizer, prompt, prompt_count, ids, count);
    ck_assert_msg(length == js_string_length(expected) &&
                      memcmp(text, js_string_or(expected, ""), length) == 0,
                  "%s, sequence %zu: \"%s\" should be \"%s\"", name, index, text,
                  js_string_or(expected, ""));
    free(text);
    free(prompt);
    free(ids);
}

/* tests/oracle/streams.py; STREAMS names a longer list of its making. */
START_TEST(streams_equal_the_reference) {
    struct json *runs;
    const char *path = getenv("STREAMS");
    must(js_read(&runs, path ? path : FAMILIES "streams.json"));
    ck_assert_uint_eq(js_count(runs), 6);
    for (size_t i = 0; i < js_count(runs); i++) {
        const struct json *sequences = js_member(js_element(runs, i), "sequences");
        const char *name = js_string_or(js_member(js_element(runs, i), "tokenizer"), "");
        struct tokenizer *tokenizer = read_family(name);
        ck_assert_uint_ge(js_count(sequences), 40);
        for (size_t s = 0; s < js_count(sequences); s++)
            check_sequence(tokenizer, js_element(sequences, s), name, s);
        tokenizer_free(tokenizer);
    }
    js_free(runs);
}
END_TEST

/* Any ids at all give whole characters only. */
START_TEST(any_ids_give_valid_text) {
    uint32_t ids[48], random = 1;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        struct tokenizer *tokenizer = read_family(families[f]);
        uint64_t size = tokenizer_vocab_size(tokenizer);
        for (int run = 0; run < 200; run++) {
            for (size_t i = 0; i < 48; i++) {
                random = random * 1664525 + 1013904223;
                ids[i] = (uint32_t)((random >> 8) % (size + 2));
            }
            size_t length, prompt = (size_t)(run % 4);
            free(decode_stream(&length, tokenizer, ids, prompt, ids + prompt, 48 - prompt));
        }
        tokenizer_free(tokenizer);
    }
}
END_TEST

/* Names of tokens to ids; those of bytes are their numbers. */
static size_t name_ids(uint32_t *ids, const struct tokenizer *tokenizer, const char *const *names) {
    size_t count = 0;
    for (; names[count]; count++)
        ck_assert_msg(tokenizer_token_id(tokenizer, names[count], &ids[count]), "%s", names[count]);
    return count;
}

/* Llama 2's decoder takes the first blank of a text off and falls back to bytes. */
START_TEST(blanks_and_cut_characters_of_a_byte_fallback) {
    static const struct {
        const char *prompt[4], *ids[12], *expected;
    } cases[] = {
        {{"A"}, {"\u2581time", "\u2581flies"}, " time flies"},
        {{NULL}, {"\u2581time", "\u2581flies"}, "time flies"},
        {{"<s>"}, {"\u2581time", "\u2581flies"}, "time flies"},
        {{"<s>", "A"}, {"\u2581time"}, " time"},
        {{"A"}, {"\u2581", "\u2581time"}, "  time"},
        {{"<0x0A>"}, {"\u2581time"}, " time"},
        {{"A"}, {"</s>", "\u2581time"}, " time"},
        {{"A"}, {"<0x0A>", "<0xF0>", "<0x9F>"}, "\n\ufffd\ufffd"},
        {{"A"}, {"<0x0A>", "<0xF0>", "<0x9F>", "<0x91>", "<0x8D>"}, "\n\U0001f44d"},
        {{"A"}, {"A", "B", "<0xFF>"}, "AB\ufffd"},
        {{"A"}, {"<0x41>", "<0x42>", "<0xFF>"}, "AB\ufffd"},
        {{"A"},
         {"<0xF0>", "<0x9F>", "<0x91>", "<0x8D>", "<0xF0>", "<0x9F>"},
         "\U0001f44d\ufffd\ufffd"},
        {{"A"},
         {"<0xF0>", "<0x9F>", "A"},
         "\ufffd\ufffd"
         "A"},
        {{"A", "<0xC3>"}, {"A"}, "A"},
        {{NULL}, {"<0xC3>"}, "\ufffd"},
        {{"A"}, {"<0xC3>", "<0xA9>", "\u2581time"}, "\u00e9 time"},
    };
    struct tokenizer *tokenizer;
    uint32_t prompt[4], ids[12];
    must(tokenizer_read(&tokenizer, TEST_DATA "/cases/generate-leading-space"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t prompt_count = name_ids(prompt, tokenizer, cases[i].prompt), length;
        size_t count = name_ids(ids, tokenizer, cases[i].ids);
        char *text = decode_stream(&length, tokenizer, prompt, prompt_count, ids, count);
        ck_assert_str_eq(text, cases[i].expected);
        free(text);
    }
    tokenizer_free(tokenizer);
}
END_TEST

/* NUL is a character as any other. */
START_TEST(nul_is_text) {
    struct tokenizer *tokenizer;
    const char *const names[] = {"\u2581time", "<0x00>", "\u2581flies", NULL};
    uint32_t ids[3], prompt = 286;
    size_t length;
    must(tokenizer_read(&tokenizer, TEST_DATA "/cases/generate-leading-space"));
    ck_assert_uint_eq(name_ids(ids, tokenizer, names), 3);
    char *text = decode_stream(&length, tokenizer, &prompt, 1, ids, 3);
    ck_assert_uint_eq(length, 12);
    ck_assert_mem_eq(text, " time\0 flies", 12);
    free(text);
    tokenizer_free(tokenizer);
}
END_TEST

/* Thousands of replacement characters, which may all be beginnings, do not wait for ever. */
START_TEST(what_never_becomes_a_character_is_given_out) {
    struct tokenizer *tokenizer;
    const char *const name[] = {"<0xFF>", NULL};
    uint32_t id;
    size_t length, given = 0;
    must(tokenizer_read(&tokenizer, TEST_DATA "/cases/generate-leading-space"));
    ck_assert_uint_eq(name_ids(&id, tokenizer, name), 1);
    struct stream stream = {.tokenizer = tokenizer};
    for (int i = 0; i < 5000; i++) {
        must(stream_add(&stream, id));
        (void)stream_next(&stream, false, &length);
        given += length;
    }
    ck_assert_uint_gt(given, 3 * 4000);
    must(stream_finish(&stream));
    ck_assert_uint_eq(stream.text.length, 3 * 5000);
    stream_free(&stream);
    tokenizer_free(tokenizer);
}
END_TEST

/* Text in pieces of one token, the tokenizer's bytes: nothing is cut, stop strings end it. */
static char *stream_text(const char *text, const char *const *stops, size_t stop_count,
                         bool *stopped) {
    struct tokenizer *tokenizer;
    uint32_t *ids;
    size_t count, length, where;
    must(tokenizer_read(&tokenizer, DEMO));
    must(tokenizer_encode(tokenizer, text, strlen(text), TOKENIZER_PLAIN, &ids, &count));
    struct stream stream = {.tokenizer = tokenizer, .stops = stops, .stop_count = stop_count};
    struct text pieces = {0};
    for (size_t i = 0; i < count && !stream.stopped; i++) {
        must(stream_add(&stream, ids[i]));
        const char *piece = stream_next(&stream, false, &length);
        ck_assert(utf8_valid(piece, length, &where));
        for (size_t s = 0; s < stop_count; s++) /* held back until it is known to be no stop */
            ck_assert(!length || piece[length - 1] != stops[s][0] || stops[s][1] == '\0');
        text_append_bytes(&pieces, piece, length);
    }
    must(stream_finish(&stream));
    const char *rest = stream_next(&stream, true, &length);
    text_append_bytes(&pieces, rest, length);
    *stopped = stream.stopped;
    stream_free(&stream);
    free(ids);
    tokenizer_free(tokenizer);
    if (!pieces.bytes) return memory_copy_string("");
    return text_finish(&pieces);
}

START_TEST(streams_keep_characters_whole_and_end_at_stop_strings) {
    static const char *const stops[] = {"\nQ:", "END"};
    static const struct {
        const char *text, *expected;
        bool stopped;
    } cases[] = {
        {"plain text", "plain text", false},
        {"日本語 é 🙂 end", "日本語 é 🙂 end", false},
        {"an answer\nQ: more", "an answer", true},
        {"E EN ENE \n Q \nQ", "E EN ENE \n Q \nQ", false},
        {"first END then \nQ:", "first ", true},
        {"END", "", true},
        {"ENEND and", "EN", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool stopped;
        char *text = stream_text(cases[i].text, stops, 2, &stopped);
        ck_assert_str_eq(text, cases[i].expected);
        ck_assert_int_eq(stopped, cases[i].stopped);
        free(text);
    }
    bool stopped;
    char *text = stream_text("\xf0\x9f\x99\x82\xf0\x9f\x99\x82", NULL, 0, &stopped);
    ck_assert_str_eq(text, "\xf0\x9f\x99\x82\xf0\x9f\x99\x82");
    free(text);
}
END_TEST

CHECK_MAIN("stream", streams_equal_the_reference, any_ids_give_valid_text,
           blanks_and_cut_characters_of_a_byte_fallback, nul_is_text,
           what_never_becomes_a_character_is_given_out,
           streams_keep_characters_whole_and_end_at_stop_strings)
