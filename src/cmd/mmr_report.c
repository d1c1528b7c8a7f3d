#include "cmd/mmr_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/document.h"
#include "cli/score_list.h"
#include "scores/store.h"

static double value_of(const struct store_score_list *list, int layer, const char *metric) {
    const struct store_score *score = score_list_find(list, layer, metric);
    return score ? score->value : NAN;
}

/* A probe that trains nothing has none. */
static const char *format_loss(char out[32], double loss) {
    if (isnan(loss)) return "-";
    snprintf(out, 32, "%.6f", loss);
    return out;
}

static void print_table(const struct store_score_list *list, const char *loss) {
    char first[32], last[32], start[32], end[32];
    snprintf(first, sizeof first, "train_%s_first", loss);
    snprintf(last, sizeof last, "train_%s_last", loss);
    printf("%5s  %10s %10s  %12s  %12s %8s  %6s\n", "layer", "first loss", "last loss",
           "rkl untrained", "rkl trained", "+-", "top1");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *before = &list->scores[i];
        if (strcmp(before->metric, "heldout_rkl_before") != 0) continue;
        int layer = before->layer;
        const struct store_score *after = score_list_find(list, layer, "heldout_rkl_after");
        printf("%5d  %10s %10s  %13.6f  ", layer, format_loss(start, value_of(list, layer, first)),
               format_loss(end, value_of(list, layer, last)), before->value);
        char error[32] = "-"; /* a single row has no standard error */
        if (after && isfinite(after->stderr_value))
            snprintf(error, sizeof error, "%.2g", after->stderr_value);
        if (after)
            printf("%12.6f %8s  %5.1f%%\n", after->value, error,
                   100 * value_of(list, layer, "heldout_top1_after"));
        else
            printf("diverged at step %.0f\n", value_of(list, layer, "diverged_at_step"));
    }
}

static enum status print_json(const struct mmr_outcome *outcome, const struct mmr_values *values,
                              struct store *store, const struct store_score_list *list) {
    struct json *document = document_begin("mmr");
    js_set_integer(document, "run", outcome->run);
    enum status status = score_list_set_base(document, store, outcome->run, values->base);
    if (status) {
        js_free(document);
        return status;
    }
    js_set_integer(document, "layers", outcome->layers);
    js_set_integer(document, "layers_found", outcome->layers_before);
    js_set_integer(document, "diverged", outcome->diverged);
    js_set_integer(document, "steps", outcome->steps);
    js_set_integer(document, "steps_saved", outcome->steps_saved);
    js_set_number(document, "seconds", outcome->seconds);
    js_set_integer(document, "loaded_bytes", (int64_t)outcome->loaded_bytes);
    js_set_integer(document, "predicted_bytes", (int64_t)outcome->predicted_bytes);
    js_set_bool(document, "recomputed", outcome->recomputed);
    js_set_integer(document, "together", outcome->together);
    js_set_integer(document, "peak_bytes", (int64_t)memory_peak());
    if (outcome->device_peak)
        js_set_integer(document, "device_peak_bytes", (int64_t)outcome->device_peak);
    js_set(document, "scores", score_list_to_json(list));
    return document_print(document);
}

enum status mmr_report(const struct mmr_outcome *outcome, const struct mmr_values *values,
                       bool json) {
    struct store *store = NULL;
    struct store_score_list list = {0};
    enum status status = store_open(&store, values->database, STORE_READ);
    if (!status) status = store_get_scores(&list, store, outcome->run);
    if (!status && json) status = print_json(outcome, values, store, &list);
    if (!status && !json) {
        if (outcome->layers_before == outcome->layers)
            printf("run %" PRId64 " was complete: nothing computed\n", outcome->run);
        else
            printf("run %" PRId64 ": %d layers probed, %" PRId64 " steps in %.1f s (%.3f s a "
                   "step)\n",
                   outcome->run, outcome->layers - outcome->layers_before, outcome->steps,
                   outcome->seconds,
                   outcome->steps ? outcome->seconds / (double)outcome->steps : 0);
        if (outcome->steps_saved)
            printf("stopping early saved %" PRId64 " steps\n", outcome->steps_saved);
        print_table(&list, values->loss);
        score_list_print_next(values->database, outcome->run);
    }
    store_score_list_free(&list);
    store_close(store);
    return status;
}
