/* The interpreter of chat templates, against texts that jinja2 gave (tests/oracle). */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/text.h"
#include "check_main.h"
#include "template/template.h"

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* Parses and renders; a failure's message stays. */
static enum status render(struct template_output *out, const char *text, size_t length,
                          const struct json *variables) {
    struct template *parsed = NULL;
    *out = (struct template_output){0};
    enum status status = template_parse(&parsed, text, length, "t");
    if (!status) status = template_render(out, parsed, variables);
    template_free(parsed);
    return status;
}

static void check_text(const char *text, const char *expected) {
    struct template_output out;
    struct json *variables = js_new_object();
    enum status status = render(&out, text, strlen(text), variables);
    ck_assert_msg(!status, "%s: %s", text, status_message());
    ck_assert_str_eq(out.text, expected);
    template_output_free(&out);
    js_free(variables);
}

static void check_refused(const char *text, const char *reason) {
    struct template_output out;
    struct json *variables = js_new_object();
    ck_assert_msg(render(&out, text, strlen(text), variables) == STATUS_FAILED, "%.200s", text);
    ck_assert_msg(strstr(status_message(), reason), "%s", status_message());
    ck_assert_msg(!strchr(status_message(), '\n'), "%s", status_message());
    template_output_free(&out);
    js_free(variables);
}

START_TEST(generated_templates_give_what_jinja_gives) {
    struct json *cases;
    size_t refused = 0;
    ok(js_read(&cases, TEST_DATA "/templates_generated.json"));
    ck_assert_uint_eq(js_count(cases), 200);
    for (size_t i = 0; i < js_count(cases); i++) {
        const struct json *item = js_element(cases, i), *text = js_member(item, "text");
        const struct json *template = js_member(item, "template");
        struct template_output out;
        if (render(&out, js_string_or(template, ""), js_string_length(template),
                   js_member(item, "variables"))) {
            refused++;
            continue;
        }
        ck_assert_msg(out.length == js_string_length(text) &&
                          memcmp(out.text, js_string_or(text, ""), out.length) == 0,
                      "%s\ngave\n%s\nnot\n%s", js_string_or(template, ""), out.text,
                      js_string_or(text, ""));
        template_output_free(&out);
    }
    ck_assert_uint_le(refused, 6);
    js_free(cases);
}
END_TEST

/* Which names a scope hides before it sets them is decided by the names of the scopes around it. */
START_TEST(names_are_hidden_as_jinja_hides_them) {
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{% for i in [1] %}{% filter upper %}{% generation %}{{ s }}{% endgeneration %}"
         "{% set s = 1 %}{% endfilter %}{% if s %}{% endif %}{% endfor %}",
         "X"},
        {"{% for i in [1] %}{{ s }}{% endfor %}{% set s = 1 %}", ""},
        {"{{ s }}{% for i in [1] %}{{ s }}{% endfor %}{% set s = 1 %}", "xx"},
        {"{% if true %}{% set s = 1 %}{% endif %}{{ s }}", "1"},
        {"{% if false %}{% set s = 1 %}{% endif %}{{ s }}", "x"},
        {"{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% set s = 2 %}{{ m() }}", "2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct template_output out;
        struct json *variables = js_new_object();
        js_set_string(variables, "s", "x");
        ok(render(&out, cases[i].text, strlen(cases[i].text), variables));
        ck_assert_str_eq(out.text, cases[i].expected);
        template_output_free(&out);
        js_free(variables);
    }
}
END_TEST

/* What a hostile template can do costs it its rendering, and the program a bounded time. */
START_TEST(hostile_templates_are_refused) {
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"{{ range(10**9) }}", "Range too big"},
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{{ 'ab' * 10**9 }}", "MB"},
        {"{{ [0] * 10**12 }}", "memory"},
        {"{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}"
         "{% endfor %}",
         "are needed"},
        {"{% set n = namespace(t=[0]) %}{% for i in range(60) %}{% set n.t = n.t + n.t %}"
         "{% endfor %}",
         "are needed"},
        {"{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "deep"},
        {"{% set n = namespace() %}{% set n.a = n %}{{ n }}", "deep"},
        {"{% set n = namespace(a=[]) %}{% for i in range(9999) %}{% set n.a = [n.a] %}{% endfor %}"
         "{{ n.a }}",
         "deep"},
        {"{% set n = namespace(a=[]) %}{% for i in range(9999) %}{% set n.a = [n.a] %}{% endfor %}"
         "{{ n.a == [[n.a]] }}{{ n.a|tojson }}",
         "deep"},
        {"{{ 'x'.center(10**12) }}", "MB"},
        {"{{ '%999999999d' % 1 }}", "width"},
        {"{{ '{:999999999}'.format('a') }}", "width"},
        {"{% for a in 'aaaaaaaaaa' recursive %}{{ loop('aaaaaaaaaa') }}{% endfor %}", "deep"},
        {"{{ 9 ** 99 }}", "64 bits"},
        {"{{ self }}", "self"},
        {"{% if self is defined %}x{% endif %}", "self"},
        {"{{ '{} {0}'.format('a') }}", "numbered"},
        {"{{ '{0} {}'.format('a', 'b') }}", "numbered"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ 1 // 0 }}", "division by zero"},
        {"{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{{ s.replace('a', 'b')|length }}"
         "{% endfor %}",
         "steps"},
        {"{% set s = 'abcdefghij' * 10000 %}{% for i in range(99999) %}{{ s }}{% endfor %}", "MB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct timespec start, end;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        check_refused(cases[i].text, cases[i].reason);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        ck_assert_msg(end.tv_sec - start.tv_sec < 30, "%s", cases[i].text);
    }
    static const char *const repeated[] = {
        "(",     "[",   "{% if a %}", "{{ not ", "-", "{'a':", "a[", "{% for a in b %}",
        "{{ a(", "a.b", "a+",         "a|e",     "a~"};
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        struct text text = {0};
        text_append(&text, "%s", repeated[i][0] == '{' && repeated[i][1] != '\'' ? "" : "{{ ");
        for (int n = 0; n < 50000; n++) text_append(&text, "%s", repeated[i]);
        text_append(&text, " }}");
        char *whole = text_finish(&text);
        check_refused(whole, "\"t\": line 1: ");
        free(whole);
    }
}
END_TEST

