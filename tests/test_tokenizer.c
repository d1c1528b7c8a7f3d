#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/output.h"
#include "check_main.h"
#include "tokenizer/tokenizer_internal.h"

#define FAMILIES TEST_DATA "/tokenizers/"
#define DEMO TEST_DATA "/../../recipes/demo-model"

static void expect_ids(const struct json *expected, const uint32_t *ids, size_t count,
                       const char *what, const char *text) {
    bool equal = js_count(expected) == count;
    for (size_t i = 0; equal && i < count; i++)
        equal = js_integer_or(js_element(expected, i), -1) == (int64_t)ids[i];
    char *wanted = js_print(expected, 0);
    ck_assert_msg(equal, "%s: \"%s\" should be %s, is %zu ids from %u", what, text, wanted, count,
                  count ? ids[0] : 0);
    free(wanted);
}

START_TEST(demo_model_cases_are_equal) {
    struct tokenizer *tokenizer;
    struct json *golden;
    ck_assert_int_eq(tokenizer_read(&tokenizer, DEMO), STATUS_OK);
    ck_assert_int_eq(js_read(&golden, TEST_DATA "/golden/demo-llama-2.6m.json"), STATUS_OK);
    const struct json *cases = js_member(golden, "tokenizer_cases");
    ck_assert_uint_gt(js_count(cases), 15);
    for (size_t i = 0; i < js_count(cases); i++) {
        const struct json *text = js_member(js_element(cases, i), "text");
        uint32_t *ids;
        size_t count, length;
        ck_assert_int_eq(tokenizer_encode(tokenizer, js_string_or(text, ""), js_string_length(text),
                                          TOKENIZER_WHOLE, &ids, &count),
                         STATUS_OK);
        expect_ids(js_member(js_element(cases, i), "ids"), ids, count, "demo",
                   js_string_or(text, ""));
        char *back;
        ck_assert_int_eq(tokenizer_decode(tokenizer, ids, count, false, &back, &length), STATUS_OK);
        ck_assert_uint_eq(length, js_string_length(text));
        ck_assert_mem_eq(back, js_string_or(text, ""), length);
        free(back);
        free(ids);
    }
    uint32_t id;
    ck_assert_uint_eq(tokenizer_vocab_size(tokenizer), 2048);
    ck_assert(tokenizer_end_id(tokenizer, &id) && id == 0);
    ck_assert(tokenizer_token_id(tokenizer, "<|endoftext|>", &id) && id == 0);
    ck_assert(!tokenizer_token_id(tokenizer, "<|nothing|>", &id));
    js_free(golden);
    tokenizer_free(tokenizer);
}
END_TEST

/* The family's file with some parts replaced, as tests/oracle/tokenizers_golden.py does. */
static struct tokenizer *read_family(const char *name, const struct json *parts) {
    char path[512];
    struct json *file;
    struct tokenizer *tokenizer;
    snprintf(path, sizeof path, FAMILIES "%s.json", name);
    ck_assert_int_eq(js_read(&file, path), STATUS_OK);
    for (void *i = js_first(parts); i; i = js_next(parts, i)) {
        if (strcmp(js_key(i), "model") != 0) {
            js_set(file, js_key(i), js_copy(js_value(i)));
            continue;
        }
        struct json *model = js_copy(js_member(file, "model"));
        for (void *j = js_first(js_value(i)); j; j = js_next(js_value(i), j))
            js_set(model, js_key(j), js_copy(js_value(j)));
        js_set(file, "model", model);
    }
    char *text = js_print(file, 0);
    enum status status = tokenizer_parse(&tokenizer, text, strlen(text), path);
    ck_assert_msg(status == STATUS_OK, "%s", status ? status_message() : "");
    free(text);
    js_free(file);
    return tokenizer;
}

