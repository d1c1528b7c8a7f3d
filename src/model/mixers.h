/* The token mixers behind block_mix. */
#ifndef MODEL_MIXERS_H
#define MODEL_MIXERS_H

#include "kernels/ops/attention.h"
#include "kernels/ops/mamba_shape.h"
#include "model/block.h"

/* Sizes of the Mamba mixer and of attention (window of this layer) as the ops take them. */
struct mamba_shape mamba_shape_of(const struct mamba_config *mamba);
struct attention_shape attention_shape_of(const struct model_config *config, int layer);

/* h acc [n, D] += mixer(trace->normed). `past` (or NULL) as block_mix_past takes it. */
void attention_forward(const struct model *model, int layer, const struct mixer *mixer,
                       struct trace *trace, void *h, const struct sequences *sequences,
                       const struct past_use *past);
void mamba_forward(const struct model *model, const struct mixer *mixer, struct trace *trace,
                   void *h, const struct sequences *sequences, const struct past_use *past);

/* From the gradient dout act [n, D] of the mixer's output: gradients of its weights, and, unless
 * `stop`, scratch->dnormed, the gradient of trace->normed. trace->normed must hold the mixer's
 * input. */
void attention_backward(const struct model *model, const struct block_state *state,
                        struct backward *scratch, const void *dout, void *const *gradients,
                        bool stop, const struct sequences *sequences);
void mamba_backward(const struct model *model, const struct block_state *state,
                    struct backward *scratch, const void *dout, void *const *gradients, bool stop,
                    const struct sequences *sequences);

/* da = dout . w and dw += dout^T . a, db += sum(dout) where they are wanted (NULL: not). w [n, k],
 * dout act [m, n], a act [m, k] with a_stride. */
void linear_backward(const struct model *model, void *da, void *dw, void *dbias, const void *dout,
                     const void *a, int64_t a_stride, const void *w, int64_t m, int64_t n,
                     int64_t k);

#endif
