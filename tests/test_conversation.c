/* Conversations and completions as rows of tokens with their loss mask, against what transformers
 * and TRL gave (tests/oracle). */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "check_main.h"
#include "data/record.h"
#include "demo_tokenizer.h"
#include "generate/chat.h"
#include "tokenizer/tokenizer.h"

static void check_row(const struct record_rules *rules, const struct json *messages,
                      const struct json *expected, const char *name) {
    struct record record;
    struct json *object = js_new_object();
    js_set(object, "messages", js_copy(messages));
    char *text = js_print(object, 0);
    enum status status = record_parse(&record, rules, text, strlen(text), "t", "line", 1);
    free(text);
    js_free(object);
    if (!expected) {
        ck_assert_msg(status == STATUS_FAILED, "%s", name);
        return;
    }
    ck_assert_msg(!status, "%s: %s", name, status_message());
    const struct json *ids = js_member(expected, "ids"), *mask = js_member(expected, "mask");
    ck_assert_uint_eq(record.count, js_count(ids));
    for (size_t i = 0; i < record.count; i++) {
        ck_assert_msg(record.ids[i] == js_integer_or(js_element(ids, i), -1), "%s: %zu", name, i);
        ck_assert_msg(record.mask[i] == js_integer_or(js_element(mask, i), -1), "%s: token %zu",
                      name, i);
    }
    ck_assert_int_eq(record.lost_answers, js_integer_or(js_member(expected, "lost"), -1));
    record_free(&record);
}

START_TEST(conversations_become_rows) {
    struct json *golden;
    struct tokenizer *tokenizer = demo_tokenizer();
    ok(js_read(&golden, TEST_DATA "/conversations.json"));
    const struct json *templates = js_member(golden, "templates");
    ck_assert_uint_eq(js_count(templates), 14);
    for (size_t i = 0; i < js_count(templates); i++) {
        const struct json *item = js_element(templates, i), *rows = js_member(item, "rows");
        const char *text = js_string_or(js_member(item, "template"), "");
        const char *name = js_string_or(js_member(item, "name"), "");
        struct chat_style style;
        ok(chat_style_parse(&style, text, strlen(text), name,
                            js_copy(js_member(golden, "tokens"))));
        struct record_rules rules = {
            .tokenizer = tokenizer, .around = TOKENIZER_WHOLE, .style = &style};
        for (void *r = js_first(rows); r; r = js_next(rows, r))
            check_row(&rules, js_member(js_member(golden, "turns"), js_key(r)),
                      js_member(rows, js_key(r)), name);
        chat_style_free(&style);
    }
    js_free(golden);
    tokenizer_free(tokenizer);
}
END_TEST

static void check_completion(const struct record_rules *rules, const struct json *item) {
    struct record record;
    const struct json *row = js_member(item, "row");
    const struct json *ids = js_member(row, "ids"), *mask = js_member(row, "mask");
    const char *name = js_string_or(js_member(item, "name"), "");
    char *text = js_print(js_member(item, "record"), 0);
    enum status status = record_parse(&record, rules, text, strlen(text), "t", "line", 1);
    free(text);
    if (!js_is_object(row)) {
        ck_assert_msg(status == STATUS_FAILED, "%s", name);
        return;
    }
    ck_assert_msg(!status, "%s: %s", name, status_message());
    ck_assert_msg(record.count == js_count(ids), "%s: %zu tokens", name, record.count);
    for (size_t i = 0; i < record.count; i++) {
        ck_assert_msg(record.ids[i] == js_integer_or(js_element(ids, i), -1), "%s: %zu", name, i);
        ck_assert_msg(record.mask[i] == js_integer_or(js_element(mask, i), -1), "%s: token %zu",
                      name, i);
    }
    record_free(&record);
}

