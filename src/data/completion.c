#include "data/completion.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/conversation.h"

/* ---- texts */

/* `prompt` and `completion` are no copies: parts of strings. */
struct part {
    const char *bytes;
    size_t length;
};

static struct part part_of(const struct json *text) {
    return (struct part){js_string_or(text, ""), js_string_length(text)};
}

/* The tokens beyond as many as the prompt has by itself. */
static enum status mask_beyond(struct record *out, const uint32_t *prompt, size_t count) {
    size_t shared = count < out->count ? count : out->count;
    out->mask = memory_calloc(out->count, 1);
    if (!out->mask) return STATUS_FAILED;
    memset(out->mask + shared, 1, out->count - shared);
    out->joined =
        shared < count || (shared && memcmp(out->ids, prompt, shared * sizeof *prompt) != 0);
    return STATUS_OK;
}

static enum status read_texts(struct record *out, const struct record_rules *rules,
                              struct part prompt, struct part completion) {
    struct text whole = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    if (completion.length == 0) return STATUS_OK;
    text_append_bytes(&whole, prompt.bytes, prompt.length);
    if (rules->separator) text_append(&whole, "%s", rules->separator);
    size_t prompt_length = whole.length;
    text_append_bytes(&whole, completion.bytes, completion.length);
    enum status status = whole.failed ? status_fail("out of memory") : STATUS_OK;
    if (!status)
        status = tokenizer_encode(rules->tokenizer, whole.bytes, whole.length, rules->around,
                                  &out->ids, &out->count);
    if (!status)
        status = tokenizer_encode(rules->tokenizer, whole.bytes, prompt_length,
                                  rules->around & TOKENIZER_BEGIN, &ids, &count);
    if (!status && out->count) status = mask_beyond(out, ids, count);
    if (!status) status = record_append_end(out, rules);
    free(ids);
    text_free(&whole);
    return status;
}

/* ---- messages */

static enum status read_messages(struct record *out, const struct record_rules *rules,
                                 const struct json *object, const struct json *prompt,
                                 const struct json *completion) {
    enum status status = conversation_complete(out, rules, object, prompt, completion);
    if (!status && rules->end_chats) status = record_append_end(out, rules);
    return status;
}

/* ---- preferences without a prompt of their own */

static bool continues(const char *text, size_t length, size_t at) {
    return at < length && ((unsigned char)text[at] & 0xc0) == 0x80;
}

/* The prompt ends where the two part, before a blank; if they do not, before the last character of
 * the shorter one. */
static enum status read_shared_text(struct record *out, const struct record_rules *rules,
                                    const struct json *chosen, const struct json *rejected) {
    struct part one = part_of(chosen), two = part_of(rejected);
    size_t shorter = one.length < two.length ? one.length : two.length, shared = 0;
    while (shared < shorter && one.bytes[shared] == two.bytes[shared]) shared++;
    bool parted = shared < shorter;
    if (!parted && shared) shared--;
    while (shared && continues(one.bytes, one.length, shared)) shared--;
    if (parted && shared && one.bytes[shared - 1] == ' ') shared--;
    return read_texts(out, rules, (struct part){one.bytes, shared},
                      (struct part){one.bytes + shared, one.length - shared});
}

static bool same_message(const struct json *a, const struct json *b) {
    char *left = js_print_sorted(a), *right = js_print_sorted(b);
    bool same = left && right && strcmp(left, right) == 0;
    free(left);
    free(right);
    return same;
}

static enum status read_shared_messages(struct record *out, const struct record_rules *rules,
                                        const struct json *object, const struct json *chosen,
                                        const struct json *rejected) {
    size_t count = js_count(chosen), other = js_count(rejected), shared = 0;
    size_t shorter = count < other ? count : other;
    while (shared < shorter &&
           same_message(js_element(chosen, shared), js_element(rejected, shared)))
        shared++;
    if (shared && shared == shorter) shared--;
    if (shared == 0)
        return status_fail("\"chosen\" and \"rejected\" share no message that could be the prompt");
    struct json *prompt = js_new_array(), *rest = js_new_array();
    for (size_t i = 0; i < count; i++)
        js_append(i < shared ? prompt : rest, js_copy(js_element(chosen, i)));
    enum status status = read_messages(out, rules, object, prompt, rest);
    js_free(prompt);
    js_free(rest);
    return status;
}

/* ---- the forms */

static enum status read_pair(struct record *out, const struct record_rules *rules,
                             const struct json *object, enum record_role role) {
    const struct json *prompt = record_member(object, rules->fields, ROLE_PROMPT);
    const struct json *completion = record_member(object, rules->fields, role);
    if (js_is_string(prompt) && js_is_string(completion))
        return read_texts(out, rules, part_of(prompt), part_of(completion));
    if (js_is_array(prompt) && js_is_array(completion))
        return read_messages(out, rules, object, prompt, completion);
    return status_fail("\"%.60s\" and \"%.60s\" must both be texts or both be lists of messages",
                       record_field(rules->fields, ROLE_PROMPT), record_field(rules->fields, role));
}

enum status completion_read(struct record *out, const struct record_rules *rules,
                            const struct json *object) {
    bool named = rules->fields && rules->fields->named;
    if (!named && js_is_bool(js_member(object, "label")))
        return status_fail("the record has a \"label\" that says whether its completion is wanted: "
                           "take the wanted ones out of the set, or read all with --fields "
                           "prompt=prompt,completion=completion");
    return read_pair(out, rules, object, ROLE_COMPLETION);
}

enum status completion_read_chosen(struct record *out, const struct record_rules *rules,
                                   const struct json *object) {
    const struct json *prompt = record_member(object, rules->fields, ROLE_PROMPT);
    const struct json *chosen = record_member(object, rules->fields, ROLE_CHOSEN);
    const struct json *rejected = record_member(object, rules->fields, ROLE_REJECTED);
    /* a prompt's text beside messages is in them, too, as TRL takes it */
    bool shared = !prompt || (js_is_string(prompt) && js_is_array(chosen));
    if (!shared) return read_pair(out, rules, object, ROLE_CHOSEN);
    if (js_is_string(chosen) && js_is_string(rejected))
        return read_shared_text(out, rules, chosen, rejected);
    if (js_is_array(chosen) && js_is_array(rejected))
        return read_shared_messages(out, rules, object, chosen, rejected);
    return status_fail(
        "\"chosen\" without a \"prompt\" of its kind needs \"rejected\", as a text or "
        "list of messages like it: what both begin with is the prompt");
}
