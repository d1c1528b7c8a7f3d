/* The state of an unfinished training: to the database and back, a part at a time, so that the host
 * never holds a whole one. */
#ifndef ANALYSIS_SAVED_STATE_H
#define ANALYSIS_SAVED_STATE_H

#include <stdbool.h>

#include "scores/store.h"
#include "train/parameters.h"

struct saved_state {
    struct store *store;
    int64_t run;
    const char *database; /* its path */
    size_t part;          /* bytes at a time */
    int64_t steps;        /* of a whole training */
    int together;         /* trainings whose states are saved at once */
    bool needed;          /* the run cannot go on without: then a full disk must end it */
    bool there;           /* in the database, from an earlier call */
    bool saved;           /* at least one, in this call */
    bool warned;          /* that there is no room for one */
};

/* Whether a state of `bytes` is to be saved; a warning, once, when its disk has no room. */
bool saved_state_fits(struct saved_state *saved, uint64_t bytes);

/* Replace what is saved of a layer's training, in the transaction that is open. */
enum status saved_state_put(struct saved_state *saved, const struct parameters *parameters,
                            int layer, int64_t seed, int64_t step) STATUS_CHECKED;

/* What is saved of it, if anything is: `*step` is where to go on. */
enum status saved_state_restore(struct saved_state *saved, struct parameters *parameters, int layer,
                                int64_t seed, int64_t *step) STATUS_CHECKED;

#endif
