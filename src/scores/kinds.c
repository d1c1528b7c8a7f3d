#include "scores/kinds.h"

#include <stddef.h>
#include <string.h>

static const struct run_kind rows[] = {
    {RUN_LOO, "kl"},
    {RUN_LOO_TASK, "margin_drop"},
    {RUN_MMR, "heldout_rkl_after"},
    {RUN_ALIGN, "kl"},
    {RUN_ESTIMATE_FIRST_ORDER, "est_ce_abs", .estimate = true},
    {RUN_ESTIMATE_FISHER, "est_kl", .estimate = true},
    {RUN_ESTIMATE_COSINE, "est_cosine", .estimate = true},
    {RUN_EVAL, NULL},
    {RUN_DISTILL, NULL},
};

const char *const run_eval_results[] = {"pass@1", "acc", "ce", "heldout_rkl_after", NULL};

const struct run_kind *run_kind_at(int index) {
    return index < (int)(sizeof rows / sizeof *rows) ? &rows[index] : NULL;
}

const struct run_kind *run_kind_find(const char *name) {
    for (int i = 0; run_kind_at(i); i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

bool run_kind_is_eval(const char *name) {
    const struct run_kind *kind = run_kind_find(name);
    return kind && !kind->metric;
}
