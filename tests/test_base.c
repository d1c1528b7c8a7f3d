#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/random.h"
#include "base/text.h"
#include "check_main.h"

START_TEST(philox_matches_the_published_vector) {
    /* Random123 kat_vectors: philox4x32-10, counter 0, key 0 -> 6627e8d5 e169c58d ... */
    struct random_stream stream = {{0, 0}, {0, 0}};
    uint64_t bits = ((uint64_t)0x6627e8d5u << 32 | 0xe169c58du) >> 12;
    ck_assert_double_eq(random_uniform(&stream, 0), ((double)bits + 0.5) * 0x1p-52);
}
END_TEST

START_TEST(random_moments) {
    struct random_stream stream = random_stream_for(7, 3, "weight");
    double sum = 0, squares = 0;
    enum { N = 100000 };
    for (uint64_t i = 0; i < N; i++) {
        double value = random_normal(&stream, i);
        sum += value;
        squares += value * value;
    }
    ck_assert_double_lt(fabs(sum / N), 0.02);
    ck_assert_double_lt(fabs(squares / N - 1), 0.03);
    struct random_stream other = random_stream_for(7, 4, "weight");
    ck_assert_double_ne(random_uniform(&stream, 0), random_uniform(&other, 0));
}
END_TEST

START_TEST(half_types_round_trip) {
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits, back;
        enum dtype types[] = {DTYPE_F16, DTYPE_BF16};
        for (int i = 0; i < 2; i++) {
            float wide;
            dtype_to_f32(&wide, &half, types[i], 1);
            if (isnan(wide)) continue;
            dtype_from_f32(&back, types[i], &wide, 1);
            ck_assert_uint_eq(back, half);
        }
    }
    ck_assert_uint_eq(dtype_bf16_from_f32(1.00390625f), 0x3f80); /* tie to even */
    ck_assert_uint_eq(dtype_bf16_from_f32(1.01171875f), 0x3f82);
    uint16_t half;
    float values[] = {65519.9f, 65520.0f, 0x1p-25f, 0x1.8p-24f};
    uint16_t expected[] = {0x7bff, 0x7c00, 0, 2};
    for (int i = 0; i < 4; i++) {
        dtype_from_f32(&half, DTYPE_F16, &values[i], 1);
        ck_assert_uint_eq(half, expected[i]);
    }
    ck_assert(isnan(dtype_f32_from_bf16(dtype_bf16_from_f32(NAN))));
}
END_TEST

