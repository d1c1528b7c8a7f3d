#include "data/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/completion.h"
#include "data/conversation.h"

/* The text's ids as the record, without its end. */
static enum status encode(struct record *out, const struct record_rules *rules, const char *text,
                          size_t length, enum tokenizer_around around) {
    around &= rules->around;
    return tokenizer_encode(rules->tokenizer, text, length, around, &out->ids, &out->count);
}

enum status record_append_end(struct record *record, const struct record_rules *rules) {
    size_t count = record->count;
    if (!rules->end || count == 0 || record->ids[count - 1] == rules->end_id) return STATUS_OK;
    uint32_t *grown = memory_resize(record->ids, count + 1, sizeof *grown);
    if (!grown) return STATUS_FAILED;
    record->ids = grown;
    uint8_t *mask = record->mask ? memory_resize(record->mask, count + 1, 1) : NULL;
    if (record->mask && !mask) return STATUS_FAILED;
    if (mask) {
        record->mask = mask;
        mask[count] = mask[count - 1];
    }
    record->ids[count] = rules->end_id;
    record->count++;
    return STATUS_OK;
}

enum status record_from_text(struct record *out, const struct record_rules *rules, const char *text,
                             size_t length) {
    *out = (struct record){0};
    if (length == 0) return STATUS_OK;
    enum status status = encode(out, rules, text, length, TOKENIZER_WHOLE);
    if (!status) status = record_append_end(out, rules);
    if (status) record_free(out);
    return status;
}

/* Prompt and response are encoded apart, so that the prompt's ids are the ones that the model is
 * given when it answers; the mask covers the response and its end. What the template puts after a
 * text comes after the response. */
static enum status from_pair(struct record *out, const struct record_rules *rules,
                             const struct text *prompt, const struct json *response) {
    struct record second = {0};
    enum status status = encode(out, rules, prompt->bytes, prompt->length, TOKENIZER_BEGIN);
    if (!status)
        status = encode(&second, rules, js_string_or(response, ""), js_string_length(response),
                        TOKENIZER_END);
    if (status) goto done;
    size_t prompt_count = out->count;
    uint32_t *ids = memory_resize(out->ids, out->count + second.count + 1, sizeof *ids);
    if (!ids) {
        status = STATUS_FAILED;
        goto done;
    }
    out->ids = ids;
    if (second.count) memcpy(ids + out->count, second.ids, second.count * sizeof *ids);
    out->count += second.count;
    status = record_append_end(out, rules);
    if (status) goto done;
    out->mask = memory_calloc(out->count, 1);
    if (!out->mask) {
        status = STATUS_FAILED;
        goto done;
    }
    memset(out->mask + prompt_count, 1, out->count - prompt_count);
done:
    record_free(&second);
    return status;
}

static enum status read_mask(struct record *out, const struct json *mask) {
    if (!mask) return STATUS_OK;
    if (!js_is_array(mask) || js_count(mask) != out->count)
        return status_fail("\"loss_mask\" must be a list as long as \"ids\"");
    out->mask = memory_calloc(out->count, 1);
    if (!out->mask) return STATUS_FAILED;
    for (size_t i = 0; i < out->count; i++) {
        int64_t value = js_integer_or(js_element(mask, i), -1);
        if (value != 0 && value != 1) return status_fail("\"loss_mask\" must hold 0 and 1");
        out->mask[i] = (uint8_t)value;
    }
    return STATUS_OK;
}

/* ---- the forms of a record */

static enum status check_string(const struct json *object, const struct record_rules *rules,
                                enum record_role role) {
    const struct json *value = record_member(object, rules->fields, role);
    if (!value || js_is_string(value)) return STATUS_OK;
    return status_fail("\"%.60s\" must be a string", record_field(rules->fields, role));
}

static enum status read_text(struct record *out, const struct record_rules *rules,
                             const struct json *object) {
    const struct json *text = record_member(object, rules->fields, ROLE_TEXT);
    enum status status = check_string(object, rules, ROLE_TEXT);
    if (status) return status;
    return record_from_text(out, rules, js_string_or(text, ""), js_string_length(text));
}

