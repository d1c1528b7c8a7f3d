#define _GNU_SOURCE
#include "data/conversation.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

/* A conversation on its way to a row. */
struct conversation {
    const struct record_rules *rules;
    struct json *messages; /* as the template takes them */
    bool *counts;          /* [js_count(messages)]: an answer in the loss */
    struct template_output whole;
    struct template_span *spans; /* [span_count], of whole.text: what is in the loss */
    size_t span_count;
    bool null; /* a message's text is null */
    uint32_t lost;
};

/* The role that templates know, however it is spelt; "" for one of tools; NULL for an unknown one.
 */
static const char *known_role(const char *role) {
    static const struct {
        const char *from, *to;
    } roles[] = {
        {"user", "user"},
        {"human", "user"},
        {"prompter", "user"},
        {"assistant", "assistant"},
        {"gpt", "assistant"},
        {"chatgpt", "assistant"},
        {"model", "assistant"},
        {"bot", "assistant"},
        {"chatbot", "assistant"},
        {"ai", "assistant"},
        {"bing", "assistant"},
        {"bard", "assistant"},
        {"system", "system"},
        {"developer", "developer"},
        {"tool", ""},
        {"function", ""},
        {"function_call", ""},
        {"function_response", ""},
        {"observation", ""},
        {"tool_call", ""},
        {"tool_calls", ""},
        {"tool_response", ""},
        {"tool_result", ""},
        {"tool_results", ""},
        {"ipython", ""},
    };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcasecmp(role, roles[i].from) == 0) return roles[i].to;
    return NULL;
}

/* A copy of a message under the usual names, without tools; NULL (no failure) for one of tools. */
static enum status copy_message(struct json **out, struct conversation *conversation,
                                struct record *record, const struct json *message, size_t number) {
    const struct json *role = js_member(message, "role"), *content = js_member(message, "content");
    if (!role) role = js_member(message, "from");
    if (!content) content = js_member(message, "value");
    const char *name = js_is_string(role) ? known_role(js_string_or(role, "")) : NULL;
    bool calls = js_member(message, "tool_calls") || js_member(message, "function_call");
    *out = NULL;
    if (!js_is_string(role))
        return status_fail("message %zu has no \"role\" (or \"from\") as text", number);
    if (!name)
        return status_fail("message %zu has the role \"%.60s\", which is none of user, human, "
                           "assistant, gpt, system, tool",
                           number, js_string_or(role, ""));
    record->tools |= calls || !*name;
    if (!*name || (calls && !content)) return STATUS_OK;
    if (!content && (js_has(message, "content") || js_has(message, "value"))) {
        conversation->null = true;
        return STATUS_OK;
    }
    if (!js_is_string(content) && !js_is_array(content))
        return status_fail("message %zu has no \"content\" (or \"value\") as text or a list of "
                           "parts",
                           number);
    struct json *copy = js_copy(message);
    static const char *const left_out[] = {"role",  "from",       "content",
                                           "value", "tool_calls", "function_call"};
    struct json *text = js_copy(content);
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) js_remove(copy, left_out[i]);
    js_set_string(copy, "role", name);
    js_set(copy, "content", text);
    *out = copy;
    return STATUS_OK;
}

static bool is_answer(const struct conversation *conversation, size_t index) {
    const struct json *message = js_element(conversation->messages, index);
    return strcmp(js_string_or(js_member(message, "role"), ""), "assistant") == 0;
}

/* A system text beside the list, as some sets of ShareGPT's form have it. */
static void add_system(struct conversation *conversation, const struct json *object,
                       const struct json *list) {
    const struct json *system = js_member(object, "system"), *first = js_element(list, 0);
    const char *role =
        js_string_or(js_member(first, "role"), js_string_or(js_member(first, "from"), ""));
    if (!js_is_string(system) || !js_string_length(system) || strcasecmp(role, "system") == 0)
        return;
    struct json *message = js_new_object();
    js_set_string(message, "role", "system");
    js_set(message, "content", js_copy(system));
    js_append(conversation->messages, message);
}

