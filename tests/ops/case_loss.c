/* Logits: summary, comparison, distillation loss. */
#include <math.h>

#include "kernels/ops/loss.h"
#include "tests/ops/ops.h"

static const struct loss_shape {
    int64_t rows, vocabulary;
    double temperature;
} shapes[] = {{1, 2, 1},       {5, 37, 2.5}, {7, 1031, 1},
              {3, 49153, 0.7}, {33, 513, 1}, {2, 32780, 1.5}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static double lse_of(const double *x, int64_t count, double temperature) {
    double largest = x[0], sum = 0;
    for (int64_t i = 1; i < count; i++) largest = fmax(largest, x[i]);
    for (int64_t i = 0; i < count; i++) sum += exp((x[i] - largest) / temperature);
    return largest / temperature + log(sum);
}

static int32_t argmax_of(const double *x, int64_t count) {
    int32_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (x[i] > x[best]) best = (int32_t)i;
    return best;
}

static double *all_lse(struct ops *ops, const struct buffer *x, double temperature) {
    double *lse = ops_doubles(ops, x->rows);
    for (int64_t r = 0; r < x->rows; r++)
        lse[r] = lse_of(x->values + r * x->width, x->width, temperature);
    return lse;
}

void case_logit_summary(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < SHAPES; k++) {
        int64_t rows = shapes[k].rows, vocabulary = shapes[k].vocabulary;
        struct buffer first = ops_random(ops, backend->acc, rows, vocabulary, vocabulary, 4);
        /* Two equal largest logits in every row: the first one counts. */
        for (int64_t r = 0; r < rows && vocabulary > 8; r++) {
            double *x = first.values + r * vocabulary;
            x[(r * 5 + 3) % vocabulary] = x[vocabulary - 1 - r % 4] = 30;
        }
        struct buffer x = ops_given(ops, backend->acc, rows, vocabulary, vocabulary, first.values);
        struct buffer lse = ops_output(ops, backend->acc, 1, rows, rows);
        struct buffer argmax = ops_integers(ops, rows, NULL);
        double *best = ops_doubles(ops, rows);
        for (int64_t r = 0; r < rows; r++)
            best[r] = argmax_of(x.values + r * vocabulary, vocabulary);
        backend->loss->logit_summary(backend, lse.device, argmax.device, x.device,
                                     shapes[k].temperature, rows, vocabulary);
        ops_expect(ops, &lse, all_lse(ops, &x, shapes[k].temperature), "lse");
        ops_expect(ops, &argmax, best, "argmax");
    }
}

/* teacher, and a branch a little away from it */
static void draw_pair(struct ops *ops, const struct loss_shape *shape, struct buffer *teacher,
                      struct buffer *branch) {
    int64_t rows = shape->rows, width = shape->vocabulary;
    *teacher = ops_random(ops, ops->backend->acc, rows, width, width, 3);
    *branch = ops_random(ops, ops->backend->acc, rows, width, width, 0.7);
    for (int64_t i = 0; i < teacher->count; i++) branch->values[i] += teacher->values[i];
    *branch = ops_given(ops, ops->backend->acc, rows, width, width, branch->values);
}

static struct buffer draw_targets(struct ops *ops, int64_t rows, int64_t vocabulary,
                                  int32_t *targets) {
    for (int64_t r = 0; r < rows; r++)
        targets[r] = r % 4 == 2 ? -1 : ops_integer(ops, 0, (int)vocabulary - 1);
    return ops_integers(ops, rows, targets);
}

/* D_KL(p || q) of softmax(p / temperature), softmax(q / temperature). */
static double divergence(const double *p, const double *q, int64_t count, double temperature) {
    double lse_p = lse_of(p, count, temperature), lse_q = lse_of(q, count, temperature), sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double log_p = p[i] / temperature - lse_p;
        sum += exp(log_p) * (log_p - (q[i] / temperature - lse_q));
    }
    return sum;
}

