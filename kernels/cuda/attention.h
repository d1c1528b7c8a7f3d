/* The functions of attention's table that stand in files of their own. */
#ifndef KERNELS_CUDA_ATTENTION_H
#define KERNELS_CUDA_ATTENTION_H

#include "kernels/ops/attention.h"

void cuda_rope(struct backend *backend, struct act *x, int64_t stride, const struct acc *table,
               const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim);
void cuda_attention_backward(struct backend *backend, const struct attention_gradients *gradients,
                             const struct act *dout, const struct act *out, const struct acc *lse,
                             const struct attention_inputs *in, const struct sequences *sequences,
                             const struct attention_shape *shape);
void cuda_kv_store(struct backend *backend, const struct kv_cache *cache, const int32_t *slots,
                   const struct attention_inputs *in, const struct sequences *sequences,
                   const struct attention_shape *shape);
void cuda_attention_decode(struct backend *backend, struct act *out, const struct act *q,
                           int64_t q_stride, const struct kv_cache *cache, const int32_t *slots,
                           const int32_t *positions, int64_t longest, int count,
                           const struct attention_shape *shape);

#endif
