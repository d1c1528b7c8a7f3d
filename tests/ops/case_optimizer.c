/* AdamW and the sum of squares. */
#include <math.h>
#include <string.h>

#include "kernels/ops/optimizer.h"
#include "tests/ops/ops.h"

static void adamw_once(struct ops *ops, int64_t count, struct adamw_settings settings,
                       bool with_copy) {
    struct backend *backend = ops->backend;
    enum dtype acc = backend->acc;
    struct buffer parameter = ops_random(ops, acc, 1, count, count, 1);
    struct buffer gradient = ops_random(ops, acc, 1, count, count, 1e-2);
    struct buffer moment1 = ops_random(ops, acc, 1, count, count, 1e-2);
    double *squares = ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) squares[i] = ops_uniform(ops, 0, 1e-3);
    struct buffer moment2 = ops_given(ops, acc, 1, count, count, squares);
    struct buffer copy = ops_output(ops, backend->act, 1, count, count);
    double *p = ops_doubles(ops, count), *m1 = ops_doubles(ops, count);
    double *m2 = ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) {
        double g = gradient.values[i] * settings.grad_scale;
        m1[i] = settings.beta1 * moment1.values[i] + (1 - settings.beta1) * g;
        m2[i] = settings.beta2 * moment2.values[i] + (1 - settings.beta2) * g * g;
        double corrected1 = m1[i] / (1 - pow(settings.beta1, (double)settings.step));
        double corrected2 = m2[i] / (1 - pow(settings.beta2, (double)settings.step));
        p[i] = parameter.values[i] * (1 - settings.lr * settings.weight_decay) -
               settings.lr * corrected1 / (sqrt(corrected2) + settings.epsilon);
    }
    backend->optimizer->adamw(backend, parameter.device, with_copy ? copy.device : NULL,
                              moment1.device, moment2.device, gradient.device, &settings, count);
    ops_expect(ops, &parameter, p, "parameter");
    ops_expect(ops, &moment1, m1, "moment1");
    ops_expect(ops, &moment2, m2, "moment2");
    if (with_copy) ops_expect(ops, &copy, p, "copy");
}

void case_adamw(struct ops *ops) {
    struct adamw_settings settings = {.lr = 1e-2,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .epsilon = 1e-8,
                                      .weight_decay = 0.1,
                                      .step = 1,
                                      .grad_scale = 1};
    adamw_once(ops, 1, settings, true);
    adamw_once(ops, 1003, settings, false);
    settings.step = 12345;
    settings.grad_scale = 0.37;
    settings.weight_decay = 0;
    adamw_once(ops, 70001, settings, true);
}

static double sum_squares(struct ops *ops, const struct buffer *x) {
    struct backend *backend = ops->backend;
    double got = 0, *sum = backend->alloc(backend, sizeof *sum, "a sum");
    if (!sum) ops_fail(ops, "%s", status_message());
    if (!sum) return NAN;
    backend->optimizer->sum_squares(backend, sum, x->device, x->count);
    backend->download_bytes(backend, &got, sum, sizeof got);
    backend->free(backend, sum);
    return got;
}

void case_sum_squares(struct ops *ops) {
    struct backend *backend = ops->backend;
    int64_t counts[] = {1, 17, 4099, 300007};
    for (int k = 0; k < 4; k++) {
        struct buffer x = ops_random(ops, backend->acc, 1, counts[k], counts[k], 3);
        double expected = 0, got = sum_squares(ops, &x);
        for (int64_t i = 0; i < x.count; i++) expected += x.values[i] * x.values[i];
        double error = fabs(got - expected) / expected;
        double limit = backend->acc == DTYPE_F64 ? ops->limit.f64 : ops->limit.f32;
        if (!(error <= limit))
            ops_fail(ops, "sum of squares is %.9g, expected %.9g", got, expected);
        uint64_t bits;
        memcpy(&bits, &got, sizeof bits);
        ops->digest = (ops->digest ^ bits) * 1099511628211u;
    }
    struct buffer x = ops_given(ops, backend->acc, 1, 3, 3, (double[]){1, NAN, 2});
    if (!isnan(sum_squares(ops, &x))) ops_fail(ops, "the sum of squares hides a NaN");
}