START_TEST(completions_become_rows_as_in_trl) {
    struct json *golden;
    struct tokenizer *tokenizer = demo_tokenizer();
    ok(js_read(&golden, TEST_DATA "/completions.json"));
    const struct json *sets = js_member(golden, "sets");
    ck_assert_uint_eq(js_count(sets), 8);
    for (size_t i = 0; i < js_count(sets); i++) {
        const struct json *set = js_element(sets, i), *rows = js_member(set, "rows");
        const char *text = js_string_or(js_member(set, "template"), NULL);
        struct chat_style style = {0};
        struct record_rules rules = {.tokenizer = tokenizer, .around = TOKENIZER_WHOLE};
        rules.end = !text; /* TRL ends texts only */
        ck_assert(tokenizer_token_id(tokenizer, js_string_or(js_member(golden, "end"), ""),
                                     &rules.end_id));
        if (text)
            ok(chat_style_parse(&style, text, strlen(text), "t",
                                js_copy(js_member(golden, "tokens"))));
        if (text) rules.style = &style;
        ck_assert_uint_ge(js_count(rows), 9);
        for (size_t r = 0; r < js_count(rows); r++) check_completion(&rules, js_element(rows, r));
        chat_style_free(&style);
    }
    js_free(golden);
    tokenizer_free(tokenizer);
}
END_TEST

/* Tokens and masks of a record: as many as `expected` has characters, '1' where one counts. */
static void check_record(const struct record_rules *rules, const char *line, const char *expected) {
    struct record record;
    enum status status = record_parse(&record, rules, line, strlen(line), "t", "line", 1);
    if (expected[0] != '0' && expected[0] != '1' && *expected) {
        ck_assert_msg(status == STATUS_FAILED, "%s", line);
        ck_assert_msg(strstr(status_message(), expected), "%s", status_message());
        return;
    }
    ck_assert_msg(!status, "%s: %s", line, status_message());
    ck_assert_uint_eq(record.count, strlen(expected));
    for (size_t i = 0; i < record.count; i++) ck_assert_int_eq(record.mask[i], expected[i] - '0');
    record_free(&record);
}

