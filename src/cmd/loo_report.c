#include "cmd/loo_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/quote.h"
#include "cli/document.h"
#include "cli/score_list.h"
#include "scores/ranking.h"
#include "scores/store.h"

static void print_table(const struct store_score_list *list, const char *base) {
    const struct store_score *trunk = score_list_find(list, STORE_TRUNK, "ce");
    if (trunk) quote_print(stdout, "%s: ce %.4f", base ? base : "unmodified model", trunk->value);
    printf("%5s  %8s  %10s %8s  %10s  %6s\n", "layer", "ce", "kl", "+-", "rkl", "top1");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *kl = &list->scores[i];
        if (kl->layer == STORE_TRUNK || strcmp(kl->metric, "kl") != 0) continue;
        const struct store_score *ce = score_list_find(list, kl->layer, "ce");
        const struct store_score *rkl = score_list_find(list, kl->layer, "rkl");
        const struct store_score *top1 = score_list_find(list, kl->layer, "top1");
        if (!rkl || !top1) continue;
        /* Rows of one token have no ce, a single row has no standard error. */
        char ce_text[32] = "-", error_text[32] = "-";
        if (ce) snprintf(ce_text, sizeof ce_text, "%.4f", ce->value);
        if (isfinite(kl->stderr_value))
            snprintf(error_text, sizeof error_text, "%.2g", kl->stderr_value);
        printf("%5d  %8s  %10.6f %8s  %10.6f  %5.1f%%\n", kl->layer, ce_text, kl->value, error_text,
               rkl->value, 100 * top1->value);
    }
}

/* What each layer's absence costs, by item. */
static void print_task(const struct store_score_list *list, const char *base) {
    const struct store_score *acc = score_list_find(list, STORE_TRUNK, "acc");
    const struct store_score *margin = score_list_find(list, STORE_TRUNK, "margin");
    if (!acc || !margin) return;
    quote_print(stdout, "%s: acc %.4f +- %.4f, margin %.4f", base ? base : "unmodified model",
                acc->value, acc->stderr_value, margin->value);
    printf("%5s  %8s  %9s %8s  %11s %8s\n", "layer", "acc", "acc drop", "+-", "margin drop", "+-");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *drop = &list->scores[i];
        if (drop->layer == STORE_TRUNK || strcmp(drop->metric, "margin_drop") != 0) continue;
        const struct store_score *acc_drop = score_list_find(list, drop->layer, "acc_drop");
        if (!acc_drop) continue;
        printf("%5d  %8.4f  %9.4f %8.2g  %11.4f %8.2g\n", drop->layer, acc->value - acc_drop->value,
               acc_drop->value, acc_drop->stderr_value, drop->value, drop->stderr_value);
    }
}

/* One column for each metric of the estimate. */
static void print_estimates(const struct store_score_list *list, enum estimate estimate) {
    const char *main = ranking_default_metric(estimate_kind(estimate));
    printf("an estimate of what apriel-tool loo without --estimate measures\n");
    printf("%5s  %12s %8s", "layer", main, "+-");
    for (int m = 0; estimate_metric(estimate, m); m++)
        if (strcmp(estimate_metric(estimate, m), main) != 0)
            printf("  %14s", estimate_metric(estimate, m));
    puts("");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *score = &list->scores[i];
        char error[32] = "-"; /* a single row has no standard error */
        if (strcmp(score->metric, main) != 0) continue;
        if (isfinite(score->stderr_value))
            snprintf(error, sizeof error, "%.2g", score->stderr_value);
        printf("%5d  %12.6f %8s", score->layer, score->value, error);
        for (int m = 0; estimate_metric(estimate, m); m++) {
            const char *metric = estimate_metric(estimate, m);
            const struct store_score *other = score_list_find(list, score->layer, metric);
            if (strcmp(metric, main) != 0 && other) printf("  %14.6f", other->value);
        }
        puts("");
    }
}

static enum status print_json(const struct loo_outcome *outcome, const struct loo_values *values,
                              struct store *store, const struct store_score_list *list) {
    struct json *document = document_begin("loo");
    js_set_integer(document, "run", outcome->run);
    js_set_string(document, "ablate", values->ablate);
    if (values->estimate) js_set_string(document, "estimate", values->estimate);
    if (values->task) js_set_string(document, "task", values->task);
    enum status status = score_list_set_base(document, store, outcome->run, values->base);
    if (status) {
        js_free(document);
        return status;
    }
    js_set_integer(document, "rows", outcome->rows);
    js_set_integer(document, "rows_found", outcome->rows_before);
    js_set_integer(document, "tokens", outcome->tokens);
    js_set_integer(document, "layers", outcome->branches);
    js_set_number(document, "seconds", outcome->seconds);
    js_set_integer(document, "planned_bytes", (int64_t)outcome->memory.device);
    if (outcome->peak_bytes) js_set_integer(document, "peak_bytes", (int64_t)outcome->peak_bytes);
    js_set(document, "scores", score_list_to_json(list));
    return document_print(document);
}

enum status loo_report(const struct loo_outcome *outcome, const struct loo_values *values,
                       enum estimate estimate, bool json) {
    struct store *store = NULL;
    struct store_score_list list = {0};
    enum status status = store_open(&store, values->database, STORE_READ);
    if (!status) status = store_get_scores(&list, store, outcome->run);
    if (!status && json) status = print_json(outcome, values, store, &list);
    if (!status && !json) {
        if (outcome->rows_before == outcome->rows)
            printf("run %" PRId64 " was complete: nothing computed\n", outcome->run);
        else
            printf("run %" PRId64 ": %d layers %s (%s) on %" PRId64 " %s, %" PRId64
                   " tokens, in %.1f s\n",
                   outcome->run, outcome->branches, values->estimate ? "estimated" : "ablated",
                   values->ablate, outcome->rows, values->task ? "items" : "rows", outcome->tokens,
                   outcome->seconds);
        if (values->task)
            print_task(&list, values->base);
        else if (estimate)
            print_estimates(&list, estimate);
        else
            print_table(&list, values->base);
        score_list_print_next(values->database, outcome->run);
    }
    store_score_list_free(&list);
    store_close(store);
    return status;
}
