/* What the forward and the backward pass of the gated delta rule share. */
#ifndef KERNELS_CPU_DELTA_H
#define KERNELS_CPU_DELTA_H

#include "kernels/cpu/chunks.h"
#include "kernels/ops/delta.h"

struct delta_head {
    real a, dt_bias; /* a = -exp(a_log) */
};

/* One value head's tokens [first, first + decay.count). q and k [CHUNK, DK] are normalised rows,
 * q_size and k_size the factors that made them so; v stands where it stood. */
struct delta_chunk {
    int64_t first;
    real *q, *k;
    const real *v;
    real q_size[CHUNK], k_size[CHUNK];
    real raw[CHUNK], beta[CHUNK];
    double steps[CHUNK]; /* the logarithm of each token's decay */
    struct chunk_decay decay;
};

/* The parts of a chunk that both passes need, all rows CHUNK or DV long. */
struct delta_parts {
    real *decays;   /* L [CHUNK, CHUNK]: from token j to token i */
    real *keys;     /* k k^T [CHUNK, CHUNK] */
    real *solve;    /* beta_i L k k^T, j < i, else 0: (1 + solve) e = beta * missing */
    real *missing;  /* [CHUNK, DV]: v - from_start * (what the state before the chunk recalls) */
    real *recalled; /* [CHUNK, DV]: k S */
    real *e;        /* [CHUNK, DV]: what is written at each token */
};

struct delta_head delta_load_head(const struct delta_inputs *in, int head);
/* The chunk at token `first` of a sequence that ends at `end`, into chunk->q and k. */
void delta_load_chunk(struct delta_chunk *chunk, const struct delta_inputs *in,
                      const struct delta_shape *shape, const struct delta_head *head, int index,
                      int64_t first, int64_t end);
/* From the state [DK, DV] before the chunk. */
void delta_find_parts(struct backend *backend, struct delta_parts *parts,
                      const struct delta_chunk *chunk, const real *state, int64_t v_stride,
                      const struct delta_shape *shape);

/* delta_backward.c */
void cpu_delta_backward(struct backend *backend, const struct delta_gradients *to,
                        const struct act *dout, const struct acc *checkpoints,
                        const struct delta_inputs *in, const struct sequences *sequences,
                        const struct delta_shape *shape);

#endif
