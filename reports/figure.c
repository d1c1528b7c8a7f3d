#include "reports/figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "scores/metrics.h"

/* What stands over a panel: "KL to the unmodified model (nats)". */
char *figure_metric_title(const struct figure *figure, const char *metric) {
    const struct metric_row *row = metric_row_find(metric);
    if (!row) return memory_copy_string(metric);
    bool hybrid = false;
    for (int i = 0; i < figure->count; i++)
        if (strcmp(figure->series[i].metric, metric) == 0)
            hybrid = hybrid ||
                     strspn(figure->series[i].run.base, "t") < strlen(figure->series[i].run.base);
    const char *trunk = hybrid ? "unmodified base of the run" : "unmodified model";
    const char *place = strstr(row->label, "%s");
    struct text title = {0};
    if (place)
        text_append(&title, "%.*s%s%s", (int)(place - row->label), row->label, trunk, place + 2);
    else
        text_append(&title, "%s", row->label);
    if (*row->unit) text_append(&title, " (%s)", row->unit);
    return text_finish(&title);
}

/* ---- loading */

static bool is(const struct json *object, const char *key, const char *value) {
    return strcmp(js_string_or(js_member(object, key), ""), value) == 0;
}

/* How an mmr run initialises its mixers: "published", "improved" or the three choices of it. */
static void append_init(struct text *label, const struct json *init) {
    if (!js_is_object(init)) return;
    if (is(init, "align", "paper") && is(init, "conv_init", "random") &&
        is(init, "dt_bias", "twice"))
        text_append(label, ", published init");
    else if (is(init, "align", "gqa") && is(init, "conv_init", "identity") &&
             is(init, "dt_bias", "once"))
        text_append(label, ", improved init");
    else
        text_append(label, ", %s + %s + %s", js_string_or(js_member(init, "align"), "?"),
                    js_string_or(js_member(init, "conv_init"), "?"),
                    js_string_or(js_member(init, "dt_bias"), "?"));
    if (is(init, "a_init", "one")) text_append(label, ", A -1");
    double low = js_number_or(js_member(init, "dt_min"), 0);
    if (low > 0) text_append(label, ", dt %g-%g", low, js_number_or(js_member(init, "dt_max"), 0));
    text_append(label, ", d_state %lld", (long long)js_integer_or(js_member(init, "d_state"), 0));
}

/* What tells runs apart; parameters that cannot be read only make the label shorter. */
static void append_parameters(struct text *label, const char *printed) {
    struct json *parameters = NULL;
    if (js_parse(&parameters, printed, strlen(printed), "parameters")) return;
    const char *target = js_string_or(js_member(parameters, "ablate"), NULL);
    int64_t steps = js_integer_or(js_member(parameters, "steps"), 0);
    if (target) text_append(label, ", %s removed", target);
    if (steps) text_append(label, ", %lld steps", (long long)steps);
    append_init(label, js_member(parameters, "init"));
    js_free(parameters);
}

/* "run 3: loo, mixer removed, on a hybrid of 5 layers (64 sequences)" */
static char *series_label(const struct figure_series *series) {
    struct text label = {0};
    const struct store_run *run = &series->run;
    const struct ranking *ranking = &series->ranking;
    const char *usual = ranking_default_metric(run->kind);
    if (ranking_is_estimate(run->kind))
        text_append(&label, "run %lld: %s estimate", (long long)run->id,
                    strchr(run->kind, '-') + 1);
    else
        text_append(&label, "run %lld: %s", (long long)run->id, run->kind);
    if (usual && strcmp(series->metric, usual) != 0) text_append(&label, " %s", series->metric);
    append_parameters(&label, run->parameters);
    int replaced = 0;
    for (const char *letter = run->base; *letter; letter++) replaced += *letter != PLAN_ATTENTION;
    if (replaced)
        text_append(&label, ", on a hybrid of %d layer%s", replaced, replaced == 1 ? "" : "s");
    long long n = ranking->count ? (long long)ranking->entries[0].n : 0;
    /* Training losses have their spread over steps or seeds. */
    const char *unit = strncmp(series->metric, "train_", 6) == 0 ? "value" : "sequence";
    if (n) text_append(&label, " (%lld %s%s)", n, unit, n == 1 ? "" : "s");
    if (strcmp(run->status, STORE_STATUS_DONE) != 0) text_append(&label, ", %s", run->status);
    return text_finish(&label);
}

static enum status load_trunk(struct figure_series *series, struct store *store) {
    struct store_score_list scores;
    enum status status = store_get_scores(&scores, store, series->run.id);
    if (status) return status;
    series->trunk = NAN;
    for (size_t i = 0; i < scores.count; i++)
        if (scores.scores[i].layer == STORE_TRUNK &&
            strcmp(scores.scores[i].metric, series->metric) == 0)
            series->trunk = scores.scores[i].value;
    store_score_list_free(&scores);
    return STATUS_OK;
}

