/* What the charts of layers share: runs loaded as series, titles, and the geometry of a row of
 * layers. */
#ifndef REPORTS_FIGURE_H
#define REPORTS_FIGURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/plan.h"
#include "reports/picture.h"
#include "scores/ranking.h"
#include "scores/store.h"

enum { FIGURE_MAX_RUNS = 8 };

/* Pixels; reports/style.gp divides the height the same way, and has the same `dense`. */
enum {
    FIGURE_LEFT = 92,
    FIGURE_RIGHT = 24,
    FIGURE_HEADER = 56,      /* title and subtitle */
    FIGURE_HEADER_LINE = 21, /* a line of the key for each run */
    FIGURE_FOOTER = 56,      /* numbers of layers; SVG's are lower and larger than others' */
    FIGURE_DENSE = 100,      /* from so many layers on, their numbers stand upright */
};

struct figure_request {
    const struct ranking_choice *runs; /* [run_count], at most FIGURE_MAX_RUNS; none: every
                                          finished run */
    size_t run_count;
    const char *kind;        /* NULL, or the only kind of run to take */
    bool without_scores;     /* runs that may not have any yet: ranking and by_layer stay empty */
    const char *metric;      /* of runs that name none; NULL: what their kind is ranked by */
    const struct plan *plan; /* NULL: none; of the same model as the runs */
};

struct figure_series {
    struct store_run run;
    char *label; /* "run 3: loo, mixer removed (64 sequences)", with the metric where it is not
                    what the kind is ranked by */
    char *dataset;
    const char *metric; /* borrowed */
    struct ranking ranking;
    const struct ranking_entry **by_layer; /* [layers]; NULL where the run has no value */
    double trunk;                          /* the metric of the unmodified pass; NAN without */
    int given;                             /* position in the request */
    int panel;                             /* from 1: runs with the same metric share one */
};

struct figure {
    struct figure_series series[FIGURE_MAX_RUNS]; /* [count], by panel, then as given */
    int count, panels, layers;
    const struct plan *plan; /* borrowed */
    char *model;
};

/* Load the runs of a request. Failures: no finished run, too many, runs or a plan of different
 * models, a run of another kind, a metric that a run lacks. Release with figure_free in any case.
 */
enum status figure_load(struct figure *figure, struct store *store,
                        const struct figure_request *request) STATUS_CHECKED;
void figure_free(struct figure *figure);

/* Set `title` ("MODEL: WHAT"), `subtitle` (the token sets, then `note`), `series` and `label`. */
enum status figure_set_titles(struct picture *picture, const struct figure *figure,
                              const char *what, const char *note) STATUS_CHECKED;

/* Width of the picture for a row of `columns` layers, wide enough for a number under each and for
 * the figure's labels. */
int figure_width(const struct figure *figure, int columns);

/* The metric as it stands on an axis, with its unit; the caller frees. */
char *figure_metric_title(const struct figure *figure, const char *metric);

/* " 0.123", or " NaN", which gnuplot leaves out. */
void figure_append_value(struct text *text, double value);

/* Append "set TICKS (…)" for a logarithmic axis: labels at 1, 2 and 5 of each decade while they are
 * few, else at the powers of ten; without `labels` the ticks alone. 0 < low < high. */
void figure_append_log_ticks(struct text *text, const char *ticks, double low, double high,
                             bool labels);

#endif