/* The prompt is the texts of `first` and `second` (or RECORD_ROLES: none), a newline between. */
static enum status read_pair_of(struct record *out, const struct record_rules *rules,
                                const struct json *object, enum record_role first,
                                enum record_role second, enum record_role answer) {
    struct text prompt = {0};
    const struct json *one = record_member(object, rules->fields, first), *two = NULL;
    const struct json *response = record_member(object, rules->fields, answer);
    enum status status = check_string(object, rules, first);
    if (!status && second < RECORD_ROLES) {
        status = check_string(object, rules, second);
        two = record_member(object, rules->fields, second);
    }
    if (!status) status = check_string(object, rules, answer);
    if (status) return status;
    size_t one_length = js_string_length(one), two_length = js_string_length(two);
    if (one_length + two_length + js_string_length(response) == 0) return STATUS_OK;
    text_append_bytes(&prompt, js_string_or(one, ""), one_length);
    if (one_length && two_length) text_append(&prompt, "\n");
    if (two_length) text_append_bytes(&prompt, js_string_or(two, ""), two_length);
    if (rules->separator) text_append(&prompt, "%s", rules->separator);
    status =
        prompt.failed ? status_fail("out of memory") : from_pair(out, rules, &prompt, response);
    text_free(&prompt);
    return status;
}

static enum status read_pair(struct record *out, const struct record_rules *rules,
                             const struct json *object) {
    return read_pair_of(out, rules, object, ROLE_PROMPT, RECORD_ROLES, ROLE_RESPONSE);
}

static enum status read_alpaca(struct record *out, const struct record_rules *rules,
                               const struct json *object) {
    return read_pair_of(out, rules, object, ROLE_INSTRUCTION, ROLE_INPUT, ROLE_OUTPUT);
}

static enum status read_ids(struct record *out, const struct record_rules *rules,
                            const struct json *object) {
    const struct json *ids = record_member(object, rules->fields, ROLE_IDS);
    int64_t vocab_size = (int64_t)tokenizer_vocab_size(rules->tokenizer);
    if (!js_is_array(ids)) return status_fail("\"ids\" must be a list of integers");
    if (js_count(ids) == 0) return status_fail("\"ids\" is empty");
    out->as_is = true;
    out->count = js_count(ids);
    out->ids = memory_calloc(out->count, sizeof *out->ids);
    if (!out->ids) return STATUS_FAILED;
    for (size_t i = 0; i < out->count; i++) {
        const struct json *element = js_element(ids, i);
        if (!js_is_integer(element)) return status_fail("\"ids\" must be a list of integers");
        int64_t id = js_integer_or(element, -1);
        if (id < 0 || id >= vocab_size)
            return status_fail("id %" PRId64
                               " at position %zu is outside the vocabulary of %" PRId64 " tokens",
                               id, i, vocab_size);
        out->ids[i] = (uint32_t)id;
    }
    return read_mask(out, record_member(object, rules->fields, ROLE_LOSS_MASK));
}

static enum status read_chat(struct record *out, const struct record_rules *rules,
                             const struct json *object, enum record_role role) {
    enum status status =
        conversation_read(out, rules, object, record_member(object, rules->fields, role));
    if (!status && rules->end_chats) status = record_append_end(out, rules);
    return status;
}

static enum status read_messages(struct record *out, const struct record_rules *rules,
                                 const struct json *object) {
    return read_chat(out, rules, object, ROLE_MESSAGES);
}

static enum status read_conversations(struct record *out, const struct record_rules *rules,
                                      const struct json *object) {
    return read_chat(out, rules, object, ROLE_CONVERSATIONS);
}

struct form {
    const char *name; /* for messages */
    enum record_role needed[2];
    int needed_count;
    enum status (*read)(struct record *out, const struct record_rules *rules,
                        const struct json *object);
};

