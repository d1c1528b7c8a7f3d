/* Conversations through chat templates, against what jinja2 and tokenizers gave (tests/oracle). */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/output.h"
#include "check_main.h"
#include "demo_tokenizer.h"
#include "generate/chat.h"
#include "generate/prompts.h"
#include "tokenizer/tokenizer.h"

/* NULL: the template has to refuse the conversation. */
static void check_conversation(const struct chat_style *style, const struct json *messages,
                               bool prompt, const char *expected, const char *name) {
    struct template_output output;
    enum status status = chat_render(&output, style, messages, prompt);
    if (!expected) {
        ck_assert_msg(status == STATUS_FAILED, "%s", name);
        return;
    }
    ck_assert_msg(!status, "%s: %s", name, status_message());
    ck_assert_msg(strcmp(output.text, expected) == 0, "%s gave\n%s\nnot\n%s", name, output.text,
                  expected);
    template_output_free(&output);
}

static void check_ids(const struct tokenizer *tokenizer, const struct chat_style *style,
                      const struct json *messages, const struct json *expected) {
    struct template_output output;
    uint32_t *ids;
    size_t count;
    ok(chat_render(&output, style, messages, true));
    ok(tokenizer_encode(tokenizer, output.text, output.length, TOKENIZER_PLAIN, &ids, &count));
    ck_assert_uint_eq(count, js_count(expected));
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(ids[i], js_integer_or(js_element(expected, i), -1));
    free(ids);
    template_output_free(&output);
}

static void check_form(const struct json *golden, const struct json *form,
                       const struct tokenizer *tokenizer) {
    const struct json *template = js_member(form, "template");
    const char *name = js_string_or(js_member(form, "name"), "");
    const struct json *conversations = js_member(golden, "conversations");
    struct chat_style style;
    ok(chat_style_parse(&style, js_string_or(template, ""), js_string_length(template), name,
                        js_copy(js_member(golden, "tokens"))));
    for (void *i = js_first(js_member(form, "texts")); i;
         i = js_next(js_member(form, "texts"), i)) {
        const struct json *messages = js_member(conversations, js_key(i));
        for (size_t n = 0; n < 2; n++)
            check_conversation(&style, messages, n == 0,
                               js_string_or(js_element(js_value(i), n), NULL), name);
    }
    for (void *i = js_first(js_member(form, "ids")); i; i = js_next(js_member(form, "ids"), i))
        check_ids(tokenizer, &style, js_member(conversations, js_key(i)), js_value(i));
    chat_style_free(&style);
}

START_TEST(forms_of_model_families_give_what_jinja_gives) {
    struct json *golden;
    struct tokenizer *tokenizer = demo_tokenizer();
    ok(js_read(&golden, TEST_DATA "/templates.json"));
    const struct json *forms = js_member(golden, "forms");
    ck_assert_uint_ge(js_count(forms), 33);
    for (size_t i = 0; i < js_count(forms); i++)
        check_form(golden, js_element(forms, i), tokenizer);
    js_free(golden);
    tokenizer_free(tokenizer);
}
END_TEST

/* Templates that were once recognised by two substrings and written another way. */
START_TEST(templates_of_directories_are_read) {
    static const struct {
        const char *name;
        size_t tokens;
    } cases[] = {
        {"bos-before-chatml", 60}, {"default-system-mistral", 68},
        {"llama2-sys", 43},        {"mistral-assistant-blank", 34},
        {"system-goes-last", 41},  {"think-prefix", 38},
        {"trim-llama3", 102},
    };
    struct tokenizer *tokenizer = demo_tokenizer();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char directory[256], path[300], *expected;
        size_t length;
        struct chat_style style;
        struct prompt_list list = {0};
        snprintf(directory, sizeof directory, "%s/chats/%s", TEST_DATA, cases[i].name);
        ok(chat_style_read(&style, directory));
        ck_assert_str_eq(chat_kind_name(style.kind), "tokenizer_config.json");
        struct prompt_rules rules = {tokenizer, &style, TOKENIZER_BEGIN};
        snprintf(path, sizeof path, "%s/prompts.jsonl", directory);
        ok(prompts_read(&list, &rules, path));
        snprintf(path, sizeof path, "%s/expected.txt", directory);
        ok(file_read(&expected, &length, path));
        ck_assert_uint_eq(list.count, 1);
        ck_assert_str_eq(list.texts[0], expected);
        ck_assert_uint_eq(list.prompts[0].count, cases[i].tokens);
        free(expected);
        prompts_free(&list);
        chat_style_free(&style);
    }
    tokenizer_free(tokenizer);
}
END_TEST

static char directory[] = "/tmp/apriel-chat-XXXXXX";

static void put(const char *name, const char *text) {
    char *path = file_join(directory, name);
    ok(output_write(path, text, strlen(text), OUTPUT_REPLACE));
    free(path);
}

static void check_source(const char *choice, enum chat_kind kind, const char *expected) {
    struct chat_style style;
    char *text;
    ok(chat_style_open(&style, directory, choice));
    ck_assert_int_eq(style.kind, kind);
    ok(chat_format(&text, &style, (struct chat_message[]){{"user", "q"}}, 1));
    ck_assert_str_eq(text, expected);
    free(text);
    chat_style_free(&style);
}

