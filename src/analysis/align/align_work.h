/* Shared by the files of align. */
#ifndef ANALYSIS_ALIGN_ALIGN_WORK_H
#define ANALYSIS_ALIGN_ALIGN_WORK_H

#include "analysis/align/align.h" /* circle: private to it and its parts */
#include "analysis/calibration.h"
#include "analysis/hidden.h"
#include "analysis/loo/loo_budget.h"
#include "analysis/saved_state.h"
#include "analysis/step_rows.h"
#include "base/list.h"
#include "base/log.h"
#include "library/library.h"

/* One kind of mixer, with its run. */
struct align_kind {
    struct mixer_choices choices;
    struct mixer_sizes sizes;
    bool trains;
    int64_t steps; /* 0 where nothing trains */
    enum store_run_state state;
    struct saved_state saved;
    char identity[SHA256_HEX_SIZE]; /* of the mixers that the run makes */
    struct json *parameters;
    bool *done, *diverged;         /* [L] */
    struct calibration_task *fits; /* [n_fits]: of the layers that are not done */
    size_t n_fits;
};

struct align_work {
    const struct align_settings *settings;
    struct align_outcome *outcome;
    struct backend *backend;
    struct model *teacher, *model; /* the same without a hybrid */
    struct tokenset *set;
    struct store *store;
    struct library *library;
    struct library *start; /* of the mixers as they began, inside the other; or NULL */
    struct int_list layers;
    struct align_kind kinds[ALIGN_MAX_KINDS];
    int kind_count;
    struct calibration calibration; /* zeroed: there is none */
    struct step_rows rows;
    int64_t steps;      /* the most of any kind */
    int64_t max_tokens; /* of a batch, and of a group of held-out rows */
    int max_rows, longest;
    struct hidden inputs;  /* of the present layer: rows of the steps, then those held out */
    int64_t in_memory;     /* the former */
    bool inputs_on_device; /* the inputs: as align_budget finds that they fit */
    struct alignment *alignment;
    struct acc *input;  /* [max_tokens, D]: of the present batch */
    struct loo_cut cut; /* of the scores */
    struct progress progress;
    double done;                   /* steps, for the progress */
    double saved_at, save_seconds; /* the last training state that was saved, and what it took */
};

/* The held-out rows as a set of their own, over the arrays of the whole. */
struct tokenset align_heldout(const struct align_work *work);

/* The largest batch, as sequences; sizes of all kinds [kind_count]. */
struct sequences align_largest(const struct align_work *work);
void align_sizes(struct mixer_sizes out[ALIGN_MAX_KINDS], const struct align_work *work);

/* Fill work->outcome->memory and work->cut; a refusal when it does not fit. With `predict` also the
 * seconds that it will take. */
enum status align_budget(struct align_work *work, bool predict) STATUS_CHECKED;

/* Branches of the held-out rows: for each layer the mixer as it began, where that is scored, then
 * as it is. `layers` [2 * work->layers.count] is filled; returns how many. */
int align_branches(int *layers, const struct align_work *work, const struct align_kind *kind);

/* Train the kind's mixer of a layer whose inputs are there, and keep it. */
enum status align_layer(struct align_work *work, struct align_kind *kind, int layer) STATUS_CHECKED;

/* Score all of the kind's mixers. */
enum status align_score(struct align_work *work, struct align_kind *kind) STATUS_CHECKED;

#endif
