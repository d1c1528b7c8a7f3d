/* plan --schedule: the iterative schedule of Apriel-H1 (DESIGN section 1). The first stage by
 * leave-one-out, then MMR on top of the hybrid that exists so far, a few layers at a time; the
 * commands printed as a shell script, or run. */
#ifndef CMD_PLAN_SCHEDULE_H
#define CMD_PLAN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cli/mixer_option.h"

struct schedule_settings {
    const char *counts;                  /* "25,27,30": layers replaced after each stage */
    const char *model, *data, *database; /* given to loo, mmr and convert */
    const char *work;                    /* directory of plans and hybrids, made when absent */
    const char *keep, *device;           /* or NULL */
    const char *loo, *mmr, *convert;     /* more options of these commands, or NULL */
    int64_t group;                       /* layers that one MMR run decides */
    struct mixer_values mixer;           /* of mmr and convert */
    bool automatic;                      /* run the commands */
    bool quiet, json;
};

/* In `work`: plan-N.json and hybrid-N for each number N of replaced layers on the way, plan.json
 * with all stages at the end. What is there already is not made again, so the same call continues;
 * a directory hybrid-N-distilled is taken in the place of hybrid-N. What is there and was made for
 * another schedule (schedule_check.h) is a failure, and so is a format that cannot hold the model's
 * hybrids: that is looked at first. */
enum status schedule_run(const struct schedule_settings *settings) STATUS_CHECKED;

#endif
