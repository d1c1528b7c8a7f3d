#include "reports/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/curve.h"
#include "scores/kinds.h"

enum { PANEL = 250, GAP = 70, WIDE = 820 };

/* The range of what a panel shows. */
struct range {
    double low, high;
};

static void widen(struct range *range, double value) {
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

static enum status append_losses(struct text *data, struct range *range, double *last,
                                 const struct store_training *training) {
    struct store_step_list list = {.count = training->step_count};
    struct curve curve = {0};
    list.steps = memory_calloc(list.count, sizeof *list.steps);
    if (!list.steps) return STATUS_FAILED;
    for (size_t i = 0; i < list.count; i++)
        list.steps[i] = (struct store_step){0, training->steps[i].step, training->steps[i].loss};
    enum status status = curve_build(&curve, &list);
    for (int i = 0; !status && i < curve.count; i++) {
        const struct curve_point *point = &curve.points[i];
        text_append(data, "%.6g %.6g %.6g %.6g\n", point->step, point->sum, point->low,
                    point->high);
        widen(range, point->sum);
        *last = fmax(*last, point->step);
    }
    free(curve.points);
    store_step_list_free(&list);
    return status;
}

/* Reverse KL and KL of each measurement. */
static void append_measurements(struct text *data, struct range *range, double *last,
                                const struct store_training *training) {
    static const char *const metrics[] = {"rkl", "kl"};
    bool any = false;
    for (int m = 0; m < 2; m++) {
        for (size_t i = 0; i < training->value_count; i++) {
            const struct store_training_value *value = &training->values[i];
            if (strcmp(value->metric, metrics[m]) != 0) continue;
            text_append(data, "%lld %.6g %d\n", (long long)value->step, value->value, m);
            widen(range, value->value);
            *last = fmax(*last, (double)value->step);
            any = true;
        }
        text_append(data, "\n");
    }
    if (!any) text_append(data, "NaN NaN 0\n");
}

static enum status append_run(struct picture *picture, struct range ranges[2], double *last,
                              struct store *store, int64_t run) {
    struct store_training training;
    enum status status = store_get_training(&training, store, run);
    if (!status && !training.step_count)
        status = status_fail("run %lld has no steps of a training yet", (long long)run);
    if (!status) {
        text_append(&picture->data, "# run %lld: step, mean loss, lowest, highest\n",
                    (long long)run);
        status = append_losses(&picture->data, &ranges[0], last, &training);
    }
    if (!status) {
        text_append(&picture->data, "\n\n# step, held out, 0: reverse KL, 1: KL\n");
        append_measurements(&picture->data, &ranges[1], last, &training);
        text_append(&picture->data, "\n\n");
    }
    store_training_free(&training);
    return status;
}

/* An axis as "low1", "high1" and statements "ticks1" of panel 1: logarithmic where the values
 * differ by much. */
static enum status set_axis(struct picture *picture, int panel, const struct range *range) {
    static const char *const names[][3] = {{"low1", "high1", "ticks1"},
                                           {"low2", "high2", "ticks2"}};
    bool logarithmic = range->low > 0 && range->high > 4 * range->low && isfinite(range->high);
    bool any = range->low <= range->high;
    double margin = any ? 0.05 * fmax(range->high - range->low, 1e-6) : 1;
    double low = logarithmic ? range->low / 1.1 : (any ? range->low : 0) - margin;
    double high = logarithmic ? range->high * 1.1 : (any ? range->high : 0) + margin;
    struct text ticks = {0};
    text_append(&ticks, "%s; ", logarithmic ? "set logscale y" : "unset logscale y");
    if (logarithmic)
        figure_append_log_ticks(&ticks, "ytics", low, high, true);
    else
        text_append(&ticks, "set ytics autofreq");
    char *text = text_finish(&ticks);
    if (!text) return STATUS_FAILED;
    picture_set_number(picture, names[panel][0], low);
    picture_set_number(picture, names[panel][1], high);
    picture_set_string(picture, names[panel][2], text);
    free(text);
    return STATUS_OK;
}

enum status training_fill(struct picture *picture, struct store *store,
                          const struct figure_request *request) {
    struct figure_request distill = *request;
    struct range ranges[2] = {{INFINITY, -INFINITY}, {INFINITY, -INFINITY}};
    struct figure figure;
    double last = 1;
    distill.kind = RUN_DISTILL;
    distill.without_scores = true;
    distill.metric = "rkl"; /* what labels name; both divergences are drawn */
    enum status status = figure_load(&figure, store, &distill);
    for (int k = 0; !status && k < figure.count; k++)
        status = append_run(picture, ranges, &last, store, figure.series[k].run.id);
    if (!status) status = set_axis(picture, 0, &ranges[0]);
    if (!status) status = set_axis(picture, 1, &ranges[1]);
    if (!status) {
        picture->width = WIDE;
        picture->height = FIGURE_HEADER + FIGURE_HEADER_LINE * figure.count + 2 * (PANEL + GAP);
        picture_set_number(picture, "stages", 0);
        picture_set_number(picture, "last_step", last);
        picture_set_number(picture, "panel_height", PANEL);
        picture_set_number(picture, "gap", GAP);
        status = figure_set_titles(picture, &figure, "distillation",
                                   "held out: filled reverse KL, dashed KL");
    }
    figure_free(&figure);
    return status;
}
