/* Token sets: the rows of token ids that every analysis runs on, stored as HDF5.
 *
 *   /tokens       uint32 [tokens]      all rows, one after another
 *   /row_offsets  uint64 [rows + 1]    row r is tokens [row_offsets[r], row_offsets[r + 1])
 *   /loss_mask    uint8  [tokens]      optional; 1 where the token counts as a prediction target
 *   attributes    format "apriel-tool/tokens", version, tokenizer_sha256, vocab_size, sources,
 *                 fingerprint; shuffle (the seed) where the rows were shuffled
 *
 * Any program may write one (h5py does): the fingerprint may be left out, the rest may not. */
#ifndef DATA_TOKENSET_H
#define DATA_TOKENSET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

enum { TOKENSET_VERSION = 1 };

struct tokenset {
    uint64_t rows, tokens;
    uint64_t *row_offsets; /* [rows + 1], strictly ascending from 0 to tokens */
    uint32_t *ids;         /* [tokens], each below vocab_size */
    uint8_t *loss_mask;    /* [tokens], 0 or 1; NULL when every position counts */
    uint64_t vocab_size;
    char tokenizer_sha256[SHA256_HEX_SIZE]; /* of tokenizer.json; "" when unknown */
    char fingerprint[SHA256_HEX_SIZE];      /* see tokenset_fingerprint; set by tokenset_read */
    char *sources;                          /* the input files' names, one a line */
    bool shuffled;                          /* the rows' order was drawn from shuffle_seed */
    uint64_t shuffle_seed;
};

/* Read and check a whole file: every offset, id and mask value is in its range, there is at least
 * one row, and a stored fingerprint is the content's. The caller frees `*out` with tokenset_free.
 */
enum status tokenset_read(struct tokenset **out, const char *path) STATUS_CHECKED;

/* Write `set`, checked in the same way, through a temporary sibling: `path` holds the old file or
 * the whole new one. The file is put together in memory first (about 4 bytes a token). */
enum status tokenset_write(const char *path, const struct tokenset *set) STATUS_CHECKED;

/* SHA-256 over rows, tokens, offsets, ids and mask, little-endian: the same rows have the same
 * fingerprint however they were stored. */
enum status tokenset_fingerprint(char hex[SHA256_HEX_SIZE],
                                 const struct tokenset *set) STATUS_CHECKED;

/* Tokens of the longest row. */
uint64_t tokenset_longest_row(const struct tokenset *set);

/* Groups of rows that go through a model together: rows [first, end) with at most `tokens` tokens,
 * or one row that is longer. `end` is at most `rows`. */
int64_t tokenset_group_end(const struct tokenset *set, int64_t first, int64_t rows, int64_t tokens);

/* The most rows and the most tokens that any group of rows [0, rows) has. */
void tokenset_measure_groups(int *group_rows, int64_t *group_tokens, const struct tokenset *set,
                             int64_t rows, int64_t tokens);

void tokenset_free(struct tokenset *set); /* accepts NULL */

const char *tokenset_library_version(void); /* of HDF5: "1.10.8" */

#endif
