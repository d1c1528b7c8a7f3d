#include "eval/task_record.h"
#include "scores/kinds.h"

#include <stdlib.h>

enum status task_record_begin(int64_t *run, enum store_run_state *state, struct store *store,
                              const struct task_record *record) {
    char *layout = record_layout(record->model->config, NULL);
    struct json *parameters = js_copy(record->parameters);
    enum status status = layout && parameters ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        struct record_run about = {.kind = RUN_EVAL,
                                   .numbers = record->numbers,
                                   .model = checkpoint_directory(record->model->checkpoint),
                                   .base_layout = layout,
                                   .parameters = parameters,
                                   .seed = record->seed,
                                   .device = record->model->backend->name,
                                   .data = record->path,
                                   .set = record->about,
                                   .trunk = record->model};
        status = record_begin(run, state, store, &about);
    }
    js_free(parameters);
    free(layout);
    return status;
}

enum status task_record_load(int64_t *found, bool *done, double *values, size_t stride, size_t rows,
                             struct store *store, int64_t run, const char *metric) {
    struct store_sequence_list list;
    enum status status = store_get_sequence_scores(&list, store, run, STORE_TRUNK, metric);
    if (status) return status;
    *found = (int64_t)list.count;
    for (size_t i = 0; i < list.count; i++) {
        int64_t row = list.values[i].row;
        if (row < 0 || (size_t)row >= rows) continue;
        done[row] = true;
        values[(size_t)row * stride] = list.values[i].value;
    }
    store_sequence_list_free(&list);
    return STATUS_OK;
}

enum status task_record_check(const struct task_record_state *state, const bool *done,
                              size_t rows) {
    size_t missing = 0;
    for (size_t i = 0; i < rows; i++) missing += !done[i];
    if (!missing || !state->finished) return STATUS_OK;
    return status_fail("run %lld of \"%s\" is finished, but %zu of its %zu items are missing",
                       (long long)state->run, state->database, missing, rows);
}
