/* Runs as people name them on the command line: "1", "1,3-5", "2:heldout_rkl_before". */
#ifndef CMD_RUN_CHOICE_H
#define CMD_RUN_CHOICE_H

#include "base/status.h"
#include "scores/ranking.h"

struct run_choices {
    struct ranking_choice *items; /* [count], each run and metric once, in the order given */
    size_t count;
};

/* Append the runs of `text`: numbers and ranges of numbers, each with ":METRIC" or without (its
 * metric is NULL then). STATUS_USAGE names `option` ("scores: --run") and what is wrong. */
enum status run_choices_add(struct run_choices *choices, const char *text,
                            const char *option) STATUS_CHECKED;
void run_choices_free(struct run_choices *choices); /* accepts a zeroed struct */

#endif
