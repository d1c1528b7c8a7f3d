#include "cli/score_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/next.h"
#include "cli/run_text.h"

const struct store_score *score_list_find(const struct store_score_list *list, int layer,
                                          const char *metric) {
    for (size_t i = 0; i < list->count; i++)
        if (list->scores[i].layer == layer && strcmp(list->scores[i].metric, metric) == 0)
            return &list->scores[i];
    return NULL;
}

struct json *score_to_json(const struct store_score *score) {
    struct json *item = js_new_object();
    if (score->layer != STORE_TRUNK) js_set_integer(item, "layer", score->layer);
    js_set_string(item, "metric", score->metric);
    js_set_number(item, "value", score->value);
    js_set_number(item, "stderr", score->stderr_value);
    js_set_integer(item, "n", score->n);
    return item;
}

struct json *score_list_to_json(const struct store_score_list *list) {
    struct json *array = js_new_array();
    for (size_t i = 0; i < list->count; i++) js_append(array, score_to_json(&list->scores[i]));
    return array;
}

enum status score_list_set_base(struct json *document, struct store *store, int64_t run,
                                const char *path) {
    struct store_run found;
    enum status status = store_get_run(&found, store, run);
    if (status) return status;
    js_set_string(document, "base", run_replaced(&found) ? found.base : NULL);
    js_set_string(document, "base_path", path);
    store_run_free(&found);
    return STATUS_OK;
}

void score_list_print_next(const char *database, int64_t run) {
    struct text line;
    next_begin(&line, "scores");
    next_path(&line, "--db", database);
    next_words(&line, "--run %" PRId64, run);
    next_print(&line, false);
    next_begin(&line, "plan");
    next_path(&line, "--db", database);
    next_words(&line, "--run %" PRId64 " -o plan.json", run);
    next_print(&line, true);
}
