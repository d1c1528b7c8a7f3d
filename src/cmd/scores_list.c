/* apriel-tool scores without --run: the runs and throughput series of a database. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"
#include "cli/document.h"
#include "cli/run_text.h"
#include "cli/score_list.h"
#include "cli/table.h"
#include "cmd/scores.h"
#include "scores/kinds.h"

/* ---- runs */

/* The score that says most about an evaluation. */
static const struct store_score *find_result(const struct store_score_list *scores) {
    for (size_t i = 0; run_eval_results[i]; i++) {
        const struct store_score *found = score_list_find(scores, STORE_TRUNK, run_eval_results[i]);
        if (found) return found;
    }
    return NULL;
}

/* "arc_easy acc 0.4300 +- 0.0500, shots 5"; the scores of a finished run are read in any case, so
 * that a database which lists is one that shows. */
static char *describe(const struct store_run *run, struct store *store, bool models, bool sets) {
    struct text out = {0};
    struct store_score_list scores = {0};
    bool done = strcmp(run->status, STORE_STATUS_DONE) == 0;
    if (done && store_get_scores(&scores, store, run->id)) return NULL;
    const struct store_score *result = run_kind_is_eval(run->kind) ? find_result(&scores) : NULL;
    if (models) text_append(&out, "%s", file_name(run->model_name));
    if (sets) text_append(&out, "%s%s", out.length ? ", " : "", file_name(run->dataset_path));
    if (result) {
        text_append(&out, "%s%s %.4f", out.length ? ", " : "", result->metric, result->value);
        if (isfinite(result->stderr_value)) text_append(&out, " +- %.4f", result->stderr_value);
    }
    char *differences = run_differences(run);
    if (!differences) out.failed = true;
    if (differences && *differences) text_append(&out, "%s%s", out.length ? ", " : "", differences);
    free(differences);
    store_score_list_free(&scores);
    return out.length || out.failed ? text_finish(&out) : memory_copy_string("");
}

static enum status add_line(struct table *table, const struct store_run *run, struct store *store,
                            bool models, bool sets) {
    char time[32], *what = describe(run, store, models, sets);
    if (!what) return STATUS_FAILED;
    table_cell(table, "%lld", (long long)run->id);
    table_cell(table, "%s", run->kind);
    table_cell(table, "%s", run->status);
    table_cell(table, "%.10s", run->started);
    table_cell(table, "%s", run_format_seconds(time, run_seconds(run)));
    table_cell(table, "%lld", (long long)run->layers);
    table_cell(table, "%lld", (long long)run->rows);
    table_cell(table, "%s", what);
    free(what);
    return STATUS_OK;
}

/* What all runs share stands over the table. */
static enum status print_runs(const struct store_run_list *list, struct store *store) {
    bool models = false, sets = false;
    for (size_t i = 1; i < list->count; i++) {
        models = models || list->runs[i].model != list->runs[0].model;
        sets = sets || list->runs[i].dataset != list->runs[0].dataset;
    }
    if (!models) quote_print(stdout, "model: %s", list->runs[0].model_name);
    if (!sets) quote_print(stdout, "data: %s", list->runs[0].dataset_path);
    if (!models || !sets) puts("");
    struct table table;
    table_begin(&table, "rlllrrrw");
    static const char *const headings[] = {"run",  "kind",   "status", "date",
                                           "time", "layers", "rows",   "what differs"};
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        table_cell(&table, "%s", headings[i]);
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < list->count; i++)
        status = add_line(&table, &list->runs[i], store, models, sets);
    if (!status) return table_print(&table, stdout);
    table_free(&table);
    return status;
}

/* Runs of releases whose numbers and fingerprints are not those of this one. */
static enum status print_older(const struct store_run_list *list) {
    int *older = memory_calloc(list->count, sizeof *older);
    size_t count = 0;
    if (!older) return STATUS_FAILED;
    for (size_t i = 0; i < list->count; i++)
        if (!list->runs[i].numbers || *store_fingerprint_remark(list->runs[i].fingerprint_kind))
            older[count++] = (int)list->runs[i].id;
    char *text = count ? list_format(older, count) : NULL;
    if (text)
        printf("run%s %s: of an older apriel-tool, whose fingerprint reads samples of the model's\n"
               "weights; kept to be read and planned from, not continued or used by new runs\n",
               count == 1 ? "" : "s", text);
    free(text);
    free(older);
    return count && !text ? STATUS_FAILED : STATUS_OK;
}

