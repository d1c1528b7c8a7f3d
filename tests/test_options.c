/* Counts and sizes as people write them, what is suggested for wrong words, and option tables. */
#define _GNU_SOURCE
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/number.h"
#include "base/suggest.h"
#include "check_main.h"
#include "cli/options.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
    const char *text;
    bool bytes;
    enum number_fault fault;
    uint64_t value;
} numbers[] = {
    {"0", false, NUMBER_GOOD, 0},
    {"1", false, NUMBER_GOOD, 1},
    {"007", false, NUMBER_GOOD, 7},
    {"4096", false, NUMBER_GOOD, 4096},
    {"4k", false, NUMBER_GOOD, 4000},
    {"4K", false, NUMBER_GOOD, 4000},
    {"4Ki", false, NUMBER_GOOD, 4096},
    {"4ki", false, NUMBER_GOOD, 4096},
    {"1M", false, NUMBER_GOOD, 1000000},
    {"1m", false, NUMBER_GOOD, 1000000},
    {"2Mi", false, NUMBER_GOOD, 2097152},
    {"1G", false, NUMBER_GOOD, 1000000000},
    {"3T", false, NUMBER_GOOD, 3000000000000},
    {"1P", false, NUMBER_GOOD, 1000000000000000},
    {"1e6", false, NUMBER_GOOD, 1000000},
    {"1E6", false, NUMBER_GOOD, 1000000},
    {"1e+6", false, NUMBER_GOOD, 1000000},
    {"1.5e3", false, NUMBER_GOOD, 1500},
    {"2.5k", false, NUMBER_GOOD, 2500},
    {"0.5Ki", false, NUMBER_GOOD, 512},
    {".5k", false, NUMBER_GOOD, 500},
    {"1.000", false, NUMBER_GOOD, 1},
    {"1e2k", false, NUMBER_GOOD, 100000},
    {"9223372036854775807", false, NUMBER_GOOD, INT64_MAX},
    {"9223372036854775.807k", false, NUMBER_GOOD, INT64_MAX},
    {"9223372036854775808", false, NUMBER_TOO_LARGE, 0},
    {"18446744073709551617", false, NUMBER_TOO_LARGE, 0},
    {"9300P", false, NUMBER_TOO_LARGE, 0},
    {"1e19", false, NUMBER_TOO_LARGE, 0},
    {"1e999999999999", false, NUMBER_TOO_LARGE, 0},
    {"0e999999999999", false, NUMBER_GOOD, 0},
    {"1.5", false, NUMBER_FRACTION, 0},
    {"1.0001k", false, NUMBER_FRACTION, 0},
    {"1.00000000000000000000001k", false, NUMBER_FRACTION, 0},
    {"1.00000000000000000000000k", false, NUMBER_GOOD, 1000},
    {"", false, NUMBER_MALFORMED, 0},
    {"k", false, NUMBER_MALFORMED, 0},
    {"-4", false, NUMBER_MALFORMED, 0},
    {" 4", false, NUMBER_MALFORMED, 0},
    {"4 ", false, NUMBER_MALFORMED, 0},
    {"4 k", false, NUMBER_MALFORMED, 0},
    {"4kB", false, NUMBER_MALFORMED, 0},
    {"4x", false, NUMBER_MALFORMED, 0},
    {"4ki4", false, NUMBER_MALFORMED, 0},
    {"1e", false, NUMBER_MALFORMED, 0},
    {"1e-3", false, NUMBER_MALFORMED, 0},
    {"1.", false, NUMBER_MALFORMED, 0},
    {"1..5", false, NUMBER_MALFORMED, 0},
    {"1,000", false, NUMBER_MALFORMED, 0},
    {"0x10", false, NUMBER_MALFORMED, 0},
    {"inf", false, NUMBER_MALFORMED, 0},
    {"nan", false, NUMBER_MALFORMED, 0},
    {"4kk", false, NUMBER_MALFORMED, 0},
    {"24G", true, NUMBER_GOOD, 24000000000},
    {"24g", true, NUMBER_GOOD, 24000000000},
    {"24GB", true, NUMBER_GOOD, 24000000000},
    {"24 GB", true, NUMBER_GOOD, 24000000000},
    {"24GiB", true, NUMBER_GOOD, 25769803776},
    {"24Gi", true, NUMBER_GOOD, 25769803776},
    {"512mb", true, NUMBER_GOOD, 512000000},
    {"1000", true, NUMBER_GOOD, 1000},
    {"1000B", true, NUMBER_GOOD, 1000},
    {"1.5G", true, NUMBER_GOOD, 1500000000},
    {"0.1Gi", true, NUMBER_GOOD, 107374182}, /* 107374182.4 */
    {"3e12", true, NUMBER_GOOD, 3000000000000},
    {"0.3333333333333333333333333G", true, NUMBER_GOOD, 333333333},
    {"8388607.99999999Ti", true, NUMBER_GOOD, 9223372036854764812},
    {"8388608Ti", true, NUMBER_TOO_LARGE, 0},
    {"0.5", true, NUMBER_FRACTION, 0},
    {"1.5B", true, NUMBER_FRACTION, 0},
    {"0.0001k", true, NUMBER_FRACTION, 0},
    {"G", true, NUMBER_MALFORMED, 0},
    {"24 ", true, NUMBER_MALFORMED, 0},
    {"24GBs", true, NUMBER_MALFORMED, 0},
    {"24Gib/s", true, NUMBER_MALFORMED, 0},
};

