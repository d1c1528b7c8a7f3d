/* The leave-one-out sweep: trunk and branches advance together, layer by layer, so that each
 * layer's weights are needed once for all of them (doc/ARCHITECTURE.md). Branch i equals the trunk
 * up to layer i: L layers cost L (L + 1) / 2 block passes. */
#ifndef ANALYSIS_LOO_SWEEP_H
#define ANALYSIS_LOO_SWEEP_H

#include "analysis/memory_budget.h"
#include "measure/scorer.h"

enum ablation {
    ABLATE_MIXER, /* the mixer's output is zero; the MLP stays */
    ABLATE_BLOCK, /* the whole layer is left out */
};

/* Mixers that branches have in the place of what is ablated otherwise: `load` gives that of a
 * branch, borrowed until it is called again. */
struct sweep_placed {
    enum status (*load)(const struct mixer **out, void *context, int branch);
    void *context;
    const struct mixer_sizes *sizes; /* [sizes_count]: all that there are, for the buffers */
    int sizes_count;
};

struct sweep_options {
    enum ablation ablation;
    const int *layers; /* [branches]: layers to ablate, ascending; with `placed` a layer may stand
                          there several times */
    const struct sweep_placed *placed; /* NULL: there are none */
    int branches;
    struct model *teacher; /* what branches are compared with, loaded; NULL: the trunk */
    const bool
        *removed; /* [L] or NULL: layers that the trunk itself goes without, in the same way */
    int64_t pass_tokens; /* tokens (times branches) that go through a block at once; 0: choose */
    int on_device;       /* states (the trunk first) that stay on the device, others wait in pinned
                            host memory; 0: all */
};

struct sweep;

/* Buffers for groups of up to `rows` rows with `tokens` tokens in all, `longest` in one row. */
enum status sweep_open(struct sweep **out, struct model *model, const struct sweep_options *options,
                       int rows, int64_t tokens, int longest) STATUS_CHECKED;
void sweep_close(struct sweep *sweep); /* accepts NULL */

/* Run rows [first, first + rows) of the set as one batch and score `predictions` of it. `sums` host
 * [1 + branches][slots][METRIC_COUNT] and `greedy` (or NULL) as scorer_score has them; entry 0 is
 * the trunk. STATUS_INTERRUPTED between layers when an interrupt was requested. */
enum status sweep_run(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                      const struct predictions *predictions, double *sums,
                      int64_t *greedy) STATUS_CHECKED;

/* The same for the positions of the rows that count, with a slot a row; `counts` host
 * [rows][METRIC_COUNT] tells how many they are. */
enum status sweep_group(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                        double *sums, int64_t *counts) STATUS_CHECKED;

/* Add what sweep_open takes, and nothing of the model's, to a budget. */
void sweep_budget(struct memory_budget *budget, const struct model *model,
                  const struct sweep_options *options, int rows, int64_t tokens, int longest);

#endif
