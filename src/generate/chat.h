/* The chat formats of the common model families, by name or as a model's tokenizer files tell them.
 * Templates are not interpreted: one that is none of these is refused. */
#ifndef GENERATE_CHAT_H
#define GENERATE_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum chat_kind {
    CHAT_CHATML,  /* <|im_start|>role\n…<|im_end|>\n */
    CHAT_LLAMA3,  /* <|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|> */
    CHAT_MISTRAL, /* [INST] …[/INST] */
    CHAT_APRIEL,  /* <|role|>\n…\n<|end|>\n */
    CHAT_KINDS,
};

struct chat_style {
    enum chat_kind kind;
    char *bos;    /* text of the token that begins a conversation; "" for none; owned */
    char *system; /* the system text of a conversation without one, or NULL; owned */
    /* What differs between versions of one family. */
    bool knowledge_date;            /* Llama 3.1: the dates before the system text */
    bool space_before, space_after; /* Mistral: of the user's text inside its brackets */
    bool system_brackets;           /* Mistral: [SYSTEM_PROMPT]; else it joins the user's text */
    bool reasoning_steps;           /* Apriel: the answer begins "Here are my reasoning steps:" */
};

struct chat_message {
    const char *role; /* "system" (only first), "user", "assistant" */
    const char *content;
};

/* "chatml", "llama3", "mistral", "apriel"; STATUS_USAGE otherwise. Free with chat_style_free, which
 * accepts a zeroed struct. */
enum status chat_style_named(struct chat_style *out, const char *name) STATUS_CHECKED;

/* What chat_template.jinja, or else chat_template in tokenizer_config.json, of a model directory
 * amounts to. Fails when there is none, or it is none of the known ones. */
enum status chat_style_read(struct chat_style *out, const char *directory) STATUS_CHECKED;
void chat_style_free(struct chat_style *style);

/* The conversation's text up to where the assistant answers, special tokens spelled out: to be
 * encoded without adding any. The caller frees `*out`. A role out of place is a failure. */
enum status chat_format(char **out, const struct chat_style *style,
                        const struct chat_message *messages, size_t count) STATUS_CHECKED;

/* The token that ends an answer: "<|im_end|>" … */
const char *chat_end_token(const struct chat_style *style);
const char *chat_kind_name(enum chat_kind kind);

#endif
