/* RMSNorm over groups of channels with a gate. */
#include <math.h>

#include "kernels/ops/gated_norm.h"
#include "tests/ops/ops.h"

static const struct gated_case {
    int64_t rows;
    int groups, width, gap;
    bool gate_first, shared;
    double scale;
} cases[] = {
    {1, 1, 2, 0, true, false, 1},      {7, 5, 11, 3, true, false, 1},
    {130, 2, 64, 8, true, false, 2},   {9, 1, 1300, 0, true, false, 1},
    {140, 1, 128, 0, false, true, 1},  {5, 6, 7, 1, false, true, 0.5},
    {40, 2, 32, 8, false, false, 1},   {3, 2, 256, 4, true, true, 1},
    {2, 1, 5120, 8, true, false, 0.3}, {260, 3, 24, 0, false, true, 1},
};
enum { CASES = sizeof cases / sizeof *cases };

static struct gated_norm_shape shape_of(const struct gated_case *c) {
    return (struct gated_norm_shape){c->groups, c->width, c->gate_first, c->shared, 1e-5};
}

/* inputs: x, z [rows, groups*width], w */
struct problem {
    const struct gated_case *c;
    double *rstd; /* [rows, groups], written; or NULL */
};

static void gated_formula(const void *context, double *const in[], double *out) {
    const struct problem *problem = context;
    const struct gated_case *c = problem->c;
    for (int64_t row = 0; row < c->rows * c->groups; row++) {
        const double *x = in[0] + row * c->width, *z = in[1] + row * c->width;
        const double *w = in[2] + (c->shared ? 0 : row % c->groups * c->width);
        double squares = 0;
        for (int i = 0; i < c->width; i++) {
            double gate = z[i] / (1 + exp(-z[i])), v = c->gate_first ? x[i] * gate : x[i];
            squares += v * v;
        }
        double rstd = 1 / sqrt(squares / c->width + 1e-5);
        if (problem->rstd) problem->rstd[row] = rstd;
        for (int i = 0; i < c->width; i++)
            out[row * c->width + i] = x[i] * rstd * w[i] * z[i] / (1 + exp(-z[i]));
    }
}

static void draw(struct ops *ops, const struct gated_case *c, struct buffer in[3]) {
    int64_t width = (int64_t)c->groups * c->width, weights = c->shared ? c->width : width;
    in[0] = ops_random(ops, ops->backend->act, c->rows, width, width, c->scale);
    in[1] = ops_random(ops, ops->backend->act, c->rows, width, width + c->gap, 2);
    in[2] = ops_random(ops, ops->backend->acc, 1, weights, weights, 1);
}

void case_gated_norm(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        const struct gated_case *c = &cases[k];
        struct gated_norm_shape shape = shape_of(c);
        struct buffer in[3];
        draw(ops, c, in);
        int64_t width = in[0].width;
        struct problem problem = {c, ops_doubles(ops, c->rows * c->groups)};
        struct buffer out = ops_output(ops, backend->act, c->rows, width, width);
        struct buffer rstd = ops_output(ops, backend->acc, c->rows, c->groups, c->groups);
        double *expected = ops_doubles(ops, out.count);
        gated_formula(&problem, (double *[]){in[0].values, in[1].values, in[2].values}, expected);
        backend->gated_norm->gated_norm(backend, out.device, rstd.device, in[0].device,
                                        in[1].device, in[1].stride, in[2].device, c->rows, &shape);
        ops_expect(ops, &out, expected, "out");
        ops_expect(ops, &rstd, problem.rstd, "rstd");
    }
}

void case_gated_norm_backward(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        const struct gated_case *c = &cases[k];
        struct gated_norm_shape shape = shape_of(c);
        struct buffer in[3];
        draw(ops, c, in);
        int64_t width = in[0].width, weights = in[2].width;
        struct problem problem = {c, ops_doubles(ops, c->rows * c->groups)};
        struct buffer dout = ops_random(ops, backend->act, c->rows, width, width, 1);
        struct buffer dx = ops_output(ops, backend->act, c->rows, width, width);
        struct buffer dz = ops_output(ops, backend->act, c->rows, width, width + 2 * c->gap);
        struct buffer dw = ops_random(ops, backend->acc, 1, weights, weights, 1);
        struct formula formula = {
            gated_formula, &problem, {in[0].values, in[1].values, in[2].values}, dout.count};
        double *unused = ops_doubles(ops, dout.count);
        gated_formula(&problem, formula.inputs, unused);
        struct buffer rstd =
            ops_given(ops, backend->acc, c->rows, c->groups, c->groups, problem.rstd);
        problem.rstd = NULL;
        backend->gated_norm->gated_norm_backward(
            backend, dx.device, dz.device, dz.stride, k % 3 == 2 ? NULL : dw.device, dout.device,
            in[0].device, in[1].device, in[1].stride, in[2].device, rstd.device, c->rows, &shape);
        struct buffer *to[] = {&dx, &dz, &dw};
        static const char *const names[] = {"dx", "dz", "dw"};
        for (int i = 0; i < (k % 3 == 2 ? 2 : 3); i++) {
            int64_t step = ops_step(in[i].count, 30);
            double *expected = ops_differentiate(ops, &formula, i, in[i].count, step, dout.values);
            if (i == 2) expected = ops_add(ops, dw.values, expected, dw.count);
            ops_expect_some(ops, to[i], expected, step, names[i]);
        }
    }
}
