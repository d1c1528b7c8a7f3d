/* Shared by the files of mmr. */
#ifndef ANALYSIS_MMR_WORK_H
#define ANALYSIS_MMR_WORK_H

#include "analysis/mmr.h"
#include "analysis/record.h"
#include "base/list.h"
#include "base/log.h"

struct mmr_work {
    const struct mmr_settings *settings;
    struct mmr_outcome *outcome;
    struct backend *backend;
    struct model *teacher, *student; /* the same without a hybrid */
    struct tokenset *set;
    struct store *store;
    int64_t run;
    struct int_list layers;
    struct probe_engine *engine;
    struct progress progress;
    double done;                   /* steps, for progress */
    double saved_at, save_seconds; /* the last training state that was saved, and what it took */
    struct probe_memory memory;
    uint64_t kept_logits; /* bytes of them, 0: not kept */
    uint64_t base_bytes;  /* resident before anything was opened */
};

const char *mmr_loss_name(enum loss_kind loss); /* "rkl", … */

/* Every layer to its end, one after another. */
enum status mmr_run_layers(struct mmr_work *work) STATUS_CHECKED;

/* All layers a few steps at a time, until the best ones stay the same; then all are measured. */
enum status mmr_run_rounds(struct mmr_work *work) STATUS_CHECKED;

#endif
