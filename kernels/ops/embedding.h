/* Rows of a table by token. */
#ifndef KERNELS_OPS_EMBEDDING_H
#define KERNELS_OPS_EMBEDDING_H

#include "kernels/ops/types.h"

/* out [tokens, D] = table [V, D] at ids [tokens]. Backward: dtable [V, D] += dout. */
struct embedding_ops {
    void (*embed)(struct backend *, struct acc *out, const int32_t *ids, const struct act *table,
                  int64_t tokens, int64_t width);
    void (*embed_backward)(struct backend *, struct acc *dtable, const int32_t *ids,
                           const struct acc *dout, int64_t tokens, int64_t width);
};

#endif
