/* SwiGLU (Shazeer 2020). */
#include "kernels/ops/mlp.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"

CPU_CLONES static void swiglu_row(real *restrict out, const real *restrict gate,
                                  const real *restrict up, int64_t width) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = fast_silu(gate[i]) * up[i];
}

CPU_CLONES static void swiglu_backward_row(real *restrict dgate, real *restrict dup,
                                           const real *restrict dout, const real *restrict gate,
                                           const real *restrict up, int64_t width) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        real sigmoid = fast_sigmoid(gate[i]);
        dup[i] = dout[i] * gate[i] * sigmoid;
        dgate[i] = dout[i] * up[i] * sigmoid * (1 + gate[i] * (1 - sigmoid));
    }
}

static void cpu_swiglu(struct backend *backend, struct act *out, const struct act *gate_up,
                       int64_t rows, int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static) if (cpu_worth_team(16 * rows * width))
    for (int64_t row = 0; row < rows; row++) {
        const real *gate = (const real *)gate_up + row * 2 * width;
        swiglu_row((real *)out + row * width, gate, gate + width, width);
    }
}

static void cpu_swiglu_backward(struct backend *backend, struct act *dgate_up,
                                const struct act *dout, const struct act *gate_up, int64_t rows,
                                int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const real *gate = (const real *)gate_up + row * 2 * width;
        real *dgate = (real *)dgate_up + row * 2 * width;
        swiglu_backward_row(dgate, dgate + width, (const real *)dout + row * width, gate,
                            gate + width, width);
    }
}

const struct mlp_ops cpu_mlp_ops = {
    .swiglu = cpu_swiglu,
    .swiglu_backward = cpu_swiglu_backward,
};
