/* Which positions of a batch count, and what they should predict (doc/ARCHITECTURE.md).
 * Without a mask every position counts for kl, rkl and top1, and every position with a next token
 * for ce. With a mask, position t counts (for all metrics) when token t + 1 is masked in. */
#ifndef MEASURE_POSITIONS_H
#define MEASURE_POSITIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "data/tokenset.h"

enum metric {
    METRIC_CE,
    METRIC_KL,
    METRIC_RKL,
    METRIC_TOP1,
    METRIC_COUNT,
};

const char *metric_name(enum metric metric); /* "ce", … */

struct positions {
    int64_t tokens;
    int rows;
    int32_t *row;    /* [tokens]: row of the batch, from 0 */
    int32_t *target; /* [tokens]: the next token's id where ce counts, else -1 */
    bool *counted;   /* [tokens]: kl, rkl and top1 count */
    int64_t *counts; /* [rows][METRIC_COUNT]: counted positions */
};

/* For rows [first, first + rows) of the set. Free with positions_free (accepts a zeroed struct). */
enum status positions_create(struct positions *out, const struct tokenset *set, int64_t first,
                             int rows) STATUS_CHECKED;
/* For these rows of the set, in this order. */
enum status positions_create_rows(struct positions *out, const struct tokenset *set,
                                  const int64_t *rows, int count) STATUS_CHECKED;
void positions_free(struct positions *positions);

/* Whether any position of [from, to) counts for any metric. */
bool positions_any(const struct positions *positions, int64_t from, int64_t to);

#endif