/* Room for the messages of lists with `count` of them. */
static enum status begin(struct conversation *conversation, struct record *record,
                         const struct json *object, size_t count) {
    const struct record_rules *rules = conversation->rules;
    if (!rules->style)
        return status_fail("a conversation needs a chat template: %s",
                           rules->no_style ? rules->no_style : "there is none");
    if (js_count(js_member(object, "chat_template_kwargs")))
        return status_fail("\"chat_template_kwargs\" is not taken: write what it changes into a "
                           "template of your own (--template)");
    conversation->messages = js_new_array();
    conversation->counts = memory_calloc(count + 1, sizeof *conversation->counts);
    if (!conversation->messages || !conversation->counts) return STATUS_FAILED;
    record->tools = js_count(js_member(object, "tools")) || js_member(object, "functions");
    return STATUS_OK;
}

static enum status add_messages(struct conversation *conversation, struct record *record,
                                const struct json *list) {
    if (!js_is_array(list)) return status_fail("the messages must be a list");
    for (size_t i = 0; i < js_count(list); i++) {
        struct json *message;
        const struct json *weight = js_member(js_element(list, i), "weight");
        enum status status =
            copy_message(&message, conversation, record, js_element(list, i), i + 1);
        if (status) return status;
        if (!message) continue;
        js_append(conversation->messages, message);
        size_t place = js_count(conversation->messages) - 1;
        conversation->counts[place] =
            is_answer(conversation, place) && js_number_or(weight, 1) != 0;
    }
    return STATUS_OK;
}

/* The text of the first `count` messages. */
static enum status render(struct template_output *out, const struct conversation *conversation,
                          size_t count, bool prompt) {
    struct json *list = js_new_array();
    for (size_t i = 0; i < count; i++)
        js_append(list, js_copy(js_element(conversation->messages, i)));
    enum status status = chat_render(out, conversation->rules->style, list, prompt);
    js_free(list);
    return status;
}

/* Bytes at the beginning that two texts share, at the border of a character. */
static size_t shared(const struct template_output *a, const struct template_output *b) {
    size_t count = 0;
    while (count < a->length && count < b->length && a->text[count] == b->text[count]) count++;
    while (count && count < b->length && ((unsigned char)b->text[count] & 0xc0) == 0x80) count--;
    return count;
}

/* Where an answer begins in the whole text: where the prompt for it ends, or where the two part. */
static bool find_start(size_t *out, const struct conversation *conversation, size_t index) {
    struct template_output prompt = {0}, before = {0};
    bool found = !render(&prompt, conversation, index, true);
    *out = found ? shared(&prompt, &conversation->whole) : 0;
    if (found && *out < prompt.length)
        found = !render(&before, conversation, index, false) && *out >= before.length &&
                shared(&before, &conversation->whole) == before.length;
    template_output_free(&prompt);
    template_output_free(&before);
    return found;
}

/* The end of an answer that is written otherwise once a user has gone on: at what the template puts
 * after answers, if that is no part of the answer, and if the text is the same up to there when
 * another message follows. */
static bool find_mark(size_t *out, const struct conversation *conversation, size_t index,
                      size_t start) {
    const struct template_output *whole = &conversation->whole;
    const struct json *answer = js_element(conversation->messages, index);
    const char *mark = conversation->rules->style->end;
    const char *text = js_string_or(js_member(answer, "content"), NULL);
    size_t length = strlen(mark), blank = strspn(mark, " \n\r\t");
    if (!text || blank == length || start > whole->length) return false;
    char *core = memory_copy_string(mark + blank);
    if (!core) return false;
    for (size_t i = length - blank; i > 0 && strchr(" \n\r\t", core[i - 1]); i--)
        core[i - 1] = '\0';
    bool inside = strstr(text, core) != NULL;
    free(core);
    const char *found =
        inside ? NULL : memmem(whole->text + start, whole->length - start, mark, length);
    if (!found) return false;
    *out = (size_t)(found - whole->text) + length;
    struct template_output after;
    struct json *list = js_new_array(), *next = js_new_object();
    for (size_t i = 0; i <= index; i++)
        js_append(list, js_copy(js_element(conversation->messages, i)));
    js_set_string(next, "role", "user");
    js_set_string(next, "content", "next");
    js_append(list, next);
    bool same = !chat_render(&after, conversation->rules->style, list, false) &&
                shared(&after, whole) >= *out;
    template_output_free(&after);
    js_free(list);
    return same;
}

