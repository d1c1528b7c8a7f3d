#include "reports/probes.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/curve.h"
#include "scores/kinds.h"

enum {
    MOST_CURVES = 24, /* layers; more make a heat map */
};

/* Pixels. */
enum {
    COLUMNS = 4,
    CELL_WIDTH = 190,
    CELL_HEIGHT = 130,
    CURVES_TITLE = 40,
    CURVES_FOOTER = 60,
    MAP_TITLE = 40,
    MAP_ROW = 11, /* a layer */
    MAP_FOOTER = 50,
    MAP_WIDTH = 860,
};

/* What is drawn: layers with steps, and the range of the losses. */
struct probes {
    int *layers; /* [count] */
    int count;
    double low, high, last_step, window;
    bool several; /* seeds */
};

static void append_curve(struct text *data, struct probes *probes, const struct curve *curve,
                         int64_t run, int layer) {
    text_append(data, "# run %lld, layer %d: step, mean loss, lowest, highest, layer\n",
                (long long)run, layer);
    for (int i = 0; i < curve->count; i++) {
        const struct curve_point *point = &curve->points[i];
        text_append(data, "%.6g %.6g %.6g %.6g %d\n", point->step, point->sum, point->low,
                    point->high, layer);
        probes->low = fmin(probes->low, point->sum);
        probes->high = fmax(probes->high, point->sum);
        probes->last_step = fmax(probes->last_step, point->step);
    }
    probes->window = fmax(probes->window, curve->window);
    if (!curve->count) text_append(data, "NaN NaN NaN NaN %d\n", layer);
}

/* Layers that any run has steps of. */
static enum status find_layers(struct probes *probes, struct store *store,
                               const struct figure *figure) {
    *probes = (struct probes){.low = INFINITY, .high = -INFINITY};
    probes->layers = memory_calloc((size_t)figure->layers, sizeof *probes->layers);
    if (!probes->layers) return STATUS_FAILED;
    for (int layer = 0; layer < figure->layers; layer++) {
        size_t steps = 0;
        for (int k = 0; k < figure->count; k++) {
            struct store_step_list list;
            enum status status =
                store_get_probe_steps(&list, store, figure->series[k].run.id, layer);
            if (status) return status;
            steps += list.count;
            store_step_list_free(&list);
        }
        if (steps) probes->layers[probes->count++] = layer;
    }
    if (probes->count) return STATUS_OK;
    return status_fail("run %lld has no probe steps yet", (long long)figure->series[0].run.id);
}

/* A block for each run and layer. In a map, layers are apart by one blank line and runs by two, as
 * gnuplot wants grids and data sets; curves are all apart by two. */
static enum status append_runs(struct text *data, struct probes *probes, struct store *store,
                               const struct figure *figure, bool map) {
    for (int k = 0; k < figure->count; k++) {
        int64_t run = figure->series[k].run.id;
        for (int i = 0; i < probes->count; i++) {
            struct store_step_list list;
            struct curve curve = {0};
            enum status status = store_get_probe_steps(&list, store, run, probes->layers[i]);
            if (status) return status;
            status = curve_build(&curve, &list);
            if (list.count && list.steps[0].seed != list.steps[list.count - 1].seed)
                probes->several = true;
            store_step_list_free(&list);
            if (status) return status;
            append_curve(data, probes, &curve, run, probes->layers[i]);
            free(curve.points);
            text_append(data, map && i + 1 < probes->count ? "\n" : "\n\n");
        }
    }
    return STATUS_OK;
}

/* The axis of the losses, shared by all panels: its range, and statements that set its ticks, with
 * and without labels. */
