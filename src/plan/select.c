/* From runs in the database to a plan. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "plan/build.h"

/* Runs, their model and the request made of them; sources borrow from runs. */
struct selection {
    struct store_run *runs; /* [count] */
    size_t count;
    struct store_model model;
    struct plan_request request;
};

static void selection_free(struct selection *selection) {
    for (size_t i = 0; i < selection->count; i++) {
        store_run_free(&selection->runs[i]);
        ranking_free(&selection->request.sources[i].ranking);
    }
    free(selection->runs);
    free(selection->request.sources);
    list_free(&selection->request.keep);
    list_free(&selection->request.counts);
    store_model_free(&selection->model);
}

static enum status check_run(const struct selection *selection, const struct store_run *run,
                             bool unfinished) {
    const struct store_run *first = &selection->runs[0];
    if (run->model != first->model)
        return status_fail("runs %lld and %lld score different models (\"%s\"%s and \"%s\"%s)",
                           (long long)first->id, (long long)run->id, first->model_name,
                           store_fingerprint_remark(first->fingerprint_kind), run->model_name,
                           store_fingerprint_remark(run->fingerprint_kind));
    if (!unfinished && strcmp(run->status, STORE_STATUS_DONE) != 0)
        return status_fail(
            "run %lld is not finished (%s, %lld rows, %lld layers): finish it with "
            "the command that began it, or add --unfinished to plan from what it has",
            (long long)run->id, run->status, (long long)run->rows, (long long)run->layers);
    return STATUS_OK;
}

/* What the run put in the attention's place; of a run that put nothing there, what was asked for,
 * or nothing: the conversion says it then. */
static enum status read_mixer(struct mixer_sizes *out, const struct store_run *run,
                              const char *asked) {
    struct json *parameters = NULL;
    enum status status =
        js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters of the run");
    if (status) return status;
    const struct json *init = js_member(parameters, "init");
    const char *kind =
        js_string_or(js_member(init, "kind"), init ? NULL : asked); /* of old probes none */
    bool probed = init || strcmp(run->kind, "mmr") == 0;
    *out = (struct mixer_sizes){.kind = probed ? mixer_kinds[1] : NULL};
    if (kind) status = mixer_from_text(out, kind, "--kind");
    js_free(parameters);
    return status;
}

static enum status load_run(struct selection *selection, struct store *store,
                            const struct plan_choice *choice, const struct plan_choices *choices) {
    struct store_run *run = &selection->runs[selection->count];
    struct plan_source *source = &selection->request.sources[selection->count];
    enum status status = store_get_run(run, store, choice->run);
    if (status) return status;
    selection->count++;
    const char *metric = choice->metric ? choice->metric : ranking_default_metric(run->kind);
    *source = (struct plan_source){.run = run->id,
                                   .kind = run->kind,
                                   .metric = metric ? metric : "",
                                   .base = run->base,
                                   .from = choice->from};
    status = check_run(selection, run, choices->unfinished);
    if (!status) status = read_mixer(&source->mixer, run, choices->kind);
    return status ? status : ranking_load(&source->ranking, store, run, metric);
}

static int by_from(const void *left, const void *right) {
    const struct plan_choice *a = left, *b = right;
    return (a->from > b->from) - (a->from < b->from);
}

/* Runs that put nothing in attention's place go with those that do. */
static void share_kind(struct plan_request *request) {
    const struct mixer_sizes *said = NULL;
    for (size_t i = 0; i < request->n_sources && !said; i++)
        if (request->sources[i].mixer.kind) said = &request->sources[i].mixer;
    for (size_t i = 0; i < request->n_sources && said; i++)
        if (!request->sources[i].mixer.kind) request->sources[i].mixer = *said;
}

static enum status load_runs(struct selection *selection, struct store *store,
                             const struct plan_choices *choices) {
    struct plan_choice *ordered = memory_calloc(choices->count, sizeof *ordered);
    selection->runs = memory_calloc(choices->count, sizeof *selection->runs);
    selection->request.sources = memory_calloc(choices->count, sizeof *selection->request.sources);
    enum status status =
        ordered && selection->runs && selection->request.sources ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        memcpy(ordered, choices->runs, choices->count * sizeof *ordered);
        qsort(ordered, choices->count, sizeof *ordered, by_from);
    }
    for (size_t i = 0; !status && i < choices->count; i++)
        status = load_run(selection, store, &ordered[i], choices);
    selection->request.n_sources = selection->count;
    if (!status) share_kind(&selection->request);
    free(ordered);
    return status;
}

static enum status read_lists(struct plan_request *request, const struct plan_choices *choices) {
    struct json *shape = NULL;
    int64_t layers = 0;
    enum status status =
        js_parse(&shape, request->shape, strlen(request->shape), "shape of the model");
    if (!status)
        status = js_get_integer(&layers, shape, "num_hidden_layers", 1, PLAN_MAX_LAYERS,
                                "shape of the model");
    js_free(shape);
    if (!status && choices->keep)
        status = list_parse(&request->keep, choices->keep, 0, (int)layers - 1, "--keep");
    if (!status && choices->stages)
        return plan_parse_stages(&request->counts, choices->stages, "--stages");
    if (status) return status;
    request->counts.values = memory_calloc(1, sizeof *request->counts.values);
    if (!request->counts.values) return STATUS_FAILED;
    request->counts.values[request->counts.count++] = layers > 1 ? (int)layers / 2 : 1;
    return STATUS_OK;
}

/* Conditional scores hold for the base they were made on. */
static void warn_of_other_base(const struct plan *plan, const struct plan_source *source) {
    size_t length = strlen(source->base), replaced = 0, outside = 0;
    if (length != (size_t)plan->layers) return;
    for (size_t i = 0; i < length; i++) {
        if (source->base[i] == PLAN_ATTENTION) continue;
        bool found = false;
        for (size_t k = 0; k < plan->base.count; k++)
            found = found || plan->base.values[k] == (int)i;
        for (size_t k = 0; k < plan->n_ranked && plan->base.count + k < (size_t)source->from; k++)
            found = found || plan->ranking[k].layer == (int)i;
        replaced++;
        outside += !found;
    }
    if (!replaced)
        log_warn("run %lld was scored on the unmodified model, not on top of the %d layers that "
                 "this plan replaces before it",
                 (long long)source->run, source->from);
    else if (outside || replaced != (size_t)source->from)
        log_warn("run %lld was scored on top of %zu replaced layers, %zu of them not among the %d "
                 "that this plan replaces before it",
                 (long long)source->run, replaced, outside, source->from);
}

enum status plan_from_store(struct plan *out, int64_t *model, struct store *store,
                            const struct plan_choices *choices) {
    struct selection selection = {0};
    *out = (struct plan){0};
    if (!choices->count) return status_set(STATUS_USAGE, "a plan needs a run");
    enum status status = load_runs(&selection, store, choices);
    if (!status) status = store_find_model(&selection.model, store, selection.runs[0].model);
    if (!status) {
        selection.request.fingerprint = selection.model.fingerprint;
        selection.request.fingerprint_kind = selection.model.fingerprint_kind;
        selection.request.model = selection.model.name;
        selection.request.shape = selection.model.shape;
        status = read_lists(&selection.request, choices);
    }
    if (!status) status = plan_build(out, &selection.request);
    if (!status) *model = selection.model.id;
    for (size_t i = 1; !status && i < selection.request.n_sources; i++)
        warn_of_other_base(out, &selection.request.sources[i]);
    selection_free(&selection);
    return status;
}
