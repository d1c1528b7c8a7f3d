/* Text to token ids and back, as Hugging Face tokenizers does it from a tokenizer.json.
 *
 * Understood: BPE models (byte-level, or with byte fallback; ignore_merges, unk_token, fuse_unk);
 * normalizers NFC, NFD, NFKC, NFKD, Prepend, Replace; pre-tokenizers ByteLevel, Split, Digits,
 * Metaspace; post-processors ByteLevel and TemplateProcessing; decoders ByteLevel, ByteFallback,
 * Fuse, Replace, Strip, Metaspace; Sequences of these; added tokens with all their flags. Anything
 * else in the file is refused by name, because ignoring it would give other ids. Truncation and
 * padding settings in the file are not applied. */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tokenizer;

/* Read a tokenizer.json, or the one in a model's directory. The caller frees `*out`. */
enum status tokenizer_read(struct tokenizer **out, const char *path) STATUS_CHECKED;
void tokenizer_free(struct tokenizer *tokenizer); /* accepts NULL */

/* Which of the tokens that the file's template puts around a text are added. A text that is to be
 * continued, or that more text follows, gets no tokens at its end. */
enum tokenizer_around {
    TOKENIZER_PLAIN = 0,
    TOKENIZER_BEGIN = 1, /* those before it, such as <s> */
    TOKENIZER_END = 2,   /* those after it, such as </s> */
    TOKENIZER_WHOLE = TOKENIZER_BEGIN | TOKENIZER_END,
    TOKENIZER_REPEAT = 4, /* also those that the text brings itself, as the library does */
};

/* The ids of `length` bytes of UTF-8 (which may hold NUL). What the text itself begins or ends with
 * is not added a second time, unless with TOKENIZER_REPEAT. The caller frees `*ids`; several
 * threads may encode at once. Fails on text that is not UTF-8, naming the byte. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             enum tokenizer_around around, uint32_t **ids,
                             size_t *count) STATUS_CHECKED;

/* Does the template have tokens there? */
bool tokenizer_adds(const struct tokenizer *tokenizer, enum tokenizer_around around);

/* The text of ids, terminated; `*length` (may be NULL) counts without the terminator. Bytes that do
 * not form UTF-8 become U+FFFD. Ids without a token are left out, and so are special tokens with
 * `skip_special`. The caller frees `*text`. */
enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                             bool skip_special, char **text, size_t *length) STATUS_CHECKED;

/* Does tokenizer_decode with skip_special put something out for the id? */
bool tokenizer_shows(const struct tokenizer *tokenizer, uint32_t id);

/* A token of plain letters, before which others are decoded as inside a text; false when there is
 * none. */
bool tokenizer_plain_id(const struct tokenizer *tokenizer, uint32_t *id);

/* One more than the largest id. */
uint64_t tokenizer_vocab_size(const struct tokenizer *tokenizer);

/* The id of a token by its exact name ("<|endoftext|>"); false when there is none. */
bool tokenizer_token_id(const struct tokenizer *tokenizer, const char *name, uint32_t *id);

/* The token that ends a text: eos_token of tokenizer_config.json, or else eos_token_id of
 * generation_config.json or config.json, beside tokenizer.json; false when none of them says. */
bool tokenizer_end_id(const struct tokenizer *tokenizer, uint32_t *id);

/* Every token that ends a text: that one, and all of eos_token_id in generation_config.json and
 * config.json. Borrowed; *count may be 0. */
const uint32_t *tokenizer_end_ids(const struct tokenizer *tokenizer, size_t *count);

/* max_position_embeddings of the config.json beside tokenizer.json; 0: unknown. */
uint64_t tokenizer_context(const struct tokenizer *tokenizer);

/* SHA-256 of tokenizer.json in hexadecimal. */
const char *tokenizer_sha256(const struct tokenizer *tokenizer);

#endif
