/* The rows of each step: a pure function of its number, so that training goes on after a restart as
 * if there had been none. Every epoch is an order of its own over the rows that train. */
#ifndef DISTILL_ROWS_H
#define DISTILL_ROWS_H

#include "data/tokenset.h"
#include "measure/positions.h"
#include "model/sequences.h"

struct distill_rows {
    const struct tokenset *set;
    int64_t *usable; /* [count]: rows that train: all but the last ones that are held out, without
                        those that have nothing to predict */
    int64_t count;
    int64_t *order; /* [count]: of the epoch that was asked for last */
    int64_t epoch;  /* -1: none yet */
    uint64_t seed;
    bool in_order; /* each epoch as the rows stand in the file */
    int64_t left_out;
};

/* The set must outlive them. A failure when no row is left to train on. */
enum status distill_rows_open(struct distill_rows *out, const struct tokenset *set, int64_t heldout,
                              bool in_order, uint64_t seed, const char *path) STATUS_CHECKED;
void distill_rows_close(struct distill_rows *rows); /* accepts a zeroed struct */

/* Rows of the set at places [place, place + count) of all epochs, one after another. */
void distill_rows_at(struct distill_rows *rows, int64_t place, int64_t *out, int count);

/* The most tokens that `count` rows in turn can have together. */
int64_t distill_rows_largest(struct distill_rows *rows, int count);

/* Rows that pass together: they start anew, each by itself. */
struct distill_micro {
    struct positions positions;
    struct token_batch tokens;
};

enum status distill_micro_open(struct distill_micro *out, const struct tokenset *set,
                               struct backend *backend, const int64_t *rows,
                               int count) STATUS_CHECKED;
void distill_micro_close(struct distill_micro *micro); /* accepts a zeroed struct */

#endif
