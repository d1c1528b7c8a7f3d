/* Attention, as the model's own layers have it: what every other kind takes the place of. Kinds
 * that are attention too share its functions and tensors. */
#ifndef MIXERS_ATTENTION_ATTENTION_H
#define MIXERS_ATTENTION_ATTENTION_H

#include "kernels/ops/attention.h"
#include "mixers/buffers.h"
#include "mixers/past.h"
#include "mixers/sizes.h"

extern const struct mixer_kind attention_kind;

enum attention_size { ATTENTION_WINDOW, ATTENTION_SIZES };

/* In the order of checkpoints. */
enum attention_tensor {
    ATTENTION_Q, /* [H*E, D] */
    ATTENTION_Q_BIAS,
    ATTENTION_K, /* [G*E, D] */
    ATTENTION_K_BIAS,
    ATTENTION_V, /* [G*E, D] */
    ATTENTION_V_BIAS,
    ATTENTION_O, /* [D, H*E] */
    ATTENTION_O_BIAS,
    ATTENTION_Q_NORM, /* [E] */
    ATTENTION_K_NORM, /* [E] */
    ATTENTION_TENSORS,
};

enum attention_weight {
    ATTENTION_QKV, /* act [(H + 2G) E, D]: query, key, value rows */
    ATTENTION_QKV_BIAS,
    ATTENTION_QUERY_NORM, /* acc [E] */
    ATTENTION_KEY_NORM,
    ATTENTION_OUT, /* act [D, H E] */
    ATTENTION_OUT_BIAS,
    ATTENTION_WEIGHTS,
};

enum attention_buffer {
    ATTENTION_B_QKV,    /* act [n, (H + 2G) E]; rotated in place unless q/k norms exist */
    ATTENTION_B_QK,     /* act [n, (H + G) E]: normalised and rotated; only with q/k norms */
    ATTENTION_B_Q_RSTD, /* acc [n, H] */
    ATTENTION_B_K_RSTD, /* acc [n, G] */
    ATTENTION_B_LSE,    /* acc [H, n]; only for gradients */
    ATTENTION_B_MIXED,  /* act [n, H E]: input of the output projection */
    ATTENTION_B_DQKV,   /* gradients */
    ATTENTION_B_DQK,
    ATTENTION_B_DMIXED,
    ATTENTION_BUFFERS,
};

enum attention_past { ATTENTION_KEYS, ATTENTION_VALUES, ATTENTION_PAST };

extern const struct tensor_row attention_tensors[ATTENTION_TENSORS];
extern const struct weight_row attention_weights[ATTENTION_WEIGHTS];
extern const struct buffer_row attention_buffers[ATTENTION_BUFFERS];
extern const struct past_row attention_past[ATTENTION_PAST];

struct tensor_shape attention_tensor_shape(int tensor, const struct mixer_sizes *sizes,
                                           const struct mixer_host *host);
void attention_forward(const struct mixer_pass *pass, struct acc *h);
void attention_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                        void *const *gradients);
int64_t attention_past_rows(const struct mixer_sizes *sizes, int64_t tokens);
double attention_operations(const struct mixer_sizes *sizes, const struct mixer_host *host,
                            double rows);

/* The sizes as the ops take them. */
struct attention_shape attention_shape_of(const struct mixer_sizes *sizes,
                                          const struct mixer_host *host);
/* Where the rotated queries and keys and the values stand. */
struct attention_inputs attention_locate(const struct mixer_pass *pass);

#endif
