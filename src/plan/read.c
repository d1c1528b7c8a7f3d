/* Reading a plan file: every field is checked before it is used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "plan/plan.h"

static enum status copy_string(char **out, const struct json *object, const char *key,
                               const char *source) {
    const char *text;
    enum status status = js_get_string(&text, object, key, source);
    if (status) return status;
    if (!*text || strlen(text) != js_string_length(js_member(object, key)))
        return status_fail("\"%s\": \"%s\" must be a text that is not empty", source, key);
    *out = memory_copy_string(text);
    return *out ? STATUS_OK : STATUS_FAILED;
}

/* An array member; absent gives an empty one unless it is `required`. */
static enum status get_array(const struct json **out, const struct json *object, const char *key,
                             bool required, const char *source) {
    const struct json *value = js_member(object, key);
    *out = js_is_array(value) ? value : NULL;
    if (*out || (!value && !required)) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" %s", source, key, value ? "must be an array" : "is missing");
}

/* Ascending layer numbers without repeats. */
static enum status read_layers(struct int_list *out, const struct json *object, const char *key,
                               int layers, bool required, const char *source) {
    const struct json *array;
    enum status status = get_array(&array, object, key, required, source);
    if (status || !js_count(array)) return status;
    size_t count = js_count(array);
    if (count > (size_t)layers)
        return status_fail("\"%s\": \"%s\" has %zu layers, the model has %d", source, key, count,
                           layers);
    out->values = memory_calloc(count, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    int64_t last = -1;
    for (size_t i = 0; i < count; i++) {
        const struct json *element = js_element(array, i);
        int64_t layer = js_integer_or(element, -1);
        if (!js_is_integer(element) || layer < 0 || layer >= layers)
            return status_fail("\"%s\": \"%s\" must hold layer numbers from 0 to %d", source, key,
                               layers - 1);
        if (layer <= last)
            return status_fail("\"%s\": \"%s\" must ascend, but %lld stands before %lld", source,
                               key, (long long)last, (long long)layer);
        out->values[out->count++] = (int)layer;
        last = layer;
    }
    return STATUS_OK;
}

static enum status read_model(struct plan *plan, const struct json *document, const char *source) {
    const struct json *model = js_member(document, "model");
    if (!js_is_object(model))
        return status_fail("\"%s\": \"model\" %s", source,
                           model ? "must be an object" : "is missing");
    enum status status = copy_string(&plan->fingerprint, model, "fingerprint", source);
    if (!status) status = copy_string(&plan->model, model, "path", source);
    int64_t kind = CHECKPOINT_FINGERPRINT_SAMPLED; /* of plans that do not say */
    if (!status && js_member(model, "fingerprint_kind"))
        status = js_get_integer(&kind, model, "fingerprint_kind", CHECKPOINT_FINGERPRINT_SAMPLED,
                                CHECKPOINT_FINGERPRINT, source);
    if (status) return status;
    plan->fingerprint_kind = (int)kind;
    const struct json *shape = js_member(model, "shape");
    if (!js_is_object(shape))
        return status_fail("\"%s\": \"shape\" %s", source,
                           shape ? "must be an object" : "is missing");
    int64_t layers;
    status = js_get_integer(&layers, shape, "num_hidden_layers", 1, PLAN_MAX_LAYERS, source);
    if (status) return status;
    plan->layers = (int)layers;
    plan->shape = js_copy(shape);
    const struct json *options = js_member(document, "options");
    if (options && !js_is_object(options))
        return status_fail("\"%s\": \"options\" must be an object", source);
    if (options) plan->options = js_copy(options);
    return plan->shape && (plan->options || !options) ? STATUS_OK : STATUS_FAILED;
}

static enum status read_signals(struct plan *plan, const struct json *document,
                                const char *source) {
    const struct json *runs;
    enum status status = copy_string(&plan->signal, document, "signal", source);
    if (!status) status = get_array(&runs, document, "runs", true, source);
    if (status) return status;
    plan->signals = memory_calloc(js_count(runs), sizeof *plan->signals);
    if (!plan->signals) return STATUS_FAILED;
    int64_t last = -1;
    for (size_t i = 0; !status && i < js_count(runs); i++) {
        const struct json *run = js_element(runs, i);
        struct plan_signal *signal = &plan->signals[plan->n_signals++];
        int64_t from = 0;
        status = js_get_integer(&signal->run, run, "run", 1, INT64_MAX, source);
        if (!status) status = copy_string(&signal->kind, run, "kind", source);
        if (!status) status = copy_string(&signal->metric, run, "metric", source);
        if (!status) status = js_get_integer(&from, run, "from", 0, plan->layers, source);
        if (!status && from <= last)
            status = status_fail("\"%s\": \"from\" must ascend, but %lld stands before %lld",
                                 source, (long long)last, (long long)from);
        signal->from = (int)from;
        last = from;
    }
    return status;
}

static enum status read_entry(struct plan_entry *entry, const struct json *object, int layers,
                              const char *source) {
    int64_t layer = 0, group = 0;
    enum status status = js_get_integer(&layer, object, "layer", 0, layers - 1, source);
    if (!status) status = js_get_integer(&entry->run, object, "run", 1, INT64_MAX, source);
    if (!status) status = js_get_number(&entry->score, object, "score", source);
    if (!status) status = js_get_integer(&group, object, "tie_group", 1, layers, source);
    if (status) return status;
    const char *mixer = js_string_or(js_member(object, "mixer"), NULL);
    if (mixer && mixer_from_text(&entry->mixer, mixer, "\"mixer\""))
        return status_fail("\"%s\": layer %lld: %s", source, (long long)layer, status_message());
    const struct json *error = js_member(object, "stderr");
    entry->layer = (int)layer;
    entry->tie_group = (int)group;
    entry->stderr_score = js_number_or(error, NAN);
    if (!isfinite(entry->score))
        return status_fail("\"%s\": the score of layer %d is not finite", source, entry->layer);
    if (js_is_number(error) ? !(entry->stderr_score >= 0) : error != NULL)
        return status_fail("\"%s\": \"stderr\" of layer %d must be null or a number from 0 on",
                           source, entry->layer);
    return STATUS_OK;
}

static enum status read_ranking(struct plan *plan, const struct json *document, bool *seen,
                                const char *source) {
    const struct json *ranking;
    enum status status = get_array(&ranking, document, "ranking", true, source);
    if (status) return status;
    if (js_count(ranking) > (size_t)plan->layers)
        return status_fail("\"%s\": \"ranking\" has %zu entries, the model has %d layers", source,
                           js_count(ranking), plan->layers);
    plan->ranking = memory_calloc(js_count(ranking), sizeof *plan->ranking);
    if (!plan->ranking) return STATUS_FAILED;
    int group = 1;
    for (size_t i = 0; !status && i < js_count(ranking); i++) {
        struct plan_entry *entry = &plan->ranking[i];
        status = read_entry(entry, js_element(ranking, i), plan->layers, source);
        if (status) break;
        if (seen[entry->layer])
            return status_fail("\"%s\": layer %d is ranked, but it is kept, in the base or ranked "
                               "before",
                               source, entry->layer);
        if (entry->tie_group < group)
            return status_fail("\"%s\": \"tie_group\" falls at layer %d", source, entry->layer);
        seen[entry->layer] = true;
        group = entry->tie_group;
        plan->n_ranked++;
    }
    return status;
}

static bool list_has(const struct int_list *list, int value) {
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] == value) return true;
    return false;
}

