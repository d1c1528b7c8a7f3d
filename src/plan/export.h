/* Plans as other programs take them. */
#ifndef PLAN_EXPORT_H
#define PLAN_EXPORT_H

#include "base/status.h"
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

/* The Mamba mixers of fast-llm and surgery. Zero takes the default: d_state 16, d_conv 4, dt_rank
 * ceil(hidden_size / 16). */
struct plan_mixer {
    int d_state, d_conv, dt_rank;
};

/* The text of a stage (1 the first, 0 the last; plan and csv have all stages) in a format. The
 * caller frees. fast-llm and surgery need hidden_size, num_attention_heads, num_key_value_heads and
 * head_dim in the plan's shape, and d_state must divide head_dim. `source` names the plan. */
enum status plan_export(char **out, const struct plan *plan, int stage, enum plan_format format,
                        const struct plan_mixer *mixer, const char *source) STATUS_CHECKED;

#endif
