#include "scores/metrics.h"

#include <stddef.h>
#include <string.h>

static const struct metric_row rows[] = {
    /* of tokens: loo, eval */
    {"ce", "cross-entropy", "nats per token"},
    {"kl", "KL to the %s", "nats", .says = "nats, D_KL(teacher || model)"},
    {"rkl", "reverse KL to the %s", "nats", .says = "nats, D_KL(model || teacher)"},
    {"top1", "same top token as the %s", "share of positions",
     .says = "share of equal first choices", .larger_is_better = true},
    /* of a task's items: eval --task, and what loo --task says that a layer's absence costs */
    {"acc", "accuracy", "", .larger_is_better = true},
    {"acc_norm", "accuracy (acc_norm)", "", .larger_is_better = true},
    {"margin", "log-likelihood margin", "nats", .larger_is_better = true},
    {"greedy", "share of greedy answers", "", .larger_is_better = true},
    {"acc_drop", "accuracy that the task loses", ""},
    {"acc_norm_drop", "accuracy (acc_norm) that the task loses", ""},
    {"margin_drop", "log-likelihood margin that the task loses", "nats"},
    {"greedy_drop", "share of greedy answers that the task loses", ""},
    /* of generated answers: eval --task gsm8k … */
    {"pass@1", "right answers", "share", .larger_is_better = true},
    {"answered", "answers that were found", "share", .larger_is_better = true},
    {"not_understood", "answers that were not understood", "share"},
    {"finished", "texts that ended by themselves", "share", .larger_is_better = true},
    {"tokens", "tokens of an answer", ""},
    /* mmr: the loss, and the metrics of tokens on held-out rows */
    {"train_rkl_first", "training loss at the first step: reverse KL to the teacher", "nats"},
    {"train_rkl_last", "training loss over the last steps: reverse KL to the teacher", "nats"},
    {"train_fkl_first", "training loss at the first step: KL to the teacher", "nats"},
    {"train_fkl_last", "training loss over the last steps: KL to the teacher", "nats"},
    {"train_ce_first", "training loss at the first step: cross-entropy", "nats per token"},
    {"train_ce_last", "training loss over the last steps: cross-entropy", "nats per token"},
    {"heldout_ce_before", "cross-entropy before training, held out", "nats per token"},
    {"heldout_ce_after", "cross-entropy after training, held out", "nats per token"},
    {"heldout_kl_before", "KL to the teacher before training, held out", "nats"},
    {"heldout_kl_after", "KL to the teacher after training, held out", "nats"},
    {"heldout_rkl_before", "reverse KL to the teacher before training, held out", "nats"},
    {"heldout_rkl_after", "reverse KL to the teacher after training, held out", "nats"},
    {"heldout_rkl_after_spread",
     "standard deviation over seeds of the reverse KL after training, held out", "nats"},
    {"heldout_top1_before", "same top token as the teacher before training, held out", "share",
     .larger_is_better = true},
    {"heldout_top1_after", "same top token as the teacher after training, held out", "share",
     .larger_is_better = true},
    {"diverged_at_step", "step at which the loss was not finite", ""},
    /* align: those of tokens above, of the mixers before training; errors on held-out rows */
    {"ce_before", "cross-entropy before alignment", "nats per token"},
    {"kl_before", "KL to the %s before alignment", "nats"},
    {"rkl_before", "reverse KL to the %s before alignment", "nats"},
    {"top1_before", "same top token as the %s before alignment", "share of positions",
     .larger_is_better = true},
    {"attention_error_before", "relative error of the attention's output before alignment", ""},
    {"attention_error_after", "relative error of the attention's output after alignment", ""},
    {"block_error_before", "relative error of the block's update before alignment", ""},
    {"block_error_after", "relative error of the block's update after alignment", ""},
    {"train_align_first", "training loss at the first step: relative errors", ""},
    {"train_align_last", "training loss over the last steps: relative errors", ""},
    /* loo --estimate */
    {"est_ce_change", "estimated change of the cross-entropy", "nats per token"},
    {"est_ce_abs", "estimated change of the cross-entropy, without its sign", "nats per token"},
    {"est_kl", "estimated KL to the %s", "nats"},
    {"est_cosine", "estimate: 1 - cosine of the stream before and after", ""},
};

const struct metric_row *metric_row_at(int index) {
    return index < (int)(sizeof rows / sizeof *rows) ? &rows[index] : NULL;
}

const struct metric_row *metric_row_find(const char *name) {
    for (int i = 0; metric_row_at(i); i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}
