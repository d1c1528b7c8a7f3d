/* Plans as other programs take them. */
#ifndef PLAN_EXPORT_H
#define PLAN_EXPORT_H

#include "base/status.h"
#include "model/hybrid.h"
#include "plan/plan.h"

enum plan_format {
    PLAN_FORMAT_PLAN, /* the plan file itself */
    PLAN_FORMAT_HF,   /* JSON object with hybrid_block_layout: "t" or "m2" a layer, as Apriel-H1's
                       * config.json has it */
    PLAN_FORMAT_FAST_LLM, /* YAML for Fast-LLM's model.base_model: a decoder of type pattern */
    PLAN_FORMAT_SURGERY,  /* YAML for Fast-LLM's apriel2/convert.py --surgery, init: transfer */
    PLAN_FORMAT_CSV,      /* a line a ranked layer, with the stage that first replaces it */
};

/* "plan", "hf", "fast-llm", "surgery", "csv"; STATUS_USAGE with the list for others. */
enum status plan_format_from_name(enum plan_format *out, const char *name) STATUS_CHECKED;

/* What a stage is made of: the choices that `convert` takes, and the model. */
struct plan_mixers {
    struct mixer_choices choices;
    const struct model_config *model; /* the model, or a hybrid of it; NULL: the plan's shape */
    const char *model_name;
};

/* The model of a plan and the hybrid of a stage, as `convert` makes it (NULL: the model itself).
 * `complete` is as shape_read gives it. The caller closes. */
struct plan_hybrid {
    struct model_config *base;
    struct hybrid hybrid;
    struct shape_weights weights;
    bool complete;
};
enum status plan_hybrid_open(struct plan_hybrid *out, const struct plan *plan,
                             const struct plan_stage *stage, const struct plan_mixers *mixers,
                             const char *source) STATUS_CHECKED;
void plan_hybrid_close(struct plan_hybrid *hybrid); /* accepts a zeroed one */

/* The text of a stage (1 the first, 0 the last; plan and csv have all stages) in a format. The
 * caller frees. fast-llm and surgery need the model, or what the plan's shape says of it, and
 * d_state must divide head_dim. `source` names the plan. */
enum status plan_export(char **out, const struct plan *plan, int stage, enum plan_format format,
                        const struct plan_mixers *mixers, const char *source) STATUS_CHECKED;

#endif
