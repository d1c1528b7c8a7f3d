#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/loo/estimator.h"
#include "check_main.h"
#include "eval/exact_run.h"
#include "measure/item_score.h"
#include "scores/comparison.h"
#include "scores/kinds.h"
#include "scores/metrics.h"
#include "scores/numbers.h"
#include "scores/ranking.h"
#include "train/loss.h"

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct ranking make(const double *values, size_t count, double error, bool ascending) {
    struct ranking ranking = {calloc(count, sizeof *ranking.entries), count, ascending};
    for (size_t i = 0; i < count; i++)
        ranking.entries[i] =
            (struct ranking_entry){.layer = (int)i, .value = values[i], .stderr_value = error};
    ranking_sort(&ranking);
    ok(ranking_group(&ranking));
    return ranking;
}

START_TEST(order_and_direction) {
    const double values[] = {0.5, 0.2, 0.9, 0.2};
    struct ranking low = make(values, 4, NAN, true), high = make(values, 4, NAN, false);
    const int ascending[] = {1, 3, 0, 2}, descending[] = {2, 0, 1, 3};
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(low.entries[i].layer, ascending[i]);
        ck_assert_int_eq(high.entries[i].layer, descending[i]);
        ck_assert_int_eq(low.entries[i].rank, i + 1);
    }
    /* Without standard errors only equal values tie. */
    const int groups[] = {1, 1, 2, 3};
    for (int i = 0; i < 4; i++) ck_assert_int_eq(low.entries[i].tie_group, groups[i]);
    ck_assert(ranking_ascending("kl") && ranking_ascending("heldout_rkl_after"));
    ck_assert(!ranking_ascending("top1") && !ranking_ascending("heldout_top1_after"));
    ck_assert(ranking_ascending("acc_drop") && ranking_ascending("of another release"));
    ranking_free(&low);
    ranking_free(&high);
}
END_TEST

START_TEST(groups_do_not_chain) {
    /* Two standard errors of a difference are 2 sqrt(2) 0.1 = 0.283: 1.0 to 1.2 tie, 1.4 is within
     * reach of 1.2 but not of the first member. */
    const double values[] = {1.0, 1.2, 1.4, 1.6, 2.0};
    struct ranking ranking = make(values, 5, 0.1, true);
    const int groups[] = {1, 1, 2, 2, 3};
    for (int i = 0; i < 5; i++) ck_assert_int_eq(ranking.entries[i].tie_group, groups[i]);
    ranking_free(&ranking);
}
END_TEST

START_TEST(paired_differences_separate_what_single_errors_do_not) {
    /* Rows differ by much more than layers, but every row has the same order of layers. */
    struct ranking ranking = {calloc(2, sizeof *ranking.entries), 2, true};
    for (int layer = 0; layer < 2; layer++) {
        struct sequence_value *values = calloc(4, sizeof *values);
        for (int row = 0; row < 4; row++)
            values[row] =
                (struct sequence_value){row, 8, row + 0.1 * layer + 0.01 * (row % 2) * layer};
        struct statistics mean;
        ok(statistics_mean(&mean, values, 4));
        ranking.entries[layer] = (struct ranking_entry){.layer = layer,
                                                        .value = mean.mean,
                                                        .stderr_value = mean.stderr_mean,
                                                        .n = 4,
                                                        .values = values,
                                                        .values_count = 4};
        ck_assert_double_gt(mean.stderr_mean, 0.5);
    }
    ranking_sort(&ranking);
    ok(ranking_group(&ranking));
    ck_assert_int_eq(ranking.entries[1].tie_group, 2);
    bool skip[] = {true, false};
    ok(ranking_drop(&ranking, skip, 2));
    ck_assert_uint_eq(ranking.count, 1);
    ck_assert_int_eq(ranking.entries[0].layer, 1);
    ck_assert_int_eq(ranking.entries[0].rank, 1);
    ck_assert_int_eq(ranking.entries[0].tie_group, 1);
    ranking_free(&ranking);
}
END_TEST

static void close_to(double value, double expected) {
    ck_assert_double_le(fabs(value - expected), 1e-14);
}

START_TEST(agreement_by_hand) {
    /* b exchanges the two last of 1 2 3 4: Spearman 1 - 6*2/(4*15) = 0.8, Kendall (5 - 1) / 6. */
    const double a[] = {1, 2, 3, 4}, b[] = {10, 20, 40, 30};
    struct ranking left = make(a, 4, NAN, true), right = make(b, 4, NAN, true);
    struct comparison comparison;
    ok(comparison_build(&comparison, &left, &right));
    ck_assert_int_eq(comparison.layers, 4);
    close_to(comparison.spearman, 0.8);
    close_to(comparison.kendall, 4.0 / 6);
    const double jaccard[] = {1, 1, 0.5, 1};
    for (int k = 0; k < 4; k++) close_to(comparison.jaccard[k], jaccard[k]);
    comparison_free(&comparison);
    /* The same importance told by a metric whose large values are unimportant. */
    ranking_free(&right);
    const double negative[] = {-1, -2, -3, -4};
    right = make(negative, 4, NAN, false);
    ok(comparison_build(&comparison, &left, &right));
    close_to(comparison.spearman, 1);
    close_to(comparison.kendall, 1);
    comparison_free(&comparison);
    ranking_free(&left);
    ranking_free(&right);
}
END_TEST

