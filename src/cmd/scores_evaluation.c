/* apriel-tool scores --run N of a run of eval --task. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/quote.h"
#include "cli/run_text.h"
#include "cli/table.h"
#include "cmd/scores.h"

struct evaluation {
    const struct store_run *run;
    char *task; /* "arc_easy"; "" for a token set, whose rows are no items */
    struct store_item_list items;
    struct store_score_list scores;     /* of all items, one a metric */
    struct store_sequence_list *values; /* [scores.count] */
    const char **categories;            /* [count], in order of appearance; borrowed */
    size_t count;
};

static void evaluation_free(struct evaluation *evaluation) {
    for (size_t i = 0; evaluation->values && i < evaluation->scores.count; i++)
        store_sequence_list_free(&evaluation->values[i]);
    free(evaluation->values);
    free(evaluation->categories);
    free(evaluation->task);
    store_score_list_free(&evaluation->scores);
    store_item_list_free(&evaluation->items);
}

static enum status find_categories(struct evaluation *out) {
    out->categories = memory_calloc(out->items.count, sizeof *out->categories);
    if (!out->categories) return STATUS_FAILED;
    for (size_t i = 0; i < out->items.count; i++) {
        const char *name = out->items.items[i].category;
        size_t c = 0;
        while (name && c < out->count && strcmp(out->categories[c], name) != 0) c++;
        if (name && c == out->count) out->categories[out->count++] = name;
    }
    return STATUS_OK;
}

static enum status load(struct evaluation *out, struct store *store, const struct store_run *run) {
    struct json *parameters = NULL;
    *out = (struct evaluation){.run = run};
    enum status status =
        js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters");
    if (!status) {
        out->task = memory_copy_string(js_string_or(js_member(parameters, "task"), ""));
        status = out->task ? STATUS_OK : STATUS_FAILED;
    }
    js_free(parameters);
    if (!status) status = store_get_items(&out->items, store, run->id);
    if (!status) status = store_get_scores(&out->scores, store, run->id);
    if (!status) {
        out->values = memory_calloc(out->scores.count, sizeof *out->values);
        status = out->values ? find_categories(out) : STATUS_FAILED;
    }
    for (size_t i = 0; !status && i < out->scores.count; i++)
        status =
            store_get_sequence_scores(&out->values[i], store, run->id, out->scores.scores[i].layer,
                                      out->scores.scores[i].metric);
    return status;
}

/* Mean of one metric over the items of a category (NULL: all). */
static enum status mean_of(struct statistics *out, const struct evaluation *evaluation,
                           size_t metric, const char *category) {
    const struct store_sequence_list *all = &evaluation->values[metric];
    const struct store_item_list *items = &evaluation->items;
    struct sequence_value *values = memory_calloc(all->count, sizeof *values);
    if (!values) return STATUS_FAILED;
    size_t count = 0, i = 0;
    for (size_t k = 0; k < all->count; k++) {
        while (i < items->count && items->items[i].row < all->values[k].row) i++;
        bool found = i < items->count && items->items[i].row == all->values[k].row;
        const char *own = found ? items->items[i].category : NULL;
        if (!category || (own && strcmp(own, category) == 0)) values[count++] = all->values[k];
    }
    *out = (struct statistics){.mean = NAN, .stderr_mean = NAN};
    enum status status = count ? statistics_mean(out, values, count) : STATUS_OK;
    free(values);
    return status;
}

/* ---- text */

static void put(struct table *table, double value) {
    if (isfinite(value))
        table_cell(table, "%.4f", value);
    else
        table_cell(table, "-");
}

static enum status put_line(struct table *table, const struct evaluation *evaluation,
                            const char *category) {
    enum status status = STATUS_OK;
    table_cell(table, "%s", category ? category : "all");
    for (size_t m = 0; !status && m < evaluation->scores.count; m++) {
        struct statistics mean;
        status = mean_of(&mean, evaluation, m, category);
        if (status) break;
        if (m == 0) table_cell(table, "%lld", (long long)mean.n);
        put(table, mean.mean);
        put(table, mean.stderr_mean);
    }
    return status;
}

static enum status print_text(const struct evaluation *evaluation) {
    const struct store_run *run = evaluation->run;
    char time[32];
    bool items = *evaluation->task, done = strcmp(run->status, STORE_STATUS_DONE) == 0;
    quote_print(stdout, "run %lld: eval %s%sof %s on %s", (long long)run->id, evaluation->task,
                items ? " " : "", run->model_name, run->dataset_path);
    quote_print(stdout, "%s, %lld %s%s; begun %s, time %s", run->status,
                items ? (long long)evaluation->items.count : (long long)run->rows,
                items ? "items" : "rows", done ? "" : " so far", run->started,
                run_format_seconds(time, run_seconds(run)));
    quote_print(stdout, "device %s, seed %lld, parameters %s", run->device, (long long)run->seed,
                run->parameters);
    if (run->note) quote_print(stdout, "note: %s", run->note);
    puts("");
    if (!evaluation->scores.count) return STATUS_OK;
    char *alignment = memory_calloc(3 + 2 * evaluation->scores.count, 1);
    if (!alignment) return STATUS_FAILED;
    memset(alignment, 'r', 2 + 2 * evaluation->scores.count);
    alignment[0] = 'l';
    struct table table;
    table_begin(&table, alignment);
    table_cell(&table, "%s", items ? "category" : "");
    table_cell(&table, "%s", items ? "items" : "rows");
    for (size_t m = 0; m < evaluation->scores.count; m++) {
        table_cell(&table, "%s", evaluation->scores.scores[m].metric);
        table_cell(&table, "+-");
    }
    enum status status = STATUS_OK;
    for (size_t c = 0; !status && c < evaluation->count; c++)
        status = put_line(&table, evaluation, evaluation->categories[c]);
    if (!status) status = put_line(&table, evaluation, NULL);
    if (!status)
        status = table_print(&table, stdout);
    else
        table_free(&table);
    free(alignment);
    return status;
}

/* ---- JSON */

static enum status means_to_json(struct json *object, const struct evaluation *evaluation,
                                 const char *category) {
    enum status status = STATUS_OK;
    if (category) js_set_string(object, "category", category);
    for (size_t m = 0; !status && m < evaluation->scores.count; m++) {
        struct statistics mean;
        status = mean_of(&mean, evaluation, m, category);
        if (status) break;
        js_set(object, evaluation->scores.scores[m].metric, statistics_to_json(&mean));
    }
    return status;
}

static enum status add_json(struct json *array, const struct evaluation *evaluation) {
    struct json *object = run_to_json(evaluation->run), *categories = js_new_array();
    enum status status = means_to_json(object, evaluation, NULL);
    for (size_t c = 0; !status && c < evaluation->count; c++) {
        struct json *item = js_new_object();
        status = means_to_json(item, evaluation, evaluation->categories[c]);
        js_append(categories, item);
    }
    js_set(object, "categories", categories);
    js_append(array, object);
    return status;
}

enum status show_evaluation(struct json *array, struct store *store, const struct store_run *run) {
    struct evaluation evaluation;
    enum status status = load(&evaluation, store, run);
    if (!status) status = array ? add_json(array, &evaluation) : print_text(&evaluation);
    evaluation_free(&evaluation);
    return status;
}
