/* Comparing logits, by one pass over the vocabulary per row with double sums of short blocks. */
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"
#include "kernels/ops/loss.h"

enum { BLOCK = 512 };

/* The largest of x[0..count); NaN when any is not finite (a sum of x * 0 tells). */
CPU_CLONES static real find_largest(const real *x, int64_t count) {
    real largest = x[0], poison = 0;
#pragma omp simd reduction(max : largest) reduction(+ : poison)
    for (int64_t i = 0; i < count; i++) {
        largest = x[i] > largest ? x[i] : largest;
        poison += x[i] * 0;
    }
    return poison == 0 ? largest : (real)NAN;
}

CPU_CLONES static int32_t find_first(const real *x, int64_t count, real value) {
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = start + BLOCK < count ? start + BLOCK : count;
        int found = 0;
#pragma omp simd reduction(| : found)
        for (int64_t i = start; i < end; i++) found |= x[i] == value;
        for (int64_t i = start; found && i < end; i++)
            if (x[i] == value) return (int32_t)i;
    }
    return -1;
}

CPU_CLONES static double sum_exponentials(const real *x, int64_t count, real largest,
                                          real inverse_temperature) {
    double total = 0;
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = start + BLOCK < count ? start + BLOCK : count;
        real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++)
            part += fast_exp((x[i] - largest) * inverse_temperature);
        total += (double)part;
    }
    return total;
}

static void cpu_logit_summary(struct backend *backend, struct acc *lse, int32_t *argmax,
                              const struct acc *logits, double temperature, int64_t rows,
                              int64_t vocabulary) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const real *x = (const real *)logits + row * vocabulary;
        real largest = find_largest(x, vocabulary);
        double total = sum_exponentials(x, vocabulary, largest, (real)(1 / temperature));
        ((real *)lse)[row] = (real)((double)largest / temperature + log(total));
        argmax[row] = isnan(largest) ? 0 : find_first(x, vocabulary, largest);
    }
}

struct divergence {
    double total;   /* sum of exp(b - largest) */
    double reverse; /* sum of exp(b - largest) * (b - t) */
    double forward; /* sum of p_t * (t - b) */
};

CPU_CLONES static struct divergence sum_divergence(const real *restrict teacher,
                                                   const real *restrict branch, real teacher_lse,
                                                   real largest, int64_t count) {
    struct divergence sums = {0, 0, 0};
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = start + BLOCK < count ? start + BLOCK : count;
        real total = 0, reverse = 0, forward = 0;
#pragma omp simd reduction(+ : total, reverse, forward)
        for (int64_t i = start; i < end; i++) {
            real difference = branch[i] - teacher[i];
            real e = fast_exp(branch[i] - largest);
            total += e;
            reverse += e * difference;
            forward -= fast_exp(teacher[i] - teacher_lse) * difference;
        }
        sums.total += (double)total;
        sums.reverse += (double)reverse;
        sums.forward += (double)forward;
    }
    return sums;
}

static void cpu_compare_logits(struct backend *backend, struct acc *kl, struct acc *rkl,
                               struct acc *ce, struct acc *top1, const struct acc *teacher,
                               const struct acc *teacher_lse, const int32_t *teacher_argmax,
                               const struct acc *branch, const int32_t *target, int64_t rows,
                               int64_t vocabulary) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const real *t = (const real *)teacher + row * vocabulary;
        const real *b = (const real *)branch + row * vocabulary;
        real t_lse = ((const real *)teacher_lse)[row];
        real largest = find_largest(b, vocabulary);
        struct divergence sums = sum_divergence(t, b, t_lse, largest, vocabulary);
        /* kl = sum p_t (log p_t - log p_b) and log p = logit - lse: the lse terms come out. */
        double lse = (double)largest + log(sums.total);
        ((real *)kl)[row] = (real)(sums.forward - (double)t_lse + lse);
        ((real *)rkl)[row] = (real)(sums.reverse / sums.total - lse + (double)t_lse);
        ((real *)ce)[row] = target[row] < 0 ? 0 : (real)(lse - (double)b[target[row]]);
        bool same = !isnan(largest) && b[teacher_argmax[row]] == largest &&
                    find_first(b, vocabulary, largest) == teacher_argmax[row];
        ((real *)top1)[row] = same ? 1 : 0;
    }
}

/* One row of the distillation loss. */
struct distillation {
    enum loss_kind kind;
    real inverse_temperature;
    const real *student, *teacher;
    real teacher_lse;
    int64_t count;
};

