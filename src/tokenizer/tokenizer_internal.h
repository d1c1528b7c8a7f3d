/* The parts of a tokenizer, in the order in which text passes through them:
 * added tokens (tokenizer_added.c) -> normalizer (tokenizer_normalize.c) -> added tokens again ->
 * pre-tokenizer (tokenizer_split.c) -> BPE (tokenizer_bpe.c) -> template (tokenizer.c).
 *
 * A tokenizer does not change after it was read. What changes while encoding is in a worker, one
 * per thread. */
#ifndef TOKENIZER_TOKENIZER_INTERNAL_H
#define TOKENIZER_TOKENIZER_INTERNAL_H

#include <pthread.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/regex.h"
#include "tokenizer/string_table.h"
#include "tokenizer/tokenizer.h" /* circle: private to it and its parts */

#define NO_TOKEN UINT32_MAX

struct id_list {
    uint32_t *values; /* [count] */
    size_t count, capacity;
};

/* A part of a text on its way. */
struct span {
    const char *bytes;
    size_t length;
    bool first; /* begins where the whole text begins */
};

/* What a Replace or a Split looks for: a plain text or a regular expression. */
struct pattern {
    char *literal; /* [length], or NULL */
    size_t length;
    struct regex *regex; /* or NULL */
};

enum normalizer_kind { NORMALIZE_FORM, NORMALIZE_PREPEND, NORMALIZE_REPLACE };

struct normalizer {
    enum normalizer_kind kind;
    bool compose, compatible; /* FORM: NFC or NFD, NFKC or NFC */
    struct pattern pattern;   /* REPLACE */
    char *content;            /* [content_length]; PREPEND, REPLACE */
    size_t content_length;
};

enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,
};

enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

enum step_kind {
    STEP_SPLIT,        /* cut at matches of a pattern */
    STEP_DIGITS,       /* cut at numeric characters */
    STEP_PREFIX_SPACE, /* a space in front, unless there is one */
    STEP_BYTES,        /* every byte becomes a printable character */
    STEP_METASPACE,    /* spaces become the replacement, one is put in front */
};

/* ByteLevel and Metaspace are several steps each. */
struct step {
    enum step_kind kind;
    enum split_behavior behavior; /* SPLIT, DIGITS */
    bool invert;                  /* SPLIT */
    struct pattern pattern;       /* SPLIT */
    enum prepend_scheme scheme;   /* METASPACE */
    char *replacement;            /* METASPACE; terminated */
};

enum decoder_kind {
    DECODE_BYTES,
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_REPLACE,
    DECODE_STRIP,
    DECODE_METASPACE,
};

struct decoder {
    enum decoder_kind kind;
    struct pattern pattern; /* REPLACE */
    char *content;          /* REPLACE; STRIP, METASPACE: the character; terminated */
    size_t content_length;  /* REPLACE */
    size_t left, right;     /* STRIP: at most so many on each side */
    bool drop_first;        /* METASPACE: in the first token it is dropped, not made a space */
};

struct added_token {
    char *content; /* [length], terminated */
    size_t length;
    uint32_t id;
    bool special, single_word, strip_left, strip_right, normalized;
};

/* Finds the longest of a set of strings at any place of a text: a tree of bytes. */
struct matcher {
    struct matcher_node {
        uint32_t child, sibling; /* nodes; 0: none */
        uint32_t token;          /* index of the added token that ends here, or NO_TOKEN */
        unsigned char byte;
    } * nodes; /* [count]; node 0 is the root */
    size_t count, capacity;
    uint32_t roots[256]; /* the root's child for each byte, or 0 */
};

struct merge {
    uint64_t pair;        /* left id << 32 | right id */
    uint32_t rank, token; /* token: the merged id, NO_TOKEN in an empty slot */
};

