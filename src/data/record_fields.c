#include "data/record_fields.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { MOST_SHOWN = 12 };

static const char *const role_names[RECORD_ROLES] = {
    [ROLE_TEXT] = "text",
    [ROLE_PROMPT] = "prompt",
    [ROLE_RESPONSE] = "response",
    [ROLE_COMPLETION] = "completion",
    [ROLE_CHOSEN] = "chosen",
    [ROLE_REJECTED] = "rejected",
    [ROLE_INSTRUCTION] = "instruction",
    [ROLE_INPUT] = "input",
    [ROLE_OUTPUT] = "output",
    [ROLE_IDS] = "ids",
    [ROLE_LOSS_MASK] = "loss_mask",
    [ROLE_MESSAGES] = "messages",
    [ROLE_CONVERSATIONS] = "conversations",
};

/* What published sets call these, the likeliest first; NULL ends. */
static const char *const prompt_names[] = {"prompt", "question", "query",  "instruction", "problem",
                                           "input",  "inputs",   "source", "user",        NULL};
static const char *const response_names[] = {
    "response",           "answer",    "completion", "output", "solution",
    "generated_solution", "chosen",    "outputs",    "target", "targets",
    "generated_response", "assistant", NULL};
static const char *const text_names[] = {"text",    "content",  "contents", "body", "document",
                                         "article", "markdown", "passage",  "code", NULL};

const char *record_role_name(enum record_role role) {
    return role_names[role];
}

const char *record_field(const struct record_fields *fields, enum record_role role) {
    if (!fields || !fields->named) return role_names[role];
    return fields->names[role];
}

void record_fields_free(struct record_fields *fields) {
    for (int role = 0; role < RECORD_ROLES; role++) free(fields->names[role]);
    *fields = (struct record_fields){0};
}

const struct json *record_member(const struct json *object, const struct record_fields *fields,
                                 enum record_role role) {
    const char *name = record_field(fields, role);
    const struct json *value = name ? js_member(object, name) : NULL;
    bool some = js_is_string(value) || js_is_number(value) || js_is_bool(value) ||
                js_is_array(value) || js_is_object(value);
    return some ? value : NULL; /* pandas writes NaN where there is nothing */
}

static enum status parse_one(struct record_fields *out, const char *text, size_t length) {
    const char *equals = memchr(text, '=', length);
    size_t role_length = equals ? (size_t)(equals - text) : 0;
    size_t name_length = equals ? length - role_length - 1 : 0;
    if (!name_length)
        return status_set(STATUS_USAGE, "--fields: \"%.*s\" is not ROLE=NAME, as prompt=question",
                          (int)length, text);
    for (int role = 0; role < RECORD_ROLES; role++) {
        if (strlen(role_names[role]) != role_length ||
            strncmp(role_names[role], text, role_length) != 0)
            continue;
        if (out->names[role])
            return status_set(STATUS_USAGE, "--fields names \"%s\" twice", role_names[role]);
        out->names[role] = memory_copy_bytes(equals + 1, name_length);
        return out->names[role] ? STATUS_OK : STATUS_FAILED;
    }
    struct text roles = {0};
    for (int role = 0; role < RECORD_ROLES; role++)
        text_append(&roles, "%s%s", role ? ", " : "", role_names[role]);
    enum status status = status_set(STATUS_USAGE, "--fields: no role \"%.*s\": there are %s",
                                    (int)role_length, text, roles.bytes ? roles.bytes : "");
    text_free(&roles);
    return status;
}

enum status record_fields_parse(struct record_fields *out, const char *text) {
    enum status status = STATUS_OK;
    *out = (struct record_fields){.named = true};
    for (const char *at = text; !status; at++) {
        size_t length = strcspn(at, ",");
        status = parse_one(out, at, length);
        at += length;
        if (!*at) break;
    }
    if (status) record_fields_free(out);
    return status;
}

static const char *find(const struct json *object, const char *const *names) {
    for (; *names; names++)
        if (js_is_string(js_member(object, *names))) return *names;
    return NULL;
}

/* The only field that holds text, if there is one. */
static const char *only_text(const struct json *object) {
    const char *found = NULL;
    for (void *i = js_first(object); i; i = js_next(object, i)) {
        if (!js_is_string(js_value(i))) continue;
        if (found) return NULL;
        found = js_key(i);
    }
    return found;
}

/* A field that may be meant as the prompt and another as the response, or one as the text. */
static void append_suggestion(struct text *out, const struct json *object) {
    const char *prompt = find(object, prompt_names), *response = find(object, response_names);
    const char *text = find(object, text_names);
    if (!text) text = only_text(object);
    if (prompt && response && strcmp(prompt, response) != 0)
        text_append(out, "--fields prompt=%s,response=%s", prompt, response);
    else if (text)
        text_append(out, "--fields text=%s", text);
    else
        text_append(out, "--fields, as --fields prompt=question,response=answer");
}

static void append_found(struct text *out, const struct json *object) {
    size_t shown = 0;
    for (void *i = js_first(object); i && shown < MOST_SHOWN; i = js_next(object, i), shown++)
        text_append(out, "%s\"%.60s\"", shown ? ", " : "", js_key(i));
    if (js_count(object) > shown) text_append(out, ", and %zu more", js_count(object) - shown);
    if (shown == 0) text_append(out, "no fields");
}

static void append_named(struct text *out, const struct record_fields *fields) {
    const char *comma = "";
    for (int role = 0; role < RECORD_ROLES; role++) {
        if (!fields->names[role]) continue;
        text_append(out, "%s\"%.60s\"", comma, fields->names[role]);
        comma = ", ";
    }
}

enum status record_fields_refuse(const struct json *object, const struct record_fields *fields,
                                 const char *forms) {
    struct text text = {0};
    append_found(&text, object);
    if (fields && fields->named) {
        text_append(&text, ", not what --fields names: ");
        append_named(&text, fields);
    } else {
        text_append(&text, ", but needs %s: name its fields with ", forms);
        append_suggestion(&text, object);
    }
    char *message = text_finish(&text);
    if (!message) return STATUS_FAILED;
    enum status status = status_fail("the record has %s", message);
    free(message);
    return status;
}