static void check_no_source(const char *choice, const char *reason) {
    struct chat_style style;
    ck_assert_int_eq(chat_style_open(&style, directory, choice), STATUS_FAILED);
    ck_assert_msg(strstr(status_message(), reason), "%s", status_message());
    chat_style_free(&style);
}

START_TEST(templates_are_found_as_transformers_finds_them) {
    char path[128];
    ck_assert_ptr_nonnull(mkdtemp(directory));
    check_no_source(NULL, "has no chat template (chat_template.jinja, or chat_template in "
                          "tokenizer_config.json): name a file with --template");
    put("tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"[B]\"}, \"chat_template\": [{\"name\": \"tool_use\", "
        "\"template\": \"T{{ bos_token }}\"}, {\"name\": \"default\", \"template\": "
        "\"D{{ bos_token }}{{ eos_token }}{{ messages[0].content }}\"}]}");
    put("special_tokens_map.json", "{\"eos_token\": \"[E]\"}");
    check_source(NULL, CHAT_CONFIG, "D[B][E]q");
    check_source("tool_use", CHAT_NAMED, "T[B]");
    check_no_source("rag", "--template \"rag\" is no file, and \"");
    check_no_source("rag", "has no chat template of that name: it has \"tool_use\", \"default\"");
    put("chat_template.jinja", "J{{ eos_token }}{{ '\\n' }}\n");
    check_source(NULL, CHAT_JINJA, "J[E]\n");
    put("own.jinja", "O{{ bos_token }}{{ add_generation_prompt }}{{ tools is none }}");
    snprintf(path, sizeof path, "%s/own.jinja", directory);
    check_source(path, CHAT_FILE, "O[B]TrueTrue");
    put("tokenizer_config.json",
        "{\"added_tokens_decoder\": {}, \"chat_template\": [{\"name\": \"rag\", \"template\": "
        "\"R{{ eos_token }}\"}]}");
    snprintf(path, sizeof path, "%s/chat_template.jinja", directory);
    ck_assert_int_eq(unlink(path), 0);
    check_source("rag", CHAT_NAMED,
                 "R"); /* the map is of tokenizers without added_tokens_decoder */
    check_no_source(NULL, "has no default chat template: choose with --template one of \"rag\"");
    snprintf(path, sizeof path, "%s/additional_chat_templates", directory);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    put("additional_chat_templates/more.jinja", "M");
    check_source("more", CHAT_NAMED, "M");
    put("tokenizer_config.json",
        "{\"added_tokens_decoder\": {}, \"extra_special_tokens\": {\"image_token\": \"[I]\", "
        "\"audio_token\": {\"content\": \"[A]\"}, \"video_token\": null}, \"chat_template\": "
        "\"{{ image_token }}{{ audio_token }}{{ video_token }}\"}");
    check_source(NULL, CHAT_CONFIG, "[I][A]");
    put("tokenizer_config.json", "{\"extra_special_tokens\": [\"[I]\"], \"chat_template\": "
                                 "\"L{{ image_token }}\"}");
    check_source(NULL, CHAT_CONFIG, "L");
    put("tokenizer_config.json", "{\"chat_template\": \"{% for %}\"}");
    check_no_source(NULL, "tokenizer_config.json\": line 1: ");
    ok(file_remove_directory(path));
    ok(file_remove_directory(directory));
}
END_TEST