START_TEST(sha256_of_abc) {
    char hex[SHA256_HEX_SIZE];
    ck_assert_int_eq(sha256_bytes(hex, "abc", 3), STATUS_OK);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

START_TEST(lists) {
    struct int_list list;
    ck_assert_int_eq(list_parse(&list, "0-2,7,first,last", 0, 9, "--layers"), STATUS_OK);
    ck_assert_uint_eq(list.count, 5);
    char *text = list_format(list.values, list.count);
    ck_assert_str_eq(text, "0-2,7,9");
    free(text);
    list_free(&list);
    const char *wrong[] = {"", "1-", "a", "1,,2", "3-1", "10", "0-99999999999999999999", "1 "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_int_eq(list_parse(&list, wrong[i], 0, 9, "--layers"), STATUS_USAGE);
}
END_TEST

START_TEST(json_errors_name_the_source) {
    struct json *value;
    ck_assert_int_eq(js_parse_unique(&value, "{\"a\": 1, \"a\": 2}", 16, "x.json"), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "x.json"));
    ck_assert_int_eq(js_parse(&value, "{\"a\": 1.5}", 10, "x.json"), STATUS_OK);
    int64_t number;
    ck_assert_int_eq(js_get_integer(&number, value, "a", 0, 9, "x.json"), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"x.json\": \"a\" must be an integer, found 1.5");
    ck_assert_int_eq(js_get_integer(&number, value, "b", 0, 9, "x.json"), STATUS_FAILED);
    js_free(value);
}
END_TEST

/* What transformers writes as the length of a tokenizer without a limit. */
START_TEST(integers_beyond_64_bits_become_numbers) {
    static const char text[] = "{\"long\": 1000000000000000019884624838656, \"short\": [3, 0.5, "
                               "{\"negative\": -7}]}";
    struct json *value;
    ck_assert_int_eq(js_parse(&value, text, sizeof text - 1, "x.json"), STATUS_OK);
    const struct json *list = js_member(value, "short");
    ck_assert(!js_is_integer(js_member(value, "long")));
    ck_assert_double_eq(js_number_or(js_member(value, "long"), 0), 1e30);
    ck_assert_int_eq(js_integer_or(js_element(list, 0), 0), 3);
    ck_assert(!js_is_integer(js_element(list, 1)));
    ck_assert_double_eq(js_number_or(js_element(list, 1), 0), 0.5);
    ck_assert_int_eq(js_integer_or(js_member(js_element(list, 2), "negative"), 0), -7);
    js_free(value);
}
END_TEST

static struct json *parsed(const char *text) {
    struct json *value = NULL;
    enum status status = js_parse(&value, text, strlen(text), "x.json");
    ck_assert_msg(status == STATUS_OK, "%s: %s", text, status_message());
    return value;
}

/* What Python's json module reads, it being what writes most of these files. */
START_TEST(json_is_read_as_python_does) {
    struct json *value = parsed("{\"a\": 1, \"b\": 2, \"a\": 3}");
    ck_assert_int_eq(js_integer_or(js_member(value, "a"), 0), 3);
    ck_assert_uint_eq(js_count(value), 2);
    js_free(value);
    static const char *const words[] = {"NaN", "Infinity", "-Infinity", "1e999", "-1e400"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"list\": [0.0, %s], \"x\": %s, \"text\": \"%s \\\" %s\", \"big\": "
                 "100000000000000000000, \"one\": 1}",
                 words[i], words[i], words[i], words[i]);
        value = parsed(text);
        const struct json *x = js_member(value, "x");
        ck_assert_ptr_nonnull(x);
        ck_assert(!js_is_number(x) && !js_is_object(x) && !js_is_string(x) && !js_is_bool(x));
        ck_assert(!js_is_array(x) && js_count(x) == 0);
        ck_assert_uint_eq(js_count(js_member(value, "list")), 2);
        ck_assert_int_eq(js_integer_or(js_member(value, "one"), 0), 1);
        ck_assert_double_eq(js_number_or(js_member(value, "big"), 0), 1e20);
        snprintf(text, sizeof text, "%s \" %s", words[i], words[i]);
        ck_assert_str_eq(js_string_or(js_member(value, "text"), ""), text);
        double number;
        ck_assert_int_eq(js_get_number(&number, value, "x", "x.json"), STATUS_FAILED);
        js_free(value);
    }
    value = parsed("{\"eps\": -Infinity}");
    double number;
    ck_assert_int_eq(js_get_number(&number, value, "eps", "x.json"), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "\"x.json\": \"eps\" must be a number, found -Infinity");
    js_free(value);
    static const char *const wrong[] = {
        "{\"a\": nan}",  "{\"a\": Infinit}",    "{\"a\": NaNs}", "{\"a\": +Infinity}",
        "{Infinity: 1}", "{\"a\": - Infinity}", "NaN",           "-Infinity",
        " 1e999",        "{\"a\": NaN NaN}",    "{\"a\": \"NaN}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(js_parse(&value, wrong[i], strlen(wrong[i]), "x") == STATUS_FAILED, "%s",
                      wrong[i]);
    ck_assert_int_eq(js_parse_line(&value, "{\"a\": NaN, \"a\": 4}", 18, "x", 1), STATUS_OK);
    ck_assert_int_eq(js_integer_or(js_member(value, "a"), 0), 4);
    js_free(value);
}
END_TEST

START_TEST(sizes_read_well) {
    char out[32];
    ck_assert_str_eq(memory_format(out, 640), "640 B");
    ck_assert_str_eq(memory_format(out, 1500000), "1.50 MB");
    ck_assert_str_eq(memory_format(out, 29940000000), "29.9 GB");
    struct text text = {0};
    for (int i = 0; i < 1000; i++) text_append(&text, "%d,", i);
    char *all = text_finish(&text);
    ck_assert_uint_eq(strlen(all), 3890);
    free(all);
}
END_TEST

