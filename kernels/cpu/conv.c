/* Causal depthwise convolution with SiLU, after the repetition of x. Forward works on tiles of
 * tokens by channels. Backward takes a group of source channels with all their repeats through a
 * sequence's blocks of tokens in order, so that every sum has one owner and one order. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/mamba.h"
#include "kernels/cpu/ops.h"

enum { BLOCK_TOKENS = 64, TILE_CHANNELS = 64, LANES = MAMBA_LANES };

/* Rows hold tokens first - (K - 1) to first + count - 1; tokens before the sequence are zeros. */
static void load_tile(real *tile, const real *x, int64_t x_stride, int64_t before, int64_t count,
                      int taps, int channel, int width, const struct mamba_shape *shape) {
    for (int64_t row = 0; row < count + taps - 1; row++) {
        int64_t token = row - (taps - 1);
        real *to = tile + row * TILE_CHANNELS;
        if (token < -before) {
            memset(to, 0, (size_t)width * sizeof *to);
            continue;
        }
        for (int c = 0; c < width;) {
            int run = shape->d_state - (channel + c) % shape->d_state;
            if (run > width - c) run = width - c;
            memcpy(to + c, x + token * x_stride + mamba_source(shape, channel + c),
                   (size_t)run * sizeof *to);
            c += run;
        }
    }
}

CPU_CLONES static void convolve_tile(real *restrict out, int64_t out_stride,
                                     const real *restrict tile, const real *restrict w,
                                     const real *restrict bias, int taps, int64_t count,
                                     int width) {
    real sum[BLOCK_TOKENS][TILE_CHANNELS], tap[TILE_CHANNELS];
    for (int64_t t = 0; t < count; t++)
        for (int c = 0; c < width; c++) sum[t][c] = bias ? bias[c] : 0;
    for (int k = 0; k < taps; k++) {
        for (int c = 0; c < width; c++) tap[c] = w[c * taps + k];
        for (int64_t t = 0; t < count; t++) {
            const real *row = tile + (t + k) * TILE_CHANNELS;
#pragma omp simd
            for (int c = 0; c < width; c++) sum[t][c] += tap[c] * row[c];
        }
    }
    for (int64_t t = 0; t < count; t++) {
#pragma omp simd
        for (int c = 0; c < width; c++) out[t * out_stride + c] = fast_silu(sum[t][c]);
    }
}

static void cpu_conv_silu(struct backend *backend, struct act *out, const struct act *x,
                          int64_t x_stride, const struct acc *w, const struct acc *bias,
                          const struct sequences *sequences, const struct mamba_shape *shape) {
    (void)backend;
    int blocks = (sequences->longest + BLOCK_TOKENS - 1) / BLOCK_TOKENS, taps = shape->d_conv;
#pragma omp parallel for collapse(3) schedule(static)
    for (int s = 0; s < sequences->count; s++)
        for (int b = 0; b < blocks; b++)
            for (int channel = 0; channel < shape->d_inner; channel += TILE_CHANNELS) {
                int64_t first = sequences->offsets[s] + (int64_t)b * BLOCK_TOKENS;
                int64_t count = sequences->offsets[s + 1] - first;
                if (count <= 0) continue;
                if (count > BLOCK_TOKENS) count = BLOCK_TOKENS;
                int width = shape->d_inner - channel;
                if (width > TILE_CHANNELS) width = TILE_CHANNELS;
                real tile[(BLOCK_TOKENS + MAMBA_MAX_TAPS - 1) * TILE_CHANNELS];
                load_tile(tile, (const real *)x + first * x_stride, x_stride,
                          first - sequences->offsets[s], count, taps, channel, width, shape);
                convolve_tile((real *)out + first * shape->d_inner + channel, shape->d_inner, tile,
                              (const real *)w + (int64_t)channel * taps,
                              bias ? (const real *)bias + channel : NULL, taps, count, width);
            }
}

/* LANES channels of one sub-head; unused lanes hold zeros. */
struct lanes {
    real x[BLOCK_TOKENS + 2 * (MAMBA_MAX_TAPS - 1)][LANES]; /* row 0: token first - (K - 1) */
    real dsum[BLOCK_TOKENS + MAMBA_MAX_TAPS - 1][LANES];    /* row 0: token first */
    real w[MAMBA_MAX_TAPS][LANES];
    real bias[LANES];
};

/* The gradient before SiLU of `count` tokens. */
CPU_CLONES static void differentiate_silu(struct lanes *lanes, int taps, int64_t count) {
    for (int64_t t = 0; t < count; t++) {
        real sum[LANES];
        for (int c = 0; c < LANES; c++) sum[c] = lanes->bias[c];
        for (int k = 0; k < taps; k++)
            for (int c = 0; c < LANES; c++) sum[c] += lanes->w[k][c] * lanes->x[t + k][c];
#pragma omp simd
        for (int c = 0; c < LANES; c++) {
            real sigmoid = fast_sigmoid(sum[c]);
            lanes->dsum[t][c] *= sigmoid * (1 + sum[c] * (1 - sigmoid));
        }
    }
}

/* dx of tokens [0, count), of which `known` have a gradient row. */
CPU_CLONES static void add_dx(real (*restrict dx)[LANES], const struct lanes *lanes, int taps,
                              int64_t count, int64_t known) {
    for (int64_t t = 0; t < count; t++) {
        int64_t first = t + taps > known ? t + taps - known : 0;
        for (int64_t k = first; k < taps; k++)
            for (int c = 0; c < LANES; c++)
                dx[t][c] += lanes->w[k][c] * lanes->dsum[t + taps - 1 - k][c];
    }
}