static enum status read_tie(struct plan_stage *stage, const struct json *object, int layers,
                            const char *source) {
    const struct json *tie = js_member(object, "tie");
    if (!tie) return STATUS_OK;
    if (!js_is_object(tie)) return status_fail("\"%s\": \"tie\" must be an object or null", source);
    enum status status = read_layers(&stage->tie_inside, tie, "inside", layers, true, source);
    if (!status) status = read_layers(&stage->tie_outside, tie, "outside", layers, true, source);
    if (status) return status;
    if (!stage->tie_inside.count || !stage->tie_outside.count)
        return status_fail("\"%s\": a tie needs layers on both sides of the border", source);
    for (size_t i = 0; i < stage->tie_inside.count; i++)
        if (!list_has(&stage->layers, stage->tie_inside.values[i]))
            return status_fail("\"%s\": \"inside\" of a tie names layer %d, which is not in the "
                               "stage",
                               source, stage->tie_inside.values[i]);
    for (size_t i = 0; i < stage->tie_outside.count; i++)
        if (list_has(&stage->layers, stage->tie_outside.values[i]))
            return status_fail("\"%s\": \"outside\" of a tie names layer %d, which is in the stage",
                               source, stage->tie_outside.values[i]);
    return STATUS_OK;
}

/* What the base is replaced by, where that is not the first kind. */
static enum status keep_base_layout(struct plan *plan, const char *layout) {
    bool other = false;
    if (strlen(layout) != (size_t)plan->layers) return STATUS_OK; /* refused with its layers */
    for (size_t i = 0; i < plan->base.count; i++) {
        char letter = layout[plan->base.values[i]];
        const struct mixer_kind *kind = mixer_kind_of_letter(letter);
        if (!kind || letter == PLAN_ATTENTION) return STATUS_OK;
        other = other || kind != mixer_kinds[1];
    }
    if (!other) return STATUS_OK;
    plan->base_layout = memory_copy_string(layout);
    return plan->base_layout ? STATUS_OK : STATUS_FAILED;
}

static enum status check_layout(struct plan *plan, const struct plan_stage *stage,
                                const struct json *object, const char *source) {
    const char *found;
    enum status status = js_get_string(&found, object, "layout", source);
    if (status) return status;
    if (!plan->base_layout) status = keep_base_layout(plan, found);
    char *layout = status ? NULL : plan_stage_layout(plan, stage);
    if (!layout) return STATUS_FAILED;
    if (strcmp(layout, found) != 0)
        status = status_fail("\"%s\": \"layout\" of the stage of %zu layers contradicts its "
                             "\"layers\" (a letter a layer: t attention, m mamba)",
                             source, stage->layers.count);
    free(layout);
    return status;
}

