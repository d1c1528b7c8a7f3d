/* MMR scoring: a short distillation probe of a MIL-initialised Mamba mixer in the place of each
 * attention layer. */
#ifndef ANALYSIS_MMR_MMR_H
#define ANALYSIS_MMR_MMR_H

#include "analysis/memory_budget.h"
#include "analysis/probe.h"

struct mmr_settings {
    const char *model;  /* directory of the transformer: the teacher */
    const char *hybrid; /* directory of the hybrid that probes start from, or NULL */
    const char *data, *database, *device;
    const char *layers; /* as list_parse, or NULL: every attention layer that is left */
    struct probe_settings probe;
    int seeds; /* initialisations per layer: seed, seed + 1, … */
    uint64_t seed;
    int64_t stable_steps; /* stop when the `group` best layers stay the same so long; 0: never */
    int group;
    int together; /* probes that advance in lock step; 0: as many as fit where layers are loaded for
                     each pass, else one by one */
    int64_t limit_steps; /* end, as an interrupt would, after so many steps of this call; 0: no */
    uint64_t device_memory; /* bytes that may be used on the device, 0: what is free */
    size_t state_part;      /* bytes of a training state saved at a time, 0: MMR_STATE_PART */
    bool dry_run;           /* budget the memory and stop; no database is needed */
    bool recompute;         /* blocks, in the backward pass; else only when memory is short */
    const char *library;    /* directory of mixers that probes begin with; NULL: initialised ones */
    const char *keep;       /* library that gets those of the first seed as they end; or NULL */
    const char *cache_directory; /* shared inputs go to a file there; NULL: memory */
    struct checkpoint_options checkpoint;
    const struct json *identity; /* see record_run */
    int64_t compare; /* a run: only say how its question differs from this one; 0: compute */
};

struct mmr_outcome {
    char *differs; /* record_compare of settings->compare; the caller frees */
    int64_t run;
    int layers, layers_before; /* in all, and found finished in the database */
    int diverged;              /* layers with a probe whose loss was not finite */
    int64_t steps;             /* done in this call */
    int64_t steps_saved;       /* that --stop-when-stable made unnecessary */
    double seconds;            /* of training steps only */
    uint64_t loaded_bytes;     /* of layers, in training steps */
    uint64_t predicted_bytes;  /* host memory, or device memory plus the cache */
    bool recomputed;           /* whether blocks were */
    int together;              /* probes that advanced in lock step */
    struct memory_budget memory;
    uint64_t device_peak; /* used on the device, 0 where it is not counted */
};

/* Score group by group of probes (see probe.h). A finished layer is one transaction; inside a probe
 * the training state is saved every MMR_SAVE_STEPS steps (less often where saving takes long), so
 * the same call continues from there, bit for bit. `outcome` is filled as far as the work went. */
enum { MMR_SAVE_STEPS = 25, MMR_ROUND_STEPS = 10, MMR_STATE_PART = 64 << 20 };
enum status mmr_run(struct mmr_outcome *outcome,
                    const struct mmr_settings *settings) STATUS_CHECKED;

#endif
