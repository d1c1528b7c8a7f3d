#include "eval/compare_record.h"

#include <stdlib.h>

#include "analysis/record.h"
#include "base/memory.h"
#include "scores/kinds.h"

/* The name and the values of the k-th metric that is kept; NULL at the end. */
static const char *kept(struct sequence_value **out, const struct compare_values *values, int k) {
    int count = values->teacher ? METRIC_COUNT : 1;
    if (k < count) {
        enum metric metric = values->teacher ? (enum metric)k : METRIC_CE;
        *out = values->metrics[metric];
        return metric_name(metric);
    }
    *out = values->teacher_ce;
    return values->teacher && k == count ? "teacher_ce" : NULL;
}

/* What makes it another run than one of the same model and rows. */
static enum status describe(struct json **out, const struct compare_question *question) {
    char fingerprint[SHA256_HEX_SIZE];
    *out = js_new_object();
    if (!*out) return STATUS_FAILED;
    if (question->limit_rows) js_set_integer(*out, "rows", question->limit_rows);
    if (!question->teacher) return STATUS_OK;
    enum status status = checkpoint_fingerprint(question->teacher->checkpoint, fingerprint);
    if (!status) js_set_string(*out, "teacher", fingerprint);
    return status;
}

static enum status begin(struct compare_record *record, const struct compare_question *question) {
    struct json *parameters = NULL;
    char *layout = record_layout(question->student->config, NULL);
    enum store_run_state state = STORE_RUN_NEW;
    enum status status = layout ? describe(&parameters, question) : STATUS_FAILED;
    if (!status) {
        struct record_run about = {.kind = RUN_EVAL,
                                   .numbers = "eval-rows",
                                   .model = question->model,
                                   .base_layout = layout,
                                   .parameters = parameters,
                                   .identity = question->identity,
                                   .device = question->student->backend->name,
                                   .data = question->data,
                                   .set = question->set,
                                   .trunk = question->student};
        status = record_begin(&record->run, &state, record->store, &about);
    }
    record->finished = state == STORE_RUN_FINISHED;
    js_free(parameters);
    free(layout);
    return status;
}

/* A row is there when every metric has it: groups of rows are kept whole. */
static enum status load(struct compare_record *record, struct compare_values *values) {
    int *metrics = memory_calloc((size_t)values->rows, sizeof *metrics);
    struct sequence_value *into;
    enum status status = metrics ? STATUS_OK : STATUS_FAILED;
    const char *name;
    int wanted = 0;
    for (; !status && (name = kept(&into, values, wanted)); wanted++) {
        struct store_sequence_list list;
        status = store_get_sequence_scores(&list, record->store, record->run, STORE_TRUNK, name);
        if (status) break;
        for (size_t i = 0; i < list.count; i++) {
            int64_t row = list.values[i].row;
            if (row >= values->rows) continue;
            into[row] = list.values[i];
            metrics[row]++;
        }
        store_sequence_list_free(&list);
    }
    for (int64_t row = 0; !status && row < values->rows; row++) {
        values->done[row] = metrics[row] == wanted;
        record->found += values->done[row];
    }
    free(metrics);
    return status;
}

enum status compare_record_open(struct compare_record *out, struct compare_values *values,
                                const struct compare_question *question) {
    *out = (struct compare_record){0};
    if (!question->database) return STATUS_OK;
    enum status status = store_open(&out->store, question->database, STORE_WRITE);
    if (!status) status = begin(out, question);
    if (!status) status = load(out, values);
    if (!status && out->finished && out->found < values->rows)
        status =
            status_fail("run %lld of \"%s\" is finished, but %lld of its %lld rows are missing",
                        (long long)out->run, question->database,
                        (long long)(values->rows - out->found), (long long)values->rows);
    return status;
}

enum status compare_record_save(const struct compare_record *record,
                                const struct compare_values *values, int64_t first, int64_t count) {
    struct sequence_value *from;
    const char *name;
    if (!record->store) return STATUS_OK;
    enum status status = store_begin(record->store);
    if (status) return status;
    for (int k = 0; !status && (name = kept(&from, values, k)); k++)
        for (int64_t row = first; !status && row < first + count; row++)
            status = store_put_sequence_score(record->store, record->run, STORE_TRUNK, row, name,
                                              from[row].value, from[row].count);
    if (!status) return store_commit(record->store);
    store_rollback(record->store);
    return status;
}

enum status compare_record_finish(const struct compare_record *record, enum status status) {
    if (!record->store || record->finished) return status;
    if (!status) status = store_summarise_run(record->store, record->run);
    return record_finish(record->store, record->run, status);
}

void compare_record_close(struct compare_record *record) {
    store_close(record->store);
    *record = (struct compare_record){0};
}