START_TEST(forms_of_conversations) {
    /* Each message is a letter of its role and its content; digits are tokens of their own. */
    static const char text[] = "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}"
                               "{{ 'a' if add_generation_prompt }}";
    struct chat_style style;
    struct tokenizer *tokenizer = demo_tokenizer();
    ok(chat_style_parse(&style, text, strlen(text), "t", NULL));
    struct record_rules rules = {.tokenizer = tokenizer, .style = &style};
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": "
                 "\"assistant\", \"content\": \"2\"}]}",
                 "0001");
    check_record(&rules,
                 "{\"conversations\": [{\"from\": \"human\", \"value\": \"1\"}, {\"from\": "
                 "\"gpt\", \"value\": \"2\"}]}",
                 "0001");
    check_record(&rules,
                 "{\"system\": \"9\", \"conversations\": [{\"from\": \"user\", \"value\": "
                 "\"1\"}, {\"from\": \"assistant\", \"value\": \"2\"}]}",
                 "000001");
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", "
                 "\"text\": \"1\"}]}, {\"role\": \"assistant\", \"content\": \"2\"}]}",
                 "is a list of parts, which the chat template would print as Python writes a list");
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": "
                 "\"assistant\", \"content\": \"2\", \"weight\": 0}, {\"role\": \"user\", "
                 "\"content\": \"3\"}, {\"role\": \"assistant\", \"content\": \"4\", "
                 "\"weight\": 1}]}",
                 "00000001");
    check_record(&rules, "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}]}", "");
    check_record(&rules, "{\"messages\": null}", "");
    check_record(&rules, "{\"messages\": []}", "");
    check_record(&rules, "{\"messages\": {}}", "the messages must be a list");
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": null}, {\"role\": "
                 "\"assistant\", \"content\": \"2\"}]}",
                 "");
    check_record(&rules,
                 "{\"conversations\": [{\"from\": \"human\", \"value\": \"1\"}, {\"from\": "
                 "\"gpt\", \"value\": null}]}",
                 "");
    check_record(&rules, "{\"messages\": [{\"role\": \"king\", \"content\": \"1\"}]}",
                 "message 1 has the role \"king\", which is none of user, human");
    check_record(&rules, "{\"messages\": [{\"content\": \"1\"}]}", "message 1 has no \"role\"");
    check_record(&rules, "{\"messages\": [{\"role\": \"user\"}]}", "message 1 has no \"content\"");
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": "
                 "\"image\"}]}, {\"role\": \"assistant\", \"content\": \"2\"}]}",
                 "is a list of parts");
    /* roles in capitals and as other sets spell them */
    static const char *const pairs[][2] = {
        {"Human", "Assistant"}, {"USER", "GPT"},    {"user", "ChatGPT"}, {"human", "gpt"},
        {"prompter", "bot"},    {"Human", "Model"}, {"human", "AI"},     {"User", "chatbot"},
        {"human", "bing"},      {"human", "bard"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char line[200];
        snprintf(line, sizeof line,
                 "{\"conversations\": [{\"from\": \"%s\", \"value\": \"1\"}, {\"from\": \"%s\", "
                 "\"value\": \"2\"}]}",
                 pairs[i][0], pairs[i][1]);
        check_record(&rules, line, "0001");
    }
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"System\", \"content\": \"9\"}, {\"role\": \"User\", "
                 "\"content\": \"1\"}, {\"role\": \"ASSISTANT\", \"content\": \"2\"}]}",
                 "000001");
    check_record(
        &rules,
        "{\"system\": \"9\", \"conversations\": [{\"from\": \"System\", \"value\": \"8\"}, "
        "{\"from\": \"human\", \"value\": \"1\"}, {\"from\": \"gpt\", \"value\": \"2\"}]}",
        "000001");
    check_record(&rules,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": "
                 "\"assistant\", \"content\": \"2\"}], \"chat_template_kwargs\": {\"x\": 1}}",
                 "\"chat_template_kwargs\" is not taken");
    struct record record;
    static const char tools[] =
        "{\"tools\": [{}], \"messages\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": "
        "\"assistant\", \"content\": null, \"tool_calls\": [{}]}, {\"role\": \"tool\", "
        "\"content\": "
        "\"7\"}, {\"role\": \"assistant\", \"content\": \"2\"}]}";
    ok(record_parse(&record, &rules, tools, strlen(tools), "t", "line", 1));
    ck_assert_uint_eq(record.count, 4);
    ck_assert(record.tools);
    record_free(&record);
    rules.style = NULL;
    rules.no_style = "none here";
    check_record(&rules, "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}]}",
                 "\"t\": line 1: a conversation needs a chat template: none here");
    chat_style_free(&style);
    tokenizer_free(tokenizer);
}
END_TEST

