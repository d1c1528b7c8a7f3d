/* Taking answers out of texts, and telling whether two are equal: cases written by hand, and pairs
 * whose verdict is sympy's (tests/oracle/answers.py). */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "check_main.h"
#include "eval/answers.h"

static const struct {
    const char *text, *answer; /* NULL: none */
} extractions[] = {
    {"So the result is \\boxed{42}.", "42"},
    {"First \\boxed{1}, but no: \\boxed{2}.", "2"},
    {"\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"},
    {"\\boxed{\\boxed{7}}", "7"},
    {"\\boxed{\\text{the set }\\{1, 2\\}}", "\\text{the set }\\{1, 2\\}"},
    {"\\boxed{ 12 }", "12"},
    {"$\\boxed 5$", "5"},
    {"\\fbox{9}", "9"},
    {"\\boxed{3} and then \\boxed{4", "3"},
    {"\\boxed{} or rather 8", "8"},
    {"She pays 5 * 3 = 15.\n#### 15", "15"},
    {"#### 1,234\n", "1,234"},
    {"#### -3\n\nQuestion: what is 7?", "-3"},
    {"#### 5\n#### 6", "6"},
    {"The answer is 18.", "18"},
    {"The answer is $x = 5$. I hope it is correct.", "x = 5"},
    {"Therefore the final answer is \\frac{3}{4}.", "\\frac{3}{4}"},
    {"**Answer:** 12", "12"},
    {"The answer is 3.5. That is all 4 of them.", "3.5"},
    {"The answer is clear: there are 6 cats.", "6"},
    {"Tom has 3 apples and 4 pears, so 7 fruits.", "7"},
    {"It costs $1,250.50.", "$1,250.50"},
    {"The temperature was -12 degrees", "-12"},
    {"So 10-4 is left", "10-4"},
    {"a chance of 3/8", "3/8"},
    {"It fell to .75", ".75"},
    {"in 2019, 2020, and 2021,", "2021"},
    {"<think>maybe \\boxed{1}</think>It is \\boxed{2}", "2"},
    {"<think>\\boxed{1}</think>No idea", NULL},
    {"", NULL},
    {"I do not know.", NULL},
    {"####", NULL},
};

START_TEST(answers_are_found) {
    for (size_t i = 0; i < sizeof extractions / sizeof *extractions; i++) {
        char *found = NULL;
        ck_assert_int_eq(answer_extract(&found, extractions[i].text), STATUS_OK);
        const char *expected = extractions[i].answer;
        ck_assert_msg((found && expected && strcmp(found, expected) == 0) || (!found && !expected),
                      "\"%s\": found \"%s\", not \"%s\"", extractions[i].text,
                      found ? found : "nothing", expected ? expected : "nothing");
        free(found);
    }
}
END_TEST

static const struct {
    const char *answer, *gold;
    bool equal;
} pairs[] = {
    /* numbers */
    {"42", "42", true},
    {"42.0", "42", true},
    {"42.", "42", true},
    {"1,234", "1234", true},
    {"1{,}234,567", "1234567", true},
    {"12,34", "1234", false},
    {"-5", "5", false},
    {"\xe2\x88\x92"
     "5",
     "-5", true},
    {"+5", "5", true},
    {"$18.00", "18", true},
    {"\\$18", "18", true},
    {".5", "0.5", true},
    {"0.333", "\\frac{1}{3}", false},
    {"3.14", "\\pi", false},
    {"43", "42", false},
    {"", "0", false},
    /* units and words */
    {"12 dollars", "12", true},
    {"12\\text{ cm}^2", "12", true},
    {"5 cm", "5\\text{ cm}", true},
    {"5 m", "5", true},
    {"5x", "5", false},
    {"2xy", "2", false},
    {"2xy", "2yx", true},
    {"60 mph", "60", true},
    {"5 cm", "6 cm", false},
    {"30^\\circ", "30", true},
    {"30^{\\circ}", "30", true},
    {"50\\%", "50", true},
    {"50%", "0.5", true},
    {"0.5", "50\\%", true},
    {"50%", "60%", false},
    {"\\text{east}", "East", true},
    {"east", "seat", false},
    {"\\text{(B)}", "B", true},
    {"\\textbf{Evelyn}", "\\text{Evelyn}", true},
    {"Evelyn", "Evelyn 5", false},
    /* fractions and roots */
    {"\\frac{1}{2}", "0.5", true},
    {"\\dfrac12", "\\frac{1}{2}", true},
    {"1/2", "\\frac{2}{4}", true},
    {"-\\frac{3}{4}", "\\frac{-3}{4}", true},
    {"1\\frac{1}{2}", "1.5", true},
    {"-2 1/2", "-2.5", true},
    {"\\frac{1}{2}", "\\frac{1}{3}", false},
    {"\\frac{1}{0}", "5", false},
    {"2\\sqrt{3}", "\\sqrt{12}", true},
    {"\\sqrt2", "\\sqrt{2}", true},
    {"\\sqrt[3]{27}", "3", true},
    {"\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", true},
    {"3\\sqrt{2}", "2\\sqrt{3}", false},
    {"2\\pi", "\\pi\\cdot 2", true},
    {"2^{10}", "1024", true},
    {"5!", "120", true},
    {"\\log_2 8", "3", true},
    {"3 \\times 10^{4}", "30,000", true},
    /* expressions */
    {"x=5", "5", true},
    {"x = 5", "y = 5", true},
    {"2x+3", "3 + 2x", true},
    {"y = 2x+3", "2x + 3", true},
    {"(x+1)^2", "x^2+2x+1", true},
    {"(x+1)^2", "x^2+1", false},
    {"2 \\pi r", "2\\pi\\,r", true},
    {"\\left(x+1\\right)(x-1)", "x^2-1", true},
    {"3 \\pm 2\\sqrt{2}", "3\\pm2\\sqrt{2}", true},
    /* lists */
    {"(3, \\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)", true},
    {"(1,2)", "(2,1)", false},
    {"(0.5, 2)", "\\left(\\frac12, 2\\right)", true},
    {"1, -2", "-2,1", true},
    {"\\{1,2,3\\}", "\\{3,2,1\\}", true},
    {"1,2,3", "1,2", false},
    {"[0,1)", "[0,1]", false},
    {"[0,1)", "[0, 1)", true},
    {"(-\\infty, 5)", "(-\\infty,5)", true},
    {"(1,2)", "12", false},
    {"1,1,2", "1,2,2", false},
    /* found by fuzzing: digits that one sign stands for, before a base */
    {"\xc2\xbc"
     "1\xe2\x82\x87",
     "1", false},
    {"\xc2\xb2"
     "1_7",
     "1_7", false},
    {"\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", true},
};

