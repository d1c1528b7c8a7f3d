#include "reports/importance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Error bars reach two standard errors, the width by which ties are judged (scores/ranking.h). */
#define BAR_WIDTH 2.0

/* Pixels; reports/importance.gp divides the height the same way. */
enum {
    PANEL_TITLE = 36,
    PANEL = 260,
    ORDER_GAP = 108, /* strip, layer numbers and title of the panel in the order of replacement */
    ORDER_PANEL = 220,
    ORDER_DENSE = 8, /* more for numbers that stand upright */
};

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
        const struct figure_series *series = &figure->series[i];
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

/* gnuplot statements for a panel's vertical axis. */
static char *axis_statements(const struct figure *figure, int panel) {
    struct range range = panel_range(figure, panel);
    struct text text = {0};
    if (wants_log(range)) {
        double low = range.low / 1.35, high = range.bar_high * 1.2;
        text_append(&text, "set logscale y; set yrange [%.6g:%.6g]; ", low, high);
        figure_append_log_ticks(&text, "ytics", low, high, true);
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

static void append_layers(struct text *data, const struct figure_series *series,
                          const struct place *places, int layers, bool log) {
    text_append(data,
                "# run %lld, %s: layer, value, low, high (two standard errors), order, stage\n",
                (long long)series->run.id, series->metric);
    for (int layer = 0; layer < layers; layer++) {
        const struct ranking_entry *entry = series->by_layer[layer];
        double value = entry ? entry->value : NAN, width = entry ? bar(entry) : NAN;
        /* A bar that reaches below zero still shows on a logarithmic axis: to its lower end. */
        double low = log && value - width <= 0 && value > 0 ? value * 1e-3 : value - width;
        text_append(data, "%d", layer);
        figure_append_value(data, value);
        figure_append_value(data, low);
        figure_append_value(data, value + width);
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
            figure_append_value(data, entry ? entry->value : NAN);
        }
        text_append(data, "\n");
    }
}

static enum status set_panels(struct picture *picture, const struct figure *figure) {
    double from[FIGURE_MAX_RUNS] = {0}, to[FIGURE_MAX_RUNS] = {0};
    double trunk[FIGURE_MAX_RUNS];
    char *axis[FIGURE_MAX_RUNS] = {0}, *scale[FIGURE_MAX_RUNS] = {0};
    enum status status = STATUS_OK;
    for (int i = 0; i < figure->count; i++) {
        const struct figure_series *series = &figure->series[i];
        int p = series->panel - 1;
        if (!axis[p]) {
            axis[p] = figure_metric_title(figure, series->metric);
            scale[p] = axis_statements(figure, series->panel);
            from[p] = i + 1;
            trunk[p] = series->trunk;
        }
        if (!axis[p] || !scale[p]) status = STATUS_FAILED;
        to[p] = i + 1;
    }
    if (!status) {
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

static void set_geometry(struct picture *picture, const struct figure *figure) {
    picture->width = figure_width(figure, figure->layers);
    picture->height =
        FIGURE_HEADER + FIGURE_HEADER_LINE * figure->count +
        figure->panels * (PANEL_TITLE + PANEL) + (figure->plan ? ORDER_GAP + ORDER_PANEL : 0) +
        (figure->plan && figure->layers >= FIGURE_DENSE ? ORDER_DENSE : 0) + FIGURE_FOOTER;
    picture_set_number(picture, "layers", figure->layers);
    picture_set_number(picture, "panel_height", PANEL);
    picture_set_number(picture, "order_height", ORDER_PANEL);
}

enum status importance_fill(struct picture *picture, struct store *store,
                            const struct figure_request *request) {
    struct figure figure;
    struct place *places = NULL;
    enum status status = figure_load(&figure, store, request);
    if (status) goto done;
    status = STATUS_FAILED;
    if (!(places = find_places(&figure))) goto done;
    for (int i = 0; i < figure.count; i++)
        append_layers(&picture->data, &figure.series[i], places, figure.layers,
                      wants_log(panel_range(&figure, figure.series[i].panel)));
    if (figure.plan) append_order(&picture->data, &figure);
    set_geometry(picture, &figure);
    status =
        figure_set_titles(picture, &figure, "importance per layer", "bars: ± 2 standard errors");
    if (!status) status = set_panels(picture, &figure);
    if (!status) status = set_stages(picture, figure.plan);
done:
    free(places);
    figure_free(&figure);
    return status;
}
