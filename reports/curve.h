/* Losses of steps as a curve of a bounded number of points. */
#ifndef REPORTS_CURVE_H
#define REPORTS_CURVE_H

#include "scores/store.h"

struct curve_point {
    double step, sum, low, high; /* loss: the mean over `count`, and its range */
    int count;
};

struct curve {
    struct curve_point *points; /* [count] */
    int count;
    double window; /* steps of a point */
};

/* Average steps over seeds and, when there are many, over windows of steps. Losses that are not
 * finite are left out. The caller frees out->points. */
enum status curve_build(struct curve *out, const struct store_step_list *list) STATUS_CHECKED;

#endif
