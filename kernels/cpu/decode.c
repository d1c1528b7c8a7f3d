/* Decoding's convolution and scan: one token of each sequence against what is kept of its past. The
 * ops are bound by reading that past, so work is dealt out by (sequence, channels) and every result
 * depends on its own sequence only, never on the batch around it. */
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/scan.h"

void cpu_conv_store(struct backend *backend, struct act *states, const int32_t *slots,
                    const struct act *x, int64_t x_stride, const struct sequences *sequences,
                    const struct mamba_shape *shape) {
    (void)backend;
    int64_t width = shape->d_xb, kept = shape->d_conv - 1;
    for (int s = 0; s < sequences->count; s++)
        for (int64_t r = 0; r < kept; r++) {
            int64_t token = (int64_t)sequences->offsets[s + 1] - kept + r;
            real *to = (real *)states + (slots[s] * kept + r) * width;
            if (token < sequences->offsets[s])
                memset(to, 0, (size_t)width * sizeof *to);
            else
                memcpy(to, (const real *)x + token * x_stride, (size_t)width * sizeof *to);
        }
}

void cpu_conv_step(struct backend *backend, struct act *out, struct act *states,
                   const int32_t *slots, const struct act *x, int64_t x_stride, const struct acc *w,
                   const struct acc *bias, int count, const struct mamba_shape *shape) {
    (void)backend;
    int64_t width = shape->d_xb, kept = shape->d_conv - 1;
#pragma omp parallel for schedule(                                                                 \
    static) if (cpu_worth_team((int64_t)count * shape->d_inner * (shape->d_conv + 8)))
    for (int s = 0; s < count; s++) {
        real *past = (real *)states + slots[s] * kept * width;
        const real *now = (const real *)x + s * x_stride;
        for (int c = 0; c < shape->d_inner; c++) {
            const real *taps = (const real *)w + (int64_t)c * shape->d_conv;
            int source = mamba_source(shape, c);
            real sum = bias ? ((const real *)bias)[c] : 0;
            for (int64_t r = 0; r < kept; r++) sum += taps[r] * past[r * width + source];
            ((real *)out)[(int64_t)s * shape->d_inner + c] =
                fast_silu(sum + taps[kept] * now[source]);
        }
        if (!kept) continue;
        memmove(past, past + width, (size_t)((kept - 1) * width) * sizeof *past);
        memcpy(past + (kept - 1) * width, now, (size_t)width * sizeof *past);
    }
}

/* One channel's states [N] advance; <state, C>. */
CPU_CLONES static real advance(real *restrict state, const real *restrict a_log,
                               const real *restrict b, const real *restrict c, real dt, real u,
                               int states) {
    real y = 0;
#pragma omp simd reduction(+ : y)
    for (int n = 0; n < states; n++) {
        state[n] = fast_exp(-dt * fast_exp(a_log[n])) * state[n] + u * b[n];
        y += state[n] * c[n];
    }
    return y;
}

void cpu_scan_step(struct backend *backend, struct act *out, struct acc *states,
                   const int32_t *slots, const struct scan_inputs *in, int count,
                   const struct mamba_shape *shape) {
    (void)backend;
    int n = shape->d_state, heads = shape->d_inner / n, repeat = shape->d_inner / shape->d_xb;
#pragma omp parallel for collapse(2)                                                               \
    schedule(static) if (cpu_worth_team(16 * (int64_t)count * shape->d_inner * n))
    for (int s = 0; s < count; s++)
        for (int head = 0; head < heads; head++) {
            const real *b = (const real *)in->b + s * in->b_stride + (int64_t)(head / repeat) * n;
            const real *c = (const real *)in->c + s * in->c_stride + (int64_t)head * n;
            for (int64_t channel = (int64_t)head * n; channel < (int64_t)(head + 1) * n;
                 channel++) {
                real x = ((const real *)in->x)[s * in->x_stride + channel];
                real z = ((const real *)in->z)[s * in->z_stride + channel];
                real dt = fast_softplus(((const real *)in->dt)[s * in->dt_stride + channel] +
                                        ((const real *)in->dt_bias)[channel]);
                real *state = (real *)states + ((int64_t)slots[s] * shape->d_inner + channel) * n;
                real y = advance(state, (const real *)in->a_log + channel * n, b, c, dt, dt * x, n);
                y += ((const real *)in->d)[channel] * x;
                ((real *)out)[(int64_t)s * shape->d_inner + channel] = y * fast_silu(z);
            }
        }
}