void case_compare_logits(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < SHAPES; k++) {
        int64_t rows = shapes[k].rows, width = shapes[k].vocabulary;
        struct buffer teacher, branch, out[4];
        int32_t targets[64], tops[64];
        draw_pair(ops, &shapes[k], &teacher, &branch);
        struct buffer target = draw_targets(ops, rows, width, targets);
        struct buffer lse = ops_given(ops, backend->acc, 1, rows, rows, all_lse(ops, &teacher, 1));
        double *expected[4];
        for (int i = 0; i < 4; i++) {
            expected[i] = ops_doubles(ops, rows);
            out[i] = ops_output(ops, backend->acc, 1, rows, rows);
        }
        for (int64_t r = 0; r < rows; r++) {
            const double *t = teacher.values + r * width, *b = branch.values + r * width;
            tops[r] = argmax_of(t, width);
            expected[0][r] = divergence(t, b, width, 1);
            expected[1][r] = divergence(b, t, width, 1);
            expected[2][r] = targets[r] < 0 ? 0 : lse_of(b, width, 1) - b[targets[r]];
            expected[3][r] = argmax_of(b, width) == tops[r];
        }
        struct buffer argmax = ops_integers(ops, rows, tops);
        backend->loss->compare_logits(backend, out[0].device, out[1].device, out[2].device,
                                      out[3].device, teacher.device, lse.device, argmax.device,
                                      branch.device, target.device, rows, width);
        static const char *names[] = {"kl", "rkl", "ce", "top1"};
        for (int i = 0; i < 4; i++) ops_expect(ops, &out[i], expected[i], names[i]);
    }
    /* A non-finite logit of the branch must show. */
    double wrong[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        struct buffer teacher = ops_random(ops, backend->acc, 1, 700, 700, 1);
        struct buffer branch = ops_random(ops, backend->acc, 1, 700, 700, 1);
        branch.values[611] = wrong[k];
        branch = ops_given(ops, backend->acc, 1, 700, 700, branch.values);
        struct buffer lse = ops_given(ops, backend->acc, 1, 1, 1, all_lse(ops, &teacher, 1));
        struct buffer zero = ops_integers(ops, 1, (int32_t[]){0});
        struct buffer out = ops_given(ops, backend->acc, 1, 4, 4, (double[]){0, 0, 0, 0});
        backend->loss->compare_logits(backend, out.device, acc_at(backend, out.device, 1),
                                      acc_at(backend, out.device, 2),
                                      acc_at(backend, out.device, 3), teacher.device, lse.device,
                                      zero.device, branch.device, zero.device, 1, 700);
        const double *got = ops_fetch(ops, &out, "kl");
        if (!isnan(got[0]) || !isnan(got[1]))
            ops_fail(ops, "a logit of %g gives kl %g, rkl %g", wrong[k], got[0], got[1]);
    }
}

struct distillation {
    enum loss_kind kind;
    double temperature;
    int64_t rows, vocabulary;
    const double *teacher;
    const int32_t *targets;
};

static double row_loss(const struct distillation *d, const double *student, int64_t row) {
    const double *s = student + row * d->vocabulary;
    const double *t = d->teacher ? d->teacher + row * d->vocabulary : NULL;
    switch (d->kind) {
    case LOSS_REVERSE_KL:
        return divergence(s, t, d->vocabulary, d->temperature) / d->temperature;
    case LOSS_FORWARD_KL:
        return divergence(t, s, d->vocabulary, d->temperature) / d->temperature;
    default:
        if (d->targets[row] < 0) return 0;
        return lse_of(s, d->vocabulary, 1) - s[d->targets[row]];
    }
}

