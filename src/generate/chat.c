#include "generate/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

static const struct {
    const char *name, *bos, *end;
    const char *marks[2]; /* both stand in the family's templates */
} kinds[CHAT_KINDS] = {
    [CHAT_CHATML] = {"chatml", "", "<|im_end|>", {"<|im_start|>", "<|im_end|>"}},
    [CHAT_LLAMA3] = {"llama3",
                     "<|begin_of_text|>",
                     "<|eot_id|>",
                     {"<|start_header_id|>", "<|eot_id|>"}},
    [CHAT_MISTRAL] = {"mistral", "<s>", "</s>", {"[INST]", "[/INST]"}},
    [CHAT_APRIEL] = {"apriel", "<s>", "<|end|>", {"<|assistant|>", "[BEGIN FINAL RESPONSE]"}},
};

static const char apriel_system[] =
    "You are a thoughtful and systematic AI assistant built by ServiceNow Language Models (SLAM) "
    "lab. Before providing an answer, analyze the problem carefully and present your reasoning "
    "step by step. After explaining your thought process, provide the final solution in the "
    "following format: [BEGIN FINAL RESPONSE] ... [END FINAL RESPONSE].";

const char *chat_kind_name(enum chat_kind kind) {
    return kinds[kind].name;
}

const char *chat_end_token(const struct chat_style *style) {
    return kinds[style->kind].end;
}

static enum status begin_style(struct chat_style *out, enum chat_kind kind) {
    *out = (struct chat_style){.kind = kind, .bos = memory_copy_string(kinds[kind].bos)};
    if (out->bos && kind == CHAT_APRIEL) {
        out->system = memory_copy_string(apriel_system);
        if (!out->system) chat_style_free(out);
    }
    return out->bos ? STATUS_OK : STATUS_FAILED;
}

enum status chat_style_named(struct chat_style *out, const char *name) {
    for (enum chat_kind kind = 0; kind < CHAT_KINDS; kind++) {
        if (strcmp(name, kinds[kind].name) != 0) continue;
        enum status status = begin_style(out, kind);
        out->space_before = kind == CHAT_MISTRAL;
        return status;
    }
    *out = (struct chat_style){0};
    return status_set(STATUS_USAGE,
                      "--template cannot be \"%s\" (chatml, llama3, mistral or apriel)", name);
}

void chat_style_free(struct chat_style *style) {
    free(style->bos);
    free(style->system);
    *style = (struct chat_style){0};
}

/* The literal that a ChatML template puts in for a missing system text: what stands between the
 * opening line (whose end is a newline or its escape) and <|im_end|>, without Jinja in it. */
static enum status find_system(struct chat_style *style, const char *text) {
    static const char opening[] = "<|im_start|>system";
    for (const char *at = strstr(text, opening); at; at = strstr(at, opening)) {
        at += sizeof opening - 1;
        const char *start = at[0] == '\n' ? at + 1 : strncmp(at, "\\n", 2) == 0 ? at + 2 : NULL;
        const char *end = start ? strstr(start, "<|im_end|>") : NULL;
        if (!end || end == start) continue;
        size_t length = (size_t)(end - start);
        if (memchr(start, '{', length) || memchr(start, '\'', length) ||
            memchr(start, '"', length) || memchr(start, '\\', length))
            continue;
        style->system = memory_copy_bytes(start, length);
        return style->system ? STATUS_OK : STATUS_FAILED;
    }
    return STATUS_OK;
}

static enum status recognise(struct chat_style *out, const char *text, const char *source) {
    enum chat_kind kind = 0;
    for (; kind < CHAT_KINDS; kind++)
        if (strstr(text, kinds[kind].marks[0]) && strstr(text, kinds[kind].marks[1])) break;
    if (kind == CHAT_KINDS)
        return status_fail("\"%s\": the chat template is none of those built in (chatml, llama3, "
                           "mistral, apriel): name one with --template, or pass text that is ready "
                           "with --prompt",
                           source);
    enum status status = begin_style(out, kind);
    if (!status && kind == CHAT_CHATML) status = find_system(out, text);
    out->knowledge_date = kind == CHAT_LLAMA3 && strstr(text, "Cutting Knowledge Date");
    out->space_before = kind == CHAT_MISTRAL && strstr(text, "[INST] ");
    out->space_after = kind == CHAT_MISTRAL && strstr(text, " [/INST]");
    out->system_brackets = kind == CHAT_MISTRAL && strstr(text, "[SYSTEM_PROMPT]");
    out->reasoning_steps = kind == CHAT_APRIEL && strstr(text, "Here are my reasoning steps:");
    return status;
}

/* "bos_token": a string or an object with its "content". */
static enum status take_bos(struct chat_style *style, const struct json *config) {
    const struct json *token = js_member(config, "bos_token");
    const char *text = js_string_or(token, js_string_or(js_member(token, "content"), NULL));
    if (!text || style->kind == CHAT_CHATML) return STATUS_OK;
    free(style->bos);
    style->bos = memory_copy_string(text);
    return style->bos ? STATUS_OK : STATUS_FAILED;
}

