#include "plan/export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"

static const char *const format_names[] = {
    [PLAN_FORMAT_PLAN] = "plan",         [PLAN_FORMAT_HF] = "hf",
    [PLAN_FORMAT_FAST_LLM] = "fast-llm", [PLAN_FORMAT_SURGERY] = "surgery",
    [PLAN_FORMAT_CSV] = "csv",
};

enum status plan_format_from_name(enum plan_format *out, const char *name) {
    for (size_t i = 0; i < sizeof format_names / sizeof *format_names; i++)
        if (strcmp(format_names[i], name) == 0) {
            *out = (enum plan_format)i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE,
                      "no format \"%s\"; there are plan, hf, fast-llm, surgery and csv", name);
}

/* What the YAML formats say of the mixers. */
struct dimensions {
    int64_t hidden_size, heads, groups, head_dim;
    int64_t d_inner, d_xb, d_state, d_conv, dt_rank;
    bool qkv_bias, o_bias, mlp_bias;
};

static enum status get_dimensions(struct dimensions *out, const struct plan *plan,
                                  const struct plan_mixer *mixer, const char *source) {
    enum { MOST = 1 << 20 };
    const struct json *shape = plan->shape;
    enum status status = js_get_integer(&out->hidden_size, shape, "hidden_size", 1, MOST, source);
    if (!status)
        status = js_get_integer(&out->heads, shape, "num_attention_heads", 1, MOST, source);
    if (!status)
        status = js_get_integer(&out->groups, shape, "num_key_value_heads", 1, MOST, source);
    if (!status) status = js_get_integer(&out->head_dim, shape, "head_dim", 1, MOST, source);
    if (status) return status;
    out->d_inner = out->heads * out->head_dim;
    out->d_xb = out->groups * out->head_dim;
    out->d_state = mixer->d_state ? mixer->d_state : 16;
    out->d_conv = mixer->d_conv ? mixer->d_conv : 4;
    out->dt_rank = mixer->dt_rank ? mixer->dt_rank : (out->hidden_size + 15) / 16;
    out->qkv_bias = js_bool_or(js_member(shape, "qkv_bias"), false);
    out->o_bias = js_bool_or(js_member(shape, "o_bias"), false);
    out->mlp_bias = js_bool_or(js_member(shape, "mlp_bias"), false);
    if (js_bool_or(js_member(shape, "qk_norm"), false))
        return status_fail("\"%s\": the model normalises queries and keys (qk_norm), which "
                           "fast-llm and surgery cannot express",
                           source);
    if (out->heads % out->groups)
        return status_fail("\"%s\": %lld query heads are no multiple of %lld key/value heads",
                           source, (long long)out->heads, (long long)out->groups);
    if (out->head_dim % out->d_state)
        return status_set(STATUS_USAGE, "--d-state %lld does not divide head_dim, %lld",
                          (long long)out->d_state, (long long)out->head_dim);
    return STATUS_OK;
}

static void write_hf(struct text *text, const char *layout) {
    text_append(text, "{\"hybrid_block_layout\": [");
    for (const char *letter = layout; *letter; letter++)
        text_append(text, "%s\"%s\"", letter == layout ? "" : ", ",
                    *letter == PLAN_MAMBA ? "m2" : "t");
    text_append(text, "]}\n");
}

/* "  pattern:" with a line a layer. */
static void write_pattern(struct text *text, const char *layout) {
    text_append(text, "  pattern:\n");
    for (const char *letter = layout; *letter; letter++)
        text_append(text, "    - %s  # %d\n", *letter == PLAN_MAMBA ? "mamba" : "attention",
                    (int)(letter - layout));
}

static void write_heading(struct text *text, const struct plan *plan,
                          const struct plan_stage *stage, const char *use) {
    text_append(text, "# %zu of %d attention mixers replaced, ranked by ", stage->layers.count,
                plan->layers);
    quote_terminal(text, plan->signal); /* in one line: a comment ends with it */
    text_append(text, ".\n# %s\n", use);
}

