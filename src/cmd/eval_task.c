#include "cmd/eval_task.h"
#include "cli/document.h"
#include "cli/next.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/record.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/table.h"
#include "cmd/scores.h"
#include "data/task.h"
#include "data/task_record.h"
#include "eval/problems.h"
#include "eval/task_run.h"

/* ---- text */

/* Whether a task has something to say by this metric. */
static bool shown(const struct task_run_result *result, const struct task_items *items,
                  enum item_metric metric) {
    if (metric == ITEM_ACC_NORM) return result->normalised;
    return metric != ITEM_GREEDY || strcmp(items->name, "recall") == 0;
}

static void put_statistics(struct table *table, const struct statistics *statistics) {
    table_cell(table, "%.4f", statistics->mean);
    if (isfinite(statistics->stderr_mean))
        table_cell(table, "%.4f", statistics->stderr_mean);
    else
        table_cell(table, "-");
}

static void put_means(struct table *table, const struct task_run_result *result,
                      const struct task_items *items, const struct task_means *means) {
    table_cell(table, "%s", means->category ? means->category : items->name);
    table_cell(table, "%" PRId64, means->metrics[ITEM_ACC].n);
    for (int m = 0; m < ITEM_METRICS; m++)
        if (shown(result, items, (enum item_metric)m)) put_statistics(table, &means->metrics[m]);
}

/* The beginning of a cell's name, "kv/256/0.50", up to its depth. */
static size_t row_length(const char *category) {
    const char *depth = strrchr(category, '/');
    return depth ? (size_t)(depth - category) : 0;
}

/* Cells of the recall probe that follow the first and differ in depth only. */
static size_t count_depths(const struct task_run_result *result) {
    size_t count = 1;
    const char *first = result->categories[0].category;
    while (count < result->categories_count &&
           row_length(result->categories[count].category) == row_length(first) &&
           strncmp(result->categories[count].category, first, row_length(first)) == 0)
        count++;
    return count;
}

/* A line a kind and length, the accuracy at each depth. */
static enum status print_cells(const struct task_run_result *result) {
    size_t depths = count_depths(result);
    char *alignment = memory_calloc(2 * depths + 2, 1);
    struct table table;
    if (!alignment) return STATUS_FAILED;
    memset(alignment, 'r', 2 * depths + 1);
    alignment[0] = 'l';
    table_begin(&table, alignment);
    table_cell(&table, "acc at depth");
    for (size_t d = 0; d < depths; d++) {
        const char *category = result->categories[d].category;
        table_cell(&table, "%s", category + row_length(category) + 1);
        table_cell(&table, "+-");
    }
    for (size_t i = 0; i < result->categories_count; i++) {
        const struct task_means *means = &result->categories[i];
        if (i % depths == 0)
            table_cell(&table, "%.*s", (int)row_length(means->category), means->category);
        put_statistics(&table, &means->metrics[ITEM_ACC]);
    }
    enum status status = table_print(&table, stdout);
    free(alignment);
    return status;
}

static enum status print_text(const struct task_run_result *result,
                              const struct eval_task_options *options,
                              const struct task_items *items) {
    char alignment[2 + 2 * ITEM_METRICS + 1] = "lr";
    bool recall = strcmp(items->name, "recall") == 0;
    struct table table;
    enum status status = STATUS_OK;
    if (result->items_found == result->items)
        printf("run %" PRId64 " was complete: nothing computed\n", result->run);
    else
        quote_print(stdout,
                    "%s: %s, %" PRId64 " items, %" PRId64 " rows of %" PRId64 " tokens, in %.1f s",
                    options->model, items->name, result->items, result->rows, result->tokens,
                    result->seconds);
    if (recall) status = print_cells(result);
    if (status) return status;
    for (int m = 0; m < ITEM_METRICS; m++)
        if (shown(result, items, (enum item_metric)m)) strcat(alignment, "rr");
    table_begin(&table, alignment);
    table_cell(&table, "task");
    table_cell(&table, "items");
    for (int m = 0; m < ITEM_METRICS; m++)
        if (shown(result, items, (enum item_metric)m)) {
            table_cell(&table, "%s", item_metric_name((enum item_metric)m));
            table_cell(&table, "+-");
        }
    for (size_t i = 0; !recall && i < result->categories_count; i++)
        put_means(&table, result, items, &result->categories[i]);
    put_means(&table, result, items, &result->all);
    return table_print(&table, stdout);
}

