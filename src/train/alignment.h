/* Training a mixer to reproduce the attention that it replaces, on the states that the model itself
 * has before that layer: nothing flows through other layers or the head.
 *
 * With the layer's input h, u = rmsnorm(h), a the attention's output before the residual, m the
 * mixer's, and the block B(x) = h + x + mlp(rmsnorm(h + x)), a step minimises over its counted
 * tokens
 *
 *     1/2 sum |m(u) - a|^2 / sum |a|^2  +  1/2 sum |B(m(u)) - B(a)|^2 / sum |B(a) - h|^2
 *
 * the attention's error and the block's. The MLP is frozen, and the second term may be taken over a
 * share of the tokens: of each row a stretch of the counted ones, drawn for every step. All sums
 * are over the whole step. */
#ifndef TRAIN_ALIGNMENT_H
#define TRAIN_ALIGNMENT_H

#include "measure/positions.h"
#include "model/block.h"
#include "train/optimizer.h"
#include "train/schedule.h"

enum alignment_objective { ALIGNMENT_ATTENTION, ALIGNMENT_BLOCK, ALIGNMENT_BOTH };

const char *alignment_objective_name(enum alignment_objective objective); /* "both" */
enum status alignment_objective_from_name(enum alignment_objective *out,
                                          const char *name) STATUS_CHECKED;

struct train_alignment {
    enum alignment_objective objective;
    double block_share; /* of the tokens, above 0 and at most 1 */
    uint64_t seed;      /* of the stretches */
};

struct alignment;

/* Buffers for batches of up to `largest` (count, tokens and longest are read) and for mixers of
 * these sizes [count]. The model must outlive it. */
enum status alignment_open(struct alignment **out, struct model *model,
                           const struct sequences *largest, const struct mixer_sizes *mixers,
                           int count, const struct train_alignment *settings) STATUS_CHECKED;
void alignment_close(struct alignment *alignment); /* accepts NULL */

/* Device bytes that it takes. */
uint64_t alignment_bytes(const struct model *model, const struct sequences *largest,
                         const struct mixer_sizes *mixers, int count,
                         const struct train_alignment *settings);

/* Rows that pass together, and the layer that they pass. */
struct alignment_batch {
    const struct layer *layer; /* with the attention that is the target */
    const struct sequences *sequences;
    const struct positions *positions; /* of them, on the host */
    const struct acc *input;           /* [tokens, D]: the layer's input h */
};

/* The four sums, and their parts by row. */
struct alignment_errors {
    double attention, attention_all; /* |m - a|^2 and |a|^2 */
    double block, block_all;         /* |B(m) - B(a)|^2 and |B(a) - h|^2 */
};

/* Step `number` (from 0) of a mixer in the attention's place. `*loss` is the loss before the
 * update; NAN: a value of it was not finite or no token counts, and the weights are what they were.
 * After STATUS_INTERRUPTED no weight has changed. */
enum status alignment_step(struct alignment *alignment, double *loss, const struct mixer *mixer,
                           struct parameters *parameters, const struct alignment_batch *batch,
                           const struct train_schedule *schedule,
                           const struct train_optimizer *optimizer, int64_t number) STATUS_CHECKED;

/* Errors of each of the batch's rows [rows], over all of its counted tokens whatever share trains.
 * What is not finite is NAN. */
enum status alignment_measure(struct alignment *alignment, struct alignment_errors *errors,
                              const struct mixer *mixer,
                              const struct alignment_batch *batch) STATUS_CHECKED;

#endif
