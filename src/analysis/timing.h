/* How long a run will take, from the speed of this device as it is now: the very passes that the
 * run makes are timed on the first two layers and a few of its rows, within about two seconds. */
#ifndef ANALYSIS_TIMING_H
#define ANALYSIS_TIMING_H

#include "analysis/probe.h"

struct timing {
    double open;  /* seconds: what is loaded and set up once, without layers */
    double layer; /* seconds: a layer to the device; on the CPU 0, being part of its passes */
    /* seconds a token */
    double block;      /* of one state through one layer */
    double score;      /* logits of one state, and their comparison */
    double step;       /* of a probe's step at the last layer */
    double step_layer; /* more for every layer below the last */
    double update;     /* seconds a step, whatever its tokens */
};

/* Tokens of the first rows whose logits enter a metric. */
double timing_counted(const struct tokenset *set, int64_t rows);

/* `model` is described and not loaded, and good for nothing but model_close afterwards: all but two
 * layers are forgotten. All 0 for a model that is too large to be timed quickly. `most_tokens` go
 * through a block at a time. */
enum status timing_passes(struct timing *out, struct model *model, const struct tokenset *set,
                          int64_t most_tokens) STATUS_CHECKED;

/* The same and a probe's steps with these settings; the model is its own teacher. */
enum status timing_probes(struct timing *out, struct model *model, const struct tokenset *set,
                          const struct probe_settings *settings,
                          const struct train_memory *memory) STATUS_CHECKED;

#endif