START_TEST(equal_answers_are_equal) {
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int swap = 0; swap < 2; swap++) {
            const char *a = swap ? pairs[i].gold : pairs[i].answer;
            const char *b = swap ? pairs[i].answer : pairs[i].gold;
            bool equal;
            ck_assert_int_eq(answer_equal(&equal, a, b), STATUS_OK);
            ck_assert_msg(equal == pairs[i].equal, "\"%s\" and \"%s\" are %sequal", a, b,
                          equal ? "" : "not ");
        }
}
END_TEST

/* Calls `test` with every record of a file of tests/data. */
static void for_each_record(const char *path, void (*test)(const struct json *)) {
    char *text;
    size_t size, length, count = 0;
    const char *line;
    ck_assert_int_eq(file_read(&text, &size, path), STATUS_OK);
    for (struct lines lines = lines_begin(text, size); lines_next(&lines, &line, &length);
         count++) {
        struct json *record;
        ck_assert_int_eq(js_parse_line(&record, line, length, path, lines.number), STATUS_OK);
        test(record);
        js_free(record);
    }
    ck_assert_uint_gt(count, 90);
    free(text);
}

static const char *text_of(const struct json *record, const char *key) {
    const char *text = js_string_or(js_member(record, key), NULL);
    ck_assert_ptr_nonnull(text);
    return text;
}

static void check_pair(const struct json *record) {
    const struct json *equal = js_member(record, "equal");
    enum answer_verdict right = !js_is_bool(equal)         ? ANSWER_NOT_UNDERSTOOD
                                : js_bool_or(equal, false) ? ANSWER_EQUAL
                                                           : ANSWER_DIFFERENT;
    static const char *const names[] = {"equal", "different", "not understood"};
    for (int swap = 0; swap < 2; swap++) {
        const char *a = text_of(record, swap ? "gold" : "answer");
        const char *b = text_of(record, swap ? "answer" : "gold");
        enum answer_verdict verdict;
        ck_assert_int_eq(answer_compare(&verdict, a, b), STATUS_OK);
        ck_assert_msg(verdict == right, "\"%s\" and \"%s\": %s, not %s", a, b, names[verdict],
                      names[right]);
    }
}

START_TEST(pairs_are_judged_as_by_sympy) {
    for_each_record(TEST_DATA "/answers.jsonl", check_pair);
}
END_TEST

static void check_text(const struct json *record) {
    char *found;
    bool equal = false;
    ck_assert_int_eq(answer_extract(&found, text_of(record, "text")), STATUS_OK);
    if (found) ck_assert_int_eq(answer_equal(&equal, found, text_of(record, "gold")), STATUS_OK);
    ck_assert_msg(equal == js_bool_or(js_member(record, "right"), false),
                  "\"%s\": \"%s\" was found, %s %s", text_of(record, "text"),
                  found ? found : "nothing", equal ? "equal to" : "not equal to",
                  text_of(record, "gold"));
    free(found);
}

START_TEST(texts_are_graded_as_a_reader_would) {
    for_each_record(TEST_DATA "/answer_texts.jsonl", check_text);
}
END_TEST

/* Nothing that a model can write may end the program or take long. */
START_TEST(hostile_answers) {
    enum { LENGTH = 200000 };
    static const char *const pieces[] = {
        "(", "{",  "\\frac",   "\\sqrt{", "^",        "-",       "\\boxed{",
        ",", "1,", "|",        "\\",      "!",        "\\text{", "9",
        "a", "$",  "1\\frac{", "2^{",     "-\\sqrt[", "\\log_",  "(1,"};
    char *text = malloc(LENGTH + 1);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t length = strlen(pieces[i]), count = LENGTH / length;
        for (size_t k = 0; k < count; k++) memcpy(text + k * length, pieces[i], length);
        text[count * length] = '\0';
        char *found;
        bool equal;
        ck_assert_int_eq(answer_extract(&found, text), STATUS_OK);
        free(found);
        ck_assert_int_eq(answer_equal(&equal, text, "5"), STATUS_OK);
        ck_assert(!equal);
        for (int shorter = 200; shorter <= 2000; shorter *= 10) { /* within the parser's limits */
            text[LENGTH / shorter] = '\0';
            ck_assert_int_eq(answer_equal(&equal, text, "5"), STATUS_OK);
            ck_assert(!equal);
        }
    }
    free(text);
}
END_TEST

CHECK_MAIN("answers", answers_are_found, equal_answers_are_equal, pairs_are_judged_as_by_sympy,
           texts_are_graded_as_a_reader_would, hostile_answers)
