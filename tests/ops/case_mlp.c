/* SwiGLU. */
#include <math.h>

#include "kernels/ops/mlp.h"
#include "tests/ops/ops.h"

static const struct mlp_shape {
    int64_t rows, width;
} shapes[] = {{1, 1}, {3, 17}, {40, 129}, {2, 1536}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void swiglu_formula(const void *context, double *const inputs[], double *out) {
    const struct mlp_shape *shape = context;
    for (int64_t i = 0; i < shape->rows * shape->width; i++) {
        const double *row = inputs[0] + i / shape->width * 2 * shape->width;
        double gate = row[i % shape->width], up = row[shape->width + i % shape->width];
        out[i] = gate / (1 + exp(-gate)) * up;
    }
}

void case_swiglu(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < SHAPES; k++) {
        const struct mlp_shape *s = &shapes[k];
        struct buffer in = ops_random(ops, backend->act, s->rows, 2 * s->width, 2 * s->width, 3);
        struct buffer out = ops_output(ops, backend->act, s->rows, s->width, s->width);
        double *expected = ops_doubles(ops, out.count);
        swiglu_formula(s, &in.values, expected);
        backend->mlp->swiglu(backend, out.device, in.device, s->rows, s->width);
        ops_expect(ops, &out, expected, "out");
    }
    /* Far from zero the sigmoid is 0 or 1 and nothing overflows. */
    double far[] = {-200, 200, -90, 90, 2, 3, 4, 5};
    const struct mlp_shape four = {1, 4};
    struct buffer in = ops_given(ops, backend->act, 1, 8, 8, far);
    struct buffer out = ops_output(ops, backend->act, 1, 4, 4);
    double expected[4];
    swiglu_formula(&four, &in.values, expected);
    backend->mlp->swiglu(backend, out.device, in.device, 1, 4);
    ops_expect(ops, &out, expected, "out far from zero");
}

void case_swiglu_backward(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < SHAPES; k++) {
        const struct mlp_shape *s = &shapes[k];
        struct buffer in = ops_random(ops, backend->act, s->rows, 2 * s->width, 2 * s->width, 3);
        struct buffer dout = ops_random(ops, backend->act, s->rows, s->width, s->width, 1);
        struct buffer din = ops_output(ops, backend->act, s->rows, 2 * s->width, 2 * s->width);
        struct formula formula = {swiglu_formula, s, {in.values}, s->rows * s->width};
        int64_t step = 1 + in.count / 1000;
        double *expected = ops_differentiate(ops, &formula, 0, in.count, step, dout.values);
        backend->mlp->swiglu_backward(backend, din.device, dout.device, in.device, s->rows,
                                      s->width);
        ops_expect_some(ops, &din, expected, step, "dgate_up");
    }
}