static enum status set_loss_axis(struct picture *picture, const struct probes *probes) {
    bool positive = probes->low > 0 && probes->low < probes->high;
    bool logarithmic = positive && probes->high / probes->low > 4;
    double low = positive ? probes->low / 1.1 : fmin(0, probes->low), high = probes->high * 1.1;
    struct text labelled = {0}, bare = {0}, colours = {0};
    if (logarithmic) {
        figure_append_log_ticks(&labelled, "ytics", low, high, true);
        figure_append_log_ticks(&bare, "ytics", low, high, false);
        figure_append_log_ticks(&colours, "cbtics", low, high, true);
    } else {
        text_append(&labelled, "set ytics autofreq; set format y '%%g'");
        text_append(&bare, "set ytics autofreq; set format y ''");
        text_append(&colours, "set cbtics autofreq");
    }
    char *ticks[] = {text_finish(&labelled), text_finish(&bare), text_finish(&colours)};
    enum status status = ticks[0] && ticks[1] && ticks[2] ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        picture_set_number(picture, "logarithmic", logarithmic);
        picture_set_number(picture, "low", low);
        picture_set_number(picture, "high", high);
        picture_set_string(picture, "set_labels", ticks[0]);
        picture_set_string(picture, "set_bare", ticks[1]);
        picture_set_string(picture, "set_colours", ticks[2]);
    }
    for (int i = 0; i < 3; i++) free(ticks[i]);
    return status;
}

static enum status set_settings(struct picture *picture, const struct figure *figure,
                                const struct probes *probes, bool map) {
    double *layers = memory_calloc((size_t)probes->count, sizeof *layers);
    if (!layers) return STATUS_FAILED;
    for (int i = 0; i < probes->count; i++) layers[i] = probes->layers[i];
    picture_set_number(picture, "stages", 0);
    picture_set_number(picture, "probes", probes->count);
    picture_set_numbers(picture, "layer", layers, probes->count);
    picture_set_number(picture, "last_step", fmax(probes->last_step, 1));
    picture_set_number(picture, "window", probes->window);
    free(layers);
    int header = FIGURE_HEADER + FIGURE_HEADER_LINE * figure->count;
    if (map) {
        picture->width = MAP_WIDTH;
        picture->height =
            header + figure->count * (MAP_TITLE + MAP_ROW * probes->count + MAP_FOOTER);
        picture_set_number(picture, "panel_height", MAP_ROW * probes->count);
    } else {
        int rows = (probes->count + COLUMNS - 1) / COLUMNS;
        picture->width = FIGURE_LEFT + COLUMNS * CELL_WIDTH + FIGURE_RIGHT;
        picture->height = header + CURVES_TITLE + rows * CELL_HEIGHT + CURVES_FOOTER;
        picture_set_number(picture, "columns", COLUMNS);
        picture_set_number(picture, "cell_width", CELL_WIDTH);
        picture_set_number(picture, "cell_height", CELL_HEIGHT);
    }
    return set_loss_axis(picture, probes);
}

/* Losses of one kind share an axis: those of mmr's probes, unless the runs that are named align. */
static enum status find_kind(const char **out, struct store *store,
                             const struct figure_request *request) {
    struct store_run run;
    *out = RUN_MMR;
    if (!request->run_count) return STATUS_OK;
    enum status status = store_get_run(&run, store, request->runs[0].run);
    if (status) return status;
    if (strcmp(run.kind, RUN_ALIGN) == 0) *out = RUN_ALIGN;
    store_run_free(&run);
    return STATUS_OK;
}

enum status probes_fill(struct picture *picture, const char **name, struct store *store,
                        const struct figure_request *request) {
    struct figure_request mmr = *request;
    mmr.without_scores = true;
    struct figure figure = {0};
    struct probes probes = {0};
    enum status status = find_kind(&mmr.kind, store, request);
    if (!status) status = figure_load(&figure, store, &mmr);
    if (!status) status = find_layers(&probes, store, &figure);
    if (status) goto done;
    bool map = probes.count > MOST_CURVES;
    *name = map ? "probe_map" : "probes";
    status = append_runs(&picture->data, &probes, store, &figure, map);
    if (!status) status = set_settings(picture, &figure, &probes, map);
    if (!status)
        status = figure_set_titles(picture, &figure,
                                   strcmp(mmr.kind, RUN_ALIGN) == 0 ? "alignment, layer by layer"
                                                                    : "probes, layer by layer",
                                   !probes.several ? "one seed"
                                   : map           ? "mean over seeds"
                                                   : "mean over seeds, shaded: their range");
done:
    free(probes.layers);
    figure_free(&figure);
    return status;
}