START_TEST(numbers_come_out_exactly) {
    for (size_t i = 0; i < COUNT(numbers); i++) {
        uint64_t value = 12345;
        enum number_fault fault = number_parse(&value, numbers[i].text, numbers[i].bytes);
        ck_assert_msg(fault == numbers[i].fault, "\"%s\": fault %d", numbers[i].text, fault);
        ck_assert_msg(value == (fault ? 12345 : numbers[i].value), "\"%s\": %llu", numbers[i].text,
                      (unsigned long long)value);
    }
}
END_TEST

START_TEST(lists_take_units) {
    struct int_list list = {0};
    ck_assert_int_eq(list_parse(&list, "128,1k,2Ki-2Ki,1e2", 1, 5000, "--lengths"), STATUS_OK);
    ck_assert_uint_eq(list.count, 4);
    const int expected[] = {100, 128, 1000, 2048};
    for (size_t i = 0; i < 4; i++) ck_assert_int_eq(list.values[i], expected[i]);
    list_free(&list);
    ck_assert_int_eq(list_parse(&list, "1.5k,2", 1, 1400, "--lengths"), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--lengths: \"1.5k,2\" goes outside 1 to 1400");
    ck_assert_int_eq(list_parse(&list, "1.5", 1, 1400, "--lengths"), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--lengths: \"1.5\" is not a list like 0-11,13");
}
END_TEST

static const struct {
    const char *a, *b;
    size_t distance;
} distances[] = {
    {"", "", 0},
    {"loo", "loo", 0},
    {"lo", "loo", 1},
    {"covnert", "convert", 1},
    {"kitten", "sitting", 3},
    {"seq_len", "seq-len", 0},
    {"LOO", "loo", 0},
    {"", "plan", 4},
    {"abc", "cab", 2},
    {"ca", "abc", 3},
};

START_TEST(distances_count_edits) {
    for (size_t i = 0; i < COUNT(distances); i++) {
        ck_assert_uint_eq(suggest_distance(distances[i].a, distances[i].b), distances[i].distance);
        ck_assert_uint_eq(suggest_distance(distances[i].b, distances[i].a), distances[i].distance);
    }
}
END_TEST

static const char *const candidates[] = {
    "data",  "db",          "device",         "device-memory",  "steps",        "seed",
    "seeds", "lr",          "batch",          "max-tokens",     "limit-tokens", "dry-run",
    "base",  "temperature", "random-weights", "max-shard-size", "quiet",        "json",
};

