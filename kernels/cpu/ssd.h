/* What the forward and the backward pass of the Mamba-2 recurrence share. */
#ifndef KERNELS_CPU_SSD_H
#define KERNELS_CPU_SSD_H

#include "kernels/cpu/chunks.h"
#include "kernels/ops/ssd.h"

struct ssd_head {
    real a, d, dt_bias; /* a = -exp(a_log) */
};

/* One head's tokens [first, first + decay.count), and where their rows begin. */
struct ssd_chunk {
    int64_t first;
    const real *x, *b, *c;
    real raw[CHUNK], dt[CHUNK]; /* before and after softplus */
    struct chunk_decay decay;
};

struct ssd_head ssd_load_head(const struct ssd_inputs *in, int head);
/* The chunk at token `first` of a sequence that ends at `end`. */
void ssd_load_chunk(struct ssd_chunk *chunk, const struct ssd_inputs *in,
                    const struct ssd_shape *shape, const struct ssd_head *head, int index,
                    int64_t first, int64_t end);

/* ssd_backward.c */
void cpu_ssd_backward(struct backend *backend, const struct ssd_gradients *to,
                      const struct act *dout, const struct acc *checkpoints,
                      const struct ssd_inputs *in, const struct sequences *sequences,
                      const struct ssd_shape *shape);

#endif
