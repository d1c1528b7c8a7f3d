/* What a model costs to serve: bytes of weights, caches and states, arithmetic, and the time that a
 * device needs at least (its roofline, Williams et al. 2009). One model for inspect, plan and
 * bench.
 *
 * A decoding step of B sequences reads every weight but the embedding table once, reads the keys
 * and values of B sequences, reads and writes their states, and does the arithmetic of B tokens; it
 * takes at least the larger of bytes / bandwidth and operations / rate. Activations and launches
 * are not counted. */
#ifndef MODEL_COST_H
#define MODEL_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"

struct cost_model {
    const struct model_config *config;
    const bool *replaced;     /* [L] layers with `mixer` in the attention's place, or NULL */
    struct mixer_sizes mixer; /* of the replaced layers */
    int act_bytes, acc_bytes; /* of an element of weights and caches; of states: 2, 4 on a GPU */
};

struct cost_device {
    double bandwidth;  /* bytes a second, as a copy moves them (read and written) */
    double operations; /* a second in matrix products; a multiplication and an addition are two */
};

struct cost_parts {
    uint64_t weights;      /* bytes of all weights */
    uint64_t step_weights; /* bytes that one decoding step reads of them */
    uint64_t kv_per_token; /* bytes that a token adds to the caches (windows not considered) */
    uint64_t state;        /* bytes of one sequence's states, however long it is */
    double operations;     /* a token, without those over the context */
};

void cost_measure(struct cost_parts *out, const struct cost_model *model);

/* Bytes of keys and values of one sequence of `tokens` tokens, windows considered. */
uint64_t cost_kv_bytes(const struct cost_model *model, int64_t tokens);

/* Bytes that a decoding step of `batch` sequences moves when each holds `tokens` tokens, and the
 * operations it does. */
double cost_step_bytes(const struct cost_model *model, int64_t batch, int64_t tokens);
double cost_step_operations(const struct cost_model *model, int64_t batch, int64_t tokens);

/* Seconds that the device needs at least for such a step; for `tokens` steps of a batch from
 * sequences of `prompt` tokens on. */
double cost_step_seconds(const struct cost_model *model, const struct cost_device *device,
                         int64_t batch, int64_t tokens);
double cost_decode_seconds(const struct cost_model *model, const struct cost_device *device,
                           int64_t batch, int64_t prompt, int64_t output);

/* Sequences of `tokens` tokens that fit beside `weights` bytes into `memory` bytes; 0: none. */
int64_t cost_batch(const struct cost_model *model, uint64_t memory, uint64_t weights,
                   int64_t tokens);

#endif
