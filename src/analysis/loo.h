/* Leave-one-out scoring of a model's layers into a score database, exactly or by an estimate. */
#ifndef ANALYSIS_LOO_H
#define ANALYSIS_LOO_H

#include "analysis/estimator.h"
#include "base/list.h"

struct loo_settings {
    const char *model;    /* directory of the transformer */
    const char *hybrid;   /* directory of the hybrid to start from, or NULL */
    const char *data;     /* token set */
    const char *database; /* created when absent */
    const char *device;   /* as backend_open */
    enum ablation ablation;
    enum estimate estimate; /* in the place of the exact sweep; stored as a run of its own kind */
    int samples;            /* of fisher */
    uint64_t seed;
    const char *layers;      /* as list_parse, or NULL: every attention layer that is left */
    struct int_list removed; /* layers that a plan replaces: the trunk goes without them */
    int64_t group_tokens;    /* tokens of a group, 0: chosen from the memory there is */
    uint64_t device_memory;  /* bytes that may be used on the device, 0: what is free */
    bool dry_run;            /* plan the memory and stop; no database is needed */
    struct checkpoint_options checkpoint;
};

struct loo_outcome {
    int64_t run;               /* id in the database */
    int64_t rows, rows_before; /* in all, and found in the database */
    int64_t tokens;
    int branches;
    double seconds; /* of the sweep itself */
    struct memory_plan memory;
    uint64_t peak_bytes; /* used on the device, 0 where it is not counted */
};

/* Score, group of rows by group of rows: each group is one transaction, so that a kill loses at
 * most the group in progress and the same call continues. `outcome` is filled as far as the work
 * went, on failure too. */
enum status loo_run(struct loo_outcome *outcome,
                    const struct loo_settings *settings) STATUS_CHECKED;

#endif