/* ---- throughput */

/* The rows of one series: [*first, *end) of the list. */
static bool next_series(size_t *first, size_t *end, const struct store_bench_list *list) {
    *first = *end;
    while (*end < list->count && list->rows[*end].series == list->rows[*first].series) ++*end;
    return *first < *end;
}

static enum status print_series(const struct store_bench_list *list) {
    struct table table;
    table_begin(&table, "rllrw");
    static const char *const headings[] = {"series", "date", "device", "rows", "what"};
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        table_cell(&table, "%s", headings[i]);
    for (size_t first = 0, end = 0; next_series(&first, &end, list);) {
        const struct store_bench *row = &list->rows[first];
        struct text what = {0};
        text_append(&what, "%s, replaced", file_name(row->model_name));
        for (size_t i = first; i < end; i++)
            text_append(&what, "%s %lld: %.4g/s", i > first ? "," : "",
                        (long long)list->rows[i].replaced, list->rows[i].tokens_per_second);
        char *text = text_finish(&what);
        table_cell(&table, "%lld", (long long)row->series);
        table_cell(&table, "%.10s", row->created);
        table_cell(&table, "%s", row->device);
        table_cell(&table, "%zu", end - first);
        table_cell(&table, "%s", text ? text : "");
        if (!text) table.status = STATUS_FAILED;
        free(text);
    }
    return table_print(&table, stdout);
}

static struct json *bench_to_json(const struct store_bench *row) {
    struct json *object = js_new_object(), *settings = NULL;
    js_set_integer(object, "id", row->id);
    js_set_integer(object, "series", row->series);
    js_set_string(object, "model", row->model_name);
    js_set_string(object, "created", row->created);
    js_set_string(object, "device", row->device);
    js_set_string(object, "tool", row->version);
    if (js_parse(&settings, row->settings, strlen(row->settings), "settings") == STATUS_OK)
        js_set(object, "settings", settings);
    js_set_integer(object, "replaced", row->replaced);
    js_set_integer(object, "batch", row->batch);
    js_set_bool(object, "automatic", row->automatic);
    js_set_integer(object, "memory", row->memory);
    js_set_number(object, "tokens_per_second", row->tokens_per_second);
    js_set_number(object, "step_seconds", row->step_seconds);
    js_set_number(object, "first_token_seconds", row->first_token_seconds);
    js_set_number(object, "bytes_per_token", row->bytes_per_token);
    js_set_number(object, "roofline", row->roofline);
    js_set_number(object, "spread", row->spread);
    return object;
}

/* ---- both */

static enum status print_lists(const struct store_run_list *runs,
                               const struct store_bench_list *bench, struct store *store) {
    enum status status = STATUS_OK;
    if (!runs->count)
        puts("no runs yet");
    else
        status = print_runs(runs, store);
    if (!status) status = print_older(runs);
    if (status || !bench->count) return status;
    puts("");
    return print_series(bench);
}

static enum status lists_to_json(const struct store_run_list *runs,
                                 const struct store_bench_list *bench, struct store *store) {
    struct json *document = document_begin("scores"), *array = js_new_array();
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < runs->count; i++) {
        struct store_score_list scores = {0};
        struct json *run = run_to_json(&runs->runs[i]);
        bool done = strcmp(runs->runs[i].status, STORE_STATUS_DONE) == 0;
        if (done) status = store_get_scores(&scores, store, runs->runs[i].id);
        const struct store_score *result =
            run_kind_is_eval(runs->runs[i].kind) ? find_result(&scores) : NULL;
        js_set(run, "result", result ? score_to_json(result) : NULL);
        store_score_list_free(&scores);
        js_append(array, run);
    }
    js_set(document, "runs", array);
    array = js_new_array();
    for (size_t i = 0; i < bench->count; i++) js_append(array, bench_to_json(&bench->rows[i]));
    js_set(document, "bench", array);
    if (!status) return document_print(document);
    js_free(document);
    return status;
}

enum status show_list(struct store *store, bool json) {
    struct store_run_list runs = {0};
    struct store_bench_list bench = {0};
    enum status status = store_list_runs(&runs, store);
    if (!status) status = store_list_bench(&bench, store);
    if (!status)
        status = json ? lists_to_json(&runs, &bench, store) : print_lists(&runs, &bench, store);
    store_run_list_free(&runs);
    store_bench_list_free(&bench);
    return status;
}
