/* The functions of attention's table that stand in files of their own. */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/ops/attention.h"

void cpu_rope(struct backend *backend, struct act *x, int64_t stride, const struct acc *table,
              const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim);
void cpu_attention_backward(struct backend *backend, const struct attention_gradients *to,
                            const struct act *dout, const struct act *out, const struct acc *lse,
                            const struct attention_inputs *in, const struct sequences *sequences,
                            const struct attention_shape *shape);
void cpu_kv_store(struct backend *backend, const struct kv_cache *cache, const int32_t *slots,
                  const struct attention_inputs *in, const struct sequences *sequences,
                  const struct attention_shape *shape);
void cpu_attention_decode(struct backend *backend, struct act *out, const struct act *q,
                          int64_t q_stride, const struct kv_cache *cache, const int32_t *slots,
                          const int32_t *positions, int64_t longest, int count,
                          const struct attention_shape *shape);

#endif