/* Where answer `index` stands in the whole text; false when that is not known. */
static bool find_answer(struct template_span *out, const struct conversation *conversation,
                        size_t index) {
    struct template_output after;
    if (!find_start(&out->start, conversation, index)) return false;
    if (render(&after, conversation, index + 1, false)) return false;
    out->end = shared(&after, &conversation->whole);
    bool found = out->end == after.length && out->end > out->start;
    template_output_free(&after);
    if (found || index + 1 == js_count(conversation->messages)) return found;
    return find_mark(&out->end, conversation, index, out->start);
}

static enum status find_answers(struct conversation *conversation) {
    size_t count = js_count(conversation->messages), last = 0;
    conversation->spans = memory_calloc(count, sizeof *conversation->spans);
    if (!conversation->spans) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++)
        if (is_answer(conversation, i)) last = i;
    for (size_t i = 0; i < count; i++) {
        if (!conversation->counts[i]) continue;
        if (find_answer(&conversation->spans[conversation->span_count], conversation, i))
            conversation->span_count++;
        else if (i < last)
            conversation->lost++;
        else
            return status_fail("where answer %zu stands in the chat template's text is not known: "
                               "its text does not go on from the prompt's; mark answers in the "
                               "template with {%% generation %%}, or name another with --template",
                               i + 1);
    }
    return STATUS_OK;
}

/* The template's own marks, one for each answer. */
static enum status take_marks(struct conversation *conversation) {
    const struct template_output *whole = &conversation->whole;
    size_t count = js_count(conversation->messages), answers = 0, answer = 0;
    for (size_t i = 0; i < count; i++) answers += is_answer(conversation, i);
    if (whole->spans_lost)
        return status_fail("the chat template has {%% generation %%} in a macro or a set block, "
                           "where its place in the text is not known");
    conversation->spans = memory_calloc(whole->span_count + 1, sizeof *conversation->spans);
    if (!conversation->spans) return STATUS_FAILED;
    for (size_t i = 0; i < whole->span_count; i++) {
        /* Weights are given to answers, and so to marks only where there is one for each. */
        bool counts = true;
        if (whole->span_count == answers) {
            while (!is_answer(conversation, answer)) answer++;
            counts = conversation->counts[answer++];
        }
        if (counts) conversation->spans[conversation->span_count++] = whole->spans[i];
    }
    return STATUS_OK;
}

/* The bytes that the first `count` ids stand for, and whether they are the text's beginning. */
static enum status measure_ids(size_t *bytes, bool *exact, const struct conversation *conversation,
                               const struct record *record, size_t count) {
    const struct template_output *whole = &conversation->whole;
    char *text;
    enum status status =
        tokenizer_decode(conversation->rules->tokenizer, record->ids, count, false, &text, bytes);
    if (status) return status;
    *exact = *bytes <= whole->length && memcmp(text, whole->text, *bytes) == 0;
    free(text);
    return STATUS_OK;
}

/* The number of ids at the beginning that stand for the text's first `bytes`, or reach into what
 * follows (`over`: these, too). */
static enum status count_ids(size_t *out, const struct conversation *conversation,
                             const struct record *record, size_t bytes, bool over) {
    const struct tokenizer *tokenizer = conversation->rules->tokenizer;
    uint32_t *ids;
    size_t count, same = 0, length = 0;
    enum status status =
        tokenizer_encode(tokenizer, conversation->whole.text, bytes, TOKENIZER_PLAIN, &ids, &count);
    if (status) return status;
    while (same < count && same < record->count && ids[same] == record->ids[same]) same++;
    free(ids);
    *out = same;
    if (same == count) return STATUS_OK;
    /* The text's last tokens are others when it goes on: "\n\n" becomes two before a word. As many
     * more as end before the border, or as it takes to reach it. */
    for (size_t next = same + 1; next <= record->count && length < bytes; next++) {
        bool exact;
        status = measure_ids(&length, &exact, conversation, record, next);
        if (status) return status;
        if (over || (exact && length <= bytes)) *out = next;
    }
    return STATUS_OK;
}

static enum status set_mask(struct record *out, const struct conversation *conversation) {
    out->mask = memory_calloc(out->count, 1);
    enum status status = out->mask ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < conversation->span_count; i++) {
        size_t first, end;
        status = count_ids(&first, conversation, out, conversation->spans[i].start, false);
        if (!status) status = count_ids(&end, conversation, out, conversation->spans[i].end, true);
        if (!status && end > first) memset(out->mask + first, 1, end - first);
    }
    return status;
}

