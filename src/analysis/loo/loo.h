/* Leave-one-out scoring of a model's layers into a score database, exactly or by an estimate. The
 * scores are divergences on a token set, or the drop of a task's scores. */
#ifndef ANALYSIS_LOO_LOO_H
#define ANALYSIS_LOO_LOO_H

#include "analysis/loo/estimator.h"
#include "base/json.h"
#include "base/list.h"
#include "data/choices.h"

struct loo_settings {
    const char *model;                  /* directory of the transformer */
    const char *hybrid;                 /* directory of the hybrid to start from, or NULL */
    const char *data;                   /* token set; with items: what they came from */
    const struct choice_set *items;     /* score by these in the place of the token set; borrowed */
    const struct json *item_parameters; /* what they depend on; part of the run's key */
    const char *database;               /* created when absent */
    const char *device;                 /* as backend_open */
    enum ablation ablation;
    const char *library; /* branches have its mixers in the attention's place; or NULL: nothing */
    const char *library_kind; /* of them; NULL: the only one that a layer has */
    enum estimate estimate;   /* in the place of the exact sweep; stored as a run of its own kind */
    int samples;              /* of fisher */
    uint64_t seed;
    const char *layers;          /* as list_parse, or NULL: every attention layer that is left */
    struct int_list removed;     /* layers that a plan replaces: the trunk goes without them */
    int64_t group_tokens;        /* tokens of a group, 0: chosen from the memory there is */
    uint64_t device_memory;      /* bytes that may be used on the device, 0: what is free */
    bool dry_run;                /* budget the memory and stop; no database is needed */
    const struct json *identity; /* see record_run */
    int64_t compare; /* a run: only say how its question differs from this one; 0: compute */
    struct checkpoint_options checkpoint;
};

struct loo_outcome {
    char *differs;             /* record_compare of settings->compare; the caller frees */
    int64_t run;               /* id in the database */
    int64_t rows, rows_before; /* (items) in all, and found in the database */
    int64_t tokens;
    int branches;
    double seconds; /* of the sweep itself */
    struct memory_budget memory;
    uint64_t peak_bytes; /* used on the device, 0 where it is not counted */
};

/* Score, group of rows (or items) by group: each group is one transaction, so that a kill loses at
 * most the group in progress and the same call continues. `outcome` is filled as far as the work
 * went, on failure too. */
enum status loo_run(struct loo_outcome *outcome,
                    const struct loo_settings *settings) STATUS_CHECKED;

#endif