static void check_run(const struct json *texts, const struct json *run) {
    const char *name = js_string_or(js_member(run, "tokenizer"), "");
    const struct json *parts = js_member(run, "parts");
    bool special = js_bool_or(js_member(run, "special"), false);
    struct tokenizer *tokenizer = read_family(name, parts);
    char *what = js_print(parts, 0);
    for (size_t i = 0; i < js_count(texts); i++) {
        const struct json *text = js_element(texts, i);
        const struct json *decoded = js_element(js_member(run, "decoded"), i);
        uint32_t *ids;
        size_t count, length;
        ck_assert_int_eq(
            tokenizer_encode(tokenizer, js_string_or(text, ""), js_string_length(text),
                             special ? TOKENIZER_WHOLE | TOKENIZER_REPEAT : TOKENIZER_PLAIN, &ids,
                             &count),
            STATUS_OK);
        expect_ids(js_element(js_member(run, "ids"), i), ids, count, what, js_string_or(text, ""));
        char *back;
        ck_assert_int_eq(tokenizer_decode(tokenizer, ids, count, special, &back, &length),
                         STATUS_OK);
        if (!decoded) decoded = text;
        ck_assert_msg(length == js_string_length(decoded) &&
                          memcmp(back, js_string_or(decoded, ""), length) == 0,
                      "%s %s: \"%s\" is decoded to \"%s\"", name, what, js_string_or(decoded, ""),
                      back);
        free(back);
        free(ids);
    }
    free(what);
    tokenizer_free(tokenizer);
}

START_TEST(families_equal_the_reference) {
    struct json *cases;
    ck_assert_int_eq(js_read(&cases, FAMILIES "cases.json"), STATUS_OK);
    const struct json *runs = js_member(cases, "runs");
    ck_assert_uint_gt(js_count(runs), 40);
    for (size_t i = 0; i < js_count(runs); i++)
        check_run(js_member(cases, "texts"), js_element(runs, i));
    js_free(cases);
}
END_TEST

/* A word that only BPE can cut, at sizes where a quadratic algorithm takes minutes. */
START_TEST(long_words_take_linear_time) {
    struct tokenizer *tokenizer;
    ck_assert_int_eq(tokenizer_read(&tokenizer, DEMO), STATUS_OK);
    enum { LENGTH = 1 << 20 };
    char *text = malloc(LENGTH);
    for (size_t i = 0; i < LENGTH; i++) text[i] = "thenandin"[i % 9];
    uint32_t *ids;
    size_t count, length;
    double start = log_seconds();
    ck_assert_int_eq(tokenizer_encode(tokenizer, text, LENGTH, TOKENIZER_PLAIN, &ids, &count),
                     STATUS_OK);
    ck_assert_double_lt(log_seconds() - start, 30);
    char *back;
    ck_assert_int_eq(tokenizer_decode(tokenizer, ids, count, false, &back, &length), STATUS_OK);
    ck_assert_uint_eq(length, LENGTH);
    ck_assert_mem_eq(back, text, LENGTH);
    free(back);
    free(ids);
    free(text);
    tokenizer_free(tokenizer);
}
END_TEST

/* Combining marks in the wrong order: the canonical ordering must not be quadratic either. */
START_TEST(long_runs_of_marks_take_linear_time) {
    struct tokenizer *tokenizer = read_family("qwen2", NULL);
    enum { PAIRS = 1 << 17 };
    char *text = malloc(1 + 4 * PAIRS);
    text[0] = 'a';
    for (size_t i = 0; i < PAIRS; i++) memcpy(text + 1 + 4 * i, "\xcc\x81\xcc\xa3", 4);
    uint32_t *ids;
    size_t count;
    double start = log_seconds();
    ck_assert_int_eq(
        tokenizer_encode(tokenizer, text, 1 + 4 * PAIRS, TOKENIZER_PLAIN, &ids, &count), STATUS_OK);
    ck_assert_double_lt(log_seconds() - start, 30);
    ck_assert_uint_gt(count, PAIRS);
    free(ids);
    free(text);
    tokenizer_free(tokenizer);
}
END_TEST

