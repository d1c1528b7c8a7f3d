/* Rows of a token set on which new mixers are fitted before they begin: one pass over the model
 * gives every layer's states, and at each layer that is to be replaced its mixer is fitted to what
 * the attention does there (mixers/fit.h). The states are those of the model that the mixers are
 * put into, a hybrid's where it is one. */
#ifndef ANALYSIS_CALIBRATION_H
#define ANALYSIS_CALIBRATION_H

#include "data/tokenset.h"
#include "model/replacement.h"

struct calibration {
    struct tokenset *set;
    int64_t rows;     /* of it that may be used: the first ones */
    int64_t tokens;   /* that are: of the first rows, the last of which may be cut short */
    const char *path; /* borrowed */
};

/* Open what choices->data names. Rows that `measured` (or NULL) keeps as the last `heldout` of its
 * own are left out, where it is the same set. The caller closes, a zeroed one too. */
enum status calibration_open(struct calibration *out, const struct mixer_data *data,
                             const struct tokenset *measured, int64_t heldout) STATUS_CHECKED;
void calibration_close(struct calibration *calibration);

/* What makes it another calibration, beside mixer_choices_to_json. */
void calibration_describe(struct json *init, const struct calibration *calibration,
                          const struct backend *backend);

/* A new mixer to fit. */
struct calibration_task {
    int layer;
    struct mixer_choices choices; /* with its seed */
    struct mixer_fit *fit;        /* what was found; NULL where the choices ask for nothing */
};

/* Fit all of them, layers ascending. The caller frees with calibration_tasks_free. */
enum status calibration_run(struct calibration_task *tasks, size_t count, struct model *model,
                            const struct calibration *calibration) STATUS_CHECKED;
void calibration_tasks_free(struct calibration_task *tasks, size_t count); /* accepts NULL */

/* What was found for a layer and a seed; NULL: nothing. */
const struct mixer_fit *calibration_find(const struct calibration_task *tasks, size_t count,
                                         int layer, uint64_t seed);

#endif
