/* A model on problems: it writes samples of a solution, and each sample's final answer is compared
 * with the right one. */
#ifndef EVAL_EXACT_RUN_H
#define EVAL_EXACT_RUN_H

#include "base/json.h"
#include "eval/problems.h"
#include "model/model.h"
#include "scores/statistics.h"

enum exact_metric {
    EXACT_PASS,     /* share of samples that are right: pass@1 averaged over them */
    EXACT_ANSWERED, /* share of samples with an answer */
    EXACT_UNCLEAR, /* share of samples whose answer is of no form that is compared: none is right */
    EXACT_FINISHED, /* share of samples that ended before max_tokens */
    EXACT_TOKENS,   /* of a sample */
    EXACT_METRICS,
};

const char *exact_metric_name(enum exact_metric metric); /* "pass@1", … */

struct exact_settings {
    struct model *model;
    const struct problem_set *set;
    const char *name, *path;                  /* of the task, and of its file */
    const struct json *parameters;            /* part of the run's key */
    const char *database;                     /* NULL: nothing is kept */
    const struct generate_settings *generate; /* max_tokens, sampling, batch, tokenizer, stop_ids */
    int samples;                              /* of each problem */
};

struct exact_result {
    int64_t run; /* 0 without a database */
    int64_t problems, problems_found;
    struct statistics metrics[EXACT_METRICS]; /* over problems */
    int64_t new_tokens;                       /* of this call */
    double seconds;
};

/* Problems are generated some batches at a time, each a transaction; those that the database has
 * are not generated again. The random numbers of a sample depend on the seed, the problem and the
 * sample's number only. */
enum status exact_run(struct exact_result *out,
                      const struct exact_settings *settings) STATUS_CHECKED;

#endif