static const char *yes_or_no(bool value) {
    return value ? "true" : "false";
}

/* The parts of a Fast-LLM block that both kinds share, as far as the shape says them. */
static void write_fast_llm_rest(struct text *text, const struct plan *plan,
                                const struct dimensions *d) {
    int64_t intermediate = js_integer_or(js_member(plan->shape, "intermediate_size"), 0);
    double epsilon = js_number_or(js_member(plan->shape, "rms_norm_eps"), 0);
    if (intermediate > 0)
        text_append(text,
                    "      mlp:\n        type: mlp\n        intermediate_size: %lld\n"
                    "        gated: true\n        activation: silu\n"
                    "        add_linear_biases: %s\n",
                    (long long)intermediate, yes_or_no(d->mlp_bias));
    if (epsilon > 0 && isfinite(epsilon))
        text_append(text, "      normalization:\n        type: rms_norm\n        epsilon: %.10g\n",
                    epsilon);
}

static void write_rotary(struct text *text, const struct plan *plan) {
    const char *type = js_string_or(js_member(plan->shape, "rope_type"), "default");
    double theta = js_number_or(js_member(plan->shape, "rope_theta"), 0);
    if (strcmp(type, "default") != 0) {
        text_append(text, "        # rotary: ");
        quote_terminal(text, type);
        text_append(text, " scaling, as the checkpoint has it\n");
    } else if (theta > 0 && isfinite(theta))
        text_append(text, "        rotary:\n          type: default\n          theta: %.10g\n",
                    theta);
}

static void write_fast_llm_attention(struct text *text, const struct plan *plan,
                                     const struct dimensions *d) {
    text_append(text,
                "    attention:\n      mixer:\n        type: attention\n        heads: %lld\n"
                "        head_groups: %lld\n        head_size: %lld\n"
                "        add_linear_biases: %s\n",
                (long long)d->heads, (long long)d->groups, (long long)d->head_dim,
                yes_or_no(d->qkv_bias));
    if (d->qkv_bias != d->o_bias)
        text_append(text, "        dense_layer:\n          bias:\n            enabled: %s\n",
                    yes_or_no(d->o_bias));
    write_rotary(text, plan);
    write_fast_llm_rest(text, plan, d);
}

static void write_fast_llm(struct text *text, const struct plan *plan,
                           const struct plan_stage *stage, const char *layout,
                           const struct dimensions *d) {
    write_heading(text, plan, stage,
                  "Fast-LLM: merge under model.base_model of a training config.");
    text_append(text, "decoder:\n  type: pattern\n  num_blocks: %d\n", plan->layers);
    write_pattern(text, layout);
    /* Only blocks that the pattern uses: Fast-LLM refuses others. */
    text_append(text, "  blocks:\n");
    if (strchr(layout, PLAN_ATTENTION)) write_fast_llm_attention(text, plan, d);
    /* Query, key and value biases are kept in in_proj.bias, unless `convert` is told to drop them.
     */
    text_append(text,
                "    mamba:\n      mixer:\n        type: mamba  # mamba_2 before it was renamed\n"
                "        d_inner: %lld\n        d_xb: %lld\n        state_size: %lld\n"
                "        dt_rank: %lld\n        repeat_kv_before_conv: true\n"
                "        add_linear_biases: %s\n        convolution_layer:\n"
                "          kernel_size: %lld\n          bias:\n            enabled: true\n"
                "        dt_layer:\n          bias:\n            enabled: true\n",
                (long long)d->d_inner, (long long)d->d_xb, (long long)d->d_state,
                (long long)d->dt_rank, yes_or_no(d->qkv_bias), (long long)d->d_conv);
    write_fast_llm_rest(text, plan, d);
}

static void write_surgery_rest(struct text *text) {
    text_append(text, "      mlp:\n        init: transfer\n"
                      "      normalization:\n        init: transfer\n");
}