struct reader {
    const struct tokenizer *tokenizer;
    const char *text;
    uint32_t *ids;
    size_t count;
    enum status status;
};

static void *encode_in_thread(void *context) {
    struct reader *reader = context;
    for (int i = 0; i < 50 && !reader->status; i++) {
        free(reader->ids);
        reader->status = tokenizer_encode(reader->tokenizer, reader->text, strlen(reader->text),
                                          TOKENIZER_PLAIN, &reader->ids, &reader->count);
    }
    return NULL;
}

START_TEST(threads_share_a_tokenizer) {
    struct tokenizer *tokenizer = read_family("llama3", NULL);
    struct reader readers[8] = {{0}};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        readers[i].tokenizer = tokenizer;
        readers[i].text = i & 1 ? "To be, or not to be" : "that is the question: 1234567";
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_in_thread, &readers[i]), 0);
    }
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(readers[i].status, STATUS_OK);
        ck_assert_uint_eq(readers[i].count, readers[i & 1].count);
        ck_assert_mem_eq(readers[i].ids, readers[i & 1].ids, readers[i].count * sizeof(uint32_t));
    }
    for (int i = 0; i < 8; i++) free(readers[i].ids);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(texts_that_are_not_utf8_are_refused) {
    struct tokenizer *tokenizer = read_family("gpt2", NULL);
    const struct {
        const char *text;
        int where;
    } cases[] = {{"abc\xff", 3},          {"\xc0\x80", 0},         {"ab\xed\xa0\x80", 2},
                 {"\xf4\x90\x80\x80", 0}, {"12345678\xe2\x82", 8}, {"\xe0\x9f\xbf", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t *ids;
        size_t count;
        char expected[80];
        snprintf(expected, sizeof expected, "the text is not UTF-8 at byte %d", cases[i].where);
        ck_assert_int_eq(tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text),
                                          TOKENIZER_PLAIN, &ids, &count),
                         STATUS_FAILED);
        ck_assert_str_eq(status_message(), expected);
    }
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(broken_bytes_are_decoded_to_replacement_characters) {
    struct text out = {0};
    const char bytes[] = "a\xe2\x82z\xf0\x9f\x98\xff\xed\xa0\x80"
                         "b\xc3";
    utf8_append_lossy(&out, bytes, sizeof bytes - 1);
#define R "\xef\xbf\xbd"
    ck_assert_str_eq(out.bytes, "a" R "z" R R R R R "b" R);
    text_free(&out);
}
END_TEST

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