/* The signal that ends a program which got a SIGTERM and, so many seconds later, a SIGINT; 0 when
 * it only knows that it shall end. */
static int signals_end(double second_after) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        interrupt_install();
        if (interrupt_requested()) _exit(2);
        kill(getpid(), SIGTERM);
        const struct timespec moment = {0, 1000000};
        for (int i = 0; i < 5000 && !interrupt_requested(); i++) nanosleep(&moment, NULL);
        if (!interrupt_requested()) _exit(2);
        double whole = floor(second_after);
        struct timespec pause = {(time_t)whole, (long)((second_after - whole) * 1e9)};
        nanosleep(&pause, NULL);
        kill(getpid(), SIGINT);
        for (int i = 0; i < 300; i++) nanosleep(&moment, NULL);
        _exit(0);
    }
    int ended;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    return WIFSIGNALED(ended) ? WTERMSIG(ended) : WEXITSTATUS(ended);
}

START_TEST(numbers_have_as_few_digits_as_they_can) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {-3, "-3"},
        {0.1, "0.1"},
        {1e-5, "1e-05"},
        {1e-6, "1e-06"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {1e22, "1e+22"},
        {123456789, "123456789"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0.1F, "0.10000000149011612"},
        {500000, "500000"},
        {NAN, "nan"},
        {INFINITY, "inf"},
    };
    char text[NUMBER_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_str_eq(number_format(text, cases[i].value), cases[i].text);
    for (uint64_t i = 0; i < 20000; i++) { /* bits at random */
        uint64_t bits = (i + 1) * 0x9E3779B97F4A7C15u;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) ck_assert(strtod(number_format(text, value), NULL) == value);
    }
}
END_TEST

START_TEST(json_is_printed_as_it_is_read) {
    static const char text[] =
        "{\"b\":[1,-2.5,1e-05,3.0,1e+22,true,false,null,[],{}],\"a\":{\"z\":\"\\\"\\\\\\n\\u0001/"
        "\xc3\xa9\\u007F\",\"y\":9007199254740993}}";
    struct json *value;
    ck_assert_int_eq(js_parse(&value, text, strlen(text), "text"), STATUS_OK);
    char *line = js_print(value, 0), *sorted = js_print_sorted(value), *lines = js_print(value, 2);
    ck_assert_str_eq(line,
                     "{\"b\": [1, -2.5, 1e-05, 3.0, 1e+22, true, false, null, [], {}], \"a\": "
                     "{\"z\": \"\\\"\\\\\\n\\u0001/\xc3\xa9\\u007F\", \"y\": 9007199254740993}}");
    ck_assert_str_eq(sorted, "{\"a\":{\"y\":9007199254740993,\"z\":\"\\\"\\\\\\n\\u0001/\xc3\xa9"
                             "\x7f\"},\"b\":[1,-2.5,1e-05,3.0,1e+22,true,false,null,[],{}]}");
    ck_assert_str_eq(
        lines, "{\n  \"b\": [\n    1,\n    -2.5,\n    1e-05,\n    3.0,\n    1e+22,\n    "
               "true,\n    false,\n    null,\n    [],\n    {}\n  ],\n  \"a\": {\n    \"z\": "
               "\"\\\"\\\\\\n\\u0001/\xc3\xa9\\u007F\",\n    \"y\": 9007199254740993\n  }\n}");
    free(line);
    free(sorted);
    free(lines);
    js_free(value);
}
END_TEST

START_TEST(only_a_later_signal_ends_the_program) {
    ck_assert_int_eq(signals_end(0), 0);
    ck_assert_int_eq(signals_end(1.1), SIGINT);
}
END_TEST

CHECK_MAIN("base", philox_matches_the_published_vector, random_moments, half_types_round_trip,
           sha256_of_abc, lists, json_errors_name_the_source,
           integers_beyond_64_bits_become_numbers, json_is_read_as_python_does, sizes_read_well,
           numbers_have_as_few_digits_as_they_can, json_is_printed_as_it_is_read,
           only_a_later_signal_ends_the_program)
