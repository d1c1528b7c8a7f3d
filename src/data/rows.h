/* Collecting rows for a token set: packing, limits, and the mask that appears with the first record
 * that has one. */
#ifndef DATA_ROWS_H
#define DATA_ROWS_H

#include "data/record.h"
#include "data/tokenset.h"

struct rows {
    uint64_t seq_len, limit;
    bool pack;
    bool full; /* the limit is reached: no more rows are taken */
    bool has_mask;
    uint32_t *ids; /* [tokens] of complete rows, then [pending] of the one that is packed */
    uint8_t *mask; /* likewise; all 1 until has_mask */
    uint64_t tokens, pending, capacity;
    uint64_t *offsets; /* [count + 1] */
    uint64_t count, offset_capacity;
    uint64_t cut;
};

/* Of `seq_len` tokens at most (0: any) and `limit` tokens in all; with `pack` records are joined
 * into rows. */
enum status rows_begin(struct rows *rows, uint64_t seq_len, uint64_t limit,
                       bool pack) STATUS_CHECKED;
enum status rows_add(struct rows *rows, const struct record *record) STATUS_CHECKED;
/* All rows in an order drawn from `seed`; of them the first that fit into `limit_tokens` (0: all).
 */
enum status rows_shuffle(struct rows *rows, uint64_t seed, uint64_t limit_tokens) STATUS_CHECKED;
void rows_free(struct rows *rows);

#endif
