#include "reports/importance.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "scores/ranking.h"

/* Error bars reach two standard errors, the width by which ties are judged (scores/ranking.h). */
#define BAR_WIDTH 2.0

/* Pixels; reports/importance.gp divides the height the same way. */
enum {
    MARGIN_LEFT = 92,
    MARGIN_RIGHT = 24,
    HEADER = 56,
    HEADER_LINE = 21,
    PANEL_TITLE = 36,
    PANEL = 260,
    ORDER_GAP = 108, /* strip, layer numbers and title of the panel in the order of replacement */
    ORDER_PANEL = 220,
    FOOTER = 36,
};

struct series {
    struct store_run run;
    char *label, *dataset;
    const char *metric; /* borrowed */
    struct ranking ranking;
    const struct ranking_entry **by_layer; /* [layers]; NULL where the run has no value */
    double trunk;                          /* the metric of the unmodified pass; NAN without */
    int panel;                             /* from 1 */
};

struct figure {
    struct series series[IMPORTANCE_MAX_RUNS];
    int count, panels, layers;
    const struct plan *plan;
    char *model;
};

/* What stands over a panel. */
static const struct {
    const char *metric, *title;
} titles[] = {
    {"kl", "KL to the %s (nats)"},
    {"rkl", "reverse KL to the %s (nats)"},
    {"ce", "cross-entropy (nats per token)"},
    {"top1", "same top token as the %s (share of positions)"},
    {"train_rkl_first", "training loss at the first step: reverse KL to the teacher (nats)"},
    {"train_rkl_last", "training loss over the last steps: reverse KL to the teacher (nats)"},
    {"heldout_kl_before", "KL to the teacher before training, held out (nats)"},
    {"heldout_kl_after", "KL to the teacher after training, held out (nats)"},
    {"heldout_rkl_before", "reverse KL to the teacher before training, held out (nats)"},
    {"heldout_rkl_after", "reverse KL to the teacher after training, held out (nats)"},
    {"heldout_ce_before", "cross-entropy before training, held out (nats per token)"},
    {"heldout_ce_after", "cross-entropy after training, held out (nats per token)"},
    {"heldout_top1_before", "same top token as the teacher before training, held out (share)"},
    {"heldout_top1_after", "same top token as the teacher after training, held out (share)"},
};

static char *panel_title(const struct figure *figure, const char *metric) {
    bool hybrid = false;
    for (int i = 0; i < figure->count; i++)
        if (strcmp(figure->series[i].metric, metric) == 0)
            hybrid = hybrid || strchr(figure->series[i].run.base, PLAN_MAMBA);
    const char *trunk = hybrid ? "unmodified base of the run" : "unmodified model";
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        if (strcmp(titles[i].metric, metric) != 0) continue;
        const char *place = strstr(titles[i].title, "%s");
        if (!place) return memory_copy_string(titles[i].title);
        return text_format("%.*s%s%s", (int)(place - titles[i].title), titles[i].title, trunk,
                           place + 2);
    }
    return memory_copy_string(metric);
}

/* ---- loading */

/* "run 3: loo, mixer removed, on a hybrid of 5 layers (64 sequences)" */
static char *series_label(const struct store_run *run, const struct ranking *ranking) {
    struct text label = {0};
    struct json *parameters = NULL;
    text_append(&label, "run %lld: %s", (long long)run->id, run->kind);
    /* Parameters that cannot be read only make the label shorter. */
    if (js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters") ==
        STATUS_OK) {
        const char *target = js_string_or(js_member(parameters, "ablate"), NULL);
        if (target) text_append(&label, ", %s removed", target);
        int64_t steps = js_integer_or(js_member(parameters, "steps"), 0);
        if (steps) text_append(&label, ", %lld steps", (long long)steps);
    }
    js_free(parameters);
    int replaced = 0;
    for (const char *letter = run->base; *letter; letter++) replaced += *letter == PLAN_MAMBA;
    if (replaced)
        text_append(&label, ", on a hybrid of %d layer%s", replaced, replaced == 1 ? "" : "s");
    long long n = ranking->count ? (long long)ranking->entries[0].n : 0;
    if (n) text_append(&label, " (%lld sequence%s)", n, n == 1 ? "" : "s");
    if (strcmp(run->status, STORE_STATUS_DONE) != 0) text_append(&label, ", %s", run->status);
    return text_finish(&label);
}

