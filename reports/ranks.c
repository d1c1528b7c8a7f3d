#include "reports/ranks.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"
#include "scores/comparison.h"

/* Pixels. */
enum {
    TITLE = 60,      /* of the panel, with what the borders mean */
    ROW = 15,        /* a rank */
    LEAST_ROWS = 18, /* the height of a model with fewer layers */
    MOST_ROWS = 48,
};

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
        out->at[s] = (double)plan->stages[s].layers.count - (double)plan->base.count;
    if (!plan) out->at[0] = (double)(figure->series[0].ranking.count / 2);
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
    enum status status = figure_load(&figure, store, request);
    if (!status && figure.count < 2)
        status = status_fail("a chart of ranks compares two or more runs, and there is one");
    if (!status) status = find_borders(&borders, &figure);
    if (status) goto done;
    append_ranks(&picture->data, &figure, &borders);
    if ((status = add_agreement(&figure))) goto done;
    set_geometry(picture, &figure, (int)figure.series[0].ranking.count);
    picture_set_number(picture, "stages", figure.plan ? (double)figure.plan->n_stages : 0);
    picture_set_number(picture, "borders", borders.count);
    picture_set_numbers(picture, "border_at", borders.at, borders.count);
    note = text_format("tau: Kendall's, with run %lld", (long long)figure.series[0].run.id);
    status = note ? figure_set_titles(picture, &figure, "where the signals disagree", note)
                  : STATUS_FAILED;
done:
    free(note);
    free(borders.at);
    figure_free(&figure);
    return status;
}
