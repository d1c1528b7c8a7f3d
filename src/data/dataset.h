/* Text files to a token set: what `apriel-tool data` does. */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "data/input.h"
#include "data/record_fields.h"

struct dataset_options {
    const char *tokenizer;     /* tokenizer.json, or a model's directory */
    const char *output;        /* the token set to write */
    const char *const *inputs; /* [input_count]: see input.h; "-": standard input */
    size_t input_count;
    enum input_kind kind;               /* of all inputs; INPUT_BY_NAME: each one's own */
    const struct record_fields *fields; /* other names for a record's members, or NULL */
    uint64_t seq_len;                   /* 0: one row a record, of any length */
    bool separate; /* with seq_len: one row a record, cut to seq_len, instead of packing */
    bool shuffled; /* put the finished rows into an order drawn from shuffle_seed */
    uint64_t shuffle_seed;
    uint64_t limit_tokens; /* 0: no limit; else the rows that fit, from the first on */
    const char *end;       /* token that ends every text; "none"; NULL: the model's, when packing */
    bool no_special;       /* leave out what the tokenizer's template adds */
    const char *separator; /* between prompt and response, or NULL */
    const char *template;  /* of conversations: a file or a name (chat.h); NULL: the model's */
};

struct dataset_report {
    uint64_t records, empty_records; /* read; without any text, left out */
    uint64_t rows, tokens, longest_row;
    bool has_mask;
    uint64_t masked_tokens;  /* tokens that count in the loss (all of them without a mask) */
    uint64_t dropped_tokens; /* the end of the text, too short for a packed row */
    uint64_t cut_rows;       /* rows cut to seq_len */
    uint64_t context;        /* tokens that the model beside the tokenizer takes; 0: unknown */
    uint64_t long_rows;      /* rows of more than that */
    uint64_t tool_records;   /* conversations in which something of tools was left out */
    uint64_t lost_answers;   /* answers whose place in a text is not known: not in the loss */
    uint64_t joined_records; /* whose prompt's last token is another one before the completion */
    bool limited;            /* limit_tokens ended it before the input did */
    uint64_t vocab_size;
    char tokenizer_sha256[SHA256_HEX_SIZE];
    char fingerprint[SHA256_HEX_SIZE];
    double seconds;
};

/* Reads the inputs in order and writes the token set. With seq_len, rows of exactly seq_len tokens
 * are packed from the texts, each followed by the end token; what is left over is dropped. Records
 * of ids stay rows of their own, as they are. Rows keep the order in which they became complete,
 * unless they are shuffled: then every row, be it packed or a record's, goes to a place that only
 * the seed and the number of rows decide, and limit_tokens takes the first of them. Records are
 * tokenized on all cores; the result does not depend on their number. A malformed line fails with
 * its file and number, and nothing is written. */
enum status dataset_build(struct dataset_report *report,
                          const struct dataset_options *options) STATUS_CHECKED;

#endif
