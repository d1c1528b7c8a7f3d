/* Distillation: a hybrid is trained against its teacher, end to end, until it works again. */
#ifndef DISTILL_DISTILL_H
#define DISTILL_DISTILL_H

#include "analysis/memory_budget.h"
#include "distill/engine.h"
#include "distill/state.h"

struct distill_settings {
    const char *hybrid, *teacher, *data, *device; /* directories; the token set */
    const char *output;                           /* the directory of states and result */
    const char *database;                         /* NULL: training.db in the output */
    struct distill_training training;
    int micro;              /* rows that pass at a time; 0: as many as fit */
    int64_t validate_every; /* steps between measurements of the rows that are held out */
    int64_t save_every;     /* steps between states; 0: at each measurement */
    int keep;               /* states that stay, besides the best */
    int64_t patience;       /* measurements without a better one that end the run; 0: never */
    int64_t limit_steps; /* end, as an interrupt would, after so many steps of this call; 0: no */
    bool recompute, dry_run;
    uint64_t device_memory;
    const struct json *identity; /* see record_run */
};

struct distill_outcome {
    int64_t run, steps, first; /* steps that are done in all, and were when this call began */
    struct distill_state state;
    struct statistics before[METRIC_COUNT], after[METRIC_COUNT]; /* of the result */
    bool measured;          /* `before` and `after` are there */
    double seconds, tokens; /* of the steps of this call */
    struct memory_budget memory;
    double operations; /* of a step */
    bool stopped;      /* early, by `patience` */
    bool complete;     /* it had been done already */
};

/* Train, from the last state in the output if there is one, and leave the finished checkpoint
 * there: that of the best measurement. `outcome` is filled as far as the work went. */
enum status distill_run(struct distill_outcome *outcome,
                        const struct distill_settings *settings) STATUS_CHECKED;

/* The held-out metric that says which state is the best. */
enum metric distill_judged_by(const struct distill_training *training);

/* The database of a run. The caller frees. */
char *distill_database(const char *database, const char *output);

#endif