/* ---- JSON */

static struct json *means_to_json(const struct task_means *means) {
    struct json *object = js_new_object();
    if (means->category) js_set_string(object, "category", means->category);
    for (int m = 0; m < ITEM_METRICS; m++)
        js_set(object, item_metric_name((enum item_metric)m),
               statistics_to_json(&means->metrics[m]));
    return object;
}

static struct json *result_to_json(const struct task_run_result *result,
                                   const struct task_items *items) {
    struct json *object = means_to_json(&result->all), *categories = js_new_array();
    js_set_string(object, "task", items->name);
    js_set_string(object, "file", items->path);
    js_set(object, "parameters", js_copy(items->parameters));
    if (result->run) js_set_integer(object, "run", result->run);
    js_set_integer(object, "items", result->items);
    js_set_integer(object, "items_found", result->items_found);
    js_set_integer(object, "rows", result->rows);
    js_set_integer(object, "tokens", result->tokens);
    js_set_integer(object, "cut", items->set->cut);
    js_set_number(object, "seconds", result->seconds);
    for (size_t i = 0; i < result->categories_count; i++)
        js_append(categories, means_to_json(&result->categories[i]));
    js_set(object, "categories", categories);
    return object;
}

/* ---- */

static enum status run_choices(struct json *array, const struct eval_task_options *options,
                               struct model *model, const char *text) {
    struct task_items items;
    struct task_run_result result = {0};
    enum status status = task_option_build(&items, text, options->values, options->model,
                                           model->config->max_position_embeddings);
    if (status) return status;
    if (js_count(options->identity))
        js_set(items.parameters, "options", js_copy(options->identity));
    struct task_run_settings settings = {.model = model,
                                         .set = items.set,
                                         .name = items.name,
                                         .path = items.path,
                                         .parameters = items.parameters,
                                         .seed = items.seed,
                                         .database = options->database,
                                         .group_tokens = options->group_tokens};
    status = task_run(&result, &settings);
    status = record_tell_interrupt(status, "items", result.run ? options->database : NULL);
    if (!status && options->json)
        js_append(array, result_to_json(&result, &items));
    else if (!status)
        status = print_text(&result, options, &items);
    task_run_free(&result);
    task_items_free(&items);
    return status;
}

static enum status run_task(struct json *array, const struct eval_task_options *options,
                            struct model *model, const char *text) {
    char *name = NULL;
    const char *path;
    enum status status = task_option_split(&name, &path, text);
    if (!status && strcmp(name, "recall") != 0 && !task_is_choice(name) && !problems_is_task(name))
        status = task_option_unknown(name, problems_names);
    if (!status)
        status = problems_is_task(name) ? eval_exact(array, options, model, name, path)
                                        : run_choices(array, options, model, text);
    free(name);
    return status;
}

enum status eval_tasks(const struct eval_task_options *options) {
    struct backend *backend = NULL;
    struct model *model = NULL;
    struct json *array = options->json ? js_new_array() : NULL;
    enum status status = backend_open(&backend, options->device);
    if (!status) status = model_open(&model, backend, options->model, &options->checkpoint);
    for (size_t i = 0; !status && i < options->tasks->count; i++)
        status = run_task(array, options, model, options->tasks->values[i]);
    if (!status && options->json) {
        struct json *document = document_begin("eval");
        js_set_string(document, "model", options->model);
        js_set(document, "tasks", array);
        array = NULL;
        status = document_print(document);
    }
    if (!status && options->database) {
        struct text line;
        next_begin(&line, "scores");
        next_path(&line, "--db", options->database);
        next_print(&line, false);
    }
    js_free(array);
    model_close(model);
    if (backend) backend->close(backend);
    return status;
}
