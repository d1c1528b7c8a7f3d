/* What is scored of a batch: a list of predictions, each made by the hidden state of one token.
 * From the positions of a token set that count, or from the choices of a task, where several
 * predictions can stand at one token. */
#ifndef MEASURE_PREDICTIONS_H
#define MEASURE_PREDICTIONS_H

#include "data/choices.h"
#include "measure/positions.h"

struct predictions {
    int64_t count;
    int slots;       /* what sums are kept for: rows, or choices */
    int64_t *token;  /* [count] of the batch */
    int32_t *slot;   /* [count] */
    int32_t *target; /* [count] id whose log-likelihood counts (ce); -1: none */
    bool *counted;   /* [count]: kl, rkl and top1 count */
};

/* Both are freed with predictions_free, which accepts a zeroed struct. The first has a slot a row;
 * the second, for items [first, end) of a set whose rows are the batch, a slot a choice. */
enum status predictions_of_positions(struct predictions *out,
                                     const struct positions *positions) STATUS_CHECKED;
enum status predictions_of_choices(struct predictions *out, const struct choice_set *set,
                                   size_t first, size_t end) STATUS_CHECKED;
void predictions_free(struct predictions *predictions);

#endif