struct bpe {
    struct string_table vocab;
    uint32_t *entry_of_id; /* [id_count]: entry of `vocab`, or NO_TOKEN */
    size_t id_count;
    struct merge *merges; /* [merge_slots], a hash table by pair; merge_slots is a power of two */
    size_t merge_slots;
    uint32_t unknown;       /* id of unk_token, or NO_TOKEN */
    uint32_t byte_ids[256]; /* "<0x00>" …, or NO_TOKEN; used with byte_fallback */
    bool byte_fallback, fuse_unknown, ignore_merges;
};

struct worker;

struct tokenizer {
    char sha256[SHA256_HEX_SIZE];
    struct bpe bpe;
    struct normalizer *normalizers; /* [normalizer_count] */
    size_t normalizer_count;
    struct step *steps; /* [step_count] */
    size_t step_count;
    struct decoder *decoders; /* [decoder_count] */
    size_t decoder_count;
    struct added_token *added; /* [added_count] */
    size_t added_count;
    struct string_table added_by_name; /* content -> index in `added` */
    uint32_t *added_of_id;             /* [vocab_size], index in `added` or NO_TOKEN */
    struct matcher raw, normalized;    /* by the tokens' `normalized` flag */
    struct id_list before, after;      /* the template's tokens around the text */
    uint32_t end_id;                   /* or NO_TOKEN */
    struct id_list end_ids;            /* it, and those that the model's files name */
    uint32_t plain_id;                 /* tokenizer_plain_id, or NO_TOKEN */
    uint64_t context;                  /* tokens that the model takes; 0: unknown */
    uint64_t vocab_size;
    struct worker_pool {
        pthread_mutex_t lock;
        struct worker *idle; /* workers that no thread uses now */
    } * workers;
};

/* A symbol of a word while it is merged: a doubly linked list in an array. */
struct symbol {
    uint32_t token;
    int32_t previous, next; /* -1 at the ends */
    bool gone;              /* merged into the symbol on its left */
};

struct candidate {
    uint32_t rank;
    int32_t position; /* of the left symbol */
    uint32_t token;
};

struct worker {
    struct worker *next_idle;
    struct regex_scratch *regex;
    struct text *step_text;    /* [step_count]: each step's output while the next ones read it */
    struct text normal[2];     /* the normalizers' output, in turn */
    struct string_table cache; /* word -> first of its ids in cache_ids, a count before it */
    struct id_list cache_ids;
    struct symbol *symbols;
    size_t symbol_capacity;
    struct candidate *heap;
    size_t heap_count, heap_capacity;
    struct id_list ids; /* the result so far */
};

enum status id_list_append(struct id_list *list, uint32_t id) STATUS_CHECKED;
enum status id_list_extend(struct id_list *list, const uint32_t *ids, size_t count) STATUS_CHECKED;

/* Buffers are struct text that are cleared and filled again; their memory failure shows here. */
static inline void text_clear(struct text *text) {
    text->length = 0;
}
enum status text_check(const struct text *text) STATUS_CHECKED;

/* tokenizer.c: an idle worker, or a new one; hand it back after use. */
enum status tokenizer_take_worker(struct worker **out,
                                  const struct tokenizer *tokenizer) STATUS_CHECKED;
void tokenizer_give_worker(const struct tokenizer *tokenizer, struct worker *worker);

/* tokenizer_read.c: from text; `path` names it in messages. Knows no end id. */
enum status tokenizer_parse(struct tokenizer **out, const char *text, size_t length,
                            const char *path) STATUS_CHECKED;

/* Reading the parts of the file. `source` is its path. tokenizer_read_model.c, _parts.c: */
enum status tokenizer_read_model(struct tokenizer *tokenizer, const struct json *model,
                                 const char *source) STATUS_CHECKED;
enum status tokenizer_read_added(struct tokenizer *tokenizer, const struct json *list,
                                 const char *source) STATUS_CHECKED;
enum status tokenizer_read_normalizer(struct tokenizer *tokenizer, const struct json *part,
                                      const char *source) STATUS_CHECKED;
enum status tokenizer_read_steps(struct tokenizer *tokenizer, const struct json *part,
                                 const char *source) STATUS_CHECKED;
