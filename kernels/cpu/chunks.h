/* What the chunked recurrences (ssd.c, delta.c) share: a chunk's decays, and products by rows.
 * Within a chunk a recurrence is a few matrix products; only the state passes from chunk to chunk.
 */
#ifndef KERNELS_CPU_CHUNKS_H
#define KERNELS_CPU_CHUNKS_H

#include "kernels/backend.h"
#include "kernels/cpu/real.h"
#include "kernels/cpu/scan.h"

enum { CHUNK = SCAN_CHUNK }; /* tokens, and the checkpoints' distance */

/* sum[t]: the logarithm of all decays up to token t, in double: their differences count. */
struct chunk_decay {
    int count;
    double sum[CHUNK];
    real from_start[CHUNK], to_end[CHUNK]; /* exp(sum[t]), exp(sum[last] - sum[t]) */
};

/* steps [count]: the logarithm of each token's decay, 0 or less. */
void chunk_decay_set(struct chunk_decay *decay, const double *steps, int count);
/* to [CHUNK, CHUNK]: the decay from token j to token i, 0 where j > i. */
void chunk_decay_matrix(real *to, const struct chunk_decay *decay);
/* The gradient of sum[], given that of entry (i, j) times the entry, product [CHUNK, CHUNK]. */
void chunk_decay_differentiate(double *dsum, const real *product, int count);

/* Row t times scale[t], from rows `stride` apart to rows of `width`; to may be from. */
void chunk_scale_rows(real *to, const real *from, int64_t stride, const real *scale, int count,
                      int width);
/* to [rows, width] += from times scale[row]. */
void chunk_add_rows(real *to, int64_t to_stride, const real *from, int64_t from_stride,
                    const real *scale, int count, int width);
void chunk_multiply(real *to, const real *by, int64_t count); /* to *= by */
double chunk_dot(const real *left, const real *right, int64_t count);
void chunk_dot_rows(double *dots, const real *left, int64_t left_stride, const real *right,
                    int64_t right_stride, int count, int width);

#endif
