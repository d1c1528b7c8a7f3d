/* Means and standard errors over sequences.
 *
 * A metric is kept per sequence as the mean over its counted positions, with the number of those
 * positions. Sequences can count different numbers of positions (ragged rows, loss masks), so the
 * mean over all positions is a ratio of two sums over sequences, and sequences, not positions, are
 * what is independent. The standard error is that of the ratio estimator (Cochran, "Sampling
 * Techniques", 3rd ed., section 6.3, without the finite-population term). */
#ifndef SCORES_STATISTICS_H
#define SCORES_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

struct sequence_value {
    int64_t row;   /* of the token set; ascending in an array */
    int64_t count; /* counted positions; a value with count 0 takes no part */
    double value;  /* mean over the counted positions */
};

struct statistics {
    double mean;
    double stderr_mean; /* NAN when n < 2: one sequence says nothing about the spread */
    int64_t n;          /* sequences that took part */
};

/* With c_i positions and value v_i of sequence i, C = sum c_i, n sequences:
 *   mean = sum c_i v_i / C
 *   stderr = sqrt(n / (n - 1) * sum (c_i (v_i - mean) / C)^2)
 * which for equal counts is the sample standard deviation over sqrt(n). No sequence with a positive
 * count, a negative count or a value that is not finite is a failure. */
enum status statistics_mean(struct statistics *out, const struct sequence_value *values,
                            size_t count) STATUS_CHECKED;

/* The mean of `a` minus the mean of `b` over the rows that both have (positive counts in both),
 * with the standard error of the paired difference: with residuals e_i = ca_i (a_i - mean_a) / Ca -
 * cb_i (b_i - mean_b) / Cb stderr = sqrt(n / (n - 1) * sum e_i^2) which for equal counts is the
 * standard deviation of a_i - b_i over sqrt(n). Both arrays ascend by row. No common row is a
 * failure. */
enum status statistics_difference(struct statistics *out, const struct sequence_value *a,
                                  size_t a_count, const struct sequence_value *b,
                                  size_t b_count) STATUS_CHECKED;

/* {"value", "stderr", "n"}; a standard error that is not known is null. NULL: out of memory. */
struct json *statistics_to_json(const struct statistics *statistics);

#endif
