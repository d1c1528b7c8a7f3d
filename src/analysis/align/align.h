/* Alignment of a model's layers: at each of them mixers of some kinds are trained to reproduce its
 * attention (train/alignment.h), one after another, on the model's own states; they go into a
 * library, and the replacement of each layer alone is scored on held-out rows. A run for each kind.
 */
#ifndef ANALYSIS_ALIGN_ALIGN_H
#define ANALYSIS_ALIGN_ALIGN_H

#include "analysis/memory_budget.h"
#include "base/json.h"
#include "mixers/choices.h"
#include "train/alignment.h"
#include "train/settings.h"

enum { ALIGN_MAX_KINDS = MIXER_MAX_KINDS };

struct align_settings {
    const char *model;  /* directory of the transformer */
    const char *hybrid; /* directory of a hybrid of it whose remaining layers are aligned, inside
                           it: its states are the inputs, its own attention is the target; scores
                                  are against the transformer; or NULL */
    const char *data, *database, *library, *device;
    const char *layers; /* as list_parse, or NULL: every attention layer that is left */
    struct mixer_choices kinds[ALIGN_MAX_KINDS];
    int kind_count;
    struct train_data rows;
    struct train_schedule schedule;
    struct train_optimizer optimizer;
    struct train_alignment loss; /* its seed is that of the run */
    bool scores_start;           /* score each mixer also as it began */
    int64_t limit_steps; /* end, as an interrupt would, after so many steps of this call; 0: no */
    uint64_t device_memory;      /* bytes that may be used on the device, 0: what is free */
    bool dry_run;                /* budget and predict, and stop; neither database nor library */
    const char *cache_directory; /* the layers' inputs go to a file there; NULL: memory */
    struct checkpoint_options checkpoint;
    const struct json *identity; /* see record_run */
};

struct align_run {
    int64_t run;
    struct mixer_sizes mixer; /* by what the layers were replaced */
    int layers_before;        /* found finished */
    int diverged;             /* layers whose mixer was given up */
};

struct align_outcome {
    struct align_run runs[ALIGN_MAX_KINDS]; /* [kind_count] */
    int layers;
    int64_t steps;  /* done in this call */
    double seconds; /* of training steps only */
    struct memory_budget memory;
    uint64_t peak_bytes; /* used on the device, 0 where it is not counted */
};

/* Layer by layer. A finished layer is one transaction; inside it the training state is saved as
 * mmr's is, so that the same call continues from there, bit for bit. `outcome` is filled as far as
 * the work went. */
enum status align_run(struct align_outcome *outcome,
                      const struct align_settings *settings) STATUS_CHECKED;

#endif
