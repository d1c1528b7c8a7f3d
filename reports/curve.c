#include "reports/curve.h"

#include <math.h>

#include "base/memory.h"

enum { POINTS = 120 };

enum status curve_build(struct curve *out, const struct store_step_list *list) {
    int64_t last = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->steps[i].step > last) last = list->steps[i].step;
    int64_t window = last / POINTS + 1;
    size_t size = (size_t)(last / window) + 1;
    struct curve_point *points = memory_calloc(size, sizeof *points);
    if (!points) return STATUS_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        const struct store_step *step = &list->steps[i];
        if (step->step < 0 || !isfinite(step->loss)) continue;
        struct curve_point *point = &points[step->step / window];
        point->low = point->count ? fmin(point->low, step->loss) : step->loss;
        point->high = point->count ? fmax(point->high, step->loss) : step->loss;
        point->step += (double)step->step;
        point->sum += step->loss;
        point->count++;
    }
    *out = (struct curve){points, 0, (double)window};
    for (size_t i = 0; i < size; i++) {
        if (!points[i].count) continue;
        points[i].step /= points[i].count;
        points[i].sum /= points[i].count;
        points[out->count++] = points[i];
    }
    return STATUS_OK;
}
