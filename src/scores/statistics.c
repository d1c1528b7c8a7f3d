#include "scores/statistics.h"

#include <math.h>

static enum status check(const struct sequence_value *value) {
    if (value->count < 0)
        return status_fail("row %lld has a negative count of positions, %lld",
                           (long long)value->row, (long long)value->count);
    if (value->count > 0 && !isfinite(value->value))
        return status_fail("row %lld has a value that is not finite", (long long)value->row);
    return STATUS_OK;
}

static double spread(double squares, int64_t n) {
    return n < 2 ? NAN : sqrt((double)n / (double)(n - 1) * squares);
}

enum status statistics_mean(struct statistics *out, const struct sequence_value *values,
                            size_t count) {
    double sum = 0, positions = 0, squares = 0;
    *out = (struct statistics){.stderr_mean = NAN};
    for (size_t i = 0; i < count; i++) {
        enum status status = check(&values[i]);
        if (status) return status;
        if (!values[i].count) continue;
        sum += (double)values[i].count * values[i].value;
        positions += (double)values[i].count;
        out->n++;
    }
    if (!out->n) return status_fail("no sequence has a counted position");
    out->mean = sum / positions;
    if (!isfinite(out->mean)) return status_fail("the values are too large for a mean");
    for (size_t i = 0; i < count; i++) {
        if (!values[i].count) continue;
        double residual = (double)values[i].count * (values[i].value - out->mean) / positions;
        squares += residual * residual;
    }
    out->stderr_mean = spread(squares, out->n);
    return STATUS_OK;
}

/* The next pair of equal rows with positive counts, from (*i, *j) on. */
static bool next_pair(const struct sequence_value *a, size_t a_count, size_t *i,
                      const struct sequence_value *b, size_t b_count, size_t *j) {
    while (*i < a_count && *j < b_count) {
        if (a[*i].row < b[*j].row)
            ++*i;
        else if (b[*j].row < a[*i].row)
            ++*j;
        else if (a[*i].count > 0 && b[*j].count > 0)
            return true;
        else {
            ++*i;
            ++*j;
        }
    }
    return false;
}

enum status statistics_difference(struct statistics *out, const struct sequence_value *a,
                                  size_t a_count, const struct sequence_value *b, size_t b_count) {
    double a_sum = 0, a_positions = 0, b_sum = 0, b_positions = 0, squares = 0;
    *out = (struct statistics){.stderr_mean = NAN};
    for (size_t i = 0, j = 0; next_pair(a, a_count, &i, b, b_count, &j); i++, j++) {
        enum status status = check(&a[i]);
        if (!status) status = check(&b[j]);
        if (status) return status;
        a_sum += (double)a[i].count * a[i].value;
        b_sum += (double)b[j].count * b[j].value;
        a_positions += (double)a[i].count;
        b_positions += (double)b[j].count;
        out->n++;
    }
    if (!out->n) return status_fail("the two sets of values have no row in common");
    double a_mean = a_sum / a_positions, b_mean = b_sum / b_positions;
    out->mean = a_mean - b_mean;
    if (!isfinite(out->mean)) return status_fail("the values are too large for a mean");
    for (size_t i = 0, j = 0; next_pair(a, a_count, &i, b, b_count, &j); i++, j++) {
        double residual = (double)a[i].count * (a[i].value - a_mean) / a_positions -
                          (double)b[j].count * (b[j].value - b_mean) / b_positions;
        squares += residual * residual;
    }
    out->stderr_mean = spread(squares, out->n);
    return STATUS_OK;
}

struct json *statistics_to_json(const struct statistics *statistics) {
    struct json *object = js_new_object();
    js_set_number(object, "value", statistics->mean);
    js_set_number(object, "stderr", statistics->stderr_mean);
    js_set_integer(object, "n", statistics->n);
    return object;
}
