#include "template/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

const char *chat_kind_name(enum chat_kind kind) {
    static const char *const names[CHAT_KINDS] = {
        [CHAT_CONFIG] = "tokenizer_config.json",
        [CHAT_JINJA] = "chat_template.jinja",
        [CHAT_NAMED] = "named",
        [CHAT_FILE] = "file",
    };
    return names[kind];
}

void chat_style_free(struct chat_style *style) {
    template_free(style->parsed);
    js_free(style->variables);
    free(style->end);
    free(style->time);
    *style = (struct chat_style){0};
}

/* Thoughts have several names: transformers gives them under the one that templates read, and under
 * the one that some read beside it. */
static void add_thoughts(struct json *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const struct json *found = NULL;
    for (size_t i = 0; !found && i < 3; i++) found = js_member(message, names[i]);
    if (!found) return;
    struct json *copy = js_copy(found);
    if (!js_member(message, "thinking")) js_set(message, "thinking", js_copy(copy));
    js_set(message, "reasoning_content", copy);
}

/* A message as the template sees it; whether its content is a list of parts. */
static enum status normalize(struct json **out, bool *parts, const struct json *message) {
    if (!js_is_object(message)) return status_fail("a message must be a JSON object");
    struct json *copy = js_new_object();
    for (void *i = js_first(message); i; i = js_next(message, i))
        if (js_member(message, js_key(i))) /* null is left out */
            js_set(copy, js_key(i), js_copy(js_value(i)));
    *parts |= js_is_array(js_member(message, "content"));
    add_thoughts(copy);
    *out = copy;
    return STATUS_OK;
}

/* What came of a list of parts as a content, which not all templates take. */
static enum status check_parts(struct template_output *output, enum status status) {
    char *reason = NULL;
    if (status) {
        reason = memory_copy_string(status_message());
        if (!reason) return STATUS_FAILED;
    } else if (!output->shown_list) {
        return STATUS_OK;
    }
    template_output_free(output);
    status = status_fail("a message's content is a list of parts, which the chat template %s%s",
                         reason ? "does not take: "
                                : "would print as Python writes a list: make it "
                                  "one text",
                         reason ? reason : "");
    free(reason);
    return status;
}

enum status chat_render(struct template_output *out, const struct chat_style *style,
                        const struct json *messages, bool prompt) {
    bool parts = false;
    *out = (struct template_output){0};
    if (!js_is_array(messages) || js_count(messages) == 0)
        return status_fail("a conversation must be a list of messages");
    struct json *variables = js_copy(style->variables), *list = js_new_array();
    enum status status = variables && list ? STATUS_OK : status_fail("out of memory");
    for (size_t i = 0; !status && i < js_count(messages); i++) {
        struct json *message = NULL;
        status = normalize(&message, &parts, js_element(messages, i));
        if (!status) js_append(list, message);
    }
    js_set(variables, "messages", list);
    js_set_string(variables, "tools", NULL);
    js_set_string(variables, "documents", NULL);
    js_set_bool(variables, "add_generation_prompt", prompt);
    bool prepared = !status;
    if (prepared) status = template_render(out, style->parsed, variables);
    if (prepared && parts) status = check_parts(out, status);
    js_free(variables);
    return status;
}

static struct json *new_message(const char *role, struct json *content) {
    struct json *message = js_new_object();
    js_set_string(message, "role", role);
    js_set(message, "content", content);
    return message;
}

enum status chat_format(char **out, const struct chat_style *style,
                        const struct chat_message *messages, size_t count) {
    struct template_output output;
    struct json *list = js_new_array();
    for (size_t i = 0; i < count; i++)
        js_append(list, new_message(messages[i].role, js_new_string(messages[i].content)));
    enum status status = chat_render(&output, style, list, true);
    js_free(list);
    if (status) return status;
    *out = memory_copy_bytes(output.text, output.length);
    template_output_free(&output);
    return *out ? STATUS_OK : STATUS_FAILED;
}

/* Texts that no template writes by itself. */
static const char question[] = "Qe3vQ", answer[] = "Ae7wA";

/* What the template writes after an answer, and what it says of the date. A template that refuses
 * these conversations leaves both empty. */
static enum status find_end(struct chat_style *style) {
    struct template_output output;
    struct json *list = js_new_array();
    char *end = NULL;
    js_append(list, new_message("user", js_new_string(question)));
    if (!chat_render(&output, style, list, true) && output.time)
        style->time = memory_copy_string(output.time);
    template_output_free(&output);
    js_append(list, new_message("assistant", js_new_string(answer)));
    if (!chat_render(&output, style, list, false))
        for (char *at = output.text; (at = strstr(at, answer)); at += strlen(answer)) end = at;
    style->end = memory_copy_string(end ? end + strlen(answer) : "");
    template_output_free(&output);
    js_free(list);
    return style->end ? STATUS_OK : STATUS_FAILED;
}

static enum status set_sha256(struct chat_style *style, const char *text, size_t length) {
    struct sha256 *sha;
    char *variables = js_print_sorted(style->variables);
    if (!variables) return STATUS_FAILED;
    enum status status = sha256_begin(&sha);
    if (!status) {
        sha256_update(sha, text, length);
        sha256_update(sha, "", 1);
        sha256_update(sha, variables, strlen(variables));
        sha256_finish(sha, style->sha256);
    }
    free(variables);
    return status;
}

enum status chat_style_parse(struct chat_style *out, const char *text, size_t length,
                             const char *source, struct json *variables) {
    *out = (struct chat_style){.variables = variables ? variables : js_new_object()};
    enum status status = template_parse(&out->parsed, text, length, source);
    if (!status) status = set_sha256(out, text, length);
    if (!status) status = find_end(out);
    if (status) chat_style_free(out);
    return status;
}
