#include "plan/export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/quote.h"
#include "checkpoint/fast_llm.h"
#include "plan/yaml.h"

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

/* By what each layer of a stage is replaced: as it is ranked, or as the base has it, of which the
 * plan knows the letter. Layers that `model` has replaced already stay what they are. */
static enum status list_kinds(const struct mixer_sizes **kinds, struct mixer_sizes *of_base,
                              const struct plan *plan, const struct plan_stage *stage,
                              const struct model_config *model, const char *source) {
    for (size_t i = 0; i < stage->layers.count; i++) {
        int layer = stage->layers.values[i];
        kinds[i] = plan_mixer_of(plan, layer);
        if (kinds[i] || !plan->base_layout || !config_is_attention(model, layer)) continue;
        of_base[i] = (struct mixer_sizes){.kind = mixer_kind_of_letter(plan->base_layout[layer])};
        kinds[i] = &of_base[i];
        if (of_base[i].kind->parameter >= 0)
            return status_fail("\"%s\" does not say the size of the %s in layer %d, which the base "
                               "has: name that hybrid as --model",
                               source, of_base[i].kind->singular, layer);
    }
    return STATUS_OK;
}

enum status plan_hybrid_open(struct plan_hybrid *out, const struct plan *plan,
                             const struct plan_stage *stage, const struct plan_mixers *mixers,
                             const char *source) {
    enum status status = STATUS_OK;
    const struct mixer_sizes *kinds[PLAN_MAX_LAYERS];
    struct mixer_sizes of_base[PLAN_MAX_LAYERS];
    *out = (struct plan_hybrid){.complete = true};
    shape_read_weights(&out->weights, plan->shape);
    if (mixers->model)
        status = config_copy(&out->base, mixers->model);
    else
        status = shape_read(&out->base, &out->complete, plan->shape, source);
    if (!status && out->base->n_layers != plan->layers)
        status = status_fail("\"%s\" is for %d layers, \"%s\" has %d", source, plan->layers,
                             mixers->model_name, out->base->n_layers);
    if (!status && stage) status = list_kinds(kinds, of_base, plan, stage, out->base, source);
    if (!status && !stage)
        status = config_copy(&out->hybrid.config, out->base);
    else if (!status)
        status = hybrid_make(&out->hybrid, out->base, &stage->layers, &mixers->choices, kinds,
                             mixers->model ? mixers->model_name : source);
    /* the plan's bytes are those of the transformer */
    if (!status && config_attention_layers(out->base) < plan->layers) out->weights.bytes = 0;
    if (status) plan_hybrid_close(out);
    return status;
}

void plan_hybrid_close(struct plan_hybrid *hybrid) {
    config_free(hybrid->base);
    hybrid_free(&hybrid->hybrid);
    *hybrid = (struct plan_hybrid){0};
}

static enum status write_hf(struct text *text, const char *layout, const char *source) {
    for (const char *letter = layout; *letter; letter++) {
        const struct mixer_kind *kind = mixer_kind_of_letter(*letter);
        if (!kind->type[MIXER_APRIEL_H1])
            return status_fail("\"%s\": hf cannot say %s", source, kind->plural);
    }
    text_append(text, "{\"hybrid_block_layout\": [");
    for (const char *letter = layout; *letter; letter++)
        text_append(text, "%s\"%s\"", letter == layout ? "" : ", ",
                    mixer_kind_of_letter(*letter)->type[MIXER_APRIEL_H1]);
    text_append(text, "]}\n");
    return STATUS_OK;
}

static void write_heading(struct text *text, const struct plan *plan,
                          const struct plan_stage *stage, const char *use) {
    text_append(text, "# %zu of %d attention mixers replaced, ranked by ", stage->layers.count,
                plan->layers);
    quote_terminal(text, plan->signal); /* in one line: a comment ends with it */
    text_append(text, ".\n# %s\n", use);
}

/* The kinds of the hybrid must have words in the format. */
static enum status check_kinds(const struct model_config *config, enum mixer_format dialect,
                               const char *format, const char *source) {
    const struct mixer_kind *kind = config_kind_without(config, dialect);
    if (kind) return status_fail("\"%s\": %s cannot say %s", source, format, kind->plural);
    return STATUS_OK;
}

