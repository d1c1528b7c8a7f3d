/* The kinds of runs that the database holds: one row each, for what writes, lists, ranks and draws
 * them. A new kind needs a row here and a numbers version (scores/numbers.c). */
#ifndef SCORES_KINDS_H
#define SCORES_KINDS_H

#include <stdbool.h>

#define RUN_LOO "loo"
#define RUN_LOO_TASK "loo-task"
#define RUN_MMR "mmr"
#define RUN_ALIGN "align"
#define RUN_ESTIMATE_FIRST_ORDER "estimate-first-order"
#define RUN_ESTIMATE_FISHER "estimate-fisher"
#define RUN_ESTIMATE_COSINE "estimate-cosine"
#define RUN_EVAL "eval"
#define RUN_DISTILL "distill"

/* Those that rank layers, as an option's choices. */
#define RUN_SIGNALS                                                                                \
    RUN_LOO "|" RUN_MMR "|" RUN_ALIGN "|" RUN_LOO_TASK "|" RUN_ESTIMATE_FISHER                     \
            "|" RUN_ESTIMATE_FIRST_ORDER "|" RUN_ESTIMATE_COSINE

struct run_kind {
    const char *name;
    const char *metric; /* that ranks its layers unless told otherwise; NULL: it ranks none */
    bool estimate;      /* of what another kind measures */
};

/* NULL: there is none of this name. */
const struct run_kind *run_kind_find(const char *name);

/* The rows in order; NULL behind the last. */
const struct run_kind *run_kind_at(int index);

/* Whether a run measures a model, not its layers: it ranks none. */
bool run_kind_is_eval(const char *name);

/* The metrics of an evaluation, the one that says most about it first; NULL behind the last. */
extern const char *const run_eval_results[];

#endif
