/* Runs as people name them on the command line: "1", "1,3-5", "2:heldout_rkl_before". */
#ifndef CLI_RUN_CHOICE_H
#define CLI_RUN_CHOICE_H

#include "base/status.h"
#include "scores/ranking.h"

struct run_choices {
    struct ranking_choice *items; /* [count], each run and metric once, in the order given */
    size_t count;
};

/* The number of a run that is given as "last", until run_choices_resolve. */
enum { RUN_LAST = 0 };

/* Append the runs of `text`: numbers and ranges of numbers, or "last", each with ":METRIC" or
 * without (its metric is NULL then). STATUS_USAGE names `option` ("scores: --run") and what is
 * wrong. */
enum status run_choices_add(struct run_choices *choices, const char *text,
                            const char *option) STATUS_CHECKED;
/* Put the number of the run that was begun last in the place of "last". */
enum status run_choices_resolve(struct run_choices *choices, struct store *store) STATUS_CHECKED;
void run_choices_free(struct run_choices *choices); /* accepts a zeroed struct */

#endif