static enum status load_series(struct figure *figure, struct store *store,
                               const struct ranking_choice *choice,
                               const struct figure_request *request) {
    int64_t id = choice->run;
    struct figure_series *series = &figure->series[figure->count];
    series->given = figure->count++;
    struct store_dataset dataset = {0};
    enum status status = store_get_run(&series->run, store, id);
    if (status) return status;
    if (request->kind && strcmp(series->run.kind, request->kind) != 0)
        return status_fail("run %lld is of %s, not of %s", (long long)id, series->run.kind,
                           request->kind);
    series->metric = choice->metric    ? choice->metric
                     : request->metric ? request->metric
                                       : ranking_default_metric(series->run.kind);
    if (!series->metric)
        return status_fail("run %lld is of %s, which has no scores of layers", (long long)id,
                           series->run.kind);
    if (!request->without_scores) {
        status = ranking_load(&series->ranking, store, &series->run, series->metric);
        if (!status) status = load_trunk(series, store);
        if (status) return status;
    }
    if ((status = store_find_dataset(&dataset, store, series->run.dataset))) return status;
    series->dataset = memory_copy_string(file_name(dataset.path));
    series->label = series_label(series);
    store_dataset_free(&dataset);
    return series->label && series->dataset ? STATUS_OK : STATUS_FAILED;
}

/* Every finished run that scores layers, oldest first. */
static enum status choose_runs(struct ranking_choice runs[FIGURE_MAX_RUNS], size_t *count,
                               struct store *store, const char *kind) {
    struct store_run_list list = {0};
    enum status status = store_list_runs(&list, store);
    size_t finished = 0;
    for (size_t i = 0; !status && i < list.count; i++) {
        const struct store_run *run = &list.runs[i];
        if (strcmp(run->status, STORE_STATUS_DONE) != 0) continue;
        if (kind ? strcmp(run->kind, kind) != 0 : !ranking_default_metric(run->kind)) continue;
        if (finished < FIGURE_MAX_RUNS)
            runs[finished] = (struct ranking_choice){.run = list.runs[i].id};
        finished++;
    }
    if (!status && finished == 0)
        status = status_fail("the database has no finished run%s%s (see apriel-tool scores)",
                             kind ? " of " : "", kind ? kind : "");
    if (!status && finished > FIGURE_MAX_RUNS)
        status = status_fail(
            "the database has %zu finished runs and a chart shows %d: choose with --run", finished,
            FIGURE_MAX_RUNS);
    *count = finished;
    store_run_list_free(&list);
    return status;
}

static enum status check_model(struct figure *figure, struct store *store) {
    const struct store_run *first = &figure->series[0].run;
    for (int i = 1; i < figure->count; i++)
        if (figure->series[i].run.model != first->model)
            return status_fail(
                "run %lld is of \"%s\"%s and run %lld of \"%s\"%s: choose runs of one model "
                "with --run",
                (long long)first->id, first->model_name,
                store_fingerprint_remark(first->fingerprint_kind),
                (long long)figure->series[i].run.id, figure->series[i].run.model_name,
                store_fingerprint_remark(figure->series[i].run.fingerprint_kind));
    struct store_model model = {0};
    struct json *shape = NULL;
    enum status status = store_find_model(&model, store, first->model);
    if (status) return status;
    if (figure->plan && strcmp(figure->plan->fingerprint, model.fingerprint) != 0)
        status = status_fail(
            "the plan is of \"%s\"%s, another model than \"%s\"%s of run %lld", figure->plan->model,
            store_fingerprint_remark(figure->plan->fingerprint_kind), model.name,
            store_fingerprint_remark(model.fingerprint_kind), (long long)first->id);
    if (!status) status = js_parse(&shape, model.shape, strlen(model.shape), model.name);
    int64_t layers = 0;
    if (!status)
        status =
            js_get_integer(&layers, shape, "num_hidden_layers", 1, PLAN_MAX_LAYERS, model.name);
    figure->layers = (int)layers;
    if (!status && !(figure->model = memory_copy_string(model.name))) status = STATUS_FAILED;
    js_free(shape);
    store_model_free(&model);
    return status;
}

static enum status index_layers(struct figure_series *series, int layers) {
    series->by_layer = memory_calloc((size_t)layers, sizeof *series->by_layer);
    if (!series->by_layer) return STATUS_FAILED;
    for (size_t i = 0; i < series->ranking.count; i++) {
        const struct ranking_entry *entry = &series->ranking.entries[i];
        if (entry->layer >= layers)
            return status_fail("run %lld has a value of layer %d, but its model has %d layers",
                               (long long)series->run.id, entry->layer, layers);
        series->by_layer[entry->layer] = entry;
    }
    return STATUS_OK;
}

