#include "reports/ranks.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "scores/comparison.h"

/* Pixels. */
enum {
    TITLE = 60,      /* of the panel, with what the borders mean */
    ROW = 15,        /* a rank */
    LEAST_ROWS = 18, /* the height of a model with fewer layers */
    MOST_ROWS = 48,
};

/* ---- the layers that all runs rank: ranks among other layers cannot be compared */

static bool is_common(const struct figure *figure, int layer) {
    for (int k = 0; k < figure->count; k++)
        if (!figure->series[k].by_layer[layer]) return false;
    return true;
}

/* Leaves out what some run does not rank; `*left_out` counts such layers. */
static enum status keep_common(struct figure *figure, int *left_out) {
    bool *common = memory_calloc((size_t)figure->layers, sizeof *common);
    if (!common) return STATUS_FAILED;
    int count = 0, any = 0;
    for (int layer = 0; layer < figure->layers; layer++) {
        bool ranked = false;
        for (int k = 0; k < figure->count; k++)
            ranked = ranked || figure->series[k].by_layer[layer];
        common[layer] = is_common(figure, layer);
        count += common[layer];
        any += ranked;
    }
    for (int k = 0; k < figure->count; k++) {
        struct figure_series *series = &figure->series[k];
        struct ranking *ranking = &series->ranking;
        size_t kept = 0;
        for (size_t i = 0; i < ranking->count; i++)
            if (common[ranking->entries[i].layer])
                ranking->entries[kept++] = ranking->entries[i];
            else
                free(ranking->entries[i].values);
        ranking->count = kept;
        memset(series->by_layer, 0, (size_t)figure->layers * sizeof *series->by_layer);
        for (size_t i = 0; i < kept; i++) {
            ranking->entries[i].rank = (int)i + 1;
            series->by_layer[ranking->entries[i].layer] = &ranking->entries[i];
        }
    }
    free(common);
    *left_out = any - count;
    if (count < 2)
        return status_fail("the runs rank %s in common: there is nothing to compare",
                           count ? "one layer" : "no layers");
    return STATUS_OK;
}

/* Layers left of each border would be replaced: [count] numbers of layers, ascending. */
struct borders {
    double *at;
    int count;
};

static enum status find_borders(struct borders *out, const struct figure *figure) {
    const struct plan *plan = figure->plan;
    size_t count = plan ? plan->n_stages : 1;
    *out = (struct borders){memory_calloc(count, sizeof *out->at), (int)count};
    if (!out->at) return STATUS_FAILED;
    for (size_t s = 0; plan && s < count; s++)
        for (size_t i = 0; i < plan->stages[s].layers.count; i++) {
            int layer = plan->stages[s].layers.values[i];
            out->at[s] += layer < figure->layers && figure->series[0].by_layer[layer];
        }
    if (!plan) out->at[0] = floor((double)figure->series[0].ranking.count / 2);
    return STATUS_OK;
}

/* A line for each layer of the first run, in its order. */
static void append_ranks(struct text *data, const struct figure *figure,
                         const struct borders *borders) {
    const struct ranking *order = &figure->series[0].ranking;
    text_append(data,
                "# position, layer, lowest and highest rank, borders between them, the rank in "
                "each run\n");
    for (size_t i = 0; i < order->count; i++) {
        int layer = order->entries[i].layer;
        double low = INFINITY, high = -INFINITY;
        int crossed = 0;
        for (int k = 0; k < figure->count; k++) {
            const struct ranking_entry *entry = figure->series[k].by_layer[layer];
            if (!entry) continue;
            low = fmin(low, entry->rank);
            high = fmax(high, entry->rank);
        }
        for (int b = 0; b < borders->count; b++)
            crossed += low <= borders->at[b] && borders->at[b] < high;
        text_append(data, "%zu %d %g %g %d", i + 1, layer, low, high, crossed);
        for (int k = 0; k < figure->count; k++) {
            const struct ranking_entry *entry = figure->series[k].by_layer[layer];
            figure_append_value(data, entry ? entry->rank : NAN);
        }
        text_append(data, "\n");
    }
}

/* Each label after the first says how well its run agrees with the first. */
static enum status add_agreement(struct figure *figure) {
    for (int k = 1; k < figure->count; k++) {
        struct figure_series *series = &figure->series[k];
        struct comparison comparison;
        enum status status =
            comparison_build(&comparison, &figure->series[0].ranking, &series->ranking);
        if (status) return status;
        char *label = text_format("%s: tau %.2f", series->label, comparison.kendall);
        comparison_free(&comparison);
        if (!label) return STATUS_FAILED;
        free(series->label);
        series->label = label;
    }
    return STATUS_OK;
}

static void set_geometry(struct picture *picture, const struct figure *figure, int layers) {
    int rows = layers < LEAST_ROWS ? LEAST_ROWS : layers > MOST_ROWS ? MOST_ROWS : layers;
    picture->width = figure_width(figure, layers);
    picture->height =
        FIGURE_HEADER + FIGURE_HEADER_LINE * figure->count + TITLE + ROW * rows + FIGURE_FOOTER;
    picture_set_number(picture, "layers", layers);
    picture_set_number(picture, "panel_height", ROW * rows);
}

enum status ranks_fill(struct picture *picture, struct store *store,
                       const struct figure_request *request) {
    struct figure figure;
    struct borders borders = {0};
    char *note = NULL;
    int left_out = 0;
    enum status status = figure_load(&figure, store, request);
    if (!status && figure.count < 2)
        status = status_fail("a chart of ranks compares two or more runs, and there is one");
    if (!status) status = keep_common(&figure, &left_out);
    if (!status) status = find_borders(&borders, &figure);
    if (status) goto done;
    append_ranks(&picture->data, &figure, &borders);
    if ((status = add_agreement(&figure))) goto done;
    set_geometry(picture, &figure, (int)figure.series[0].ranking.count);
    picture_set_number(picture, "stages", figure.plan ? (double)figure.plan->n_stages : 0);
    picture_set_number(picture, "borders", borders.count);
    picture_set_numbers(picture, "border_at", borders.at, borders.count);
    note = text_format("tau: Kendall's, with run %lld", (long long)figure.series[0].run.id);
    if (note && left_out) {
        char *longer = text_format("%s; the %zu layers that all runs rank, %d left out", note,
                                   figure.series[0].ranking.count, left_out);
        free(note);
        note = longer;
        log_note("%d layer%s left out: ranks are among the %zu that all runs rank", left_out,
                 left_out == 1 ? " is" : "s are", figure.series[0].ranking.count);
    }
    status = note ? figure_set_titles(picture, &figure, "where the signals disagree", note)
                  : STATUS_FAILED;
done:
    free(note);
    free(borders.at);
    figure_free(&figure);
    return status;
}
