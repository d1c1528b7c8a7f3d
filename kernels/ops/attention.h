/* Rotary positions and causal attention, over whole sequences and over a cache. */
#ifndef KERNELS_OPS_ATTENTION_H
#define KERNELS_OPS_ATTENTION_H

#include "kernels/ops/types.h"

struct attention_shape {
    int heads, kv_heads, head_dim; /* H, G, E; query head h reads kv head h / (H/G) */
    int window;                    /* position t sees t - window + 1 .. t; 0: all before it */
    double scale;                  /* of q.k, usually E^-1/2 */
};

struct attention_inputs {
    const struct act *q; /* [tokens, H*E] */
    const struct act *k; /* [tokens, G*E] */
    const struct act *v; /* [tokens, G*E] */
    int64_t q_stride, k_stride, v_stride;
};

struct attention_gradients { /* written; layouts as the inputs, strides of their own */
    struct act *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride;
};

/* What decoding keeps of sequences under way, a slot for each. */
struct kv_cache {
    struct act *k, *v; /* [slots, G, rows, E] */
    int64_t rows; /* position p stands in row p % rows; of a layer with a window, at most that */
};

struct attention_ops {
    /* Rotate x [tokens, heads*E] (stride) in place: for i < E/2, the pair (x_i, x_{i+E/2}) by the
     * angle whose cosine and sine stand in table [positions, 2, E/2] (cosines, then sines, both
     * times the attention factor). `inverse` applies the transpose: the gradient. */
    void (*rope)(struct backend *, struct act *x, int64_t stride, const struct acc *table,
                 const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim);

    /* Causal attention within each sequence, online softmax: out [tokens, H*E], lse [H, tokens]
     * (log of the sum of exponentials of scaled scores; may be NULL when no backward follows).
     * Memory is linear in the tokens. */
    void (*attention)(struct backend *, struct act *out, struct acc *lse,
                      const struct attention_inputs *, const struct sequences *,
                      const struct attention_shape *);
    void (*attention_backward)(struct backend *, const struct attention_gradients *,
                               const struct act *dout, const struct act *out, const struct acc *lse,
                               const struct attention_inputs *, const struct sequences *,
                               const struct attention_shape *);

    /* Decoding: sequences whose past is kept in slots. `slots` [sequences] says where; no two are
     * equal.
     *
     * kv_store: keys and values of new tokens (in->k, in->v) into the cache, each at the row of
     * its position; of tokens of one sequence that share a row the last is kept.
     * attention_decode: one query a sequence, q [count, H*E] (q_stride), over the cache's keys of
     * positions 0 .. positions[i] (the last `rows` of them), its own stored before; out [count,
     * H*E]. `longest` is at least 1 more than the largest position. */
    void (*kv_store)(struct backend *, const struct kv_cache *, const int32_t *slots,
                     const struct attention_inputs *in, const struct sequences *,
                     const struct attention_shape *);
    void (*attention_decode)(struct backend *, struct act *out, const struct act *q,
                             int64_t q_stride, const struct kv_cache *, const int32_t *slots,
                             const int32_t *positions, int64_t longest, int count,
                             const struct attention_shape *);
};

#endif
