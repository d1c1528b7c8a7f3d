/* Classes of characters, over all of Unicode, against the tokenizers library. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "check_main.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer_internal.h"

enum { POINTS = 0x110000 - 0x800 };

static void must(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status ? status_message() : "");
}

static uint32_t point_at(uint32_t index) {
    return index < 0xd800 ? index : index + 0x800;
}

static size_t append_point(char *to, uint32_t c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((0xf00 >> length) | c);
    return length;
}

/* All code points but surrogates, in order; place[i] is where the i-th begins. */
static char *all_points(size_t *length, uint32_t *place) {
    char *text = memory_calloc(4 * (size_t)POINTS, 1);
    *length = 0;
    for (uint32_t i = 0; i < POINTS; i++) {
        place[i] = (uint32_t)*length;
        *length += append_point(text + *length, point_at(i));
    }
    place[POINTS] = (uint32_t)*length;
    return text;
}

static uint32_t index_of(const uint32_t *place, size_t at) {
    uint32_t low = 0, high = POINTS;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (place[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The characters that the pattern matches, one at a time, as "41-5a,61-7a,". */
static uint64_t matched(struct text *out, const char *pattern, const char *text, size_t length,
                        const uint32_t *place, struct regex_scratch *scratch) {
    struct regex *regex;
    char *many = text_format("(?:%s)+", pattern);
    bool found = true;
    size_t start, end = 0;
    uint64_t count = 0;
    uint32_t first = 0, last = 0;
    must(regex_compile(&regex, many, strlen(many), "test"));
    while (end < length) {
        must(regex_find(&found, &start, &end, regex, scratch, text, length, end));
        if (!found) break;
        uint32_t from = index_of(place, start), to = index_of(place, end);
        bool joins = count && point_at(from) == last + 1; /* a break at the surrogates */
        if (count && !joins) text_append(out, "%x-%x,", first, last);
        if (!joins) first = point_at(from);
        last = point_at(to - 1);
        if (first < 0xd800 && last > 0xdfff) {
            text_append(out, "%x-d7ff,", first);
            first = 0xe000;
        }
        count += to - from;
    }
    if (count) text_append(out, "%x-%x,", first, last);
    regex_free(regex);
    free(many);
    return count;
}

START_TEST(classes_hold_what_the_reference_has) {
    struct json *classes;
    struct regex_scratch *scratch;
    size_t length;
    uint32_t *place = memory_calloc(POINTS + 1, sizeof *place);
    char *all = all_points(&length, place);
    must(js_read(&classes, TEST_DATA "/tokenizers/classes.json"));
    must(regex_scratch_begin(&scratch));
    ck_assert_uint_gt(js_count(classes), 90);
    for (size_t i = 0; i < js_count(classes); i++) {
        const struct json *row = js_element(classes, i);
        const char *pattern = js_string_or(js_element(row, 0), "");
        struct text text = {0};
        char hex[SHA256_HEX_SIZE];
        uint64_t count = matched(&text, pattern, all, length, place, scratch);
        ck_assert_msg((int64_t)count == js_integer_or(js_element(row, 1), -1), "%s: %d characters",
                      pattern, (int)count);
        must(sha256_bytes(hex, text.bytes ? text.bytes : "", text.length));
        ck_assert_msg(strcmp(hex, js_string_or(js_element(row, 2), "")) == 0, "%s: others",
                      pattern);
        text_free(&text);
    }
    regex_scratch_free(scratch);
    js_free(classes);
    free(all);
    free(place);
}
END_TEST

static struct tokenizer *normalizer_of(const char *form) {
    struct tokenizer *tokenizer;
    char *text = text_format("{\"normalizer\":{\"type\":\"%s\"},\"model\":{\"type\":\"BPE\","
                             "\"merges\":[],\"vocab\":{}}}",
                             form);
    must(tokenizer_parse(&tokenizer, text, strlen(text), "test"));
    free(text);
    return tokenizer;
}

static bool is_left_out(uint32_t c) {
    static const uint32_t ranges[][2] = {{0x3400, 0x4dbf}, {0x4e00, 0x9fff},   {0xac80, 0xd77f},
                                         {0xd800, 0xf8ff}, {0x17000, 0x18cef}, {0x20000, 0x2f7ff}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
    return false;
}

/* tests/oracle/normal_forms.py: every character, alone and among marks. */
START_TEST(normal_forms_are_those_of_the_reference) {
    struct json *rows;
    must(js_read(&rows, TEST_DATA "/tokenizers/forms.json"));
    ck_assert_uint_eq(js_count(rows), 16);
    for (size_t r = 0; r < js_count(rows); r++) {
        const struct json *row = js_element(rows, r);
        const char *before = js_string_or(js_element(row, 1), "");
        const char *after = js_string_or(js_element(row, 2), "");
        size_t before_length = strlen(before), after_length = strlen(after);
        struct tokenizer *tokenizer = normalizer_of(js_string_or(js_element(row, 0), ""));
        struct worker *worker;
        struct sha256 *sha;
        char hex[SHA256_HEX_SIZE], text[64];
        must(tokenizer_take_worker(&worker, tokenizer));
        must(sha256_begin(&sha));
        memcpy(text, before, before_length);
        for (uint32_t point = 0; point < 0x2fa20; point++) {
            if (is_left_out(point)) continue;
            size_t length = before_length + append_point(text + before_length, point);
            memcpy(text + length, after, after_length);
            struct span span = {text, length + after_length, true};
            must(tokenizer_normalize(&span, tokenizer, worker, span));
            sha256_update(sha, span.bytes, span.length);
            sha256_update(sha, "\n", 1);
        }
        sha256_finish(sha, hex);
        tokenizer_give_worker(tokenizer, worker);
        tokenizer_free(tokenizer);
        ck_assert_msg(strcmp(hex, js_string_or(js_element(row, 3), "")) == 0, "row %zu", r);
    }
    js_free(rows);
}
END_TEST

/* Where a pattern first matches a text; -1: nowhere. */
static int find(const char *pattern, const char *text) {
    struct regex *regex;
    struct regex_scratch *scratch;
    bool found;
    size_t start = 0, end;
    must(regex_compile(&regex, pattern, strlen(pattern), "test"));
    must(regex_scratch_begin(&scratch));
    must(regex_find(&found, &start, &end, regex, scratch, text, strlen(text), 0));
    regex_scratch_free(scratch);
    regex_free(regex);
    return found ? (int)start : -1;
}

/* Brackets around classes that they cannot hold, in every position. */
START_TEST(classes_within_brackets) {
    static const struct {
        const char *pattern, *text;
        int start;
    } cases[] = {
        {"[\\W]", "ab c", 2},
        {"[\\W_]", "ab_c", 2},
        {"[_\\W]", "ab_c", 2},
        {"[^\\W]", " -a", 2},
        {"[^\\W\\d]", "1 a", 2},
        {"[\\W^]", "a^", 1},
        {"[]\\W]", "a]", 1},
        {"[^]\\W]", "]-a", 2},
        {"[\\D1]+$", "2a1", 1},
        {"[\\P{L}x]", "abx", 2},
        {"[^\\P{L}x]", "x1b", 2},
        {"[\\S]", "  a", 2},
        {"[^\\S]", "a b", 1},
        {"[\\H]", "ag", 1},
        {"\\H", "ag", 1},
        {"(?<=[\\W_])b", "ab_b", 3},
        {"[\\W_]{2}", "a_-", 1},
        {"[\\P{Mn}]", "\\u0301a", 0},
        {"\\p{^L}", "ab1", 2},
        {"\\P{^L}", "12a", 2},
        {"[\\p{^L}b]", "ab", 1},
        {"\\p{letter}", "1a", 1},
        {"\\p{Uppercase_Letter}", "aB", 1},
        {"\\p{lu}", "aB", 1},
        {"\\bb", "ab b", 3},
        {"\\Bb", "b ab", 3},
        {"\\b", "\xc2\xb2", 0},
        {"\\b", "\xe2\x81\xb5", -1},
        {"a\\b", "a\xf0\x9e\x93\x90 a", 6},
        {"[\\p{L}\\p{Mn}]", "1a", 1},
        {"[-\\W]", "a-", 1},
        {"[\\W-]", "a-", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int start = find(cases[i].pattern, cases[i].text);
        ck_assert_msg(start == cases[i].start, "%s on %s: %d", cases[i].pattern, cases[i].text,
                      start);
    }
}
END_TEST

START_TEST(names_that_are_none_are_refused) {
    static const char *const wrong[] = {"\\p{Klingon}", "\\p{}",   "\\p{^}",
                                        "\\pL",         "[\\p{L]", "\\P{Lx}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct regex *regex;
        ck_assert_msg(regex_compile(&regex, wrong[i], strlen(wrong[i]), "f") == STATUS_FAILED, "%s",
                      wrong[i]);
        ck_assert_ptr_nonnull(strstr(status_message(), "is not supported"));
    }
}
END_TEST

/* Tokenizers that remove what a class matches, and the ids that are left: tests/data/cases. */
START_TEST(tokenizers_with_these_classes) {
    static const struct {
        const char *file, *text;
        uint32_t ids[5];
        size_t count;
    } cases[] = {
        {"word", "~\u2075", {93, 158, 223, 113}, 4},
        {"word", "~\u2460", {93, 158, 239, 254}, 4},
        {"word", "~\u2153", {93, 158, 227, 241}, 4},
        {"word", "~\u2189", {93, 158, 228, 231}, 4},
        {"word", "~\u3220", {93, 159, 230, 254}, 4},
        {"letter", "~\U00031350", {93}, 1},
        {"letter", "~\U0002ebf0", {93}, 1},
        {"letter", "~\U0001e4d0", {93}, 1},
        {"letter", "~\ua7cb", {93}, 1},
        {"letter", "~\u2075", {93, 158, 223, 113}, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = text_format(TEST_DATA "/cases/regex-%s.json", cases[i].file);
        struct tokenizer *tokenizer;
        uint32_t *ids;
        size_t count;
        must(tokenizer_read(&tokenizer, path));
        must(tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), TOKENIZER_PLAIN,
                              &ids, &count));
        ck_assert_uint_eq(count, cases[i].count);
        for (size_t j = 0; j < count; j++) ck_assert_uint_eq(ids[j], cases[i].ids[j]);
        free(ids);
        tokenizer_free(tokenizer);
        free(path);
    }
}
END_TEST

CHECK_MAIN("regex", classes_hold_what_the_reference_has, classes_within_brackets,
           names_that_are_none_are_refused, normal_forms_are_those_of_the_reference,
           tokenizers_with_these_classes)