CPU_CLONES static void add_parameters(real (*restrict dw)[LANES], real *restrict dbias,
                                      const struct lanes *lanes, int taps, int64_t count) {
    for (int k = 0; k < taps; k++) {
        real sum[LANES] = {0};
        for (int64_t t = 0; t < count; t++)
            for (int c = 0; c < LANES; c++) sum[c] += lanes->dsum[t][c] * lanes->x[t + k][c];
        for (int c = 0; c < LANES; c++) dw[k][c] += sum[c];
    }
    real sum[LANES] = {0};
    for (int64_t t = 0; t < count; t++)
        for (int c = 0; c < LANES; c++) sum[c] += lanes->dsum[t][c];
    for (int c = 0; c < LANES; c++) dbias[c] += sum[c];
}

struct conv_backward {
    real *dx;
    int64_t dx_stride;
    real *dw, *dbias;
    const real *dout, *x;
    int64_t x_stride;
    const real *w, *bias;
    const struct sequences *sequences;
    const struct mamba_shape *shape;
};

/* Gradient sums of one channel group over all tokens. */
struct conv_sums {
    real dw[MAMBA_MAX_TAPS][LANES], dbias[LANES];
};

static void load_lanes(struct lanes *lanes, const struct conv_backward *op, int64_t start,
                       int64_t first, int64_t known, int source, int channel, int width) {
    int taps = op->shape->d_conv, d_inner = op->shape->d_inner;
    memset(lanes, 0, sizeof *lanes);
    for (int64_t row = 0; row < known + taps - 1; row++) {
        int64_t token = first + row - (taps - 1);
        if (token >= start)
            memcpy(lanes->x[row], op->x + token * op->x_stride + source,
                   (size_t)width * sizeof(real));
    }
    for (int64_t t = 0; t < known; t++)
        memcpy(lanes->dsum[t], op->dout + (first + t) * d_inner + channel,
               (size_t)width * sizeof(real));
    for (int c = 0; c < width; c++) {
        if (op->bias) lanes->bias[c] = op->bias[channel + c];
        for (int k = 0; k < taps; k++) lanes->w[k][c] = op->w[(int64_t)(channel + c) * taps + k];
    }
}

/* Source channels [source, source + width) of one sub-head, all tokens, all repeats. */
static void backward_group(const struct conv_backward *op, struct conv_sums *sums, int source,
                           int width) {
    const struct mamba_shape *shape = op->shape;
    int states = shape->d_state, repeat = shape->d_inner / shape->d_xb, taps = shape->d_conv;
    int base = source / states * repeat * states + source % states;
    for (int s = 0; s < op->sequences->count; s++) {
        int64_t start = op->sequences->offsets[s], end = op->sequences->offsets[s + 1];
        for (int64_t first = start; first < end; first += BLOCK_TOKENS) {
            struct lanes lanes;
            real dx[BLOCK_TOKENS][LANES] = {{0}};
            int64_t count = end - first < BLOCK_TOKENS ? end - first : BLOCK_TOKENS;
            int64_t known = end - first < count + taps - 1 ? end - first : count + taps - 1;
            for (int r = 0; r < repeat; r++) {
                load_lanes(&lanes, op, start, first, known, source, base + r * states, width);
                differentiate_silu(&lanes, taps, known);
                add_dx(dx, &lanes, taps, count, known);
                add_parameters(sums[r].dw, sums[r].dbias, &lanes, taps, count);
            }
            for (int64_t t = 0; t < count; t++)
                memcpy(op->dx + (first + t) * op->dx_stride + source, dx[t],
                       (size_t)width * sizeof(real));
        }
    }
    for (int r = 0; r < repeat; r++)
        for (int c = 0; c < width; c++) {
            int64_t channel = base + r * states + c;
            for (int k = 0; k < taps && op->dw; k++) op->dw[channel * taps + k] += sums[r].dw[k][c];
            if (op->dbias) op->dbias[channel] += sums[r].dbias[c];
        }
}

static void cpu_conv_silu_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                                   struct acc *dw, struct acc *dbias, const struct act *dout,
                                   const struct act *x, int64_t x_stride, const struct acc *w,
                                   const struct acc *bias, const struct sequences *sequences,
                                   const struct mamba_shape *shape) {
    struct conv_backward op = {.dx = (real *)dx,
                               .dx_stride = dx_stride,
                               .dw = (real *)dw,
                               .dbias = (real *)dbias,
                               .dout = (const real *)dout,
                               .x = (const real *)x,
                               .x_stride = x_stride,
                               .w = (const real *)w,
                               .bias = (const real *)bias,
                               .sequences = sequences,
                               .shape = shape};
    int groups = mamba_groups(shape->d_state), repeat = shape->d_inner / shape->d_xb;
    int units = shape->d_xb / shape->d_state * groups;
    struct conv_sums *sums = cpu_scratch(backend, (size_t)units * (size_t)repeat * sizeof *sums,
                                         "the convolution's gradients");
    if (!sums) return;
    memset(sums, 0, (size_t)units * (size_t)repeat * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int unit = 0; unit < units; unit++) {
        int offset = unit % groups * LANES;
        int width = shape->d_state - offset < LANES ? shape->d_state - offset : LANES;
        backward_group(&op, sums + (int64_t)unit * repeat, unit / groups * shape->d_state + offset,
                       width);
    }
    free(sums);
}

const struct conv_ops cpu_conv_ops = {
    .conv_silu = cpu_conv_silu,
    .conv_silu_backward = cpu_conv_silu_backward,
    .conv_store = cpu_conv_store,
    .conv_step = cpu_conv_step,
};
