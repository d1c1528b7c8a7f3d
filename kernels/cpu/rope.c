/* Rotary positions (Su et al. 2021): pairs of a head's elements turned by an angle of the position.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"

CPU_CLONES static void rotate_head(real *restrict x, const real *restrict cosine,
                                   const real *restrict sine, real sign, int half) {
    real *low = x, *high = x + half;
#pragma omp simd
    for (int i = 0; i < half; i++) {
        real a = low[i], b = high[i], s = sign * sine[i];
        low[i] = a * cosine[i] - b * s;
        high[i] = b * cosine[i] + a * s;
    }
}

void cpu_rope(struct backend *backend, struct act *x, int64_t stride, const struct acc *table,
              const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim) {
    (void)backend;
    int half = head_dim / 2;
#pragma omp parallel for schedule(static) if (cpu_worth_team(2 * tokens * heads * head_dim))
    for (int64_t t = 0; t < tokens; t++) {
        const real *cosine = (const real *)table + (int64_t)positions[t] * head_dim;
        for (int h = 0; h < heads; h++)
            rotate_head((real *)x + t * stride + h * head_dim, cosine, cosine + half,
                        inverse ? -1 : 1, half);
    }
}
