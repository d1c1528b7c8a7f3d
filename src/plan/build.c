#include "plan/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

/* What is settled while the sources are gone through. */
struct builder {
    struct plan *plan;
    const struct plan_request *request;
    bool *kept, *replaced; /* [layers] */
    size_t decided;        /* replaced layers */
    int last_group;        /* highest tie group handed out */
    size_t stage;          /* of the next border */
};

static enum status copy_list(struct int_list *out, const struct int_list *list) {
    out->values = memory_calloc(list->count, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    if (list->count) memcpy(out->values, list->values, list->count * sizeof *out->values);
    out->count = list->count;
    return STATUS_OK;
}

/* The layers with chosen[layer] set. */
static enum status list_of(struct int_list *out, const bool *chosen, int layers) {
    out->values = memory_calloc((size_t)layers, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    for (int layer = 0; layer < layers; layer++)
        if (chosen[layer]) out->values[out->count++] = layer;
    return STATUS_OK;
}

static enum status set_model(struct plan *plan, const struct plan_request *request) {
    struct json *shape = NULL;
    int64_t layers = 0;
    enum status status =
        js_parse(&shape, request->shape, strlen(request->shape), "shape of the model");
    if (!status)
        status = js_get_integer(&layers, shape, "num_hidden_layers", 1, PLAN_MAX_LAYERS,
                                "shape of the model");
    plan->shape = shape;
    plan->layers = (int)layers;
    plan->fingerprint = memory_copy_string(request->fingerprint);
    plan->fingerprint_kind = request->fingerprint_kind;
    plan->model = memory_copy_string(request->model);
    if (!status && (!plan->fingerprint || !plan->model)) status = STATUS_FAILED;
    return status;
}

/* Copies the runs, and their kinds as "loo+mmr". */
static enum status set_signals(struct plan *plan, const struct plan_request *request) {
    struct text kinds = {0};
    plan->signals = memory_calloc(request->n_sources, sizeof *plan->signals);
    if (!plan->signals) return STATUS_FAILED;
    for (size_t i = 0; i < request->n_sources; i++) {
        const struct plan_source *source = &request->sources[i];
        struct plan_signal *signal = &plan->signals[plan->n_signals++];
        signal->run = source->run;
        signal->from = source->from;
        signal->kind = memory_copy_string(source->kind);
        signal->metric = memory_copy_string(source->metric);
        text_append(&kinds, "%s%s", i ? "+" : "", source->kind);
        if (!signal->kind || !signal->metric) {
            text_free(&kinds);
            return STATUS_FAILED;
        }
    }
    plan->signal = text_finish(&kinds);
    return plan->signal ? STATUS_OK : STATUS_FAILED;
}

/* ---- checks of what was asked for */

static enum status check_sources(const struct plan_request *request) {
    int last_stage = request->counts.values[request->counts.count - 1];
    for (size_t i = 0; i < request->n_sources; i++) {
        const struct plan_source *source = &request->sources[i];
        if (i == 0 && source->from != 0)
            return status_set(STATUS_USAGE,
                              "no run decides the first %d layers; name one before run %lld@%d",
                              source->from, (long long)source->run, source->from);
        if (i && source->from <= request->sources[i - 1].from)
            return status_set(STATUS_USAGE,
                              "runs %lld and %lld would both decide from %d layers on; give the "
                              "later one a larger number, as in %lld@25",
                              (long long)request->sources[i - 1].run, (long long)source->run,
                              source->from, (long long)source->run);
        if (source->from >= last_stage)
            return status_set(STATUS_USAGE,
                              "run %lld decides from %d layers on, but the last stage replaces %d",
                              (long long)source->run, source->from, last_stage);
    }
    return STATUS_OK;
}

static enum status check_counts(const struct builder *builder) {
    const struct int_list *counts = &builder->request->counts;
    int previous = 0, layers = builder->plan->layers;
    for (size_t i = 0; i < counts->count; i++) {
        int count = counts->values[i];
        if (count <= previous)
            return status_set(STATUS_USAGE, "stages must ascend: %d cannot follow %d", count,
                              previous);
        if (count > layers)
            return status_set(STATUS_USAGE, "a stage of %d layers: the model has %d", count,
                              layers);
        previous = count;
    }
    if ((size_t)counts->values[0] <= builder->decided)
        return status_set(
            STATUS_USAGE, "a stage of %d layers: the base of run %lld has %zu replaced already",
            counts->values[0], (long long)builder->request->sources[0].run, builder->decided);
    return STATUS_OK;
}

static enum status set_base(struct builder *builder) {
    const struct plan_source *source = &builder->request->sources[0];
    struct plan *plan = builder->plan;
    size_t length = strlen(source->base);
    bool other = false; /* than the first kind */
    if (length && length != (size_t)plan->layers)
        return status_fail("the base of run %lld has %zu layers, its model %d",
                           (long long)source->run, length, plan->layers);
    for (size_t i = 0; i < length; i++) {
        if (source->base[i] == PLAN_ATTENTION) continue;
        if (builder->kept[i])
            return status_set(STATUS_USAGE,
                              "layer %zu is to be kept, but the base of run %lld replaces it", i,
                              (long long)source->run);
        builder->replaced[i] = true;
        builder->decided++;
        other = other || source->base[i] != mixer_kinds[1]->letter;
    }
    if (other && !(plan->base_layout = memory_copy_string(source->base))) return STATUS_FAILED;
    return list_of(&plan->base, builder->replaced, plan->layers);
}

/* ---- ranking and stages */

static enum status fail_for_stage(const struct builder *builder, const struct plan_source *source,
                                  size_t wanted) {
    size_t possible = builder->decided + source->ranking.count;
    return status_set(
        STATUS_USAGE,
        "a stage of %zu layers: only %zu can be replaced (%d layers in the model, %zu "
        "kept, the others without a score in run %lld)",
        wanted, possible, builder->plan->layers, builder->plan->keep.count, (long long)source->run);
}

/* The members of the tie group that a border before entry `next` cuts, on both sides. */
static enum status set_tie(struct plan_stage *stage, const struct ranking *ranking, size_t next,
                           int layers) {
    int group = ranking->entries[next].tie_group;
    if (next == 0 || ranking->entries[next - 1].tie_group != group) return STATUS_OK;
    bool *inside = memory_calloc((size_t)layers, sizeof *inside);
    bool *outside = memory_calloc((size_t)layers, sizeof *outside);
    enum status status = inside && outside ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < ranking->count; i++)
        if (ranking->entries[i].tie_group == group)
            (i < next ? inside : outside)[ranking->entries[i].layer] = true;
    if (!status) status = list_of(&stage->tie_inside, inside, layers);
    if (!status) status = list_of(&stage->tie_outside, outside, layers);
    free(inside);
    free(outside);
    return status;
}

static enum status close_stages(struct builder *builder, const struct ranking *ranking,
                                size_t taken) {
    struct plan *plan = builder->plan;
    const struct int_list *counts = &builder->request->counts;
    if (builder->stage == counts->count ||
        (size_t)counts->values[builder->stage] != builder->decided)
        return STATUS_OK;
    struct plan_stage *stage = &plan->stages[plan->n_stages++];
    builder->stage++;
    enum status status = list_of(&stage->layers, builder->replaced, plan->layers);
    if (!status && taken < ranking->count) status = set_tie(stage, ranking, taken, plan->layers);
    return status;
}

/* Take layers in the order of a source until `end` are replaced; the last source ranks all that are
 * left. */
static enum status add_source(struct builder *builder, struct plan_source *source, size_t end,
                              bool last) {
    struct plan *plan = builder->plan;
    struct ranking *ranking = &source->ranking;
    bool *skip = memory_calloc((size_t)plan->layers, sizeof *skip);
    if (!skip) return STATUS_FAILED;
    for (int i = 0; i < plan->layers; i++) skip[i] = builder->kept[i] || builder->replaced[i];
    enum status status = ranking_drop(ranking, skip, plan->layers);
    free(skip);
    if (status) return status;
    if (builder->decided + ranking->count < end) return fail_for_stage(builder, source, end);
    size_t take = last ? ranking->count : end - builder->decided;
    int group_offset = builder->last_group;
    for (size_t i = 0; !status && i < take; i++) {
        const struct ranking_entry *entry = &ranking->entries[i];
        builder->last_group = group_offset + entry->tie_group;
        plan->ranking[plan->n_ranked++] = (struct plan_entry){
            .layer = entry->layer,
            .run = source->run,
            .score = entry->value,
            .stderr_score = entry->stderr_value,
            .tie_group = builder->last_group,
            .mixer = source->mixer,
        };
        builder->replaced[entry->layer] = true;
        builder->decided++;
        status = close_stages(builder, ranking, i + 1);
    }
    return status;
}

static enum status build(struct builder *builder, struct plan_request *request) {
    struct plan *plan = builder->plan;
    builder->kept = memory_calloc((size_t)plan->layers, sizeof *builder->kept);
    builder->replaced = memory_calloc((size_t)plan->layers, sizeof *builder->replaced);
    plan->ranking = memory_calloc((size_t)plan->layers, sizeof *plan->ranking);
    plan->stages = memory_calloc(request->counts.count, sizeof *plan->stages);
    if (!builder->kept || !builder->replaced || !plan->ranking || !plan->stages)
        return STATUS_FAILED;
    for (size_t i = 0; i < request->keep.count; i++) builder->kept[request->keep.values[i]] = true;
    enum status status = copy_list(&plan->keep, &request->keep);
    if (!status) status = check_sources(request);
    if (!status) status = set_base(builder);
    if (!status) status = check_counts(builder);
    size_t last_count = (size_t)request->counts.values[request->counts.count - 1];
    for (size_t i = 0; !status && i < request->n_sources; i++) {
        bool last = i + 1 == request->n_sources;
        size_t end = last ? last_count : (size_t)request->sources[i + 1].from;
        if (!last && end <= builder->decided)
            status = status_set(STATUS_USAGE,
                                "run %lld would decide nothing: %zu layers are replaced before it, "
                                "and run %lld decides from %zu on",
                                (long long)request->sources[i].run, builder->decided,
                                (long long)request->sources[i + 1].run, end);
        else
            status = add_source(builder, &request->sources[i], end, last);
    }
    return status;
}

enum status plan_build(struct plan *out, struct plan_request *request) {
    *out = (struct plan){0};
    if (!request->n_sources) return status_set(STATUS_USAGE, "a plan needs a run");
    if (!request->counts.count) return status_set(STATUS_USAGE, "a plan needs a stage");
    struct builder builder = {.plan = out, .request = request};
    enum status status = set_model(out, request);
    if (!status) status = set_signals(out, request);
    if (!status) status = build(&builder, request);
    free(builder.kept);
    free(builder.replaced);
    if (status) plan_free(out);
    return status;
}

enum status plan_parse_stages(struct int_list *out, const char *text, const char *option) {
    *out = (struct int_list){0};
    out->values = memory_calloc(strlen(text) / 2 + 1, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    const char *cursor = text;
    int previous = 0;
    enum status status = STATUS_OK;
    do {
        size_t digits = strspn(cursor, "0123456789");
        if (!digits || digits > 6 || (cursor[digits] && cursor[digits] != ',')) {
            status =
                status_set(STATUS_USAGE, "%s: \"%s\" is not a list like 25,27,30", option, text);
            break;
        }
        int count = atoi(cursor);
        if (count <= previous) {
            status = status_set(STATUS_USAGE, "%s: must ascend, but %d follows %d", option, count,
                                previous);
            break;
        }
        out->values[out->count++] = previous = count;
        cursor += digits;
    } while (*cursor == ',' && cursor++);
    if (status) list_free(out);
    return status;
}

void plan_record(const struct plan *plan, int64_t model, const char *database) {
    struct store *store = NULL;
    int64_t id;
    char *text = plan_format_text(plan);
    enum status status = text ? store_open(&store, database, STORE_WRITE) : STATUS_FAILED;
    if (!status) status = store_add_plan(&id, store, model, text);
    if (status) log_warn("the plan is not recorded: %s", status_message());
    store_close(store);
    free(text);
}
