/* Which rows of a token set the steps of a training take: row by row in order, `batch` a step,
 * wrapping at the end of the rows that are trained on, which are the first ones. */
#ifndef ANALYSIS_STEP_ROWS_H
#define ANALYSIS_STEP_ROWS_H

#include "data/tokenset.h"

struct step_rows {
    int64_t training; /* rows */
    int batch;
};

/* Rows that `count` steps take. */
int64_t step_rows_count(const struct step_rows *rows, int64_t count);

/* The largest number of rows that every batch of `count` steps consists of whole times, also where
 * the rows wrap. */
int64_t step_rows_unit(const struct step_rows *rows, int64_t count);

/* Batches of `count` steps that differ: they repeat when the rows come round to where they began.
 */
int64_t step_rows_batches(const struct step_rows *rows, int64_t count);

/* Tokens of one row; the most that the batch of any of the first `steps` steps has. */
int64_t step_rows_tokens(const struct tokenset *set, int64_t row);
int64_t step_rows_largest(const struct step_rows *rows, const struct tokenset *set, int64_t steps);

/* Training and measuring need rows, and each of `steps` steps and the held-out rows (all others of
 * the set) something that counts: where positions count without a next token, that is so unless a
 * mask says otherwise; `targets`: only those with one count. `path` names the set. */
enum status step_rows_check(const struct step_rows *rows, const struct tokenset *set, int64_t steps,
                            bool targets, const char *path) STATUS_CHECKED;

#endif
