/* What makes measured rates doubtful. */
#include <math.h>

#include "generate/bench.h"

static const double WIDE = 0.1, ABOVE = 1.05;

double bench_spread(const struct bench_value *value) {
    return (value->high - value->low) / 2 / value->middle;
}

struct bench_doubts bench_doubts(const struct bench_result *result) {
    struct bench_doubts doubts = {.wide = WIDE};
    double most = ABOVE;
    for (size_t i = 0; i < result->n_rows; i++) {
        const struct bench_row *row = &result->rows[i];
        if (!row->batch) continue;
        double width = bench_spread(&row->tokens_per_second);
        double excess = row->ratio.middle / row->roofline_ratio;
        doubts.varied += width > WIDE;
        if (width > WIDE && width > doubts.widest) {
            doubts.widest = width;
            doubts.widest_replaced = row->replaced;
        }
        doubts.impossible += row->tokens_per_second.middle > ABOVE * row->roofline;
        doubts.too_good += excess > ABOVE;
        if (excess > most) {
            most = excess;
            doubts.best = row;
        }
    }
    return doubts;
}
