/* AdamW with decoupled weight decay (Loshchilov and Hutter 2019), and the norm of a gradient. */
#include <stdlib.h>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"
#include "kernels/ops/optimizer.h"

enum { BLOCK = 4096 };

/* The settings as factors of one step. */
struct step {
    real decay;        /* of the parameter: 1 - lr * weight_decay */
    real keep1, keep2; /* of the moments */
    real new1, new2;
    real rate;        /* lr over the first moment's bias correction */
    real correction2; /* square root of the inverse of the second moment's */
    real epsilon, grad_scale;
};

CPU_CLONES static void update(real *restrict parameter, real *restrict moment1,
                              real *restrict moment2, const real *restrict gradient,
                              const struct step *step, int64_t count) {
    struct step s = *step;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        real g = gradient[i] * s.grad_scale;
        real m1 = s.keep1 * moment1[i] + s.new1 * g, m2 = s.keep2 * moment2[i] + s.new2 * g * g;
        moment1[i] = m1;
        moment2[i] = m2;
        parameter[i] =
            parameter[i] * s.decay - s.rate * m1 / (real_sqrt(m2) * s.correction2 + s.epsilon);
    }
}

static void cpu_adamw(struct backend *backend, struct acc *parameter, struct act *copy,
                      struct acc *moment1, struct acc *moment2, const struct acc *gradient,
                      const struct adamw_settings *settings, int64_t count) {
    (void)backend;
    double power = (double)settings->step;
    struct step step = {
        .decay = (real)(1 - settings->lr * settings->weight_decay),
        .keep1 = (real)settings->beta1,
        .keep2 = (real)settings->beta2,
        .new1 = (real)(1 - settings->beta1),
        .new2 = (real)(1 - settings->beta2),
        .rate = (real)(settings->lr / (1 - pow(settings->beta1, power))),
        .correction2 = (real)(1 / sqrt(1 - pow(settings->beta2, power))),
        .epsilon = (real)settings->epsilon,
        .grad_scale = (real)settings->grad_scale,
    };
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t length = count - start < BLOCK ? count - start : BLOCK;
        real *p = (real *)parameter + start;
        update(p, (real *)moment1 + start, (real *)moment2 + start, (const real *)gradient + start,
               &step, length);
        for (int64_t i = 0; i < length && copy; i++) ((real *)copy)[start + i] = p[i];
    }
}

CPU_CLONES static double sum_block(const real *x, int64_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* Sums of fixed blocks, added in order: the threads do not matter. */
static void cpu_sum_squares(struct backend *backend, double *out, const struct acc *x,
                            int64_t count) {
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
    *out = NAN;
    double *sums = cpu_scratch(backend, (size_t)blocks * sizeof *sums, "a sum of squares");
    if (!sums) return;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t start = block * BLOCK, length = count - start < BLOCK ? count - start : BLOCK;
        sums[block] = sum_block((const real *)x + start, length);
    }
    *out = 0;
    for (int64_t block = 0; block < blocks; block++) *out += sums[block];
    free(sums);
}

const struct optimizer_ops cpu_optimizer_ops = {
    .adamw = cpu_adamw,
    .sum_squares = cpu_sum_squares,
};
