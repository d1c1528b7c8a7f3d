/* What the stages of a plan promise when they are served: an estimate from the cost model
 * (model/cost.h) for a device of a given memory and bandwidth, and warnings about layouts that
 * serving engines handle badly. `apriel-tool bench` measures. */
#ifndef PLAN_SERVING_H
#define PLAN_SERVING_H

#include "model/cost.h"
#include "plan/export.h"
#include "plan/plan.h"

struct serving_device {
    uint64_t memory; /* bytes */
    struct cost_device speed;
    int64_t prompt, output; /* tokens of a sequence */
};

/* An 80 GB device that moves 3 TB/s and computes 700 TFLOP/s (an H100), 1 token in, 16384 out. */
struct serving_device serving_defaults(void);

struct serving_estimate {
    int replaced;
    uint64_t weights, kv_per_token, state; /* bytes; the latter two of one sequence */
    int64_t batch;                         /* sequences that fit; 0: none */
    double tokens_per_second;              /* at the roofline */
    double ratio;                          /* to the model with nothing replaced; NAN */
};

/* Estimates [n_stages + 1]: of the model with nothing replaced, then of each stage. Weights as
 * convert writes them, BF16 caches, F32 states. The plan must say enough of its model (or `mixers`
 * name it), else `*complete` is false and nothing is to be read. */
enum status serving_predict(struct serving_estimate *out, bool *complete, const struct plan *plan,
                            const struct serving_device *device,
                            const struct plan_mixers *mixers) STATUS_CHECKED;

/* Lines about a stage's layout, one "…\n" each, "" for none; the caller frees. */
enum status serving_warnings(char **out, const struct plan *plan, const struct plan_stage *stage,
                             const struct plan_mixers *mixers) STATUS_CHECKED;

#endif