static enum status load_trunk(struct series *series, struct store *store) {
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

static enum status load_series(struct figure *figure, struct store *store, int64_t id,
                               const char *metric) {
    struct series *series = &figure->series[figure->count++];
    struct store_dataset dataset = {0};
    enum status status = store_get_run(&series->run, store, id);
    if (status) return status;
    series->metric = metric ? metric : ranking_default_metric(series->run.kind);
    if ((status = ranking_load(&series->ranking, store, &series->run, series->metric)))
        return status;
    if ((status = load_trunk(series, store))) return status;
    if ((status = store_find_dataset(&dataset, store, series->run.dataset))) return status;
    series->dataset = memory_copy_string(file_name(dataset.path));
    series->label = series_label(&series->run, &series->ranking);
    store_dataset_free(&dataset);
    return series->label && series->dataset ? STATUS_OK : STATUS_FAILED;
}

/* Every finished run, oldest first. */
static enum status choose_runs(int64_t runs[IMPORTANCE_MAX_RUNS], size_t *count,
                               struct store *store) {
    struct store_run_list list = {0};
    enum status status = store_list_runs(&list, store);
    size_t finished = 0;
    for (size_t i = 0; !status && i < list.count; i++) {
        if (strcmp(list.runs[i].status, STORE_STATUS_DONE) != 0) continue;
        if (finished < IMPORTANCE_MAX_RUNS) runs[finished] = list.runs[i].id;
        finished++;
    }
    if (!status && finished == 0)
        status = status_fail("the database has no finished run (see apriel-tool scores)");
    if (!status && finished > IMPORTANCE_MAX_RUNS)
        status = status_fail(
            "the database has %zu finished runs and a chart shows %d: choose with --run", finished,
            IMPORTANCE_MAX_RUNS);
    *count = finished;
    store_run_list_free(&list);
    return status;
}

static enum status check_model(struct figure *figure, struct store *store) {
    const struct store_run *first = &figure->series[0].run;
    for (int i = 1; i < figure->count; i++)
        if (figure->series[i].run.model != first->model)
            return status_fail(
                "run %lld is of \"%s\" and run %lld of \"%s\": choose runs of one model "
                "with --run",
                (long long)first->id, first->model_name, (long long)figure->series[i].run.id,
                figure->series[i].run.model_name);
    struct store_model model = {0};
    struct json *shape = NULL;
    enum status status = store_find_model(&model, store, first->model);
    if (status) return status;
    if (figure->plan && strcmp(figure->plan->fingerprint, model.fingerprint) != 0)
        status = status_fail("the plan is of \"%s\", another model than \"%s\" of run %lld",
                             figure->plan->model, model.name, (long long)first->id);
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

static enum status index_layers(struct series *series, int layers) {
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
    const struct series *a = left, *b = right;
    if (a->panel != b->panel) return a->panel < b->panel ? -1 : 1;
    return (a->run.id > b->run.id) - (a->run.id < b->run.id);
}

static enum status load_figure(struct figure *figure, struct store *store,
                               const struct importance_request *request) {
    int64_t finished[IMPORTANCE_MAX_RUNS];
    const int64_t *runs = request->runs;
    size_t count = request->run_count;
    enum status status = STATUS_OK;
    if (count > IMPORTANCE_MAX_RUNS)
        return status_set(STATUS_USAGE, "a chart shows at most %d runs, not %zu",
                          IMPORTANCE_MAX_RUNS, count);
    if (count == 0) {
        if ((status = choose_runs(finished, &count, store))) return status;
        runs = finished;
    }
    for (size_t i = 0; i < count && !status; i++)
        status = load_series(figure, store, runs[i], request->metric);
    if (!status) status = check_model(figure, store);
    for (int i = 0; i < figure->count && !status; i++) {
        struct series *series = &figure->series[i];
        int panel = find_panel(figure, series->metric);
        series->panel = panel ? panel : ++figure->panels;
        status = index_layers(series, figure->layers);
    }
    if (!status) qsort(figure->series, (size_t)figure->count, sizeof *figure->series, by_panel);
    return status;
}

static void figure_free(struct figure *figure) {
    for (int i = 0; i < figure->count; i++) {
        struct series *series = &figure->series[i];
        store_run_free(&series->run);
        ranking_free(&series->ranking);
        free(series->label);
        free(series->dataset);
        free(series->by_layer);
    }
    free(figure->model);
}

/* ---- axes */

struct range {
    double low, high;         /* of the values */
    double bar_low, bar_high; /* ends of the bars */
};

static double bar(const struct ranking_entry *entry) {
    return isnan(entry->stderr_value) ? 0 : BAR_WIDTH * entry->stderr_value;
}

static struct range panel_range(const struct figure *figure, int panel) {
    struct range range = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int i = 0; i < figure->count; i++) {
        const struct series *series = &figure->series[i];
        if (series->panel != panel) continue;
        for (size_t k = 0; k < series->ranking.count; k++) {
            const struct ranking_entry *entry = &series->ranking.entries[k];
            range.low = fmin(range.low, entry->value);
            range.high = fmax(range.high, entry->value);
            range.bar_low = fmin(range.bar_low, entry->value - bar(entry));
            range.bar_high = fmax(range.bar_high, entry->value + bar(entry));
        }
        if (isnan(series->trunk)) continue;
        range.low = fmin(range.low, series->trunk);
        range.high = fmax(range.high, series->trunk);
    }
    range.bar_low = fmin(range.bar_low, range.low);
    range.bar_high = fmax(range.bar_high, range.high);
    return range;
}

/* Decades become legible on a logarithmic axis only; it cannot show zero. */
static bool wants_log(struct range range) {
    return range.low > 0 && range.high / range.low > 20;
}

/* Labels at 1, 2, 5 of each decade while they are few, else at the powers of ten. */
static void append_log_ticks(struct text *text, double low, double high) {
    bool dense = log10(high / low) < 2.6;
    const char *separator = "";
    text_append(text, "set ytics (");
    for (double decade = pow(10, floor(log10(low))); decade <= high; decade *= 10) {
        for (int digit = 1; digit < 10; digit++) {
            double value = decade * digit;
            if (value < low || value > high) continue;
            bool major = digit == 1 || (dense && (digit == 2 || digit == 5));
            if (major)
                text_append(text, "%s\"%.6g\" %.6g", separator, value, value);
            else
                text_append(text, "%s\"\" %.6g 1", separator, value);
            separator = ", ";
        }
    }
    text_append(text, ")");
}

/* gnuplot statements for a panel's vertical axis. */
static char *axis_statements(const struct figure *figure, int panel) {
    struct range range = panel_range(figure, panel);
    struct text text = {0};
    if (wants_log(range)) {
        double low = range.low / 1.35, high = range.bar_high * 1.2;
        text_append(&text, "set logscale y; set yrange [%.6g:%.6g]; ", low, high);
        append_log_ticks(&text, low, high);
        return text_finish(&text);
    }
    /* From zero where that shows the values as well as a closer range would. */
    double low = range.bar_low, high = range.bar_high;
    bool from_zero = range.low >= 0 && low < 0.4 * high;
    double margin = 0.08 * (high - (from_zero ? 0 : low));
    if (margin <= 0) margin = high != 0 ? 0.1 * fabs(high) : 1;
    text_append(&text, "unset logscale y; set yrange [%.6g:%.6g]; set ytics autofreq",
                from_zero ? 0 : low - margin, high + margin);
    return text_finish(&text);
}

/* ---- data and settings */

/* Order of replacement (from 1) and stage (from 1) of each layer; 0 where there is none. Layers of
 * the plan's base have stage -1. */
struct place {
    int order, stage;
};

static struct place *find_places(const struct figure *figure) {
    struct place *places = memory_calloc((size_t)figure->layers, sizeof *places);
    const struct plan *plan = figure->plan;
    if (!places || !plan) return places;
    for (size_t s = plan->n_stages; s-- > 0;)
        for (size_t i = 0; i < plan->stages[s].layers.count; i++) {
            int layer = plan->stages[s].layers.values[i];
            if (layer < figure->layers) places[layer].stage = (int)s + 1;
        }
    for (size_t i = 0; i < plan->base.count; i++)
        if (plan->base.values[i] < figure->layers) places[plan->base.values[i]].stage = -1;
    for (size_t i = 0; i < plan->n_ranked; i++)
        if (plan->ranking[i].layer < figure->layers)
            places[plan->ranking[i].layer].order = (int)(plan->base.count + i) + 1;
    return places;
}

static void append_value(struct text *text, double value) {
    if (isfinite(value))
        text_append(text, " %.9g", value);
    else
        text_append(text, " NaN");
}

static void append_layers(struct text *data, const struct series *series,
                          const struct place *places, int layers) {
    text_append(data,
                "# run %lld, %s: layer, value, low, high (two standard errors), order, stage\n",
                (long long)series->run.id, series->metric);
    for (int layer = 0; layer < layers; layer++) {
        const struct ranking_entry *entry = series->by_layer[layer];
        double value = entry ? entry->value : NAN, width = entry ? bar(entry) : NAN;
        /* A bar that reaches below zero still shows on a logarithmic axis: to its lower end. */
        double low = value - width <= 0 && value > 0 ? value * 1e-3 : value - width;
        text_append(data, "%d", layer);
        append_value(data, value);
        append_value(data, low);
        append_value(data, value + width);
        text_append(data, " %d %d\n", places[layer].order, places[layer].stage);
    }
    text_append(data, "\n\n");
}

static void append_order(struct text *data, const struct figure *figure) {
    text_append(data, "# in the order of replacement: position, layer, value of each run\n");
    for (size_t i = 0; i < figure->plan->n_ranked; i++) {
        int layer = figure->plan->ranking[i].layer;
        text_append(data, "%zu %d", i + 1, layer);
        for (int k = 0; k < figure->count; k++) {
            const struct ranking_entry *entry =
                layer < figure->layers ? figure->series[k].by_layer[layer] : NULL;
            append_value(data, entry ? entry->value : NAN);
        }
        text_append(data, "\n");
    }
}

static enum status set_panels(struct picture *picture, const struct figure *figure) {
    double from[IMPORTANCE_MAX_RUNS] = {0}, to[IMPORTANCE_MAX_RUNS] = {0};
    double trunk[IMPORTANCE_MAX_RUNS];
    char *axis[IMPORTANCE_MAX_RUNS] = {0}, *scale[IMPORTANCE_MAX_RUNS] = {0};
    char *labels[IMPORTANCE_MAX_RUNS];
    enum status status = STATUS_OK;
    for (int i = 0; i < figure->count; i++) {
        const struct series *series = &figure->series[i];
        int p = series->panel - 1;
        if (!axis[p]) {
            axis[p] = panel_title(figure, series->metric);
            scale[p] = axis_statements(figure, series->panel);
            from[p] = i + 1;
            trunk[p] = series->trunk;
        }
        if (!axis[p] || !scale[p]) status = STATUS_FAILED;
        to[p] = i + 1;
        labels[i] = series->label;
    }
    if (!status) {
        picture_set_number(picture, "series", figure->count);
        picture_set_strings(picture, "label", labels, figure->count);
        picture_set_number(picture, "panels", figure->panels);
        picture_set_numbers(picture, "from", from, figure->panels);
        picture_set_numbers(picture, "to", to, figure->panels);
        picture_set_numbers(picture, "trunk", trunk, figure->panels);
        picture_set_strings(picture, "axis", axis, figure->panels);
        picture_set_strings(picture, "scale_y", scale, figure->panels);
    }
    for (int p = 0; p < figure->panels; p++) {
        free(axis[p]);
        free(scale[p]);
    }
    return status;
}

static enum status set_stages(struct picture *picture, const struct plan *plan) {
    size_t stages = plan ? plan->n_stages : 0;
    double *ends = memory_calloc(stages + 1, sizeof *ends);
    double *counts = memory_calloc(stages + 1, sizeof *counts);
    if (ends && counts) {
        for (size_t s = 0; s < stages; s++) {
            counts[s] = (double)plan->stages[s].layers.count;
            ends[s] = counts[s] - (double)plan->base.count;
        }
        picture_set_number(picture, "stages", (double)stages);
        picture_set_number(picture, "base", plan ? (double)plan->base.count : 0);
        picture_set_number(picture, "entries", plan ? (double)plan->n_ranked : 0);
        picture_set_numbers(picture, "stage_count", counts, (int)stages + 1);
        picture_set_numbers(picture, "stage_end", ends, (int)stages + 1);
    }
    enum status status = ends && counts ? STATUS_OK : STATUS_FAILED;
    free(ends);
    free(counts);
    return status;
}

static enum status set_titles(struct picture *picture, const struct figure *figure) {
    struct text subtitle = {0};
    char *title = text_format("%s: importance per layer", file_name(figure->model));
    text_append(&subtitle, "token set %s", figure->series[0].dataset);
    for (int i = 1; i < figure->count; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen = seen || strcmp(figure->series[i].dataset, figure->series[k].dataset) == 0;
        if (!seen) text_append(&subtitle, ", %s", figure->series[i].dataset);
    }
    text_append(&subtitle, "; bars: ± 2 standard errors");
    char *line = text_finish(&subtitle);
    if (title && line) {
        picture_set_string(picture, "title", title);
        picture_set_string(picture, "subtitle", line);
    }
    enum status status = title && line ? STATUS_OK : STATUS_FAILED;
    free(title);
    free(line);
    return status;
}

/* Wide enough for a two-digit number under each layer. */
static int layer_width(int layers) {
    int width = 760 / layers;
    if (width > 52) width = 52;
    return width < 21 ? 21 : width;
}

static void set_geometry(struct picture *picture, const struct figure *figure) {
    int cell = layer_width(figure->layers);
    int columns = figure->layers < 10 ? 10 : figure->layers;
    picture->width = MARGIN_LEFT + MARGIN_RIGHT + cell * columns;
    picture->height = HEADER + HEADER_LINE * figure->count +
                      figure->panels * (PANEL_TITLE + PANEL) +
                      (figure->plan ? ORDER_GAP + ORDER_PANEL : 0) + FOOTER;
    picture_set_number(picture, "layers", figure->layers);
    picture_set_number(picture, "panel_height", PANEL);
    picture_set_number(picture, "order_height", ORDER_PANEL);
}

enum status importance_fill(struct picture *picture, struct store *store,
                            const struct importance_request *request) {
    struct figure figure = {.plan = request->plan};
    struct place *places = NULL;
    enum status status = load_figure(&figure, store, request);
    if (status) goto done;
    status = STATUS_FAILED;
    if (!(places = find_places(&figure))) goto done;
    for (int i = 0; i < figure.count; i++)
        append_layers(&picture->data, &figure.series[i], places, figure.layers);
    if (figure.plan) append_order(&picture->data, &figure);
    set_geometry(picture, &figure);
    if ((status = set_titles(picture, &figure))) goto done;
    if ((status = set_panels(picture, &figure))) goto done;
    status = set_stages(picture, figure.plan);
done:
    free(places);
    figure_free(&figure);
    return status;
}