START_TEST(forms_of_completions) {
    static const char text[] = "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}"
                               "{{ 'a' if add_generation_prompt }}";
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"{\"prompt\": \"12\", \"completion\": \"34\"}", "0011"},
        {"{\"prompt\": \"12\", \"completion\": \"\"}", ""},
        {"{\"prompt\": null, \"completion\": \"34\"}", ""},
        {"{\"prompt\": \"12\", \"completion\": null}", ""},
        {"{\"prompt\": \"12\", \"chosen\": \"34\", \"rejected\": \"56\"}", "0011"},
        {"{\"prompt\": \"12\", \"chosen\": \"34\"}", "0011"},
        {"{\"prompt\": null, \"chosen\": \"1234\", \"rejected\": \"1256\"}", "0011"},
        {"{\"chosen\": null, \"rejected\": \"56\"}", ""},
        {"{\"prompt\": [{\"from\": \"Human\", \"value\": \"1\"}], \"completion\": [{\"from\": "
         "\"GPT\", \"value\": \"2\"}]}",
         "0001"},
        {"{\"system\": \"9\", \"prompt\": [{\"role\": \"user\", \"content\": \"1\"}], "
         "\"completion\": [{\"role\": \"assistant\", \"content\": \"2\"}]}",
         "000001"},
        {"{\"prompt\": [{\"role\": \"user\", \"content\": \"1\"}], \"completion\": [{\"role\": "
         "\"user\", \"content\": \"2\"}]}",
         ""},
        {"{\"prompt\": [{\"role\": \"user\", \"content\": \"1\"}], \"completion\": [{\"role\": "
         "\"assistant\", \"content\": null}]}",
         ""},
        {"{\"prompt\": \"1\", \"completion\": [{\"role\": \"assistant\", \"content\": \"2\"}]}",
         "\"prompt\" and \"completion\" must both be texts or both be lists of messages"},
        {"{\"prompt\": [{\"role\": \"user\", \"content\": \"1\"}], \"chosen\": \"2\", "
         "\"rejected\": \"3\"}",
         "\"prompt\" and \"chosen\" must both be texts"},
        {"{\"prompt\": 1, \"completion\": \"2\"}", "must both be texts"},
        {"{\"prompt\": [], \"completion\": [{\"role\": \"assistant\", \"content\": \"2\"}]}",
         "the prompt has no messages"},
        {"{\"prompt\": [{\"role\": \"king\", \"content\": \"1\"}], \"completion\": []}",
         "message 1 has the role \"king\""},
        {"{\"prompt\": [{\"role\": \"user\", \"content\": \"1\"}], \"completion\": [{\"role\": "
         "\"assistant\", \"content\": \"2\", \"weight\": 0}, {\"role\": \"assistant\", "
         "\"content\": \"3\"}]}",
         "has \"weight\": 0"},
        {"{\"chosen\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": \"assistant\", "
         "\"content\": \"2\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"3\"}]}",
         "share no message"},
        {"{\"chosen\": \"12\"}", "\"chosen\" without a \"prompt\" of its kind needs \"rejected\""},
        {"{\"prompt\": \"1\", \"completion\": \"2\", \"label\": true}",
         "says whether its completion is wanted"},
        {"{\"prompt\": \"1\", \"completion\": \"2\", \"label\": 3}", "01"},
        {"{\"prompt\": \"1\", \"completions\": [\"2\"], \"labels\": [true]}",
         "a judgement of steps"},
        {"{\"prompt\": \"1\"}", "nothing that follows it"},
        {"{\"prompt\": \"1\", \"completion\": \"2\", \"response\": \"3\"}",
         "choose with --fields, as --fields prompt=prompt,response=response"},
        {"{\"messages\": [], \"chosen\": [], \"rejected\": []}",
         "the record has \"chosen\"; \"messages\": choose with --fields"},
    };
    struct chat_style style;
    struct tokenizer *tokenizer = demo_tokenizer();
    ok(chat_style_parse(&style, text, strlen(text), "t", NULL));
    struct record_rules rules = {.tokenizer = tokenizer, .style = &style};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_record(&rules, cases[i].line, cases[i].expected);
    struct record_fields fields;
    ok(record_fields_parse(&fields, "prompt=q,chosen=good,rejected=bad"));
    rules.fields = &fields;
    check_record(&rules, "{\"q\": \"12\", \"good\": \"34\", \"bad\": \"5\", \"label\": true}",
                 "0011");
    record_fields_free(&fields);
    ok(record_fields_parse(&fields, "prompt=prompt,completion=completion"));
    check_record(&rules, "{\"prompt\": \"1\", \"completion\": \"2\", \"label\": false}", "01");
    record_fields_free(&fields);
    rules.fields = NULL;
    rules.separator = "3";
    check_record(&rules, "{\"prompt\": \"12\", \"completion\": \"4\"}", "0001");
    chat_style_free(&style);
    tokenizer_free(tokenizer);
}
END_TEST

CHECK_MAIN("conversation", conversations_become_rows, completions_become_rows_as_in_trl,
           forms_of_completions, forms_of_conversations)
