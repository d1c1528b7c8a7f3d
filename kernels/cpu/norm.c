/* RMSNorm over the hidden size and over each head (Zhang and Sennrich 2019). */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"
#include "kernels/ops/norm.h"

CPU_CLONES static real normalize_row(real *restrict out, const real *restrict x,
                                     const real *restrict w, double epsilon, int64_t width) {
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; i++) squares += (double)x[i] * (double)x[i];
    real rstd = (real)(1 / sqrt(squares / (double)width + epsilon));
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = x[i] * rstd * w[i];
    return rstd;
}

static void cpu_rmsnorm(struct backend *backend, struct act *out, struct acc *rstd,
                        const struct acc *x, const struct acc *w, double epsilon, int64_t rows,
                        int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static) if (cpu_worth_team(4 * rows * width))
    for (int64_t row = 0; row < rows; row++)
        ((real *)rstd)[row] =
            normalize_row((real *)out + row * width, (const real *)x + row * width, (const real *)w,
                          epsilon, width);
}

static void cpu_head_norm(struct backend *backend, struct act *out, int64_t out_stride,
                          struct acc *rstd, const struct head_norm_inputs *in, double epsilon) {
    (void)backend;
    const real *x = (const real *)in->x, *w = (const real *)in->w;
    int heads = in->heads, width = in->head_dim;
#pragma omp parallel for schedule(static) if (cpu_worth_team(4 * in->tokens * heads * width))
    for (int64_t t = 0; t < in->tokens; t++)
        for (int h = 0; h < heads; h++)
            ((real *)rstd)[t * heads + h] =
                normalize_row((real *)out + t * out_stride + h * width,
                              x + t * in->x_stride + h * width, w, epsilon, width);
}

/* dx = or += rstd * (dout w - x rstd^2 mean(dout w x)) */
CPU_CLONES static void differentiate_row(real *restrict dx, const real *restrict dout,
                                         const real *restrict x, const real *restrict w, real rstd,
                                         bool add, int64_t width) {
    double product = 0;
#pragma omp simd reduction(+ : product)
    for (int64_t i = 0; i < width; i++) product += (double)(dout[i] * w[i]) * (double)x[i];
    real along = (real)(product / (double)width) * rstd * rstd * rstd;
    if (add) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) dx[i] += rstd * dout[i] * w[i] - along * x[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) dx[i] = rstd * dout[i] * w[i] - along * x[i];
    }
}

CPU_CLONES static void add_weight_row(real *restrict dw, const real *restrict dout,
                                      const real *restrict x, real rstd, int64_t width) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) dw[i] += dout[i] * x[i] * rstd;
}

enum { BLOCK_TOKENS = 128 };

/* Rows of `heads` heads of `width`: both norms. dw is summed by blocks of tokens, then over the
 * blocks in order. */
struct norm_backward {
    real *dx, *dw;
    const real *dout, *x, *w, *rstd;
    int64_t dx_stride, dout_stride, x_stride, tokens, width;
    int heads;
    bool add;
};

static void backward_block(const struct norm_backward *op, real *sums, int64_t first) {
    int64_t end = first + BLOCK_TOKENS < op->tokens ? first + BLOCK_TOKENS : op->tokens;
    if (sums) memset(sums, 0, (size_t)op->width * sizeof *sums);
    for (int64_t t = first; t < end; t++)
        for (int h = 0; h < op->heads; h++) {
            const real *dout = op->dout + t * op->dout_stride + h * op->width;
            const real *x = op->x + t * op->x_stride + h * op->width;
            real rstd = op->rstd[t * op->heads + h];
            if (sums) add_weight_row(sums, dout, x, rstd, op->width);
            differentiate_row(op->dx + t * op->dx_stride + h * op->width, dout, x, op->w, rstd,
                              op->add, op->width);
        }
}

static void norm_backward(struct backend *backend, const struct norm_backward *op) {
    int64_t blocks = (op->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    real *sums = NULL;
    if (op->dw) {
        sums =
            cpu_scratch(backend, (size_t)(blocks * op->width) * sizeof *sums, "a norm's gradients");
        if (!sums) return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++)
        backward_block(op, sums ? sums + block * op->width : NULL, block * BLOCK_TOKENS);
    for (int64_t block = 0; block < blocks && sums; block++)
        for (int64_t i = 0; i < op->width; i++) op->dw[i] += sums[block * op->width + i];
    free(sums);
}

static void cpu_rmsnorm_backward(struct backend *backend, struct acc *dx, struct acc *dw,
                                 const struct act *dout, const struct acc *x, const struct acc *w,
                                 const struct acc *rstd, int64_t rows, int64_t width) {
    struct norm_backward op = {.dx = (real *)dx,
                               .dw = (real *)dw,
                               .dout = (const real *)dout,
                               .x = (const real *)x,
                               .w = (const real *)w,
                               .rstd = (const real *)rstd,
                               .dx_stride = width,
                               .dout_stride = width,
                               .x_stride = width,
                               .tokens = rows,
                               .width = width,
                               .heads = 1,
                               .add = true};
    norm_backward(backend, &op);
}

static void cpu_head_norm_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                                   struct acc *dw, const struct act *dout, int64_t dout_stride,
                                   const struct head_norm_inputs *in, const struct acc *rstd) {
    struct norm_backward op = {.dx = (real *)dx,
                               .dw = (real *)dw,
                               .dout = (const real *)dout,
                               .x = (const real *)in->x,
                               .w = (const real *)in->w,
                               .rstd = (const real *)rstd,
                               .dx_stride = dx_stride,
                               .dout_stride = dout_stride,
                               .x_stride = in->x_stride,
                               .tokens = in->tokens,
                               .width = in->head_dim,
                               .heads = in->heads};
    norm_backward(backend, &op);
}

const struct norm_ops cpu_norm_ops = {
    .rmsnorm = cpu_rmsnorm,
    .rmsnorm_backward = cpu_rmsnorm_backward,
    .head_norm = cpu_head_norm,
    .head_norm_backward = cpu_head_norm_backward,
};