static int find_panel(const struct figure *figure, const char *metric) {
    for (int i = 0; i < figure->count; i++)
        if (figure->series[i].panel && strcmp(figure->series[i].metric, metric) == 0)
            return figure->series[i].panel;
    return 0;
}

static int by_panel(const void *left, const void *right) {
    const struct figure_series *a = left, *b = right;
    if (a->panel != b->panel) return a->panel < b->panel ? -1 : 1;
    return (a->given > b->given) - (a->given < b->given);
}

enum status figure_load(struct figure *figure, struct store *store,
                        const struct figure_request *request) {
    *figure = (struct figure){.plan = request->plan};
    struct ranking_choice finished[FIGURE_MAX_RUNS];
    const struct ranking_choice *runs = request->runs;
    size_t count = request->run_count;
    enum status status = STATUS_OK;
    if (count > FIGURE_MAX_RUNS)
        return status_set(STATUS_USAGE, "a chart shows at most %d runs, not %zu", FIGURE_MAX_RUNS,
                          count);
    if (count == 0) {
        if ((status = choose_runs(finished, &count, store, request->kind))) return status;
        runs = finished;
    }
    for (size_t i = 0; i < count && !status; i++)
        status = load_series(figure, store, &runs[i], request);
    if (!status) status = check_model(figure, store);
    for (int i = 0; i < figure->count && !status; i++) {
        struct figure_series *series = &figure->series[i];
        int panel = find_panel(figure, series->metric);
        series->panel = panel ? panel : ++figure->panels;
        status = index_layers(series, figure->layers);
    }
    if (!status) qsort(figure->series, (size_t)figure->count, sizeof *figure->series, by_panel);
    return status;
}

void figure_free(struct figure *figure) {
    for (int i = 0; i < figure->count; i++) {
        struct figure_series *series = &figure->series[i];
        store_run_free(&series->run);
        ranking_free(&series->ranking);
        free(series->label);
        free(series->dataset);
        free(series->by_layer);
    }
    free(figure->model);
}

/* ---- writing */

void figure_append_value(struct text *text, double value) {
    if (isfinite(value))
        text_append(text, " %.9g", value);
    else
        text_append(text, " NaN");
}

enum status figure_set_titles(struct picture *picture, const struct figure *figure,
                              const char *what, const char *note) {
    char *labels[FIGURE_MAX_RUNS];
    struct text subtitle = {0};
    char *title = text_format("%s: %s", file_name(figure->model), what);
    for (int i = 0; i < figure->count; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen = seen || strcmp(figure->series[i].dataset, figure->series[k].dataset) == 0;
        const char *before = i ? ", " : "token set ";
        if (!seen) text_append(&subtitle, "%s%s", before, figure->series[i].dataset);
        labels[i] = figure->series[i].label;
    }
    text_append(&subtitle, "; %s", note);
    char *line = text_finish(&subtitle);
    enum status status = title && line ? STATUS_OK : STATUS_FAILED;
    if (!status) status = picture_set_titles(picture, title, line, labels, figure->count);
    picture_set_number(picture, "series", figure->count);
    double runs[FIGURE_MAX_RUNS];
    for (int i = 0; i < figure->count; i++) runs[i] = (double)figure->series[i].run.id;
    picture_set_numbers(picture, "run", runs, figure->count);
    int needed = line ? FIGURE_LEFT + FIGURE_RIGHT + 8 * (int)strlen(line) : 0;
    if (needed > picture->width) picture->width = needed < 1200 ? needed : 1200;
    free(title);
    free(line);
    return status;
}

int figure_width(const struct figure *figure, int columns) {
    if (columns < 10) columns = 10;
    int width = 760 / columns;
    if (width > 52) width = 52;
    int least = columns < FIGURE_DENSE ? 21 : 17;
    if (width < least) width = least;
    int needed = FIGURE_LEFT + FIGURE_RIGHT + width * columns;
    for (int i = 0; i < figure->count; i++) {
        int length = (int)strlen(figure->series[i].label); /* ten pixels a letter, after its mark */
        int label = FIGURE_LEFT + 22 + 10 * length;
        if (label > needed) needed = label < 1200 ? label : 1200;
    }
    return needed;
}

void figure_append_log_ticks(struct text *text, const char *ticks, double low, double high,
                             bool labels) {
    bool dense = log10(high / low) < 2.6;
    const char *separator = "";
    text_append(text, "set %s (", ticks);
    for (double decade = pow(10, floor(log10(low))); decade <= high; decade *= 10) {
        for (int digit = 1; digit < 10; digit++) {
            double value = decade * digit;
            if (value < low || value > high) continue;
            bool major = digit == 1 || (dense && (digit == 2 || digit == 5));
            if (major && labels)
                text_append(text, "%s\"%.6g\" %.6g", separator, value, value);
            else
                text_append(text, "%s\"\" %.6g %d", separator, value, !major);
            separator = ", ";
        }
    }
    text_append(text, ")");
}