/* Sums over the vocabulary; `weights` receives exp((student - largest) / temperature). */
CPU_CLONES static struct divergence weigh_student(real *restrict weights,
                                                  const struct distillation *row, real largest) {
    const real *restrict s = row->student, *restrict t = row->teacher;
    real inverse = row->inverse_temperature;
    struct divergence sums = {0, 0, 0};
    for (int64_t start = 0; start < row->count; start += BLOCK) {
        int64_t end = start + BLOCK < row->count ? start + BLOCK : row->count;
        real total = 0, reverse = 0;
        if (row->kind == LOSS_REVERSE_KL) {
#pragma omp simd reduction(+ : total, reverse)
            for (int64_t i = start; i < end; i++) {
                real e = fast_exp((s[i] - largest) * inverse);
                weights[i] = e;
                total += e;
                reverse += e * (s[i] - t[i]);
            }
        } else {
#pragma omp simd reduction(+ : total)
            for (int64_t i = start; i < end; i++) {
                real e = fast_exp((s[i] - largest) * inverse);
                weights[i] = e;
                total += e;
            }
        }
        sums.total += (double)total;
        sums.reverse += (double)reverse;
    }
    return sums;
}

/* dlogits = scale * p_s * (log p_s / p_t - divergence); on entry it holds p_s / share. */
CPU_CLONES static void reverse_gradient(real *restrict dlogits, const struct distillation *row,
                                        real share, real shift, real scale) {
    const real *restrict s = row->student, *restrict t = row->teacher;
    real inverse = row->inverse_temperature, factor = share * scale;
#pragma omp simd
    for (int64_t i = 0; i < row->count; i++)
        dlogits[i] *= factor * ((s[i] - t[i]) * inverse - shift);
}

/* dlogits = scale * (p_s - p_t); returns sum of p_t * (t - s). */
CPU_CLONES static double forward_gradient(real *restrict dlogits, const struct distillation *row,
                                          real share, real scale) {
    const real *restrict s = row->student, *restrict t = row->teacher;
    real inverse = row->inverse_temperature, lse = row->teacher_lse;
    double sum = 0;
    for (int64_t start = 0; start < row->count; start += BLOCK) {
        int64_t end = start + BLOCK < row->count ? start + BLOCK : row->count;
        real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) {
            real p = fast_exp(t[i] * inverse - lse);
            part += p * (t[i] - s[i]);
            dlogits[i] = (dlogits[i] * share - p) * scale;
        }
        sum += (double)part;
    }
    return sum;
}

CPU_CLONES static void scale_row(real *restrict x, real factor, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) x[i] *= factor;
}

/* The row's loss; dlogits [V] = weight * its gradient. */
static double distill_row(real *dlogits, const struct distillation *row, int32_t target,
                          double weight) {
    double inverse = (double)row->inverse_temperature, teacher_lse = (double)row->teacher_lse;
    if (row->kind == LOSS_CROSS_ENTROPY && target < 0) {
        memset(dlogits, 0, (size_t)row->count * sizeof *dlogits);
        return 0;
    }
    real largest = find_largest(row->student, row->count);
    struct divergence sums = weigh_student(dlogits, row, largest);
    double lse = (double)largest * inverse + log(sums.total);
    real share = (real)(1 / sums.total), scale = (real)(weight * inverse * inverse);
    if (row->kind == LOSS_CROSS_ENTROPY) {
        scale_row(dlogits, (real)(weight / sums.total), row->count);
        dlogits[target] -= (real)weight;
        return lse - (double)row->student[target];
    }
    if (row->kind == LOSS_FORWARD_KL) {
        double sum = forward_gradient(dlogits, row, share, scale);
        return (sum * inverse - teacher_lse + lse) * inverse;
    }
    double mean = sums.reverse / sums.total * inverse; /* of (s - t) / temperature under p_s */
    reverse_gradient(dlogits, row, share, (real)mean, scale);
    return (mean - lse + teacher_lse) * inverse;
}

static void cpu_distill_loss(struct backend *backend, struct acc *loss, struct act *dlogits,
                             enum loss_kind kind, double temperature, const struct acc *student,
                             const struct acc *teacher, const struct acc *teacher_lse,
                             const int32_t *target, const struct acc *weight, int64_t rows,
                             int64_t vocabulary) {
    (void)backend;
    bool alone = kind == LOSS_CROSS_ENTROPY;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        struct distillation row = {
            .kind = kind,
            .inverse_temperature = alone ? 1 : (real)(1 / temperature),
            .student = (const real *)student + r * vocabulary,
            .teacher = alone ? NULL : (const real *)teacher + r * vocabulary,
            .teacher_lse = alone ? 0 : ((const real *)teacher_lse)[r],
            .count = vocabulary,
        };
        ((real *)loss)[r] =
            (real)distill_row((real *)dlogits + r * vocabulary, &row, alone ? target[r] : 0,
                              (double)((const real *)weight)[r]);
    }
}

const struct loss_ops cpu_loss_ops = {
    .logit_summary = cpu_logit_summary,
    .compare_logits = cpu_compare_logits,
    .distill_loss = cpu_distill_loss,
};
