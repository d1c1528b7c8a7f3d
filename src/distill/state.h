/* The directory of a distillation: what it was begun with (distill.json), the states that it can
 * continue from (step-NNNNNN), and, once it is done, the finished checkpoint itself.
 *
 * A state is the student as a checkpoint that every command reads, training.bin (train/state.h),
 * state.json, and `complete`, which is written last, says how long each file is, and without which
 * a state is none. It is put together under another name, so that neither a kill nor a full disk
 * touches an earlier one. */
#ifndef DISTILL_STATE_H
#define DISTILL_STATE_H

#include "base/list.h"
#include "distill/guard.h"
#include "distill/weights.h"
#include "train/state.h"

/* Where a training stands. */
struct distill_state {
    int64_t step; /* that comes next: so many are done */
    struct guard guard;
    int64_t measured;  /* the last step at which the held-out rows were; -1: none */
    int64_t best;      /* the step whose held-out value was the best; -1: none was measured */
    double best_value; /* the lower the better */
    int64_t worse;     /* measurements since then that were not better */
    double seconds;    /* of steps so far */
};

/* A directory that this process alone writes to, until distill_folder_close. */
struct distill_folder {
    char *path; /* without slashes at its end */
    int lock;
};

/* Make the directory, or take one that is empty or was begun by distill; what killed runs left
 * unfinished in it is removed. Any other, and one that another process has, is refused. */
enum status distill_folder_open(struct distill_folder *out, const char *path) STATUS_CHECKED;
void distill_folder_close(struct distill_folder *folder); /* accepts a zeroed struct */

/* Its distill.json: NULL where there is none. The caller frees. */
enum status distill_folder_read(struct json **out, const char *path) STATUS_CHECKED;
enum status distill_folder_write(const struct distill_folder *folder,
                                 const struct json *about) STATUS_CHECKED;

/* Steps of the complete states, ascending; list_free. */
enum status distill_states_list(struct int_list *out, const char *path) STATUS_CHECKED;

/* Write a state; `provenance` becomes the apriel-tool.json of its checkpoint. After a failure the
 * earlier ones are there as they were, and nothing of this one. */
enum status distill_state_write(const struct distill_folder *folder,
                                const struct distill_state *state, const struct model *student,
                                const struct parameters *parameters,
                                const struct json *provenance) STATUS_CHECKED;

/* Read the state of a step: all of it, or (parameters NULL) only where it stands. */
enum status distill_state_read(struct distill_state *out, struct parameters *parameters,
                               const char *path, int64_t step) STATUS_CHECKED;

/* Remove all states but the last `keep` and that of step `best`. */
enum status distill_states_prune(const struct distill_folder *folder, int keep,
                                 int64_t best) STATUS_CHECKED;

/* The checkpoint of a state becomes that of the directory itself, without copies where the file
 * system can do without. */
enum status distill_folder_finish(const struct distill_folder *folder, int64_t step) STATUS_CHECKED;

#endif