START_TEST(what_is_not_understood_is_refused_by_name) {
    const struct {
        const char *json, *message;
    } cases[] = {
        {"[]", "must hold a JSON object"},
        {"{}", "\"model\" must be an object"},
        {"{" MODEL, "invalid JSON at line 1, column 69: '}' expected near end of file"},
        {"{\"version\":\"2.0\"," MODEL "}", "version \"2.0\" is not supported"},
        {"{\"extra\":1," MODEL "}", "\"extra\" in the file is not supported"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model \"Unigram\" is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}",
         "the model's \"vocab\" must be an object"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
         "tokens \"b\" and \"a\" have the same id 0"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}",
         "token \"a\" has id -1, outside 0 to 1000003"},
        {"{\"model\":{\"vocab\":{\"a\":4000000000},\"merges\":[]}}",
         "token \"a\" has id 4000000000, outside 0 to 1000003"},
        {"{\"model\":{\"vocab\":{\"a\":\"x\"},\"merges\":[]}}",
         "the id of token \"a\" must be an integer"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a c\"]}}",
         "merge 0 needs token \"c\", which is not in the vocabulary"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
         "merge 0 needs token \"aa\", which is not in the vocabulary"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", "merge 0 must be two tokens"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0 must be two tokens"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}",
         "the model's \"dropout\" is not supported"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
         "the model's \"end_of_word_suffix\" is not supported"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"?\"}}",
         "the model's \"unk_token\" is not in the vocabulary"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallback\":1}}",
         "\"byte_fallback\" in the model must be true or false"},
        {"{\"normalizer\":{\"type\":\"Lowercase\"}," MODEL "}",
         "normalizer \"Lowercase\" is not supported"},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
         "\"Precompiled\"}]}," MODEL "}",
         "normalizer \"Precompiled\" is not supported"},
        {"{\"normalizer\":3," MODEL "}", "a normalizer without a \"type\""},
        {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," MODEL "}",
         "pre-tokenizer \"Whitespace\" is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":"
         "\"Isolated\"}," MODEL "}",
         "cannot use pattern \"(a\": missing closing parenthesis"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":"
         "\"Isolated\"}," MODEL "}",
         "\"&&\" in pattern \"[a&&b]\" is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
         "\"Sideways\"}," MODEL "}",
         "behavior \"Sideways\" of a Split is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"xy\"}," MODEL "}",
         "\"replacement\" in pre-tokenizer Metaspace must be one character"},
        {"{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL "}",
         "post-processor \"BertProcessing\" is not supported"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}," MODEL "}",
         "the template \"single\" has no place for the text"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"x\":{\"ids\":[7]}}"
         "}," MODEL "}",
         "the template adds id 7, which no token has"},
        {"{\"decoder\":{\"type\":\"WordPiece\"}," MODEL "}",
         "decoder \"WordPiece\" is not supported"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]," MODEL "}",
         "added token \"x\" has id 1, which the vocabulary gives to \"b\""},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]," MODEL "}",
         "added token \"a\" has id 1, but the vocabulary gives it 0"},
        {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"y\"}]," MODEL "}",
         "added tokens \"x\" and \"y\" have the same id"},
        {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}]," MODEL "}",
         "added token \"x\" is there twice"},
        {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"shape\":1}]," MODEL "}",
         "\"shape\" in an added token is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *tokenizer = NULL;
        char expected[256];
        snprintf(expected, sizeof expected, "\"t.json\": %s", cases[i].message);
        ck_assert_int_eq(
            tokenizer_parse(&tokenizer, cases[i].json, strlen(cases[i].json), "t.json"),
            STATUS_FAILED);
        ck_assert_str_eq(status_message(), expected);
        ck_assert_ptr_null(tokenizer);
    }
}
END_TEST

START_TEST(missing_files_are_named) {
    struct tokenizer *tokenizer;
    ck_assert_int_eq(tokenizer_read(&tokenizer, "/nowhere"), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"/nowhere\" does not exist");
    ck_assert_int_eq(tokenizer_read(&tokenizer, TEST_DATA), STATUS_FAILED);
    ck_assert_str_eq(status_message(),
                     "cannot open \"" TEST_DATA "/tokenizer.json\": No such file or directory");
}
END_TEST

static void put(const char *directory, const char *name, const char *text) {
    char *path = file_join(directory, name);
    remove(path);
    if (text) ck_assert_int_eq(output_write(path, text, strlen(text), OUTPUT_REPLACE), STATUS_OK);
    free(path);
}

