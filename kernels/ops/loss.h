/* Logits compared: summaries, divergences, and a loss with its gradient. */
#ifndef KERNELS_OPS_LOSS_H
#define KERNELS_OPS_LOSS_H

#include "kernels/ops/types.h"

enum loss_kind {
    LOSS_REVERSE_KL, /* D_KL(p_student || p_teacher) */
    LOSS_FORWARD_KL, /* D_KL(p_teacher || p_student) */
    LOSS_CROSS_ENTROPY,
};

struct loss_ops {
    /* Of logits [rows, V]: lse [rows], the log of the sum of exponentials of logits / temperature,
     * and the index of the largest, the first of equals, [rows]. */
    void (*logit_summary)(struct backend *, struct acc *lse, int32_t *argmax,
                          const struct acc *logits, double temperature, int64_t rows,
                          int64_t vocabulary);

    /* A branch's logits against the teacher's, both [rows, V]; teacher_lse (temperature 1) and
     * teacher_argmax from logit_summary. Written, [rows] each: kl = D_KL(teacher || branch), rkl
     * the other way, ce = -log p_branch(target) (0 where target [rows] is negative), top1 = 1 where
     * the largest logits agree, else 0. A non-finite logit makes kl and rkl NaN. */
    void (*compare_logits)(struct backend *, struct acc *kl, struct acc *rkl, struct acc *ce,
                           struct acc *top1, const struct acc *teacher,
                           const struct acc *teacher_lse, const int32_t *teacher_argmax,
                           const struct acc *branch, const int32_t *target, int64_t rows,
                           int64_t vocabulary);

    /* loss [rows] (unweighted) and dlogits [rows, V] = weight [rows] * d loss / d student. With
     * p = softmax(logits / temperature), both divergences are divided by the temperature. teacher
     * and teacher_lse (at this temperature) may be NULL for LOSS_CROSS_ENTROPY (temperature 1; a
     * negative target gives loss 0 and no gradient), target [rows] for the others. */
    void (*distill_loss)(struct backend *, struct acc *loss, struct act *dlogits,
                         enum loss_kind kind, double temperature, const struct acc *student,
                         const struct acc *teacher, const struct acc *teacher_lse,
                         const int32_t *target, const struct acc *weight, int64_t rows,
                         int64_t vocabulary);
};

#endif
