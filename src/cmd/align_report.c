#include "cmd/align_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/document.h"
#include "cli/score_list.h"
#include "mixers/sizes.h"
#include "scores/store.h"

/* What may have become worse, smaller being better. */
static const struct {
    const char *before, *after, *words;
} pairs[] = {
    {"kl_before", "kl", "kl"},
    {"attention_error_before", "attention_error_after", "the attention's error"},
    {"block_error_before", "block_error_after", "the block's error"},
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

static double value_of(const struct store_score_list *list, int layer, const char *metric) {
    const struct store_score *score = score_list_find(list, layer, metric);
    return score ? score->value : NAN;
}

static bool got_worse(const struct store_score_list *list, int layer, int pair) {
    return value_of(list, layer, pairs[pair].after) > value_of(list, layer, pairs[pair].before);
}

/* What has become worse of a layer, in words; the caller frees. NULL: nothing. */
static char *describe_worse(const struct store_score_list *list, int layer) {
    struct text text = {0};
    for (int i = 0; i < PAIRS; i++)
        if (got_worse(list, layer, i))
            text_append(&text, "%s%s (%.4g to %.4g)", text.length ? ", " : "", pairs[i].words,
                        value_of(list, layer, pairs[i].before),
                        value_of(list, layer, pairs[i].after));
    return text.length ? text_finish(&text) : NULL;
}

static const char *format(char out[32], double value, const char *how) {
    if (isfinite(value))
        snprintf(out, 32, strcmp(how, "f") == 0 ? "%.6f" : "%.2g", value);
    else
        snprintf(out, 32, "-");
    return out;
}

static void print_layer(const struct store_score_list *list, int layer) {
    char text[8][32];
    double stopped = value_of(list, layer, "diverged_at_step");
    printf("%5d  %9s %9s  %9s %9s  ", layer,
           format(text[0], value_of(list, layer, "attention_error_before"), "f"),
           format(text[1], value_of(list, layer, "attention_error_after"), "f"),
           format(text[2], value_of(list, layer, "block_error_before"), "f"),
           format(text[3], value_of(list, layer, "block_error_after"), "f"));
    if (isfinite(stopped)) {
        printf("diverged at step %.0f\n", stopped);
        return;
    }
    const struct store_score *kl = score_list_find(list, layer, "kl");
    printf("%9s %9s %8s  %5.1f%%\n", format(text[4], value_of(list, layer, "kl_before"), "f"),
           format(text[5], kl ? kl->value : NAN, "f"),
           format(text[6], kl ? kl->stderr_value : NAN, "g"), 100 * value_of(list, layer, "top1"));
}

/* Every layer of the list, once and in order. */
static int next_layer(const struct store_score_list *list, int after) {
    int next = -1;
    for (size_t i = 0; i < list->count; i++)
        if (list->scores[i].layer > after && (next < 0 || list->scores[i].layer < next))
            next = list->scores[i].layer;
    return next;
}

static void print_table(const struct store_score_list *list) {
    printf("%5s  %19s  %19s  %28s  %6s\n%5s  %9s %9s  %9s %9s  %9s %9s %8s\n", "",
           "attention's error", "block's error", "kl of the replacement", "top1", "layer", "before",
           "after", "before", "after", "before", "after", "+-");
    for (int layer = next_layer(list, -1); layer >= 0; layer = next_layer(list, layer))
        print_layer(list, layer);
    for (int layer = next_layer(list, -1); layer >= 0; layer = next_layer(list, layer)) {
        char *worse = describe_worse(list, layer);
        if (worse) printf("layer %d ends worse than it began: %s\n", layer, worse);
        free(worse);
    }
}

static struct json *run_json(const struct align_run *run, const struct align_outcome *outcome,
                             const struct store_score_list *list) {
    struct json *object = js_new_object(), *worse = js_new_array();
    char text[MIXER_TEXT_SIZE];
    js_set_integer(object, "run", run->run);
    js_set_string(object, "kind", mixer_text(text, &run->mixer));
    js_set_integer(object, "layers", outcome->layers);
    js_set_integer(object, "layers_found", run->layers_before);
    js_set_integer(object, "diverged", run->diverged);
    for (int layer = next_layer(list, -1); layer >= 0; layer = next_layer(list, layer))
        for (int i = 0; i < PAIRS; i++)
            if (got_worse(list, layer, i)) {
                struct json *item = js_new_object();
                js_set_integer(item, "layer", layer);
                js_set_string(item, "metric", pairs[i].after);
                js_append(worse, item);
            }
    js_set(object, "worse", worse);
    js_set(object, "scores", score_list_to_json(list));
    return object;
}

static void print_run(const struct align_run *run, const struct align_outcome *outcome,
                      const struct store_score_list *list) {
    char text[MIXER_TEXT_SIZE];
    mixer_text(text, &run->mixer);
    if (run->layers_before == outcome->layers)
        printf("run %" PRId64 " (%s): all layers were there\n", run->run, text);
    else
        printf("run %" PRId64 " (%s): %d layers aligned\n", run->run, text,
               outcome->layers - run->layers_before);
    print_table(list);
}

enum status align_report(const struct align_outcome *outcome, int kinds,
                         const struct align_values *values, bool json) {
    struct store *store = NULL;
    struct json *runs = js_new_array();
    enum status status = store_open(&store, values->database, STORE_READ);
    if (!status && !json && outcome->steps)
        printf("%" PRId64 " steps in %.1f s (%.4f s a step)\n", outcome->steps, outcome->seconds,
               outcome->seconds / (double)outcome->steps);
    for (int i = 0; !status && i < kinds; i++) {
        struct store_score_list list = {0};
        status = store_get_scores(&list, store, outcome->runs[i].run);
        if (!status && json) js_append(runs, run_json(&outcome->runs[i], outcome, &list));
        if (!status && !json) print_run(&outcome->runs[i], outcome, &list);
        store_score_list_free(&list);
    }
    if (!status && json) {
        struct json *document = document_begin("align");
        js_set_string(document, "library", values->library);
        js_set_integer(document, "steps", outcome->steps);
        js_set_number(document, "seconds", outcome->seconds);
        js_set_integer(document, "peak_bytes", (int64_t)memory_peak());
        if (outcome->peak_bytes)
            js_set_integer(document, "device_peak_bytes", (int64_t)outcome->peak_bytes);
        js_set(document, "runs", runs);
        runs = NULL;
        status = document_print(document);
    } else if (!status && kinds) {
        score_list_print_next(values->database, outcome->runs[0].run);
    }
    js_free(runs);
    store_close(store);
    return status;
}