static const struct {
    const char *word, *phrase;
} suggestions[] = {
    {"dat", "; did you mean --data?"},
    {"dta", "; did you mean --data?"},
    {"step", "; did you mean --steps?"},
    {"sedes", "; did you mean --seeds?"},
    {"devcie", "; did you mean --device?"},
    {"device_memory", "; did you mean --device-memory?"},
    {"memory", "; did you mean --device-memory?"},
    {"tokens", "; did you mean --max-tokens or --limit-tokens?"},
    {"batch_size", "; did you mean --batch?"},
    {"batchsize", "; did you mean --batch?"},
    {"temp", "; did you mean --temperature?"},
    {"random-weight", "; did you mean --random-weights?"},
    {"dryrun", "; did you mean --dry-run?"},
    {"shard-size", "; did you mean --max-shard-size?"},
    {"Json", "; did you mean --json?"},
    {"x", ""},
    {"learning-rate", ""},
    {"teacher", ""},
    {"", ""},
    {"0123456789012345678901234567890123456789012345678901234567890123456789", ""},
};

START_TEST(near_words_are_suggested) {
    for (size_t i = 0; i < COUNT(suggestions); i++) {
        char *phrase = suggest_phrase(suggestions[i].word, candidates,
                                      sizeof candidates / sizeof *candidates, "--");
        ck_assert_ptr_nonnull(phrase);
        ck_assert_str_eq(phrase, suggestions[i].phrase);
        free(phrase);
    }
}
END_TEST

/* ---- a table */

static struct values {
    bool flag;
    const char *text, *word;
    int64_t count, seed;
    uint64_t size;
    double number;
    struct string_list list;
} v;

