#include "generate/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

/* Takes `ids` and `text` over, also when it fails. */
static enum status append(struct prompt_list *list, uint32_t *ids, size_t count, char *text,
                          size_t length) {
    enum status status = STATUS_OK;
    if (!count) status = status_fail("the prompt has no tokens");
    struct generate_prompt *prompts =
        status ? NULL : memory_resize(list->prompts, list->count + 1, sizeof *prompts);
    if (prompts) list->prompts = prompts;
    char **texts = prompts ? memory_resize(list->texts, list->count + 1, sizeof *texts) : NULL;
    if (texts) list->texts = texts;
    size_t *lengths = texts ? memory_resize(list->lengths, list->count + 1, sizeof *lengths) : NULL;
    if (lengths) list->lengths = lengths;
    if (!lengths) {
        free(ids);
        free(text);
        return STATUS_FAILED;
    }
    prompts[list->count] =
        (struct generate_prompt){.ids = ids, .count = count, .stream = list->count};
    lengths[list->count] = length;
    texts[list->count++] = text;
    return STATUS_OK;
}

/* Takes `text` over. */
static enum status append_text(struct prompt_list *list, const struct prompt_rules *rules,
                               char *text, size_t length, enum tokenizer_around around) {
    uint32_t *ids;
    size_t count;
    enum status status = tokenizer_encode(rules->tokenizer, text, length, around, &ids, &count);
    if (!status) return append(list, ids, count, text, length);
    free(text);
    return status;
}

static enum status add_messages(struct prompt_list *list, const struct prompt_rules *rules,
                                const struct json *messages) {
    struct template_output output;
    enum status status = chat_render(&output, rules->style, messages, true);
    if (status) return status;
    char *text = output.text;
    output.text = NULL;
    status = append_text(list, rules, text, output.length, TOKENIZER_PLAIN);
    template_output_free(&output);
    return status;
}

/* Takes `text` over: what a user says. */
static enum status add_question(struct prompt_list *list, const struct prompt_rules *rules,
                                struct json *text) {
    struct json *messages = js_new_array(), *message = js_new_object();
    js_set_string(message, "role", "user");
    js_set(message, "content", text);
    js_append(messages, message);
    enum status status = add_messages(list, rules, messages);
    js_free(messages);
    return status;
}

enum status prompts_add(struct prompt_list *list, const struct prompt_rules *rules,
                        const char *text) {
    if (rules->style) return add_question(list, rules, js_new_string(text));
    char *copy = memory_copy_string(text);
    return copy ? append_text(list, rules, copy, strlen(copy), rules->around) : STATUS_FAILED;
}

static enum status add_conversation(struct prompt_list *list, const struct prompt_rules *rules,
                                    const struct json *array) {
    if (!rules->style)
        return status_fail("\"messages\" need a chat template (--chat or --template)");
    if (!js_is_array(array) || js_count(array) == 0)
        return status_fail("\"messages\" must be a list");
    for (size_t i = 0; i < js_count(array); i++)
        if (!js_is_string(js_member(js_element(array, i), "role")))
            return status_fail("message %zu has no \"role\" as text", i + 1);
    return add_messages(list, rules, array);
}

static enum status add_ids(struct prompt_list *list, const struct json *array) {
    size_t count = js_count(array);
    uint32_t *ids = js_is_array(array) ? memory_calloc(count, sizeof *ids) : NULL;
    if (!ids) return js_is_array(array) ? STATUS_FAILED : status_fail("\"ids\" must be a list");
    for (size_t i = 0; i < count; i++) {
        int64_t id = js_integer_or(js_element(array, i), -1);
        if (id < 0 || id > INT32_MAX) {
            free(ids);
            return status_fail("id %zu is not a token", i + 1);
        }
        ids[i] = (uint32_t)id;
    }
    return append(list, ids, count, NULL, 0);
}

static enum status add_line(struct prompt_list *list, const struct prompt_rules *rules,
                            const struct json *line) {
    const struct json *prompt = js_member(line, "prompt"), *ids = js_member(line, "ids");
    const struct json *messages = js_member(line, "messages");
    if ((prompt != NULL) + (ids != NULL) + (messages != NULL) != 1)
        return status_fail("one of \"prompt\", \"messages\" and \"ids\" is needed");
    if (ids) return add_ids(list, ids);
    if (messages) return add_conversation(list, rules, messages);
    if (!js_is_string(prompt)) return status_fail("\"prompt\" must be text");
    if (rules->style) return add_question(list, rules, js_copy(prompt));
    size_t length = js_string_length(prompt);
    char *text = memory_copy_bytes(js_string_or(prompt, ""), length);
    return text ? append_text(list, rules, text, length, rules->around) : STATUS_FAILED;
}

bool prompts_end_id(uint32_t *id, const struct prompt_rules *rules) {
    uint32_t *ids = NULL;
    size_t count = 0;
    bool found = false, blank = true;
    const char *end = rules->style ? rules->style->end : "";
    if (tokenizer_encode(rules->tokenizer, end, strlen(end), TOKENIZER_PLAIN, &ids, &count))
        return false;
    /* The first special token, before which there are blanks at most. */
    for (size_t i = 0; blank && !found && i < count; i++) {
        char *shown;
        size_t length;
        if (tokenizer_decode(rules->tokenizer, ids + i, 1, true, &shown, &length)) break;
        found = length == 0;
        blank = strspn(shown, " \t\r\n") == length;
        *id = ids[i];
        free(shown);
    }
    free(ids);
    return found;
}

static bool is_blank(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!strchr(" \t\r", text[i])) return false;
    return true;
}

enum status prompts_read(struct prompt_list *list, const struct prompt_rules *rules,
                         const char *path) {
    char *bytes;
    size_t size;
    enum status status = file_read_stream(&bytes, &size, path);
    if (status) return status;
    uint64_t number = 1;
    for (size_t start = 0; !status && start < size; number++) {
        const char *newline = memchr(bytes + start, '\n', size - start);
        size_t length = newline ? (size_t)(newline - bytes) - start : size - start;
        struct json *line = NULL;
        if (!is_blank(bytes + start, length)) {
            status = js_parse_line(&line, bytes + start, length, path, number);
            if (!status) {
                status = add_line(list, rules, line);
                if (status)
                    status = status_fail("\"%s\": line %llu: %s", path, (unsigned long long)number,
                                         status_message());
            }
            js_free(line);
        }
        start += length + 1;
    }
    if (!status && !list->count) status = status_fail("\"%s\" has no prompts", path);
    free(bytes);
    return status;
}

void prompts_free(struct prompt_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->prompts[i].ids);
        free(list->texts[i]);
    }
    free(list->prompts);
    free(list->texts);
    free(list->lengths);
    *list = (struct prompt_list){0};
}