START_TEST(what_is_not_understood_is_named) {
    check_refused("\n\n{% include 'x' %}", "line 3: the tag \"include\" is not understood here");
    check_refused("{{ 'a'|urlize }}", "the filter \"urlize\" is not understood");
    check_refused("{{ 'a'|nothing }}", "no filter named 'nothing'");
    check_refused("{{ 'a' is nothing }}", "no test named 'nothing'");
    check_refused("{{ 'a'.encode() }}", "the attribute \"encode\" of a str is not understood");
    check_refused("{{ (1).real }}", "the attribute \"real\" of a int is not understood");
    check_refused("{{ ''.__class__ }}", "the attribute \"__class__\" is not understood");
    check_refused("{{ cycler('a') }}", "the function \"cycler\" is not understood");
    check_refused("{{ [].append(1) }}", "access to attribute 'append' of 'list' object is unsafe");
    check_refused("{{ {}.update({}) }}", "unsafe");
    check_refused("{{ '\xc3\x9f'|upper }}", "U+00DF");
    check_refused("{{ raise_exception('no such role') }}", "the template says: no such role");
    check_refused("{{ raise_exception('two\nlines') }}", "two");
    check_refused("{{ a.b }}", "'a' is undefined");
    check_refused("{% set a.b = 1 %}", "non-namespace");
    check_refused("{% break %}", "outside of a loop");
    check_refused("{% for x in y %}",
                  "the template ends where one of these is expected: endfor else");
    check_refused("{{ 1", "the template ends where '}}' is expected");
    check_refused("{# x", "a comment without its end");
    check_refused("{% raw %} x", "a raw block without its end");
    check_refused("{{ 'x }}", "a text without its closing quote");
    check_refused("{{ 1 + 'a' }}", "unsupported operand types for +: 'int' and 'str'");
    check_refused("\xff", "not UTF-8 at byte 0");
    check_text("{% if false %}{{ 'a'|nothing }}{% endif %}.", ".");
    check_text("{{ [].append is defined }} {{ {'items': 1}['items'] }}", "False 1");
}
END_TEST

START_TEST(the_time_is_told_and_kept) {
    struct template_output out;
    struct json *variables = js_new_object();
    const char text[] = "{{ strftime_now('%Y-%m-%d') }}";
    char today[2][16];
    time_t now = time(NULL);
    struct tm parts;
    strftime(today[0], sizeof today[0], "%Y-%m-%d", localtime_r(&now, &parts));
    ok(render(&out, text, strlen(text), variables));
    now = time(NULL);
    strftime(today[1], sizeof today[1], "%Y-%m-%d", localtime_r(&now, &parts));
    ck_assert(strcmp(out.text, today[0]) == 0 || strcmp(out.text, today[1]) == 0);
    ck_assert_str_eq(out.time, out.text);
    template_output_free(&out);
    js_free(variables);
}
END_TEST

START_TEST(generation_blocks_tell_their_places) {
    struct template_output out;
    struct json *variables = js_new_object();
    const char text[] = "a{% for i in range(2) %}[{% generation %}x{{ i }}{% endgeneration %}]{% "
                        "endfor %}";
    ok(render(&out, text, strlen(text), variables));
    ck_assert_str_eq(out.text, "a[x0][x1]");
    ck_assert_uint_eq(out.span_count, 2);
    ck_assert_uint_eq(out.spans[0].start, 2);
    ck_assert_uint_eq(out.spans[1].end, 8);
    ck_assert(!out.spans_lost);
    template_output_free(&out);
    const char hidden[] = "{% set x %}{% generation %}a{% endgeneration %}{% endset %}{{ x }}";
    ok(render(&out, hidden, strlen(hidden), variables));
    ck_assert(out.spans_lost);
    template_output_free(&out);
    js_free(variables);
}
END_TEST

struct shared {
    const struct template *parsed;
    const struct json *variables;
    bool same;
};

static void *render_often(void *context) {
    struct shared *shared = context;
    shared->same = true;
    for (int i = 0; i < 200; i++) {
        struct template_output out;
        shared->same &= template_render(&out, shared->parsed, shared->variables) == STATUS_OK &&
                        strcmp(out.text, "0<1<") == 0;
        template_output_free(&out);
    }
    return NULL;
}

START_TEST(threads_share_a_template) {
    static const char text[] = "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}"
                               "{% for i in range(2) %}{% call m(i) %}<{% endcall %}{% endfor %}";
    struct template *parsed;
    struct json *variables = js_new_object();
    ok(template_parse(&parsed, text, strlen(text), "t"));
    struct shared shared[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        shared[i] = (struct shared){parsed, variables, false};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, render_often, &shared[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(shared[i].same);
    }
    template_free(parsed);
    js_free(variables);
}
END_TEST

CHECK_MAIN("template", names_are_hidden_as_jinja_hides_them,
           generated_templates_give_what_jinja_gives, hostile_templates_are_refused,
           what_is_not_understood_is_named, the_time_is_told_and_kept,
           generation_blocks_tell_their_places, threads_share_a_template)
