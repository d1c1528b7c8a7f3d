/* How long a run will take, from the speed of this device as it is now: the very passes that the
 * run makes are timed on the first two layers and a few of its rows, within about two seconds. */
#ifndef ANALYSIS_TIMING_H
#define ANALYSIS_TIMING_H

#include "analysis/probe.h"

struct timing {
    double open;  /* seconds: what is loaded and set up once, without layers */
    double layer; /* seconds: to load a layer */
    /* seconds a token */
    double block;      /* of one state through one layer */
    double score;      /* logits of one state, and their comparison */
    double step;       /* of a probe's step at the last layer */
    double step_layer; /* more for every layer below the last */
    double update;     /* seconds a step, whatever its tokens */
};

/* `computing` seconds of passes, and the loads of all `layers`, each so many times: `beside` the
 * passes, or before them. */
double timing_loads(const struct timing *timing, int layers, double computing, double times,
                    bool beside);

/* For timings of one's own. All but the first layers of a model that is good for nothing else
 * afterwards; and the first rows of a set, each cut to at most `length` tokens. */
void timing_forget_layers(struct model *model, int kept);
enum status timing_cut_rows(struct tokenset *out, const struct tokenset *set, int64_t rows,
                            int64_t length) STATUS_CHECKED;
void timing_free_rows(struct tokenset *set);

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

/* Seconds of one small pass through each layer `out` [L] of a model that is described and not
 * loaded: the first of each kind is timed, for comparison with each other. */
enum status timing_layers(double *out, struct model *model,
                          const struct tokenset *set) STATUS_CHECKED;

#endif