static bool has_answer(const struct conversation *conversation, size_t from) {
    for (size_t i = from; i < js_count(conversation->messages); i++)
        if (conversation->counts[i]) return true;
    return false;
}

static enum status encode(struct record *out, const struct conversation *conversation) {
    return tokenizer_encode(conversation->rules->tokenizer, conversation->whole.text,
                            conversation->whole.length, TOKENIZER_PLAIN, &out->ids, &out->count);
}

static enum status make_row(struct record *out, struct conversation *conversation) {
    const struct record_rules *rules = conversation->rules;
    enum status status =
        render(&conversation->whole, conversation, js_count(conversation->messages), false);
    if (!status && template_has_generation(rules->style->parsed))
        status = take_marks(conversation);
    else if (!status)
        status = find_answers(conversation);
    if (!status) status = encode(out, conversation);
    if (!status) status = set_mask(out, conversation);
    out->lost_answers = conversation->lost;
    return status;
}

/* The number of ids before the completion: those of the prompt by itself, or (where the template
 * writes the beginning of an answer otherwise) those before the place where the two part. */
static enum status count_prompt(size_t *out, struct record *record,
                                const struct conversation *conversation, size_t messages) {
    struct template_output prompt;
    uint32_t *ids = NULL;
    size_t start;
    enum status status = render(&prompt, conversation, messages, true);
    if (status) return status;
    if (shared(&prompt, &conversation->whole) == prompt.length) {
        status = tokenizer_encode(conversation->rules->tokenizer, prompt.text, prompt.length,
                                  TOKENIZER_PLAIN, &ids, out);
        size_t both = *out < record->count ? *out : record->count;
        if (!status)
            record->joined =
                both < *out || (both && memcmp(ids, record->ids, both * sizeof *ids) != 0);
        if (!status) *out = both;
        free(ids);
    } else if (find_start(&start, conversation, messages)) {
        status = count_ids(out, conversation, record, start, false);
    } else {
        status =
            status_fail("where the completion stands in the chat template's text is not known: "
                        "its text does not go on from the prompt's");
    }
    template_output_free(&prompt);
    return status;
}

static enum status make_completion(struct record *out, struct conversation *conversation,
                                   size_t prompt_messages) {
    size_t first = 0, count = js_count(conversation->messages);
    for (size_t i = prompt_messages; i < count; i++)
        if (is_answer(conversation, i) && !conversation->counts[i])
            return status_fail("an answer of a completion has \"weight\": 0: put such records into "
                               "\"messages\"");
    enum status status = render(&conversation->whole, conversation, count, false);
    if (!status) status = encode(out, conversation);
    if (!status) status = count_prompt(&first, out, conversation, prompt_messages);
    if (status || !out->count) return status;
    out->mask = memory_calloc(out->count, 1);
    if (!out->mask) return STATUS_FAILED;
    memset(out->mask + first, 1, out->count - first);
    return STATUS_OK;
}

static void end(struct conversation *conversation) {
    js_free(conversation->messages);
    template_output_free(&conversation->whole);
    free(conversation->counts);
    free(conversation->spans);
}

enum status conversation_read(struct record *out, const struct record_rules *rules,
                              const struct json *object, const struct json *list) {
    struct conversation conversation = {.rules = rules};
    enum status status = begin(&conversation, out, object, js_count(list) + 1);
    if (!status) add_system(&conversation, object, list);
    if (!status) status = add_messages(&conversation, out, list);
    if (!status && has_answer(&conversation, 0) && !conversation.null)
        status = make_row(out, &conversation);
    end(&conversation);
    return status;
}

enum status conversation_complete(struct record *out, const struct record_rules *rules,
                                  const struct json *object, const struct json *prompt,
                                  const struct json *completion) {
    struct conversation conversation = {.rules = rules};
    enum status status =
        begin(&conversation, out, object, js_count(prompt) + js_count(completion) + 1);
    if (!status) add_system(&conversation, object, prompt);
    if (!status) status = add_messages(&conversation, out, prompt);
    size_t count = js_count(conversation.messages);
    if (!status && count == 0) status = status_fail("the prompt has no messages");
    if (!status) status = add_messages(&conversation, out, completion);
    if (!status && has_answer(&conversation, count) && !conversation.null)
        status = make_completion(out, &conversation, count);
    end(&conversation);
    return status;
}