static void write_surgery(struct text *text, const struct plan *plan,
                          const struct plan_stage *stage, const char *layout,
                          const struct dimensions *d) {
    write_heading(text, plan, stage, "Apriel2: convert.py MODEL OUTPUT --surgery THIS_FILE.");
    text_append(text, "decoder:\n  type: pattern\n");
    write_pattern(text, layout);
    text_append(text, "  blocks:\n");
    if (strchr(layout, PLAN_ATTENTION)) {
        text_append(text, "    attention:\n      mixer:\n        type: attention\n"
                          "        init: transfer\n");
        write_surgery_rest(text);
    }
    text_append(text,
                "    mamba:\n      mixer:\n        type: mamba\n        init: transfer\n"
                "        d_inner: %lld\n        d_xb: %lld\n        d_state: %lld\n"
                "        d_conv: %lld\n        dt_rank: %lld\n"
                "        repeat_kv_before_conv: true\n        conv_bias: true\n"
                "        dt_proj_bias: true\n        dt_min: 0.001\n        dt_max: 0.1\n"
                "        dt_init_floor: 0.0001\n",
                (long long)d->d_inner, (long long)d->d_xb, (long long)d->d_state,
                (long long)d->d_conv, (long long)d->dt_rank);
    write_surgery_rest(text);
}

/* The first stage that replaces a layer; 0: none. */
static size_t stage_of(const struct plan *plan, int layer) {
    for (size_t i = 0; i < plan->n_stages; i++)
        for (size_t k = 0; k < plan->stages[i].layers.count; k++)
            if (plan->stages[i].layers.values[k] == layer) return i + 1;
    return 0;
}

static void write_csv(struct text *text, const struct plan *plan) {
    text_append(text, "position,layer,run,score,stderr,tie_group,stage\n");
    for (size_t i = 0; i < plan->n_ranked; i++) {
        const struct plan_entry *entry = &plan->ranking[i];
        size_t stage = stage_of(plan, entry->layer);
        char number[NUMBER_SIZE];
        text_append(text, "%zu,%d,%lld,%s,", plan->base.count + i + 1, entry->layer,
                    (long long)entry->run, number_format(number, entry->score));
        if (isfinite(entry->stderr_score))
            text_append(text, "%s", number_format(number, entry->stderr_score));
        text_append(text, ",%d,", entry->tie_group);
        if (stage) text_append(text, "%zu", stage);
        text_append(text, "\n");
    }
}

enum status plan_export(char **out, const struct plan *plan, int number, enum plan_format format,
                        const struct plan_mixer *mixer, const char *source) {
    const struct plan_stage *stage;
    struct dimensions dimensions = {0};
    struct text text = {0};
    *out = NULL;
    enum status status = plan_find_stage(&stage, plan, number, source);
    if (!status && (format == PLAN_FORMAT_FAST_LLM || format == PLAN_FORMAT_SURGERY))
        status = get_dimensions(&dimensions, plan, mixer, source);
    if (status) return status;
    if (format == PLAN_FORMAT_PLAN) {
        *out = plan_format_text(plan);
        return *out ? STATUS_OK : STATUS_FAILED;
    }
    char *layout = plan_stage_layout(plan, stage);
    if (!layout) return STATUS_FAILED;
    switch (format) {
    case PLAN_FORMAT_PLAN:
        break;
    case PLAN_FORMAT_HF:
        write_hf(&text, layout);
        break;
    case PLAN_FORMAT_FAST_LLM:
        write_fast_llm(&text, plan, stage, layout, &dimensions);
        break;
    case PLAN_FORMAT_SURGERY:
        write_surgery(&text, plan, stage, layout, &dimensions);
        break;
    case PLAN_FORMAT_CSV:
        write_csv(&text, plan);
        break;
    }
    free(layout);
    *out = text_finish(&text);
    return *out ? STATUS_OK : STATUS_FAILED;
}
