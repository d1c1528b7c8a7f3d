/* What the scan's forward and backward pass share. */
#ifndef KERNELS_CPU_SCAN_H
#define KERNELS_CPU_SCAN_H

#include <omp.h>

#include "kernels/cpu/mamba.h"
#include "kernels/cpu/real.h"
#include "kernels/ops/scan.h"

enum { SCAN_CHUNK = 64 }; /* tokens between checkpoints */

typedef real scan_lanes[MAMBA_LANES];

/* Up to MAMBA_LANES channels of one sub-head; unused lanes hold zeros everywhere. */
struct scan_group {
    int sub_head, channel, width; /* of I; first channel; channels */
};

struct scan_parameters {
    const real *a; /* [N, LANES] = -exp(a_log), borrowed */
    scan_lanes d, dt_bias;
};

/* One group's tokens [first, first + count). */
struct scan_chunk {
    int64_t first, count;
    int states;
    const real *b, *c; /* the sub-head's N values of the first token, borrowed */
    int64_t b_stride, c_stride;
    scan_lanes raw_dt[SCAN_CHUNK], x[SCAN_CHUNK], z[SCAN_CHUNK];
    scan_lanes dt[SCAN_CHUNK], u[SCAN_CHUNK]; /* softplus(raw_dt + dt_bias); dt * x */
    scan_lanes y[SCAN_CHUNK];
};

/* Group `index` of the d_inner / N * mamba_groups(N). */
struct scan_group scan_group_at(const struct mamba_shape *shape, int index);

/* `a` [N, LANES] is written and must outlive `to`. */
void scan_load_group(struct scan_parameters *to, real *a, const struct scan_inputs *in,
                     const struct mamba_shape *shape, const struct scan_group *group);
/* The chunk at token `first` of a sequence that ends at `end`; unused lanes stay as they were. */
void scan_load_chunk(struct scan_chunk *chunk, const struct scan_inputs *in,
                     const struct mamba_shape *shape, const struct scan_group *group,
                     const struct scan_parameters *parameters, int64_t first, int64_t end);

/* Checkpoints: [chunks, groups, N, LANES], the state before each chunk. Sequences begin a chunk of
 * their own; a few rows stay unused. */
int64_t scan_checkpoint_chunks(const struct sequences *sequences);
int64_t scan_first_chunk(const struct sequences *sequences, int sequence);

/* scan_backward.c, decode.c */
void cpu_scan_backward(struct backend *backend, const struct scan_gradients *gradients,
                       const struct act *dout, const struct acc *checkpoints,
                       const struct scan_inputs *in, const struct sequences *sequences,
                       const struct mamba_shape *shape);
void cpu_scan_step(struct backend *backend, struct act *out, struct acc *states,
                   const int32_t *slots, const struct scan_inputs *in, int count,
                   const struct mamba_shape *shape);

#endif
