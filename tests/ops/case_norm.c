/* RMSNorm over rows and over heads. */
#include <math.h>

#include "kernels/ops/norm.h"
#include "tests/ops/ops.h"

/* rows x (heads of width E): rmsnorm is one head. Strides are width + gap. */
struct norm_shape {
    int64_t rows;
    int heads, width, gap;
};

static const struct norm_shape row_shapes[] = {
    {1, 1, 1, 0}, {1, 1, 576, 0}, {5, 1, 7, 0}, {67, 1, 129, 0}, {3, 1, 2049, 0}};
static const struct norm_shape head_shapes[] = {
    {1, 1, 8, 0}, {5, 3, 7, 5}, {19, 2, 64, 128}, {130, 5, 33, 1}, {2, 9, 128, 0}};
enum { ROW_SHAPES = sizeof row_shapes / sizeof *row_shapes };
enum { HEAD_SHAPES = sizeof head_shapes / sizeof *head_shapes };
static const double epsilon = 1e-5;

/* inputs: x [rows, heads * width], w [width] */
static void norm_formula(const void *context, double *const inputs[], double *out) {
    const struct norm_shape *shape = context;
    for (int64_t head = 0; head < shape->rows * shape->heads; head++) {
        const double *x = inputs[0] + head * shape->width;
        double squares = 0;
        for (int i = 0; i < shape->width; i++) squares += x[i] * x[i];
        double rstd = 1 / sqrt(squares / shape->width + epsilon);
        for (int i = 0; i < shape->width; i++)
            out[head * shape->width + i] = x[i] * rstd * inputs[1][i];
    }
}

static double *rstd_of(struct ops *ops, const double *x, const struct norm_shape *shape) {
    double *rstd = ops_doubles(ops, shape->rows * shape->heads);
    for (int64_t head = 0; head < shape->rows * shape->heads; head++) {
        double squares = 0;
        for (int i = 0; i < shape->width; i++)
            squares += x[head * shape->width + i] * x[head * shape->width + i];
        rstd[head] = 1 / sqrt(squares / shape->width + epsilon);
    }
    return rstd;
}

/* Both norms: `by_head` calls head_norm. */
static void forward(struct ops *ops, const struct norm_shape *shape, bool by_head) {
    struct backend *backend = ops->backend;
    int64_t width = (int64_t)shape->heads * shape->width, stride = width + shape->gap;
    enum dtype x_type = by_head ? backend->act : backend->acc;
    struct buffer x = ops_random(ops, x_type, shape->rows, width, stride, 2);
    struct buffer w = ops_random(ops, backend->acc, 1, shape->width, shape->width, 1);
    struct buffer out = ops_output(ops, backend->act, shape->rows, width, width + 2 * shape->gap);
    struct buffer rstd =
        ops_output(ops, backend->acc, 1, shape->rows * shape->heads, shape->rows * shape->heads);
    const struct head_norm_inputs in = {x.device, x.stride,     shape->rows,
                                        w.device, shape->heads, shape->width};
    if (by_head)
        backend->norm->head_norm(backend, out.device, out.stride, rstd.device, &in, epsilon);
    else
        backend->norm->rmsnorm(backend, out.device, rstd.device, x.device, w.device, epsilon,
                               shape->rows, width);
    double *expected = ops_doubles(ops, out.count);
    norm_formula(shape, (double *[]){x.values, w.values}, expected);
    ops_expect(ops, &out, expected, "out");
    ops_expect(ops, &rstd, rstd_of(ops, x.values, shape), "rstd");
}

static void backward(struct ops *ops, const struct norm_shape *shape, bool by_head, bool with_dw) {
    struct backend *backend = ops->backend;
    int64_t width = (int64_t)shape->heads * shape->width, stride = width + shape->gap;
    enum dtype x_type = by_head ? backend->act : backend->acc;
    struct buffer x = ops_random(ops, x_type, shape->rows, width, stride, 2);
    struct buffer w = ops_random(ops, backend->acc, 1, shape->width, shape->width, 1);
    struct buffer dout =
        ops_random(ops, backend->act, shape->rows, width, width + 2 * shape->gap, 1);
    struct buffer rstd = ops_given(ops, backend->acc, 1, shape->rows * shape->heads,
                                   shape->rows * shape->heads, rstd_of(ops, x.values, shape));
    struct buffer dw = ops_random(ops, backend->acc, 1, shape->width, shape->width, 1);
    struct buffer dx = by_head
                           ? ops_output(ops, backend->act, shape->rows, width, width + shape->gap)
                           : ops_random(ops, backend->acc, shape->rows, width, width, 1);
    struct formula formula = {norm_formula, shape, {x.values, w.values}, x.count};
    int64_t step = 1 + x.count / 300;
    double *expected_dx = ops_differentiate(ops, &formula, 0, x.count, step, dout.values);
    double *expected_dw = ops_differentiate(ops, &formula, 1, w.count, step, dout.values);
    if (!by_head) expected_dx = ops_add(ops, expected_dx, dx.values, dx.count);
    if (with_dw) expected_dw = ops_add(ops, expected_dw, dw.values, dw.count);
    const struct head_norm_inputs in = {x.device, x.stride,     shape->rows,
                                        w.device, shape->heads, shape->width};
    if (by_head)
        backend->norm->head_norm_backward(backend, dx.device, dx.stride, with_dw ? dw.device : NULL,
                                          dout.device, dout.stride, &in, rstd.device);
    else
        backend->norm->rmsnorm_backward(backend, dx.device, with_dw ? dw.device : NULL, dout.device,
                                        x.device, w.device, rstd.device, shape->rows, width);
    ops_expect_some(ops, &dx, expected_dx, step, "dx");
    if (with_dw) ops_expect_some(ops, &dw, expected_dw, step, "dw");
}

void case_rmsnorm(struct ops *ops) {
    for (int i = 0; i < ROW_SHAPES; i++) forward(ops, &row_shapes[i], false);
}

void case_rmsnorm_backward(struct ops *ops) {
    for (int i = 0; i < ROW_SHAPES; i++) backward(ops, &row_shapes[i], false, i % 2 == 1);
}

void case_head_norm(struct ops *ops) {
    for (int i = 0; i < HEAD_SHAPES; i++) forward(ops, &head_shapes[i], true);
}

void case_head_norm_backward(struct ops *ops) {
    for (int i = 0; i < HEAD_SHAPES; i++) backward(ops, &head_shapes[i], true, i % 2 == 1);
}