/* `before` is the stage before, or what the base has. */
static enum status read_stage(struct plan *plan, const struct json *object,
                              const struct int_list *before, const char *source) {
    struct plan_stage *stage = &plan->stages[plan->n_stages++];
    int64_t count = 0;
    enum status status = js_get_integer(&count, object, "count", 1, plan->layers, source);
    if (!status) status = read_layers(&stage->layers, object, "layers", plan->layers, true, source);
    if (status) return status;
    if ((size_t)count != stage->layers.count)
        return status_fail("\"%s\": \"count\" is %lld, but \"layers\" has %zu", source,
                           (long long)count, stage->layers.count);
    if (stage->layers.count <= before->count)
        return status_fail("\"%s\": a stage of %zu layers cannot follow %zu layers", source,
                           stage->layers.count, before->count);
    for (size_t i = 0; i < before->count; i++)
        if (!list_has(&stage->layers, before->values[i]))
            return status_fail("\"%s\": the stage of %zu layers lacks layer %d, which was replaced "
                               "before it",
                               source, stage->layers.count, before->values[i]);
    for (size_t i = 0; i < plan->keep.count; i++)
        if (list_has(&stage->layers, plan->keep.values[i]))
            return status_fail("\"%s\": layer %d is kept, but the stage of %zu layers replaces it",
                               source, plan->keep.values[i], stage->layers.count);
    status = read_tie(stage, object, plan->layers, source);
    if (!status) status = check_layout(plan, stage, object, source);
    return status;
}

static enum status read_stages(struct plan *plan, const struct json *document, const char *source) {
    const struct json *stages;
    enum status status = get_array(&stages, document, "stages", true, source);
    if (status) return status;
    size_t count = js_count(stages);
    if (!count || count > (size_t)plan->layers)
        return status_fail("\"%s\": \"stages\" has %zu stages, expected 1 to %d", source, count,
                           plan->layers);
    plan->stages = memory_calloc(count, sizeof *plan->stages);
    if (!plan->stages) return STATUS_FAILED;
    const struct int_list *before = &plan->base;
    for (size_t i = 0; !status && i < count; i++) {
        status = read_stage(plan, js_element(stages, i), before, source);
        before = &plan->stages[i].layers;
    }
    return status;
}

/* Probes of before there were several kinds were of the first one. */
static void name_former_kinds(struct plan *plan) {
    bool probed = false;
    for (size_t s = 0; s < plan->n_signals; s++)
        probed = probed || strcmp(plan->signals[s].kind, "mmr") == 0;
    for (size_t i = 0; probed && i < plan->n_ranked; i++)
        if (!plan->ranking[i].mixer.kind) plan->ranking[i].mixer.kind = mixer_kinds[1];
}

static enum status read_parts(struct plan *plan, const struct json *document, const char *source) {
    enum status status = read_model(plan, document, source);
    if (!status) status = read_signals(plan, document, source);
    if (!status) status = read_layers(&plan->base, document, "base", plan->layers, false, source);
    if (!status) status = read_layers(&plan->keep, document, "keep", plan->layers, false, source);
    if (status) return status;
    bool *seen = memory_calloc((size_t)plan->layers, sizeof *seen);
    if (!seen) return STATUS_FAILED;
    for (size_t i = 0; i < plan->base.count; i++) seen[plan->base.values[i]] = true;
    for (size_t i = 0; i < plan->keep.count; i++) seen[plan->keep.values[i]] = true;
    status = read_ranking(plan, document, seen, source);
    free(seen);
    if (status) return status;
    name_former_kinds(plan);
    return read_stages(plan, document, source);
}

enum status plan_parse(struct plan *out, const struct json *document, const char *source) {
    *out = (struct plan){0};
    const char *format = js_string_or(js_member(document, "format"), "");
    if (strcmp(format, "apriel-tool/plan") != 0)
        return status_fail("\"%s\" is not a plan (\"format\" is not \"apriel-tool/plan\")", source);
    int64_t version;
    enum status status = js_get_integer(&version, document, "version", 1, INT64_MAX, source);
    if (status) return status;
    if (version > PLAN_VERSION)
        return status_fail("\"%s\" is a plan of version %lld, this program knows %d; use a newer "
                           "apriel-tool",
                           source, (long long)version, PLAN_VERSION);
    status = read_parts(out, document, source);
    if (status) plan_free(out);
    return status;
}

enum status plan_read(struct plan *out, const char *path) {
    struct json *document = NULL;
    *out = (struct plan){0};
    enum status status = js_read_names(&document, path);
    if (!status) status = plan_parse(out, document, path);
    js_free(document);
    return status;
}