START_TEST(agreement_with_ties) {
    /* a = 1 1 2 3, b = 1 2 2 3: of the six pairs four agree, none disagrees, one is tied in a only
     * and one in b only: tau-b = 4 / sqrt(5 * 5). Ranks 1.5 1.5 3 4 and 1 2.5 2.5 4: centred
     * products sum to 3.75, squares to 4.5 and 4.5. */
    const double a[] = {1, 1, 2, 3}, b[] = {1, 2, 2, 3}, same[] = {5, 5, 5, 5};
    struct ranking left = make(a, 4, NAN, true), right = make(b, 4, NAN, true),
                   flat = make(same, 4, NAN, true);
    struct comparison comparison;
    ok(comparison_build(&comparison, &left, &right));
    close_to(comparison.kendall, 0.8);
    close_to(comparison.spearman, 3.75 / 4.5);
    comparison_free(&comparison);
    ok(comparison_build(&comparison, &left, &flat));
    ck_assert(isnan(comparison.kendall) && isnan(comparison.spearman));
    comparison_free(&comparison);
    ranking_free(&left);
    ranking_free(&right);
    ranking_free(&flat);
}
END_TEST

START_TEST(only_common_layers_count) {
    /* b lacks layer 0, the least important of a, and has a layer 4 that a lacks. */
    const double a[] = {1, 2, 3, 4}, b[] = {0, 9, 8, 7, 0.5};
    struct ranking left = make(a, 4, NAN, true), right = make(b, 5, NAN, true);
    bool skip[] = {true, false, false, false, false};
    ok(ranking_drop(&right, skip, 5));
    struct comparison comparison;
    ok(comparison_build(&comparison, &left, &right));
    ck_assert_int_eq(comparison.layers, 3);
    close_to(comparison.kendall, -1);
    close_to(comparison.jaccard[0], 0);
    close_to(comparison.jaccard[1], 1.0 / 3);
    close_to(comparison.jaccard[2], 1);
    comparison_free(&comparison);
    bool all[] = {true, true, true, true, false};
    ok(ranking_drop(&right, all, 5));
    ck_assert_int_eq(comparison_build(&comparison, &left, &right), STATUS_FAILED);
    comparison_free(&comparison);
    ranking_free(&left);
    ranking_free(&right);
}
END_TEST

static void has_row(const char *format, const char *name) {
    char text[64];
    snprintf(text, sizeof text, format, name);
    const struct metric_row *row = metric_row_find(text);
    ck_assert_msg(row && *row->label, "\"%s\" has no row in scores/metrics.c", text);
}

START_TEST(every_metric_has_a_row) {
    const char *const of_tokens[] = {"%s", "heldout_%s_before", "heldout_%s_after"};
    for (enum metric m = 0; m < METRIC_COUNT; m++)
        for (int i = 0; i < 3; i++) has_row(of_tokens[i], metric_name(m));
    for (enum item_metric m = 0; m < ITEM_METRICS; m++) {
        has_row("%s", item_metric_name(m));
        has_row("%s_drop", item_metric_name(m));
    }
    for (enum exact_metric m = 0; m < EXACT_METRICS; m++) has_row("%s", exact_metric_name(m));
    for (enum loss_kind l = LOSS_REVERSE_KL; l <= LOSS_CROSS_ENTROPY; l++) {
        has_row("train_%s_first", loss_name(l));
        has_row("train_%s_last", loss_name(l));
    }
    for (enum estimate e = ESTIMATE_FIRST_ORDER; e <= ESTIMATE_COSINE; e++)
        for (int m = 0; estimate_metric(e, m); m++) has_row("%s", estimate_metric(e, m));
    for (int i = 0; metric_row_at(i); i++)
        ck_assert_ptr_eq(metric_row_find(metric_row_at(i)->name), metric_row_at(i));
    ck_assert_ptr_null(metric_row_find("of another release"));
}
END_TEST

/* Each has a numbers version; those that rank layers do it by a metric that there is, and --signal
 * takes them. */
START_TEST(every_kind_of_run_has_what_it_needs) {
    char signals[] = "|" RUN_SIGNALS "|", word[64];
    size_t length = 1;
    int64_t version;
    for (int i = 0; run_kind_at(i); i++) {
        const struct run_kind *kind = run_kind_at(i);
        ck_assert_ptr_eq(run_kind_find(kind->name), kind);
        ck_assert_int_eq(kind->metric != NULL, !run_kind_is_eval(kind->name));
        if (!kind->metric) continue;
        ok(numbers_version(&version, kind->name));
        has_row("%s", kind->metric);
        snprintf(word, sizeof word, "|%s|", kind->name);
        ck_assert_msg(strstr(signals, word) != NULL, "--signal does not take %s", kind->name);
        length += strlen(kind->name) + 1;
    }
    ck_assert_uint_eq(strlen(signals), length); /* and no other */
    for (int i = 0; run_eval_results[i]; i++) has_row("%s", run_eval_results[i]);
}
END_TEST

CHECK_MAIN("ranking", order_and_direction, groups_do_not_chain,
           paired_differences_separate_what_single_errors_do_not, agreement_by_hand,
           agreement_with_ties, only_common_layers_count, every_metric_has_a_row,
           every_kind_of_run_has_what_it_needs)
