/* Comparing logits, by one pass over the vocabulary per row with double sums of short blocks. */
#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"

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

static int32_t find_first(const real *x, int64_t count, real value) {
    for (int64_t i = 0; i < count; i++)
        if (x[i] == value) return (int32_t)i;
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

static void cpu_logit_summary(struct backend *backend, void *lse, int32_t *argmax,
                              const void *logits, double temperature, int64_t rows,
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

static void cpu_compare_logits(struct backend *backend, void *kl, void *rkl, void *ce, void *top1,
                               const void *teacher, const void *teacher_lse,
                               const int32_t *teacher_argmax, const void *branch,
                               const int32_t *target, int64_t rows, int64_t vocabulary) {
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

void cpu_table_loss(struct backend *backend) {
    backend->logit_summary = cpu_logit_summary;
    backend->compare_logits = cpu_compare_logits;
}