/* weight * d loss / d student of one row, by the formulas; check_row holds them to differences. */
static void row_gradient(double *out, const struct distillation *d, const double *student,
                         int64_t row, double weight) {
    int64_t count = d->vocabulary;
    double temperature = d->kind == LOSS_CROSS_ENTROPY ? 1 : d->temperature;
    const double *s = student + row * count, *t = d->teacher ? d->teacher + row * count : NULL;
    double lse_s = lse_of(s, count, temperature), lse_t = t ? lse_of(t, count, temperature) : 0;
    double loss = row_loss(d, student, row) * temperature;
    for (int64_t i = 0; i < count; i++) {
        double log_s = s[i] / temperature - lse_s, log_t = t ? t[i] / temperature - lse_t : 0;
        if (d->kind == LOSS_REVERSE_KL)
            out[i] = exp(log_s) * (log_s - log_t - loss);
        else if (d->kind == LOSS_FORWARD_KL)
            out[i] = exp(log_s) - exp(log_t);
        else
            out[i] = d->targets[row] < 0 ? 0 : exp(log_s) - (i == d->targets[row]);
        out[i] *= weight / (temperature * temperature);
    }
}

/* inputs: one row's student logits; out: its loss. */
struct one_row {
    const struct distillation *all;
    int64_t row;
};

static void loss_formula(const void *context, double *const inputs[], double *out) {
    const struct one_row *one = context;
    *out = row_loss(one->all, inputs[0] - one->row * one->all->vocabulary, one->row);
}

static void check_row(struct ops *ops, const struct distillation *d, double *student, int64_t row,
                      double weight, const double *gradient) {
    struct one_row one = {d, row};
    struct formula formula = {loss_formula, &one, {student + row * d->vocabulary}, 1};
    for (int64_t i = 0; i < d->vocabulary; i += 3) {
        double slope = ops_slope(&formula, 0, i, &weight);
        if (!(fabs(slope - gradient[i]) <= 1e-10))
            ops_fail(ops, "the test's gradient formula is wrong");
    }
}

static void distill_once(struct ops *ops, const struct loss_shape *shape, enum loss_kind kind) {
    struct backend *backend = ops->backend;
    int64_t rows = shape->rows, width = shape->vocabulary;
    bool ce = kind == LOSS_CROSS_ENTROPY;
    struct buffer teacher, student;
    int32_t targets[64];
    draw_pair(ops, shape, &teacher, &student);
    struct buffer target = draw_targets(ops, rows, width, targets);
    struct distillation d = {kind,  ce ? 1 : shape->temperature, rows,
                             width, ce ? NULL : teacher.values,  targets};
    struct buffer lse =
        ops_given(ops, backend->acc, 1, rows, rows, all_lse(ops, &teacher, d.temperature));
    struct buffer weight = ops_random(ops, backend->acc, 1, rows, rows, 1);
    if (rows > 3) weight.values[3] = 0;
    weight = ops_given(ops, backend->acc, 1, rows, rows, weight.values);
    struct buffer loss = ops_output(ops, backend->acc, 1, rows, rows);
    struct buffer dlogits = ops_output(ops, backend->act, rows, width, width);
    double *expected = ops_doubles(ops, rows);
    double *gradient = ops_doubles(ops, student.count);
    for (int64_t r = 0; r < rows && ops->compare; r++) {
        expected[r] = row_loss(&d, student.values, r);
        row_gradient(gradient + r * width, &d, student.values, r, weight.values[r]);
        if (width < 100)
            check_row(ops, &d, student.values, r, weight.values[r], gradient + r * width);
    }
    backend->loss->distill_loss(backend, loss.device, dlogits.device, kind, d.temperature,
                                student.device, ce ? NULL : teacher.device, ce ? NULL : lse.device,
                                ce ? target.device : NULL, weight.device, rows, width);
    ops_expect(ops, &loss, expected, "loss");
    ops_expect(ops, &dlogits, gradient, "dlogits");
}

void case_distill_loss(struct ops *ops) {
    for (int k = 0; k < SHAPES; k++) {
        distill_once(ops, &shapes[k], LOSS_REVERSE_KL);
        distill_once(ops, &shapes[k], LOSS_FORWARD_KL);
        distill_once(ops, &shapes[k], LOSS_CROSS_ENTROPY);
    }
}