static const struct form forms[] = {
    {"\"text\"", {ROLE_TEXT}, 1, read_text},
    {"\"prompt\" and \"response\"", {ROLE_PROMPT, ROLE_RESPONSE}, 2, read_pair},
    {"\"prompt\" and \"completion\"", {ROLE_PROMPT, ROLE_COMPLETION}, 2, completion_read},
    {"\"chosen\"", {ROLE_CHOSEN}, 1, completion_read_chosen},
    {"\"instruction\" and \"output\"", {ROLE_INSTRUCTION, ROLE_OUTPUT}, 2, read_alpaca},
    {"\"messages\"", {ROLE_MESSAGES}, 1, read_messages},
    {"\"conversations\"", {ROLE_CONVERSATIONS}, 1, read_conversations},
    {"\"ids\"", {ROLE_IDS}, 1, read_ids},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Does the record have the form's members, here also null ones? */
static bool has_form(const struct form *form, const struct record_rules *rules,
                     const struct json *object, bool or_null) {
    for (int i = 0; i < form->needed_count; i++) {
        const char *name = record_field(rules->fields, form->needed[i]);
        bool there =
            name && (or_null ? js_has(object, name)
                             : record_member(object, rules->fields, form->needed[i]) != NULL);
        if (!there) return false;
    }
    return true;
}

/* "text=text", for the forms that the record has: the first of them. */
static void append_choice(struct text *out, const struct form *form) {
    for (int i = 0; i < form->needed_count; i++)
        text_append(out, "%s%s=%s", i ? "," : "", record_role_name(form->needed[i]),
                    record_role_name(form->needed[i]));
}

static char *form_names(const struct record_rules *rules, const struct json *object, bool all) {
    struct text text = {0};
    const char *comma = "";
    for (int i = 0; i < FORMS; i++)
        if (all || has_form(&forms[i], rules, object, false)) {
            text_append(&text, "%s%s", comma, forms[i].name);
            comma = all ? ", or " : "; ";
        }
    for (int i = 0; !all && i < FORMS; i++)
        if (has_form(&forms[i], rules, object, false)) {
            text_append(&text, ": choose with --fields, as --fields ");
            append_choice(&text, &forms[i]);
            break;
        }
    return text_finish(&text);
}

/* Forms of published sets that hold nothing to learn from, or not as they are. */
static enum status refuse_known(const struct json *object) {
    bool steps = js_is_array(js_member(object, "completions")) && js_member(object, "labels");
    if (steps)
        return status_fail("the record has \"completions\" with \"labels\", a judgement of steps, "
                           "which is no text to learn");
    if (js_member(object, "prompt") && js_count(object) == 1)
        return status_fail("the record has a \"prompt\" and nothing that follows it: it needs "
                           "\"completion\", \"response\" or \"chosen\"");
    return STATUS_OK;
}

/* The one form that the record has. Columns that a record leaves null do not count, unless all are.
 */
static enum status choose_form(const struct form **out, const struct record_rules *rules,
                               const struct json *object) {
    int found = 0;
    bool null = false;
    *out = NULL;
    for (int i = 0; i < FORMS; i++) {
        null |= has_form(&forms[i], rules, object, true);
        if (!has_form(&forms[i], rules, object, false)) continue;
        *out = &forms[i];
        found++;
    }
    if (found == 1 || (found == 0 && null)) return STATUS_OK;
    bool named = rules->fields && rules->fields->named;
    if (found == 0 && !named && refuse_known(object)) return STATUS_FAILED;
    char *names = form_names(rules, object, found == 0);
    if (!names) return STATUS_FAILED;
    enum status status = found ? status_fail("the record has %s", names)
                               : record_fields_refuse(object, rules->fields, names);
    free(names);
    return status;
}

static enum status from_object(struct record *out, const struct record_rules *rules,
                               const struct json *object) {
    const struct form *form;
    if (!js_is_object(object)) return status_fail("a record must be a JSON object");
    enum status status = choose_form(&form, rules, object);
    return status || !form ? status : form->read(out, rules, object);
}

enum status record_parse(struct record *out, const struct record_rules *rules, const char *text,
                         size_t length, const char *source, const char *unit, uint64_t number) {
    struct json *object = NULL;
    *out = (struct record){0};
    enum status status = js_parse_part(&object, text, length, source, unit, number);
    if (status) return status;
    if (from_object(out, rules, object))
        status = status_fail("\"%s\": %s %" PRIu64 ": %s", source, unit, number, status_message());
    js_free(object);
    if (status) record_free(out);
    return status;
}

void record_free(struct record *record) {
    free(record->ids);
    free(record->mask);
    *record = (struct record){0};
}
