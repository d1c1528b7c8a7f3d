#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/version.h"

void plan_free(struct plan *plan) {
    free(plan->fingerprint);
    free(plan->model);
    js_free(plan->shape);
    js_free(plan->options);
    free(plan->signal);
    for (size_t i = 0; i < plan->n_signals; i++) {
        free(plan->signals[i].kind);
        free(plan->signals[i].metric);
    }
    free(plan->signals);
    list_free(&plan->base);
    free(plan->base_layout);
    list_free(&plan->keep);
    free(plan->ranking);
    for (size_t i = 0; i < plan->n_stages; i++) {
        list_free(&plan->stages[i].layers);
        list_free(&plan->stages[i].tie_inside);
        list_free(&plan->stages[i].tie_outside);
    }
    free(plan->stages);
    *plan = (struct plan){0};
}

enum status plan_find_stage(const struct plan_stage **out, const struct plan *plan, int number,
                            const char *source) {
    if (number == 0) number = (int)plan->n_stages;
    if (number < 1 || (size_t)number > plan->n_stages)
        return status_set(STATUS_USAGE, "\"%s\" has %zu stage%s, there is no stage %d", source,
                          plan->n_stages, plan->n_stages == 1 ? "" : "s", number);
    *out = &plan->stages[number - 1];
    return STATUS_OK;
}

enum status plan_check_model(const struct plan *plan, const char *path,
                             struct checkpoint *checkpoint) {
    char fingerprint[SHA256_HEX_SIZE];
    bool sampled = plan->fingerprint_kind == CHECKPOINT_FINGERPRINT_SAMPLED;
    enum status status = sampled ? checkpoint_sampled_fingerprint(checkpoint, fingerprint)
                                 : checkpoint_fingerprint(checkpoint, fingerprint);
    if (status) return status;
    if (strcmp(plan->fingerprint, fingerprint) != 0)
        return status_fail("\"%s\" was made for another model than \"%s\" (fingerprints %.12s and "
                           "%.12s)",
                           path, checkpoint_directory(checkpoint), plan->fingerprint, fingerprint);
    if (sampled)
        log_warn("\"%s\" knows its model by an older fingerprint, which reads samples of the "
                 "weights: \"%s\" has the same samples",
                 path, checkpoint_directory(checkpoint));
    return STATUS_OK;
}

const struct mixer_sizes *plan_mixer_of(const struct plan *plan, int layer) {
    for (size_t i = 0; i < plan->n_ranked; i++)
        if (plan->ranking[i].layer == layer && plan->ranking[i].mixer.kind)
            return &plan->ranking[i].mixer;
    return NULL;
}

static bool is_kind(const struct mixer_sizes *mixer, const struct mixer_sizes *asked) {
    int parameter = asked->kind->parameter;
    return mixer->kind == asked->kind &&
           (parameter < 0 || mixer->value[parameter] == asked->value[parameter]);
}

enum status plan_check_kind(const struct plan *plan, const struct plan_stage *stage,
                            const char *text, const char *source) {
    struct mixer_sizes asked;
    const struct mixer_sizes *other = NULL;
    int layer = 0;
    if (!text) return STATUS_OK;
    enum status status = mixer_from_text(&asked, text, "--kind");
    for (size_t i = 0; i < stage->layers.count && !status; i++) {
        const struct mixer_sizes *mixer = plan_mixer_of(plan, stage->layers.values[i]);
        if (mixer && is_kind(mixer, &asked)) return STATUS_OK;
        if (!mixer || other) continue;
        other = mixer;
        layer = stage->layers.values[i];
    }
    if (status || !other) return status;
    char words[MIXER_TEXT_SIZE];
    return status_fail("--kind %s contradicts \"%s\", which replaces layer %d by %s: leave --kind "
                       "out, the plan has the kinds",
                       text, source, layer, mixer_text(words, other));
}

char *plan_stage_layout(const struct plan *plan, const struct plan_stage *stage) {
    char *layout = memory_calloc((size_t)plan->layers + 1, 1);
    if (!layout) return NULL;
    memset(layout, PLAN_ATTENTION, (size_t)plan->layers);
    for (size_t i = 0; i < stage->layers.count; i++) {
        int layer = stage->layers.values[i];
        const struct mixer_sizes *mixer = plan_mixer_of(plan, layer);
        layout[layer] = mixer               ? mixer->kind->letter
                        : plan->base_layout ? plan->base_layout[layer]
                                            : mixer_kinds[1]->letter;
    }
    return layout;
}

enum status plan_split_reference(char **path, int *stage, const char *text) {
    *stage = 0;
    const char *colon = strrchr(text, ':');
    if (colon && colon[1] && colon[1 + strspn(colon + 1, "0123456789")] == '\0' &&
        !file_exists(text)) {
        if (strlen(colon + 1) > 6 || (*stage = atoi(colon + 1)) == 0)
            return status_set(STATUS_USAGE, "\"%s\": stages count from 1", text);
        *path = memory_copy_bytes(text, (size_t)(colon - text));
    } else {
        *path = memory_copy_string(text);
    }
    return *path ? STATUS_OK : STATUS_FAILED;
}

