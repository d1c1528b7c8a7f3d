/* The learning rate of each step: a pure function of the step, so that training goes on after a
 * restart as if there had been none. */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdint.h>

#include "base/status.h"

enum schedule_kind {
    SCHEDULE_CONSTANT,
    SCHEDULE_COSINE, /* half a cosine from the end of the warm-up to `steps` */
    SCHEDULE_WSD,    /* warm-up, stable, decay (Hu et al. 2024): constant but for the last
                        `cooldown` steps, in which it falls in a straight line */
    SCHEDULE_COUNT,
};

struct train_schedule {
    enum schedule_kind kind;
    double rate;    /* the largest */
    int64_t steps;  /* of the whole training */
    int64_t warmup; /* steps in which the rate rises in a straight line; step 0 has a share of it */
    int64_t cooldown; /* of SCHEDULE_WSD */
    double floor;     /* share of `rate` that a falling one would reach at step `steps`, and keeps
                         from there on */
};

/* At step `step`, from 0. */
double train_schedule_rate(const struct train_schedule *schedule, int64_t step);

const char *train_schedule_name(enum schedule_kind kind); /* "constant", "cosine", "wsd" */
enum status train_schedule_from_name(enum schedule_kind *out, const char *name) STATUS_CHECKED;

#endif
