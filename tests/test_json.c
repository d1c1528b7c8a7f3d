#define _GNU_SOURCE
#include <glob.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "check_main.h"
#include "evil_names.h"

/* ---- the printer writes what jansson writes, but for numbers, which it writes shorter */

static bool has_reals(const json_t *value) {
    const char *key;
    json_t *member;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) if (has_reals(member)) return true;
    json_array_foreach(value, i, member) if (has_reals(member)) return true;
    return json_is_real(value);
}

static void check_against_jansson(const char *text, size_t length) {
    json_t *theirs = json_loadb(text, length, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    if (!theirs) return;
    struct json *ours = (struct json *)theirs;
    char *expected[] = {
        json_dumps(theirs, JSON_ENCODE_ANY),
        json_dumps(theirs, JSON_ENCODE_ANY | JSON_INDENT(2)),
        json_dumps(theirs, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS),
    };
    char *found[] = {js_print(ours, 0), js_print(ours, 2), js_print_sorted(ours)};
    for (int i = 0; i < 3; i++) {
        json_t *again = json_loads(found[i], JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        ck_assert(json_equal(theirs, again));
        if (!has_reals(theirs)) ck_assert_str_eq(found[i], expected[i]);
        json_decref(again);
        free(expected[i]);
        free(found[i]);
    }
    json_decref(theirs);
}

START_TEST(text_is_as_jansson_prints_it) {
    static const char *const texts[] = {
        "{}",
        "[]",
        "[[], {}, [[]]]",
        "{\"b\": 1, \"a\": [true, false, null], \"aa\": {\"x\": {}}}",
        "[123, -1]",
        "[0.1, 1e-05, 1e20, 1e300, -0.0, 5e-324, 3.0, 123456789012345678, -1]",
        "[\"\\u0000\\u0001\\b\\f\\n\\r\\t\\\"\\\\/\\u001f\\u00e9\\ud83d\\ude00\"]",
        "{\"\": 0, \"\\n\": 1, \"\\u00e9\": 2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_against_jansson(texts[i], strlen(texts[i]));
    glob_t files;
    int checked = 0;
    static const char *const patterns[] = {TEST_DATA "/*.json", TEST_DATA "/golden/*.json",
                                           TEST_DATA "/models/*/*.json"};
    for (int p = 0; p < 3; p++) {
        ck_assert_int_eq(glob(patterns[p], 0, NULL, &files), 0);
        for (size_t i = 0; i < files.gl_pathc; i++, checked++) {
            char *text;
            size_t length;
            ck_assert_int_eq(file_read(&text, &length, files.gl_pathv[i]), STATUS_OK);
            check_against_jansson(text, length);
            free(text);
        }
        globfree(&files);
    }
    ck_assert_int_gt(checked, 10);
}
END_TEST

/* ---- names are bytes */

START_TEST(every_name_comes_back) {
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        struct json *document = js_new_object(), *again, *list = js_new_array();
        js_set_string(document, "name", evil_names[i]);
        js_append(list, js_new_string(evil_names[i]));
        js_append(list, js_new_string("\xff"));
        js_set(document, "list", list);
        for (int indent = 0; indent < 3; indent += 2) {
            char *text = js_print(document, indent);
            size_t where;
            ck_assert_ptr_nonnull(text);
            ck_assert(utf8_valid(text, strlen(text), &where));
            for (const char *c = text; *c; c++)
                ck_assert(((unsigned char)*c >= 0x20 && *c != 0x7f) || *c == '\n');
            ck_assert_int_eq(js_parse_names(&again, text, strlen(text), "x.json"), STATUS_OK);
            const struct json *second = js_element(js_member(again, "list"), 0);
            ck_assert_str_eq(js_string_or(js_member(again, "name"), "?"), evil_names[i]);
            ck_assert_str_eq(js_string_or(second, "?"), evil_names[i]);
            js_free(again);
            free(text);
        }
        js_free(document);
    }
}
END_TEST

START_TEST(bytes_are_surrogates_as_python_has_them) {
    struct json *document = js_new_object();
    js_set_string(document, "a", "x\x80\xff");
    js_set_string(document, "b", "\x1b\x7f\xe2\x80\xae\xf3\xa0\x81\x81");
    char *text = js_print(document, 0);
    ck_assert_str_eq(text, "{\"a\": \"x\\udc80\\udcff\", "
                           "\"b\": \"\\u001B\\u007F\\u202E\\uDB40\\uDC41\"}");
    free(text);
    js_free(document);
}
END_TEST

START_TEST(only_documents_with_names_hold_bytes) {
    struct json *value;
    static const char text[] = "{\"a\": \"\\udc80\"}";
    ck_assert_int_eq(js_parse(&value, text, sizeof text - 1, "x.json"), STATUS_FAILED);
    static const char *const refused[] = {
        "{\"a\": \"\\udc00\"}", /* no byte */
        "{\"a\": \"\\udc7f\"}", /* none either: ASCII is itself */
        "{\"a\": \"\\ud800\"}", /* half a pair */
        "{\"\\udc80\": 1}",     /* a member's name */
        "{\"a\": \"\\udc8\"}",  "{\"a\": \"\\udc80",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ck_assert_int_eq(js_parse_names(&value, refused[i], strlen(refused[i]), "x.json"),
                         STATUS_FAILED);
    static const char pair[] = "{\"a\": \"\\\\udc80\\ud83d\\ude00\\\\\"}";
    ck_assert_int_eq(js_parse_names(&value, pair, sizeof pair - 1, "x.json"), STATUS_OK);
    ck_assert_str_eq(js_string_or(js_member(value, "a"), ""), "\\udc80\xf0\x9f\x98\x80\\");
    js_free(value);
    /* beside the characters that stand for bytes meanwhile */
    static const char own[] = "{\"a\": \"\\udcff\xf3\xbd\xb2\x80\\udbb7\\udc80\xf4\x8d\xb2\x80\"}";
    ck_assert_int_eq(js_parse_names(&value, own, sizeof own - 1, "x.json"), STATUS_OK);
    ck_assert_str_eq(js_string_or(js_member(value, "a"), ""),
                     "\xff\xf3\xbd\xb2\x80\xf3\xbd\xb2\x80\xf4\x8d\xb2\x80");
    js_free(value);
}
END_TEST

/* ---- memory that runs out leaves no hole in a document */

static long allocations, failing;
static json_malloc_t usual_malloc;

static void *failing_malloc(size_t size) {
    return usual_malloc(++allocations == failing ? SIZE_MAX / 4 : size);
}

static char *build(void) {
    struct json *document = js_new_object(), *list = js_new_array(), *parsed = NULL;
    for (int i = 0; i < 20; i++) {
        struct json *item = js_new_object();
        js_set_integer(item, "layer", i);
        js_set_number(item, "score", i / 3.0);
        js_set_string(item, "name", "x");
        js_append(list, item);
    }
    js_set(document, "list", list);
    js_set(document, "copy", js_copy(list));
    js_set_bool(document, "good", true);
    static const char text[] = "{\"huge\": 1000000000000000000000000000000, \"whole\": 5, "
                               "\"list\": [1, 2.5, \"\\udcff\"]}";
    if (js_parse_names(&parsed, text, sizeof text - 1, "x.json")) {
        js_free(document);
        return NULL;
    }
    js_set(document, "parsed", parsed);
    char *out = js_print(document, 2);
    js_free(document);
    return out;
}

START_TEST(a_document_is_whole_or_not_at_all) {
    char *expected = build();
    int n = 1, refused = 0;
    for (;; n++) {
        pid_t child = fork();
        if (child == 0) {
            json_free_t usual_free;
            json_get_alloc_funcs(&usual_malloc, &usual_free);
            json_set_alloc_funcs(failing_malloc, usual_free);
            failing = n;
            char *text = build();
            if (allocations < failing) _exit(2); /* no fault any more */
            if (!text) {
                bool said = strstr(status_message(), "out of memory") != NULL;
                if (!said) fprintf(stderr, "%d: %s\n", n, status_message());
                _exit(said ? 0 : 3);
            }
            _exit(strcmp(text, expected) == 0 ? 1 : 4);
        }
        int code;
        ck_assert_int_eq(waitpid(child, &code, 0), child);
        ck_assert(WIFEXITED(code));
        if (WEXITSTATUS(code) == 2) break;
        ck_assert_int_le(WEXITSTATUS(code), 1);
        refused += WEXITSTATUS(code) == 0;
    }
    ck_assert_int_gt(refused, 150);
    free(expected);
}
END_TEST

START_TEST(a_name_that_there_was_no_memory_for_is_no_null) {
    struct json *document = js_new_object();
    js_set_string(document, "absent", NULL);
    char *text = js_print(document, 0);
    ck_assert_str_eq(text, "{\"absent\": null}");
    free(text);
    ck_assert_ptr_null(memory_calloc(SIZE_MAX / 16, 8));
    js_set_string(document, "lost", NULL);
    ck_assert_ptr_null(js_print(document, 0));
    js_free(document);
}
END_TEST

CHECK_MAIN("json", text_is_as_jansson_prints_it, every_name_comes_back,
           bytes_are_surrogates_as_python_has_them, only_documents_with_names_hold_bytes,
           a_document_is_whole_or_not_at_all, a_name_that_there_was_no_memory_for_is_no_null)
