/* Shared by the files of mmr. */
#ifndef ANALYSIS_MMR_MMR_WORK_H
#define ANALYSIS_MMR_MMR_WORK_H

#include "analysis/mmr/mmr.h" /* circle: private to it and its parts */
#include "analysis/record.h"
#include "analysis/saved_state.h"
#include "base/list.h"
#include "base/log.h"
#include "library/library.h"

struct mmr_work {
    const struct mmr_settings *settings;
    struct mmr_outcome *outcome;
    struct backend *backend;
    struct model *teacher, *student; /* the same without a hybrid */
    struct tokenset *set;
    struct store *store;
    int64_t run;
    struct int_list layers;
    struct probe_arrangement arrangement; /* as mmr_budget finds that it fits */
    int *first_layers;                    /* [together]: of the first group */
    char traffic[160];                    /* see mmr_traffic; "": layers are kept */
    struct calibration calibration;       /* zeroed: there is none */
    struct calibration_task *fits;        /* [n_fits]: of the layers and seeds */
    size_t n_fits;
    struct probe_engine *engine;
    struct library *library, *keep; /* or NULL */
    struct progress progress;
    double done;                   /* steps, for progress */
    double saved_at, save_seconds; /* the last training state that was saved, and what it took */
    struct saved_state saved;
    struct probe_memory memory;
    uint64_t kept_logits; /* bytes of them, 0: not kept */
    uint64_t base_bytes;  /* resident before anything was opened */
};

/* Bytes of a training state that are on the host at a time. */
size_t mmr_state_part(const struct mmr_settings *settings);

/* Steps [from, to) of every probe of the layers that are not `done` [L] (or NULL), group by group,
 * as far as they are not in the database. A probe that stands before `from` has diverged and takes
 * no more part. With `measured` the held-out rows are measured before the first step and after the
 * last, and each layer's scores are written when the last of its seeds is. */
enum status mmr_run_probes(struct mmr_work *work, const bool *done, int64_t from, int64_t to,
                           bool measured) STATUS_CHECKED;

/* Fill work->outcome->memory and work->arrangement: what is kept, computed again, streamed or
 * parked, and how many probes advance together. Nothing needs to be loaded. A refusal when no way
 * fits. */
enum status mmr_budget(struct mmr_work *work) STATUS_CHECKED;

struct probe_cache mmr_cache_of(const struct mmr_settings *settings);

/* Into `text`: what a probe's step loads on average, where layers are streamed, and computes. */
void mmr_traffic(char *text, size_t size, const struct mmr_work *work);

/* Where probes begin, and where their mixers go: checked, and opened. What identifies
 * the former. Keep a mixer; warn of those that are not kept. */
enum status mmr_open_libraries(struct mmr_work *work) STATUS_CHECKED;
enum status mmr_describe_library(struct json *parameters,
                                 const struct mmr_work *work) STATUS_CHECKED;
enum status mmr_keep(struct mmr_work *work, struct probe *probe, int layer) STATUS_CHECKED;
void mmr_warn_of_unkept(const struct mmr_work *work);

void mmr_begin_progress(struct mmr_work *work);

/* Every layer to its end, one group after another. */
enum status mmr_run_layers(struct mmr_work *work) STATUS_CHECKED;

/* All layers a few steps at a time, until the best ones stay the same; then all are measured. */
enum status mmr_run_rounds(struct mmr_work *work) STATUS_CHECKED;

#endif