/* Ends of a text: of the tokenizer, and all that the model's files name. */
START_TEST(every_end_id_counts) {
    static const struct {
        const char *tokenizer, *generation, *config;
        int first; /* -1: none */
        size_t count;
        uint32_t ids[4];
    } cases[] = {
        {"{\"eos_token\":\"b\"}", "{\"eos_token_id\":[1,2]}", "{\"eos_token_id\":1}", 1, 2, {1, 2}},
        {"{\"eos_token\":\"b\"}", "{\"eos_token_id\":2}", NULL, 1, 2, {1, 2}},
        {NULL, "{\"eos_token_id\":[2,1]}", "{\"eos_token_id\":0}", 2, 3, {2, 1, 0}},
        {NULL, NULL, "{\"eos_token_id\":[0,2]}", 0, 2, {0, 2}},
        {"{\"eos_token\":{\"content\":\"c\"}}", "{\"eos_token_id\":null}", "{}", 2, 1, {2}},
        {NULL, "{\"eos_token_id\":[null,\"1\",-1,1.5,[2],1,1]}", NULL, 1, 1, {1}},
        {"{\"eos_token\":\"zz\"}", "{\"eos_token_id\":[9]}", NULL, -1, 1, {9}},
        {"{\"eos_token\":null}", "{\"eos_token_id\":[]}", NULL, -1, 0, {0}},
        {"[]", "[1]", "{\"eos_token_id\":{\"a\":1}}", -1, 0, {0}},
        {NULL, "{\"eos_token_id\":99999999999}", "{\"eos_token_id\":true}", -1, 0, {0}},
    };
    char directory[] = "/tmp/test_tokenizer.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    put(directory, "tokenizer.json",
        "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"c\":2}}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *tokenizer;
        uint32_t end;
        size_t count;
        put(directory, "tokenizer_config.json", cases[i].tokenizer);
        put(directory, "generation_config.json", cases[i].generation);
        put(directory, "config.json", cases[i].config);
        ck_assert_int_eq(tokenizer_read(&tokenizer, directory), STATUS_OK);
        ck_assert_int_eq(tokenizer_end_id(tokenizer, &end) ? (int)end : -1, cases[i].first);
        const uint32_t *ids = tokenizer_end_ids(tokenizer, &count);
        ck_assert_uint_eq(count, cases[i].count);
        for (size_t j = 0; j < count; j++) ck_assert_uint_eq(ids[j], cases[i].ids[j]);
        tokenizer_free(tokenizer);
    }
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}
END_TEST

/* Going on without them would lose the token that ends a text. */
START_TEST(files_beside_it_that_cannot_be_read_are_named) {
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json",
                                        "config.json"};
    static const char *const texts[] = {"", "{broken", "{\"eos_token_id\":[1,", "{} {}",
                                        "version https://git-lfs.github.com/spec/v1\n"
                                        "oid sha256:0\nsize 9\n"};
    char directory[] = "/tmp/test_tokenizer.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    put(directory, "tokenizer.json",
        "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0,\"b\":1,\"c\":2}}}");
    for (int kind = 0; kind < 3; kind++) {
        char *path = file_join(directory, names[kind]);
        struct tokenizer *tokenizer;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            put(directory, names[kind], texts[i]);
            ck_assert_int_ne(tokenizer_read(&tokenizer, directory), STATUS_OK);
            ck_assert_ptr_null(tokenizer);
            ck_assert_msg(strstr(status_message(), names[kind]), "%s", status_message());
        }
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(mkdir(path, 0777), 0);
        ck_assert_int_ne(tokenizer_read(&tokenizer, directory), STATUS_OK);
        ck_assert_int_eq(rmdir(path), 0);
        ck_assert_int_eq(mkfifo(path, 0666), 0);
        ck_assert_int_ne(tokenizer_read(&tokenizer, directory), STATUS_OK);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(tokenizer_read(&tokenizer, directory), STATUS_OK);
        tokenizer_free(tokenizer);
        free(path);
    }
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}
END_TEST

CHECK_MAIN("tokenizer", demo_model_cases_are_equal, families_equal_the_reference,
           long_words_take_linear_time, long_runs_of_marks_take_linear_time,
           threads_share_a_tokenizer, texts_that_are_not_utf8_are_refused,
           broken_bytes_are_decoded_to_replacement_characters,
           what_is_not_understood_is_refused_by_name, every_end_id_counts,
           files_beside_it_that_cannot_be_read_are_named, missing_files_are_named)