/* The decoder of the hybrid as convert makes it, and what Fast-LLM keeps beside it. */
static enum status write_fast_llm(struct text *text, const struct plan_hybrid *stage,
                                  const char *source) {
    const struct model_config *config = stage->hybrid.config;
    const char *lacks = fast_llm_lacks(config);
    if (check_kinds(config, MIXER_FAST_LLM, "fast-llm", source)) return STATUS_FAILED;
    if (lacks) return status_fail("\"%s\": Fast-LLM's configuration has no %s", source, lacks);
    if (!stage->complete && config_any_attends(config) && config->rope.kind != ROPE_DEFAULT)
        return status_fail("\"%s\" is of an older version, which did not record rope scaling: name "
                           "the model as --model",
                           source);
    if (!config->intermediate_size)
        return status_fail("\"%s\": \"intermediate_size\" is missing", source);
    struct json *model = js_new_object();
    js_set(model, "decoder", fast_llm_decoder(config, MIXER_FAST_LLM));
    if (stage->complete) {
        struct json *embeddings = js_new_object(), *head = js_new_object();
        js_set_integer(embeddings, "vocab_size", config->vocab_size);
        js_set(head, "normalization", fast_llm_norm(config->rms_norm_eps));
        js_set_integer(model, "hidden_size", config->hidden_size);
        js_set_bool(model, "tied_embedding_weight", config->tie_word_embeddings);
        js_set(model, "embeddings", embeddings);
        js_set(model, "head", head);
    }
    yaml_append(text, model);
    js_free(model);
    return STATUS_OK;
}

static struct json *transferred(void) {
    struct json *object = js_new_object();
    js_set_string(object, "init", "transfer");
    return object;
}

static struct json *surgery_block(struct json *mixer) {
    struct json *block = js_new_object();
    js_set(block, "mixer", mixer);
    js_set(block, "mlp", transferred());
    js_set(block, "normalization", transferred());
    return block;
}

/* What Apriel2's converter reads of a mixer that it takes over, or makes from attention. */
static struct json *surgery_mixer(const struct mixer_sizes *sizes, const struct mixer_host *host) {
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", sizes->kind->type[MIXER_SURGERY]);
    js_set_string(mixer, "init", "transfer");
    mixer_config_write(mixer, sizes, host, MIXER_SURGERY);
    return mixer;
}

static enum status write_surgery(struct text *text, const struct plan_hybrid *stage,
                                 const char *source) {
    const struct model_config *config = stage->hybrid.config;
    const struct mixer_host host = config_host(config);
    if (check_kinds(config, MIXER_SURGERY, "surgery", source)) return STATUS_FAILED;
    if (config->qk_norm)
        return status_fail("\"%s\": the model normalises queries and keys, which Apriel2's code "
                           "does not",
                           source);
    struct json *decoder = js_new_object(), *pattern = js_new_array(), *blocks = js_new_object();
    struct json *model = js_new_object();
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *sizes = &config->layers[i].mixer;
        char name[MIXER_BLOCK_SIZE];
        /* without what is the model's own: windows of its attention */
        const struct mixer_sizes named = {.kind = sizes->kind};
        mixer_block_name(name, sizes->kind->parameter < 0 ? &named : sizes, 1);
        js_append(pattern, js_new_string(name));
        /* only blocks of the pattern: others are refused */
        if (!js_has(blocks, name)) js_set(blocks, name, surgery_block(surgery_mixer(sizes, &host)));
    }
    js_set_string(decoder, "type", "pattern");
    js_set(decoder, "pattern", pattern);
    js_set(decoder, "blocks", blocks);
    js_set(model, "decoder", decoder);
    yaml_append(text, model);
    js_free(model);
    return STATUS_OK;
}

/* The YAML formats. */
static enum status write_hybrid(struct text *text, const struct plan *plan,
                                const struct plan_stage *stage, enum plan_format format,
                                const struct plan_mixers *mixers, const char *source) {
    struct plan_hybrid hybrid;
    enum status status = plan_hybrid_open(&hybrid, plan, stage, mixers, source);
    if (status) return status;
    bool surgery = format == PLAN_FORMAT_SURGERY;
    write_heading(text, plan, stage,
                  surgery ? "Apriel2: convert.py MODEL OUTPUT --surgery THIS_FILE."
                          : "Fast-LLM: merge under model.base_model of a training config.");
    status = surgery ? write_surgery(text, &hybrid, source) : write_fast_llm(text, &hybrid, source);
    plan_hybrid_close(&hybrid);
    return status;
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
                        const struct plan_mixers *mixers, const char *source) {
    const struct plan_stage *stage;
    struct text text = {0};
    *out = NULL;
    enum status status = plan_find_stage(&stage, plan, number, source);
    if (status) return status;
    if (format == PLAN_FORMAT_PLAN) {
        *out = plan_format_text(plan);
        return *out ? STATUS_OK : STATUS_FAILED;
    }
    char *layout = plan_stage_layout(plan, stage);
    if (!layout) return STATUS_FAILED;
    if (format == PLAN_FORMAT_HF)
        status = write_hf(&text, layout, source);
    else if (format == PLAN_FORMAT_CSV)
        write_csv(&text, plan);
    else
        status = write_hybrid(&text, plan, stage, format, mixers, source);
    free(layout);
    if (status) {
        text_free(&text);
        return status;
    }
    *out = text_finish(&text);
    return *out ? STATUS_OK : STATUS_FAILED;
}