/* What transformers hands to a template: the list. */
START_TEST(contents_of_parts) {
    static const char parts[] =
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
        "\"text\", \"text\": \"b\"}]}]";
    static const struct {
        const char *template, *expected; /* NULL: refused; by jinja2 where it starts with ! */
    } cases[] = {
        {"{% for m in messages %}{{ m.content }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ m.content | trim }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ m.content ~ '\\n' }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ '%s' % (m.content,) }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ m.content | string }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ m.content[0] }}{% endfor %}", NULL},
        {"{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}", "!does not take: "},
        {"{% for m in messages %}{{ m.content.strip() }}{% endfor %}", "!does not take: "},
        {"{% for m in messages %}{{ m.content | map(attribute='text') | join }}{% endfor %}", "ab"},
        {"{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}",
         "[a][b]"},
        {"{% for m in messages %}{{ m.content[1].text }}{% endfor %}", "b"},
        {"{% for m in messages %}{% if m.content is string %}{{ m.content }}{% endif %}."
         "{% endfor %}",
         "."},
        {"{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
         "[{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]"},
        {"{{ messages | length }}", "1"},
    };
    struct json *messages;
    ok(js_parse_line(&messages, parts, strlen(parts), "t", 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_style style;
        struct template_output output;
        const char *expected = cases[i].expected;
        ok(chat_style_parse(&style, cases[i].template, strlen(cases[i].template), "t", NULL));
        enum status status = chat_render(&output, &style, messages, false);
        if (!expected || *expected == '!') {
            ck_assert_msg(status == STATUS_FAILED, "%s", cases[i].template);
            const char *reason = expected ? expected + 1 : "would print as Python writes a list";
            ck_assert_msg(strstr(status_message(), reason), "%s: %s", cases[i].template,
                          status_message());
        } else {
            ok(status);
            ck_assert_str_eq(output.text, expected);
        }
        template_output_free(&output);
        chat_style_free(&style);
    }
    js_free(messages);
}
END_TEST

static void check_class(const struct json *item) {
    static const char text[] = "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}|{{ "
                               "bos_token is defined }}";
    const struct json *tokens = js_member(item, "tokens");
    const char *model = js_string_or(js_member(item, "model"), NULL);
    bool bos = js_member(tokens, "bos_token") != NULL;
    char expected[200], config[300], path[256];
    snprintf(expected, sizeof expected, "%s|%s|%s|%s|%s",
             js_string_or(js_member(tokens, "bos_token"), ""),
             js_string_or(js_member(tokens, "eos_token"), ""),
             js_string_or(js_member(tokens, "unk_token"), ""),
             js_string_or(js_member(tokens, "pad_token"), ""), bos ? "True" : "False");
    struct json *copy = js_copy(js_member(item, "config"));
    js_set_string(copy, "chat_template", text);
    char *printed = js_print(copy, 0);
    put("tokenizer_config.json", printed);
    free(printed);
    js_free(copy);
    snprintf(config, sizeof config, "{\"model_type\": \"%s\"}", model ? model : "");
    put("config.json", config);
    snprintf(path, sizeof path, "%s/tokenizers/%s", TEST_DATA,
             js_string_or(js_member(item, "tokenizer"), ""));
    char link_path[256];
    snprintf(link_path, sizeof link_path, "%s/tokenizer.json", directory);
    unlink(link_path);
    ck_assert_int_eq(symlink(path, link_path), 0);
    check_source(NULL, CHAT_CONFIG, expected);
}

START_TEST(special_tokens_are_those_of_the_class) {
    struct json *golden;
    strcpy(directory, "/tmp/apriel-chat-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ok(js_read(&golden, TEST_DATA "/special_tokens.json"));
    ck_assert_uint_gt(js_count(golden), 250);
    for (size_t i = 0; i < js_count(golden); i++) check_class(js_element(golden, i));
    js_free(golden);
    ok(file_remove_directory(directory));
}
END_TEST

START_TEST(templates_in_an_object_are_named) {
    strcpy(directory, "/tmp/apriel-chat-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    put("tokenizer_config.json",
        "{\"chat_template\": {\"default\": \"D{{ messages[0].content }}\", "
        "\"tool_use\": \"T\"}}");
    check_source(NULL, CHAT_CONFIG, "Dq");
    check_source("tool_use", CHAT_NAMED, "T");
    check_no_source("rag", "it has \"default\", \"tool_use\"");
    put("tokenizer_config.json", "{\"chat_template\": {\"tool_use\": \"T\"}}");
    check_no_source(NULL,
                    "has no default chat template: choose with --template one of \"tool_use\"");
    put("tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"1\"}, "
        "{\"name\": \"default\", \"template\": \"2\"}]}");
    check_source(NULL, CHAT_CONFIG, "2");
    put("tokenizer_config.json", "{\"chat_template\": {\"default\": 3}}");
    check_no_source(NULL, "has no default chat template");
    put("tokenizer_config.json", "{\"chat_template\": 3}");
    check_no_source(NULL, "has no chat template");
    ok(file_remove_directory(directory));
}
END_TEST

START_TEST(ends_of_answers_are_found) {
    static const struct {
        const char *text, *end;
    } cases[] = {
        {"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
         "{% endfor %}",
         "<|im_end|>\n"},
        {"{% for m in messages %}{{ m.content }}{{ eos_token if m.role == 'assistant' }}"
         "{% endfor %}",
         "</s>"},
        {"{% for m in messages %}{{ m.content[:2] }}{% endfor %}", ""},
        {"{{ raise_exception('never') }}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_style style;
        struct json *tokens = js_new_object();
        js_set_string(tokens, "eos_token", "</s>");
        ok(chat_style_parse(&style, cases[i].text, strlen(cases[i].text), "t", tokens));
        ck_assert_str_eq(style.end, cases[i].end);
        ck_assert_ptr_null(style.time);
        ck_assert_uint_eq(strlen(style.sha256), SHA256_HEX_SIZE - 1);
        chat_style_free(&style);
    }
    struct chat_style style, other;
    ok(chat_style_parse(&style, "{{ strftime_now('%Y') }}", 24, "t", NULL));
    ck_assert_uint_eq(strlen(style.time), 4);
    ok(chat_style_parse(&other, "{{ strftime_now('%y') }}", 24, "t", NULL));
    ck_assert_str_ne(style.sha256, other.sha256);
    chat_style_free(&style);
    chat_style_free(&other);
}
END_TEST

CHECK_MAIN("chat", forms_of_model_families_give_what_jinja_gives, templates_of_directories_are_read,
           templates_are_found_as_transformers_finds_them, contents_of_parts,
           special_tokens_are_those_of_the_class, templates_in_an_object_are_named,
           ends_of_answers_are_found)
