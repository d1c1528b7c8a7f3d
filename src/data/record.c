#include "data/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

/* Where a record stands, for messages. */
struct place {
    const char *source;
    uint64_t line;
};

static enum status fail_at(const struct place *place, const char *reason) {
    return status_fail("\"%s\": line %" PRIu64 ": %s", place->source, place->line, reason);
}

/* The text's ids as the record, without its end. */
static enum status encode(struct record *out, const struct record_rules *rules, const char *text,
                          size_t length, enum tokenizer_around around) {
    around &= rules->around;
    return tokenizer_encode(rules->tokenizer, text, length, around, &out->ids, &out->count);
}

/* The record's end token, unless the text brought it. */
static enum status append_end(struct record *record, const struct record_rules *rules) {
    if (!rules->end || record->count == 0) return STATUS_OK;
    if (record->ids[record->count - 1] == rules->end_id) return STATUS_OK;
    uint32_t *grown = memory_resize(record->ids, record->count + 1, sizeof *grown);
    if (!grown) return STATUS_FAILED;
    record->ids = grown;
    record->ids[record->count++] = rules->end_id;
    return STATUS_OK;
}

enum status record_from_text(struct record *out, const struct record_rules *rules, const char *text,
                             size_t length) {
    *out = (struct record){0};
    if (length == 0) return STATUS_OK;
    enum status status = encode(out, rules, text, length, TOKENIZER_WHOLE);
    if (!status) status = append_end(out, rules);
    if (status) record_free(out);
    return status;
}

/* Prompt and response are encoded apart, so that the prompt's ids are the ones that the model is
 * given when it answers; the mask covers the response and its end. What the template puts after a
 * text comes after the response. */
static enum status from_pair(struct record *out, const struct record_rules *rules,
                             const struct json *prompt, const struct json *response) {
    struct text first = {0};
    struct record second = {0};
    size_t prompt_length = js_string_length(prompt), response_length = js_string_length(response);
    if (prompt_length + response_length == 0) return STATUS_OK;
    text_append_bytes(&first, js_string_or(prompt, ""), prompt_length);
    if (rules->separator) text_append(&first, "%s", rules->separator);
    size_t first_length = first.length;
    char *first_text = text_finish(&first);
    if (!first_text) return STATUS_FAILED;
    enum status status = encode(out, rules, first_text, first_length, TOKENIZER_BEGIN);
    free(first_text);
    if (!status)
        status = encode(&second, rules, js_string_or(response, ""), response_length, TOKENIZER_END);
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
    status = append_end(out, rules);
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

static enum status read_mask(struct record *out, const struct json *mask,
                             const struct place *place) {
    if (!mask) return STATUS_OK;
    if (!js_is_array(mask) || js_count(mask) != out->count)
        return fail_at(place, "\"loss_mask\" must be a list as long as \"ids\"");
    out->mask = memory_calloc(out->count, 1);
    if (!out->mask) return STATUS_FAILED;
    for (size_t i = 0; i < out->count; i++) {
        int64_t value = js_integer_or(js_element(mask, i), -1);
        if (value != 0 && value != 1) return fail_at(place, "\"loss_mask\" must hold 0 and 1");
        out->mask[i] = (uint8_t)value;
    }
    return STATUS_OK;
}

static enum status from_ids(struct record *out, const struct record_rules *rules,
                            const struct json *ids, const struct json *mask,
                            const struct place *place) {
    int64_t vocab_size = (int64_t)tokenizer_vocab_size(rules->tokenizer);
    if (!js_is_array(ids)) return fail_at(place, "\"ids\" must be a list of integers");
    if (js_count(ids) == 0) return fail_at(place, "\"ids\" is empty");
    out->as_is = true;
    out->count = js_count(ids);
    out->ids = memory_calloc(out->count, sizeof *out->ids);
    if (!out->ids) return STATUS_FAILED;
    for (size_t i = 0; i < out->count; i++) {
        const struct json *element = js_element(ids, i);
        if (!js_is_integer(element)) return fail_at(place, "\"ids\" must be a list of integers");
        int64_t id = js_integer_or(element, -1);
        if (id < 0 || id >= vocab_size)
            return status_fail("\"%s\": line %" PRIu64 ": id %" PRId64
                               " at position %zu is outside "
                               "the vocabulary of %" PRId64 " tokens",
                               place->source, place->line, id, i, vocab_size);
        out->ids[i] = (uint32_t)id;
    }
    return read_mask(out, mask, place);
}

static enum status from_object(struct record *out, const struct record_rules *rules,
                               const struct json *object, const struct place *place) {
    const struct json *text = js_member(object, "text"), *ids = js_member(object, "ids");
    const struct json *prompt = js_member(object, "prompt");
    const struct json *response = js_member(object, "response");
    if (!js_is_object(object)) return fail_at(place, "a record must be a JSON object");
    if (!text && !ids && !(prompt && response))
        return fail_at(place, "a record needs \"text\", \"prompt\" and \"response\", or \"ids\"");
    if ((text != NULL) + (ids != NULL) + (prompt && response) > 1)
        return fail_at(place, "a record must have only one of \"text\", \"prompt\" and "
                              "\"response\", and \"ids\"");
    if (ids) return from_ids(out, rules, ids, js_member(object, "loss_mask"), place);
    if (text && !js_is_string(text)) return fail_at(place, "\"text\" must be a string");
    if (!text && (!js_is_string(prompt) || !js_is_string(response)))
        return fail_at(place, "\"prompt\" and \"response\" must be strings");
    enum status status =
        text ? record_from_text(out, rules, js_string_or(text, ""), js_string_length(text))
             : from_pair(out, rules, prompt, response);
    return status ? fail_at(place, status_message()) : STATUS_OK;
}

enum status record_parse(struct record *out, const struct record_rules *rules, const char *line,
                         size_t length, const char *source, uint64_t number) {
    struct json *object = NULL;
    struct place place = {source, number};
    *out = (struct record){0};
    enum status status = js_parse_line(&object, line, length, source, number);
    if (!status) status = from_object(out, rules, object, &place);
    js_free(object);
    if (status) record_free(out);
    return status;
}

void record_free(struct record *record) {
    free(record->ids);
    free(record->mask);
    *record = (struct record){0};
}