static enum status parse(const char *words, struct command_arguments *arguments) {
    static char buffer[256];
    static struct option table[] = {
        {"flag", OPTION_FLAG, &v.flag, NULL, "a flag", .letter = 'f'},
        {"output", OPTION_STRING, &v.text, "FILE", "a text", .letter = 'o'},
        {"word", OPTION_CHOICE, &v.word, NULL, "a word", .choices = "one|two|three"},
        {"count", OPTION_COUNT, &v.count, "N", "a count", .low = 1, .high = 5000},
        {"limit", OPTION_COUNT, &v.count, "N", "a count", .low = 1, .high = INT64_MAX},
        {"seed", OPTION_INTEGER, &v.seed, "N", "a seed", .high = INT64_MAX},
        {"size", OPTION_SIZE, &v.size, "SIZE", "a size"},
        {"number", OPTION_NUMBER, &v.number, "X", "a number"},
        {"list", OPTION_LIST, &v.list, "TEXT", "texts"},
    };
    static const struct command_line line = {.command = "test",
                                             .usage = "[options]",
                                             .about = "A test.",
                                             .options = table,
                                             .count = sizeof table / sizeof *table};
    char *argv[32] = {(char *)"test"};
    int argc = 1;
    v = (struct values){0};
    snprintf(buffer, sizeof buffer, "%s", words);
    for (char *word = strtok(buffer, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    return options_parse(arguments, &line, argc, argv);
}

static const struct {
    const char *words, *message; /* NULL: accepted */
} lines[] = {
    {"--count 4k", NULL},
    {"--count=4k -f", NULL},
    {"-ofile", NULL},
    {"-fo file", NULL},
    {"--output=-x", NULL},
    {"--output -x", NULL},
    {"-- --flag", NULL},
    {"-", NULL},
    {"--output=--flag", NULL},
    {"--count 4001", NULL},
    {"--count 5.001k", "test: --count is 5.001k, outside 1 to 5000"},
    {"--count 0", "test: --count is 0, outside 1 to 5000"},
    {"--count -3", "test: --count is -3, outside 1 to 5000"},
    {"--count 1e30", "test: --count is 1e30, outside 1 to 5000"},
    {"--limit 0", "test: --limit is 0, below 1"},
    {"--limit 1e30", "test: --limit is 1e30, which is too large"},
    {"--count 1.5", "test: --count cannot be \"1.5\": a whole number, like 100, 4k, 4Ki or 1e6"},
    {"--size 1.5", "test: --size cannot be \"1.5\": a size in bytes, like 24G, 512M or 4Ki"},
    {"--size -5", "test: --size cannot be \"-5\": a size in bytes, like 24G, 512M or 4Ki"},
    {"--size 1e30", "test: --size is 1e30, which is too large"},
    {"--seed 1k", "test: --seed cannot be \"1k\""},
    {"--seed -1", "test: --seed is -1, below 0"},
    {"--number nan", "test: --number cannot be \"nan\""},
    {"--word four", "test: --word must be one, two or three, not \"four\""},
    {"--word tow", "test: --word must be one, two or three, not \"tow\"; did you mean two?"},
    {"--flag=1", "test: --flag takes no value"},
    {"--output", "test: --output needs a value"},
    {"-o", "test: -o needs a value"},
    {"--output --flag", "test: --output needs a value, but the option --flag follows"},
    {"--ouput x", "test: unknown option \"--ouput\"; did you mean --output? (see apriel-tool test "
                  "--help)"},
    {"-x", "test: unknown option \"-x\" (see apriel-tool test --help)"},
    {"-fx", "test: unknown option \"-fx\" (see apriel-tool test --help)"},
    {"-count 3", "test: unknown option \"-count\"; did you mean --count? (see apriel-tool test "
                 "--help)"},
};

START_TEST(lines_are_read_or_refused_with_a_reason) {
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct command_arguments arguments;
        enum status status = parse(lines[i].words, &arguments);
        if (lines[i].message) {
            ck_assert_int_eq(status, STATUS_USAGE);
            ck_assert_str_eq(status_message(), lines[i].message);
        } else {
            ck_assert_msg(status == STATUS_OK, "%s: %s", lines[i].words, status_message());
        }
        free(arguments.positional.values);
        js_free(arguments.identity);
    }
}
END_TEST

START_TEST(values_arrive) {
    struct command_arguments arguments;
    ck_assert_int_eq(parse("-qfoa --count 4k one --size 24Gi --word two --number -1e-3 --list a "
                           "--list=b --seed 9223372036854775807 -- --two",
                           &arguments),
                     STATUS_OK);
    ck_assert(arguments.quiet && v.flag && !arguments.json);
    ck_assert_str_eq(v.text, "a");
    ck_assert_int_eq(v.count, 4000);
    ck_assert_uint_eq(v.size, 25769803776);
    ck_assert_str_eq(v.word, "two");
    ck_assert_double_eq(v.number, -1e-3);
    ck_assert_uint_eq(v.list.count, 2);
    ck_assert_str_eq(v.list.values[1], "b");
    ck_assert_int_eq(v.seed, INT64_MAX);
    ck_assert_uint_eq(arguments.positional.count, 2);
    ck_assert_str_eq(arguments.positional.values[1], "--two");
    free(arguments.positional.values);
    js_free(arguments.identity);
    free(v.list.values);
}
END_TEST

/* A row that says nothing is in the identity, of every kind; at its default it is not recorded. */
START_TEST(options_are_in_the_identity_unless_they_say_otherwise) {
    static const struct {
        const char *words, *identity;
    } cases[] = {
        {"", "{}"},
        {"--flag", "{\"flag\":true}"},
        {"--output x", "{\"output\":\"x\"}"},
        {"--word two", "{\"word\":\"two\"}"},
        {"--count 4k", "{\"count\":4000,\"limit\":4000}"},
        {"--count 4000 --size 1Ki --number 0.5",
         "{\"count\":4000,\"limit\":4000,\"number\":0.5,\"size\":1024}"},
        {"--seed 3", "{\"seed\":3}"},
        {"--list a --list b", "{\"list\":[\"a\",\"b\"]}"},
        {"--quiet --json --threads 1 word", "{}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct command_arguments arguments;
        ck_assert_int_eq(parse(cases[i].words, &arguments), STATUS_OK);
        char *text = js_print_sorted(arguments.identity);
        ck_assert_str_eq(text, cases[i].identity);
        free(text);
        js_free(arguments.identity);
        free(arguments.positional.values);
        free(v.list.values);
        v.list = (struct string_list){0};
    }
}
END_TEST

CHECK_MAIN("options", numbers_come_out_exactly, lists_take_units, distances_count_edits,
           near_words_are_suggested, lines_are_read_or_refused_with_a_reason, values_arrive,
           options_are_in_the_identity_unless_they_say_otherwise)
