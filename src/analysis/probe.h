/* Distillation probes: how well a Mamba mixer in the place of layer i learns to give the teacher's
 * predictions. A probe runs layers i.. only, forward and backward, from inputs that all probes
 * share; frozen weights get no gradient.
 *
 * Probes advance in groups, in lock step: a step of all of them is one pass over the layers forward
 * and one backward, in which each layer serves every probe at or before it. So a layer that must be
 * loaded is loaded once for the group. The trunk runs on from the group's first layer to its last,
 * and each probe leaves it at its own. */
#ifndef ANALYSIS_PROBE_H
#define ANALYSIS_PROBE_H

#include "analysis/calibration.h"
#include "analysis/hidden.h"
#include "analysis/probe_cache.h"
#include "analysis/probe_parts.h"
#include "kernels/ops/loss.h"
#include "library/library.h"
#include "measure/scorer.h"
#include "model/replacement.h"
#include "train/schedule.h"
#include "train/settings.h"

struct probe_settings {
    struct train_data data;
    struct train_schedule schedule; /* a probe has its steps */
    struct train_optimizer optimizer;
    struct train_loss loss;
    struct probe_parts parts;
    struct mixer_choices choices;        /* the seed is set for each probe */
    const struct calibration_task *fits; /* [n_fits]: of every layer and seed; or NULL */
    size_t n_fits;
    const struct library *library; /* of mixers to begin with; NULL: they are initialised */
};

/* How probes go so that they fit into the memory there is; the same bits come out. */
struct probe_arrangement {
    struct train_memory memory;
    int together;            /* probes of a group, at most; more than one needs that only the new
                                mixer trains */
    const int *first_layers; /* [together], ascending: a group's probe in that place is of no
                                earlier layer; NULL: 0 */
};

struct probe_engine;

/* Room for the training rows of steps [0, steps) and the held-out rows of `set`. `student` is what
 * probes start from, `teacher` gives the targets; they may be the same model, unless its head
 * trains (PROBE_OUTSIDE). Both models' layers are kept on the backend. */
enum status probe_engine_open(struct probe_engine **out, struct model *student,
                              struct model *teacher, const struct tokenset *set,
                              const struct probe_settings *settings,
                              const struct probe_arrangement *arrangement,
                              const struct probe_cache *cache) STATUS_CHECKED;
void probe_engine_close(struct probe_engine *engine); /* accepts NULL */

/* What the engine takes, in bytes: on the backend, and on the host (or in the cache directory). */
struct probe_memory {
    uint64_t weights, activations, optimizer, logits; /* backend */
    uint64_t kept_logits;                             /* backend, with keep_logits */
    uint64_t embedding; /* backend, while the shared inputs begin, before any probe */
    uint64_t advancing; /* backend, while they move on to a later layer */
    uint64_t state;     /* of a training state, which is saved piece by piece */
    uint64_t cache;     /* host */
    uint64_t parked;    /* host, with park */
    int64_t tokens;     /* of the largest batch */
};
enum status probe_engine_memory(struct probe_memory *out, const struct model *student,
                                const struct model *teacher, const struct tokenset *set,
                                const struct probe_settings *settings,
                                const struct probe_arrangement *arrangement) STATUS_CHECKED;

/* Bytes that the files of the cache take for `count` steps from the first on, and how many of them
 * files of an earlier run have already. A directory that cannot be used is a failure. */
enum status probe_cache_size(uint64_t *bytes, uint64_t *there, const struct model *student,
                             const struct model *teacher, const struct tokenset *set,
                             const struct probe_settings *settings, const struct probe_cache *cache,
                             int64_t count) STATUS_CHECKED;

/* Have the teacher's last states for steps [first, first + count) and the held-out rows: computed,
 * or found in the cache. The shared inputs come with the first probe. */
enum status probe_engine_load(struct probe_engine *engine, int64_t first,
                              int64_t count) STATUS_CHECKED;

/* No further probe comes: the file of the shared inputs is removed, the teacher's states stay. */
void probe_engine_finish(struct probe_engine *engine);

/* One probe: attention layer `layer`, MIL options with `seed`. */
struct probe_choice {
    int layer;
    uint64_t seed;
};

struct probe;
struct probe_group;

/* `count` probes in the order of their layers; the shared inputs are advanced to the first one's
 * (so groups must come in ascending order between two loads). One group at a time. */
enum status probe_group_begin(struct probe_group **out, struct probe_engine *engine,
                              const struct probe_choice *choices, int count) STATUS_CHECKED;
void probe_group_end(struct probe_group *group); /* accepts NULL */

/* The probe in a place of the group. Borrowed. */
struct probe *probe_group_member(struct probe_group *group, int place);

/* Step `step` (from 0, within what was loaded) of the probes that `takes_part` [count] says, at
 * least one. Each one's `losses` [count] is the mean over counted positions before the update; a
 * loss that is not finite is NAN there, and that probe is not updated. The same bits come out
 * whoever else takes part. */
enum status probe_group_step(struct probe_group *group, const bool *takes_part, int64_t step,
                             double *losses) STATUS_CHECKED;

/* Metrics over the held-out rows of those probes: sums host [count][rows][METRIC_COUNT], and counts
 * [rows][METRIC_COUNT], which are the same for all. A mixer whose parameters have diverged gives
 * NAN. */
enum status probe_group_evaluate(struct probe_group *group, const bool *takes_part, double *sums,
                                 int64_t *counts) STATUS_CHECKED;

/* The mixer under training, for tests that set its values and then say so. Borrowed. */
struct mixer *probe_mixer(struct probe *probe);
enum status probe_mixer_was_set(struct probe *probe) STATUS_CHECKED;

/* What trains, for saving and restoring (train/state.h). Borrowed. */
struct parameters *probe_parameters(struct probe *probe);

#endif