/* The template in tokenizer_config.json: a string, or a list of named ones, of which "default". */
static const char *template_of(const struct json *config) {
    const struct json *value = js_member(config, "chat_template");
    for (size_t i = 0; i < js_count(value) && js_is_array(value); i++) {
        const struct json *item = js_element(value, i);
        if (strcmp(js_string_or(js_member(item, "name"), ""), "default") == 0)
            return js_string_or(js_member(item, "template"), NULL);
    }
    return js_string_or(value, NULL);
}

enum status chat_style_read(struct chat_style *out, const char *directory) {
    char *config_path = file_join(directory, "tokenizer_config.json");
    char *jinja_path = file_join(directory, "chat_template.jinja"), *jinja = NULL;
    struct json *config = NULL;
    size_t size;
    *out = (struct chat_style){0};
    enum status status = config_path && jinja_path ? STATUS_OK : STATUS_FAILED;
    if (!status && file_exists(config_path)) status = js_read(&config, config_path);
    if (!status && file_exists(jinja_path)) status = file_read(&jinja, &size, jinja_path);
    const char *text = jinja ? jinja : template_of(config);
    if (!status && !text)
        status = status_fail("\"%s\" has no chat template: name one with --template (chatml, "
                             "llama3, mistral, apriel), or pass text that is ready with --prompt",
                             directory);
    if (!status) status = recognise(out, text, jinja ? jinja_path : config_path);
    if (!status) status = take_bos(out, config);
    if (status) chat_style_free(out);
    js_free(config);
    free(jinja);
    free(config_path);
    free(jinja_path);
    return status;
}

static void append_message(struct text *out, const struct chat_style *style, const char *role,
                           const char *content) {
    switch (style->kind) {
    case CHAT_CHATML:
        text_append(out, "<|im_start|>%s\n%s<|im_end|>\n", role, content);
        break;
    case CHAT_LLAMA3:
        text_append(out, "<|start_header_id|>%s<|end_header_id|>\n\n%s<|eot_id|>", role, content);
        break;
    case CHAT_APRIEL:
        text_append(out, "<|%s|>\n%s\n<|end|>\n", role, content);
        if (strcmp(role, "assistant") == 0) text_append(out, "</s>");
        break;
    default:
        text_append(out, "%s</s>", content);
    }
}

static void append_system(struct text *out, const struct chat_style *style, const char *content) {
    if (style->knowledge_date) {
        static const char dates[] = "Cutting Knowledge Date: December 2023\n"
                                    "Today Date: 26 Jul 2024\n\n";
        char *whole = text_format("%s%s", dates, content ? content : "");
        append_message(out, style, "system", whole ? whole : "");
        if (!whole) out->failed = true;
        free(whole);
    } else if (content) {
        append_message(out, style, "system", content);
    }
}

/* A user's message of Mistral's; `system` is NULL or joins it. */
static void append_instruction(struct text *out, const struct chat_style *style, const char *system,
                               const char *content) {
    text_append(out, "[INST]%s%s%s%s%s[/INST]", style->space_before ? " " : "",
                system ? system : "", system ? "\n\n" : "", content, style->space_after ? " " : "");
}

/* user, assistant, user, …, ending with the user. */
static enum status check_roles(const struct chat_message *messages, size_t count, size_t first) {
    for (size_t i = first; i < count; i++) {
        const char *wanted = (i - first) % 2 ? "assistant" : "user";
        if (strcmp(messages[i].role, wanted) != 0)
            return status_fail("message %zu has the role \"%s\", not \"%s\"", i + 1,
                               messages[i].role, wanted);
    }
    if ((count - first) % 2 == 0)
        return status_fail("the conversation does not end with a message of the user");
    return STATUS_OK;
}

static void append_answer_start(struct text *out, const struct chat_style *style) {
    if (style->kind == CHAT_CHATML) text_append(out, "<|im_start|>assistant\n");
    if (style->kind == CHAT_LLAMA3)
        text_append(out, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    if (style->kind == CHAT_APRIEL)
        text_append(out, "<|assistant|>\n%s",
                    style->reasoning_steps ? "Here are my reasoning steps:\n" : "");
}

enum status chat_format(char **out, const struct chat_style *style,
                        const struct chat_message *messages, size_t count) {
    struct text text = {0};
    size_t first = count && strcmp(messages[0].role, "system") == 0;
    const char *system = first ? messages[0].content : style->system;
    bool brackets = style->kind == CHAT_MISTRAL;
    enum status status = check_roles(messages, count, first);
    if (status) return status;
    text_append(&text, "%s", style->bos);
    if (!brackets)
        append_system(&text, style, system);
    else if (system && style->system_brackets)
        text_append(&text, "[SYSTEM_PROMPT]%s[/SYSTEM_PROMPT]", system);
    for (size_t i = first; i < count; i++) {
        bool joins = i == first && system && !style->system_brackets;
        if (brackets && strcmp(messages[i].role, "user") == 0)
            append_instruction(&text, style, joins ? system : NULL, messages[i].content);
        else
            append_message(&text, style, messages[i].role, messages[i].content);
    }
    append_answer_start(&text, style);
    *out = text_finish(&text);
    return *out ? STATUS_OK : STATUS_FAILED;
}