enum status tokenizer_read_template(struct tokenizer *tokenizer, const struct json *part,
                                    const char *source) STATUS_CHECKED;
enum status tokenizer_read_decoder(struct tokenizer *tokenizer, const struct json *part,
                                   const char *source) STATUS_CHECKED;

/* tokenizer_json.c: the "type" of a part; `what` it is ("normalizer") goes into messages. */
enum status part_type(const char **type, const struct json *part, const char *what,
                      const char *source) STATUS_CHECKED;
enum status part_refuse(const char *type, const char *what, const char *source) STATUS_CHECKED;
/* Refuses a member that is not in `known`: names with spaces between. */
enum status part_keys(const struct json *part, const char *known, const char *what,
                      const char *source) STATUS_CHECKED;
/* A required string member, copied with a terminator; the caller frees. */
enum status part_string(char **out, size_t *length, const struct json *part, const char *key,
                        const char *what, const char *source) STATUS_CHECKED;
/* An optional boolean member. */
enum status part_bool(bool *out, const struct json *part, const char *key, bool fallback,
                      const char *what, const char *source) STATUS_CHECKED;
/* {"String": …} or {"Regex": …} in member "pattern". */
enum status part_pattern(struct pattern *pattern, const struct json *part, const char *what,
                         const char *source) STATUS_CHECKED;
/* One more zeroed element at the end of an array; NULL when out of memory. */
void *part_grow(void **array, size_t *count, size_t size);

/* tokenizer_pattern.c: the next match at or after *from; empty matches right behind the last match
 * are passed over. Begin with struct pattern_state {0}. */
struct pattern_state {
    size_t from, last_end;
    bool any;
};
enum status pattern_next(bool *found, size_t *start, size_t *end, struct pattern_state *state,
                         const struct pattern *pattern, struct worker *worker, const char *text,
                         size_t length) STATUS_CHECKED;
enum status pattern_replace(struct text *out, const struct pattern *pattern, struct worker *worker,
                            const char *text, size_t length, const char *content,
                            size_t content_length) STATUS_CHECKED;
void pattern_free(struct pattern *pattern);

/* tokenizer_normalize.c: *out is `in` or the text in one of the worker's buffers. */
enum status tokenizer_normalize(struct span *out, const struct tokenizer *tokenizer,
                                struct worker *worker, struct span in) STATUS_CHECKED;

/* tokenizer_added.c: calls `emit` with each token found (id) and each part between (NO_TOKEN). */
typedef enum status (*emit_function)(void *context, struct span span, uint32_t id);
enum status matcher_add(struct matcher *matcher, const char *bytes, size_t length,
                        uint32_t token) STATUS_CHECKED;
enum status matcher_split(const struct matcher *matcher, const struct tokenizer *tokenizer,
                          struct span text, emit_function emit, void *context) STATUS_CHECKED;
void matcher_free(struct matcher *matcher);

/* tokenizer_split.c: runs the steps from `index` on and BPE on every word that comes out. */
enum status tokenizer_run_steps(const struct tokenizer *tokenizer, struct worker *worker,
                                size_t index, struct span text) STATUS_CHECKED;

/* tokenizer_bpe.c: appends the ids of a word to worker->ids. */
enum status bpe_encode_word(const struct bpe *bpe, struct worker *worker, const char *word,
                            size_t length) STATUS_CHECKED;
const struct merge *bpe_find_merge(const struct bpe *bpe, uint32_t left, uint32_t right);
void bpe_free(struct bpe *bpe);

/* tokenizer_decode.c: for tokenizer_plain_id. */
uint32_t tokenizer_find_plain_id(const struct tokenizer *tokenizer);

/* In byte-level vocabularies a byte is written as a printable character (GPT-2's table): itself
 * where it is printable in Latin-1, else the next free one from U+0100 on. */
uint32_t tokenizer_character_of(unsigned char byte);
/* The byte that a character stands for, or -1. */
int tokenizer_byte_of(uint32_t character);

#endif
