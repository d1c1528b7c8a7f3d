/* Conversations as a model's own chat template writes them: transformers' apply_chat_template.
 *
 * The template is, as transformers takes it: the file chat_template.jinja beside the tokenizer, or
 * else chat_template of tokenizer_config.json: a text, or a list or object of named ones, of which
 * "default". Others in the list, and additional_chat_templates/NAME.jinja, are there by their
 * names. */
#ifndef TEMPLATE_CHAT_H
#define TEMPLATE_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"
#include "template/template.h"

/* Where the template was found. */
enum chat_kind { CHAT_CONFIG, CHAT_JINJA, CHAT_NAMED, CHAT_FILE, CHAT_KINDS };

struct chat_style {
    enum chat_kind kind;
    struct template *parsed;
    struct json *variables;       /* bos_token and the other special tokens; owned */
    char *end;                    /* what stands after an answer: "<|im_end|>\n"; owned */
    char *time;                   /* what the template said of today's date, or NULL; owned */
    char sha256[SHA256_HEX_SIZE]; /* of the template's text and the variables */
};

struct chat_message {
    const char *role, *content;
};

/* The template of a model's directory. `choice` is NULL for the model's own, the path of a
 * template, or the name of one of the model's. Free with chat_style_free, which accepts a zeroed
 * struct. */
enum status chat_style_open(struct chat_style *out, const char *directory,
                            const char *choice) STATUS_CHECKED;
enum status chat_style_read(struct chat_style *out, const char *directory) STATUS_CHECKED;

/* A template's text; `variables` (may be NULL) is taken over, also when it fails. */
enum status chat_style_parse(struct chat_style *out, const char *text, size_t length,
                             const char *source, struct json *variables) STATUS_CHECKED;
void chat_style_free(struct chat_style *style);

/* The text of a list of messages, special tokens spelled out: to be encoded without adding any.
 * With `prompt` up to where the assistant answers. Null members of messages are left out, as
 * transformers does. A content that is a list of parts is given to the template as it is, as there;
 * a template that would print it as Python writes a list is refused. */
enum status chat_render(struct template_output *out, const struct chat_style *style,
                        const struct json *messages, bool prompt) STATUS_CHECKED;

/* The same, of roles and texts, as a prompt. The caller frees `*out`. */
enum status chat_format(char **out, const struct chat_style *style,
                        const struct chat_message *messages, size_t count) STATUS_CHECKED;

/* "tokenizer_config.json", "chat_template.jinja" … */
const char *chat_kind_name(enum chat_kind kind);

#endif
