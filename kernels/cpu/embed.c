/* Embedding: rows of a table by token. */
#include <string.h>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"
#include "kernels/ops/embedding.h"

static void cpu_embed(struct backend *backend, struct acc *out, const int32_t *ids,
                      const struct act *table, int64_t tokens, int64_t width) {
    (void)backend;
    for (int64_t t = 0; t < tokens; t++)
        memcpy((real *)out + t * width, (const real *)table + ids[t] * width,
               (size_t)width * sizeof(real));
}

static void cpu_embed_backward(struct backend *backend, struct acc *dtable, const int32_t *ids,
                               const struct acc *dout, int64_t tokens, int64_t width) {
    (void)backend;
    for (int64_t t = 0; t < tokens; t++) {
        real *to = (real *)dtable + ids[t] * width;
        const real *from = (const real *)dout + t * width;
        for (int64_t i = 0; i < width; i++) to[i] += from[i];
    }
}

const struct embedding_ops cpu_embedding_ops = {
    .embed = cpu_embed,
    .embed_backward = cpu_embed_backward,
};
