/* RMSNorm over groups of channels with a SiLU gate: norm(x silu(z)) w or norm(x) w silu(z). */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"
#include "kernels/ops/gated_norm.h"

enum {
    BLOCK_ROWS = 128,
    STRIP = 64
}; /* of the sums for dw; channels that are worked on together */

CPU_CLONES static void gate_strip(real *restrict gated, real *restrict gate, const real *restrict x,
                                  const real *restrict z, bool first, int count) {
#pragma omp simd
    for (int i = 0; i < count; i++) {
        gate[i] = fast_silu(z[i]);
        gated[i] = first ? x[i] * gate[i] : x[i];
    }
}

/* The group's mean square of what is normalised. */
static double mean_square(const real *x, const real *z, bool first, int width) {
    real gated[STRIP], gate[STRIP];
    double squares = 0;
    for (int start = 0; start < width; start += STRIP) {
        int count = width - start < STRIP ? width - start : STRIP;
        gate_strip(gated, gate, x + start, z + start, first, count);
        for (int i = 0; i < count; i++) squares += (double)gated[i] * (double)gated[i];
    }
    return squares / width;
}

CPU_CLONES static void normalize_strip(real *restrict out, const real *restrict gated,
                                       const real *restrict gate, const real *restrict w, real rstd,
                                       bool first, int count) {
#pragma omp simd
    for (int i = 0; i < count; i++) out[i] = gated[i] * rstd * w[i] * (first ? 1 : gate[i]);
}

static void cpu_gated_norm(struct backend *backend, struct act *out, struct acc *rstd,
                           const struct act *x, const struct act *z, int64_t z_stride,
                           const struct acc *w, int64_t rows,
                           const struct gated_norm_shape *shape) {
    (void)backend;
    int width = shape->width;
    bool first = shape->gate_first;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int group = 0; group < shape->groups; group++) {
            int64_t at = row * shape->groups + group;
            const real *from = (const real *)x + at * width;
            const real *gates = (const real *)z + row * z_stride + group * width;
            const real *weights = (const real *)w + (shape->shared ? 0 : group * width);
            double mean = mean_square(from, gates, first, width);
            real scale = (real)(1 / sqrt(mean + shape->epsilon)), gated[STRIP], gate[STRIP];
            ((real *)rstd)[at] = scale;
            for (int start = 0; start < width; start += STRIP) {
                int count = width - start < STRIP ? width - start : STRIP;
                gate_strip(gated, gate, from + start, gates + start, first, count);
                normalize_strip((real *)out + at * width + start, gated, gate, weights + start,
                                scale, first, count);
            }
        }
}

struct gated_norm_backward {
    real *dx, *dz;
    int64_t dz_stride;
    const real *dout, *x, *z;
    int64_t z_stride;
    const real *w, *rstd;
    const struct gated_norm_shape *shape;
};

/* One group's operands, each of `width`. */
struct gated_group {
    real *dx, *dz;
    const real *dout, *x, *z, *w;
    real rstd;
    int width;
};

static struct gated_group group_of(const struct gated_norm_backward *op, int64_t row, int group) {
    int width = op->shape->width;
    int64_t at = row * op->shape->groups + group, column = (int64_t)group * width;
    return (struct gated_group){op->dx + at * width,
                                op->dz + row * op->dz_stride + column,
                                op->dout + at * width,
                                op->x + at * width,
                                op->z + row * op->z_stride + column,
                                op->w + (op->shape->shared ? 0 : column),
                                op->rstd[at],
                                width};
}

/* v is normalised to n = v rstd, out = n w gate_after: dv = rstd (g - n mean(g n)), where g = dout
 * w gate_after. Returns mean(g n), and adds dout n gate_after to dw (which may be NULL). */
static real sum_group(const struct gated_group *to, real *dw, bool first) {
    double sum = 0;
    for (int i = 0; i < to->width; i++) {
        real gate = fast_silu(to->z[i]), v = first ? to->x[i] * gate : to->x[i];
        real through = to->dout[i] * (first ? 1 : gate) * v * to->rstd;
        sum += (double)(through * to->w[i]);
        if (dw) dw[i] += through;
    }
    return (real)(sum / to->width);
}

CPU_CLONES static void differentiate_group(const struct gated_group *to, real mean, bool first) {
    real *restrict dx = to->dx, *restrict dz = to->dz, rstd = to->rstd;
    const real *restrict dout = to->dout, *restrict x = to->x, *restrict z = to->z, *w = to->w;
#pragma omp simd
    for (int i = 0; i < to->width; i++) {
        real sigmoid = fast_sigmoid(z[i]), gate = z[i] * sigmoid;
        real slope = sigmoid * (1 + z[i] * (1 - sigmoid));
        real n = (first ? x[i] * gate : x[i]) * rstd;
        real dv = rstd * (dout[i] * w[i] * (first ? 1 : gate) - n * mean);
        dx[i] = first ? dv * gate : dv;
        dz[i] = slope * (first ? dv * x[i] : dout[i] * w[i] * n);
    }
}

static void cpu_gated_norm_backward(struct backend *backend, struct act *dx, struct act *dz,
                                    int64_t dz_stride, struct acc *dw, const struct act *dout,
                                    const struct act *x, const struct act *z, int64_t z_stride,
                                    const struct acc *w, const struct acc *rstd, int64_t rows,
                                    const struct gated_norm_shape *shape) {
    struct gated_norm_backward op = {
        (real *)dx,      (real *)dz, dz_stride,       (const real *)dout, (const real *)x,
        (const real *)z, z_stride,   (const real *)w, (const real *)rstd, shape};
    int64_t columns = (int64_t)shape->width * (shape->shared ? 1 : shape->groups);
    int64_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    real *sums = NULL;
    if (dw) {
        size_t bytes = (size_t)(blocks * columns) * sizeof *sums;
        sums = cpu_scratch(backend, bytes, "a gated norm's gradients");
        if (!sums) return;
        memset(sums, 0, bytes);
    }
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t row = block * BLOCK_ROWS; row < rows && row < (block + 1) * BLOCK_ROWS; row++)
            for (int group = 0; group < shape->groups; group++) {
                struct gated_group to = group_of(&op, row, group);
                int64_t at = block * columns + (shape->shared ? 0 : group * shape->width);
                real mean = sum_group(&to, sums ? sums + at : NULL, shape->gate_first);
                differentiate_group(&to, mean, shape->gate_first);
            }
    for (int64_t block = 0; block < blocks && sums; block++)
        for (int64_t i = 0; i < columns; i++) ((real *)dw)[i] += sums[block * columns + i];
    free(sums);
}

const struct gated_norm_ops cpu_gated_norm_ops = {
    .gated_norm = cpu_gated_norm,
    .gated_norm_backward = cpu_gated_norm_backward,
};
