/* How a task's evaluation stands in the database: a run of kind "eval" whose rows are items. */
#ifndef EVAL_TASK_RECORD_H
#define EVAL_TASK_RECORD_H

#include "analysis/record.h"

struct task_record {
    const struct model *model;
    const char *numbers;           /* "eval-choices", "eval-answers": see scores/numbers.h */
    const struct json *parameters; /* everything that makes a run another run */
    int64_t seed;
    const char *path;             /* of the task's file, or what stands for it */
    const struct tokenset *about; /* rows, tokens and fingerprint of the items */
};

/* Find or insert the run. */
enum status task_record_begin(int64_t *run, enum store_run_state *state, struct store *store,
                              const struct task_record *record) STATUS_CHECKED;

/* One metric's values that an earlier call has kept: of row r to values[r * stride], and done[r]
 * set, for r below `rows`. `*found` is their number. */
enum status task_record_load(int64_t *found, bool *done, double *values, size_t stride, size_t rows,
                             struct store *store, int64_t run, const char *metric) STATUS_CHECKED;

/* A run as it was found. */
struct task_record_state {
    int64_t run;
    const char *database;
    bool finished;
};

/* A finished run must have all its items: without some, the means would be of others. */
enum status task_record_check(const struct task_record_state *state, const bool *done,
                              size_t rows) STATUS_CHECKED;

#endif