/* ---- to JSON */

static struct json *list_to_json(const struct int_list *list) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < list->count; i++) js_append(array, js_new_integer(list->values[i]));
    return array;
}

static struct json *stage_to_json(const struct plan *plan, const struct plan_stage *stage) {
    struct json *object = js_new_object();
    js_set_integer(object, "count", (int64_t)stage->layers.count);
    js_set(object, "layers", list_to_json(&stage->layers));
    char *layout = plan_stage_layout(plan, stage);
    js_set_string(object, "layout", layout);
    free(layout);
    struct json *tie = NULL;
    if (stage->tie_inside.count) {
        tie = js_new_object();
        js_set(tie, "inside", list_to_json(&stage->tie_inside));
        js_set(tie, "outside", list_to_json(&stage->tie_outside));
    }
    js_set(object, "tie", tie);
    return object;
}

/* Version 1 says nothing of kinds. */
static bool is_said(const struct mixer_sizes *mixer) {
    return mixer->kind != NULL;
}

static int version_of(const struct plan *plan) {
    bool said = plan->base_layout != NULL;
    for (size_t i = 0; i < plan->n_ranked; i++) said = said || is_said(&plan->ranking[i].mixer);
    return said ? PLAN_VERSION : 1;
}

static struct json *ranking_to_json(const struct plan *plan) {
    bool says = version_of(plan) > 1;
    char mixer[MIXER_TEXT_SIZE];
    struct json *array = js_new_array();
    for (size_t i = 0; i < plan->n_ranked; i++) {
        const struct plan_entry *entry = &plan->ranking[i];
        struct json *object = js_new_object();
        js_set_integer(object, "layer", entry->layer);
        js_set_integer(object, "run", entry->run);
        js_set_number(object, "score", entry->score);
        js_set_number(object, "stderr", entry->stderr_score); /* unknown: null */
        js_set_integer(object, "tie_group", entry->tie_group);
        if (says && entry->mixer.kind)
            js_set_string(object, "mixer", mixer_text(mixer, &entry->mixer));
        js_append(array, object);
    }
    return array;
}

static struct json *runs_to_json(const struct plan *plan) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < plan->n_signals; i++) {
        struct json *object = js_new_object();
        js_set_integer(object, "run", plan->signals[i].run);
        js_set_string(object, "kind", plan->signals[i].kind);
        js_set_string(object, "metric", plan->signals[i].metric);
        js_set_integer(object, "from", plan->signals[i].from);
        js_append(array, object);
    }
    return array;
}

struct json *plan_to_json(const struct plan *plan) {
    struct json *document = js_new_object();
    js_set_string(document, "format", "apriel-tool/plan");
    js_set_integer(document, "version", version_of(plan));
    js_set_string(document, "tool", VERSION);
    js_set_string(document, "tool_commit", version_commit());
    struct json *model = js_new_object();
    js_set_string(model, "fingerprint", plan->fingerprint);
    js_set_integer(model, "fingerprint_kind", plan->fingerprint_kind);
    js_set_string(model, "path", plan->model);
    js_set(model, "shape", js_copy(plan->shape));
    js_set(document, "model", model);
    js_set_string(document, "signal", plan->signal);
    js_set(document, "runs", runs_to_json(plan));
    if (js_count(plan->options)) js_set(document, "options", js_copy(plan->options));
    js_set(document, "base", list_to_json(&plan->base));
    js_set(document, "keep", list_to_json(&plan->keep));
    js_set(document, "ranking", ranking_to_json(plan));
    struct json *stages = js_new_array();
    for (size_t i = 0; i < plan->n_stages; i++)
        js_append(stages, stage_to_json(plan, &plan->stages[i]));
    js_set(document, "stages", stages);
    return document;
}

static void append_json(struct text *text, const struct json *value) {
    char *printed = js_print(value, 0);
    if (printed)
        text_append(text, "%s", printed);
    else
        text->failed = true;
    free(printed);
}

/* Arrays of objects get a line an element, everything else stays on its key's line. */
static void append_member(struct text *text, const struct json *value) {
    if (!js_is_array(value) || js_count(js_element(value, 0)) == 0) {
        append_json(text, value);
        return;
    }
    for (size_t i = 0; i < js_count(value); i++) {
        text_append(text, "%s\n    ", i ? "," : "[");
        append_json(text, js_element(value, i));
    }
    text_append(text, "\n  ]");
}

char *plan_format_text(const struct plan *plan) {
    struct json *document = plan_to_json(plan);
    struct text text = {0};
    const char *before = "{";
    for (void *i = js_first(document); i; i = js_next(document, i)) {
        text_append(&text, "%s\n  \"%s\": ", before, js_key(i));
        append_member(&text, js_value(i));
        before = ",";
    }
    text_append(&text, "\n}\n");
    js_free(document);
    return text_finish(&text);
}
