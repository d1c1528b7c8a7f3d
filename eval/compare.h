/* Perplexity of a model on a token set, and its divergence from a teacher. */
#ifndef EVAL_COMPARE_H
#define EVAL_COMPARE_H

#include "analysis/memory_budget.h"
#include "measure/positions.h"
#include "model/model.h"
#include "scores/statistics.h"

struct compare_settings {
    const char *model, *teacher; /* directories; teacher NULL: only ce */
    const char *data;            /* token set */
    const char *device;
    const char *database;   /* NULL: nothing is kept */
    int64_t group_tokens;   /* tokens at a time; 0: 4096 */
    int64_t limit_rows;     /* 0: all */
    uint64_t device_memory; /* bytes that may be used on the device, 0: what is free */
    bool dry_run;           /* budget the memory and stop */
    struct checkpoint_options checkpoint;
    const struct json *identity; /* see record_run */
};

struct compare_result {
    struct statistics metrics[METRIC_COUNT]; /* of the model; kl, rkl, top1 against the teacher */
    struct statistics teacher_ce;
    int64_t rows, tokens;
    int64_t run, rows_found; /* in the database, 0 without; rows that it had */
    double seconds;
    struct memory_budget memory;
};

/* kl = D_KL(teacher || model), rkl the other way, nats. Standard errors are over rows. A metric for
 * which no position counts (ce of rows of one token) has the mean NAN and n 0. */
enum status compare_run(struct compare_result *out,
                        const struct compare_settings *settings) STATUS_CHECKED;

#endif
