#include <math.h>
#include <string.h>

#include "check_main.h"
#include "scores/statistics.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void close_to(double value, double expected) {
    ck_assert(isfinite(value));
    ck_assert_double_le(fabs(value - expected), 1e-14 * (1 + fabs(expected)));
}

START_TEST(equal_counts_give_the_usual_standard_error) {
    /* 1, 2, 3, 4: mean 2.5, sample variance 5/3, stderr sqrt(5/12). */
    struct sequence_value values[] = {{0, 8, 1}, {1, 8, 2}, {2, 8, 3}, {3, 8, 4}};
    struct statistics result;
    ck_assert_int_eq(statistics_mean(&result, values, COUNT(values)), STATUS_OK);
    close_to(result.mean, 2.5);
    close_to(result.stderr_mean, sqrt(5.0 / 12));
    ck_assert_int_eq(result.n, 4);
}
END_TEST

START_TEST(counts_weigh) {
    /* counts 1 and 3 with values 2 and 6: mean (2 + 18) / 4 = 5; residuals 1*(2-5)/4 = -3/4 and
     * 3*(6-5)/4 = 3/4; stderr sqrt(2/1 * 18/16) = 1.5. The row without positions is not there. */
    struct sequence_value values[] = {{0, 1, 2}, {1, 0, NAN}, {2, 3, 6}};
    struct statistics result;
    ck_assert_int_eq(statistics_mean(&result, values, COUNT(values)), STATUS_OK);
    close_to(result.mean, 5);
    close_to(result.stderr_mean, 1.5);
    ck_assert_int_eq(result.n, 2);
}
END_TEST

START_TEST(a_paired_difference_cancels_what_is_common) {
    /* a - b = 1, 3: mean 2, standard deviation sqrt(2), stderr 1, whatever both share. */
    struct sequence_value a[] = {{0, 4, 101}, {1, 4, 203}, {7, 4, 5}};
    struct sequence_value b[] = {{-3, 4, 9}, {0, 4, 100}, {1, 4, 200}};
    struct statistics result;
    ck_assert_int_eq(statistics_difference(&result, a, COUNT(a), b, COUNT(b)), STATUS_OK);
    close_to(result.mean, 2);
    ck_assert_double_le(fabs(result.stderr_mean - 1), 1e-12);
    ck_assert_int_eq(result.n, 2);
    ck_assert_int_eq(statistics_difference(&result, a, COUNT(a), a, COUNT(a)), STATUS_OK);
    ck_assert_double_eq(result.mean, 0);
    ck_assert_double_eq(result.stderr_mean, 0);
    ck_assert_int_eq(statistics_difference(&result, a, 1, b + 2, 1), STATUS_FAILED);
}
END_TEST

START_TEST(weighted_difference_by_hand) {
    /* counts 1, 3 in both: means 5 and 2; residuals a: -3/4, 3/4; b: (values 5, 1) 1*(5-2)/4 = 3/4,
     * 3*(1-2)/4 = -3/4; differences -3/2, 3/2; stderr sqrt(2 * 9/2) = 3. */
    struct sequence_value a[] = {{0, 1, 2}, {1, 3, 6}};
    struct sequence_value b[] = {{0, 1, 5}, {1, 3, 1}};
    struct statistics result;
    ck_assert_int_eq(statistics_difference(&result, a, 2, b, 2), STATUS_OK);
    close_to(result.mean, 3);
    close_to(result.stderr_mean, 3);
}
END_TEST

START_TEST(what_cannot_be_averaged_is_refused) {
    struct statistics result;
    struct sequence_value not_a_number[] = {{0, 1, 1}, {4, 1, NAN}};
    struct sequence_value negative[] = {{2, -1, 1}};
    struct sequence_value nothing[] = {{2, 0, 1}};
    struct sequence_value one[] = {{2, 5, 1.5}};
    ck_assert_int_eq(statistics_mean(&result, not_a_number, 2), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "row 4 has a value that is not finite");
    ck_assert_int_eq(statistics_mean(&result, negative, 1), STATUS_FAILED);
    ck_assert_int_eq(statistics_mean(&result, nothing, 1), STATUS_FAILED);
    ck_assert_int_eq(statistics_mean(&result, NULL, 0), STATUS_FAILED);
    ck_assert_int_eq(statistics_mean(&result, one, 1), STATUS_OK);
    ck_assert_double_eq(result.mean, 1.5);
    ck_assert(isnan(result.stderr_mean));
    ck_assert_int_eq(statistics_difference(&result, not_a_number, 2, not_a_number, 2),
                     STATUS_FAILED);
}
END_TEST

CHECK_MAIN("statistics", equal_counts_give_the_usual_standard_error, counts_weigh,
           a_paired_difference_cancels_what_is_common, weighted_difference_by_hand,
           what_cannot_be_averaged_is_refused)
