/* The curves of a training: what each step had, and what was measured between them. */
#include <math.h>
#include <stdlib.h>

#include "scores/reader.h"

static double or_null(double value) {
    return isfinite(value) ? value : NAN;
}

enum status store_put_training_step(struct store *store, int64_t run,
                                    const struct store_training_step *step) {
    return connection_run(store,
                          "INSERT OR REPLACE INTO training_step"
                          " (run, step, loss, rate, norm, tokens, seconds, taken)"
                          " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                          "iidddidi", run, step->step, or_null(step->loss), step->rate,
                          or_null(step->norm), step->tokens, step->seconds, (int64_t)step->taken);
}

enum status store_put_training_value(struct store *store, int64_t run,
                                     const struct store_training_value *value) {
    if (!isfinite(value->value))
        return status_fail("\"%s\": %s at step %lld is not finite", store->path, value->metric,
                           (long long)value->step);
    return connection_run(store,
                          "INSERT OR REPLACE INTO training_value"
                          " (run, step, metric, value, stderr, n) VALUES (?, ?, ?, ?, ?, ?)",
                          "iitddi", run, value->step, value->metric, value->value,
                          or_null(value->stderr_value), value->n);
}

enum status store_drop_training(struct store *store, int64_t run, int64_t step) {
    enum status status = connection_run(
        store, "DELETE FROM training_step WHERE run = ? AND step >= ?", "ii", run, step);
    return status ? status
                  : connection_run(store, "DELETE FROM training_value WHERE run = ? AND step > ?",
                                   "ii", run, step);
}

static enum status append_step(void *into, struct reader *reader) {
    struct store_training *out = into;
    void *steps = out->steps;
    enum status status = connection_grow(&steps, out->step_count, sizeof *out->steps);
    out->steps = steps;
    if (status) return status;
    out->steps[out->step_count++] = (struct store_training_step){
        .step = reader_integer(reader, 1, 0, INT64_MAX - 1),
        .loss = reader_number(reader, 2, -INFINITY, true),
        .rate = reader_number(reader, 3, 0, false),
        .norm = reader_number(reader, 4, 0, true),
        .tokens = reader_integer(reader, 5, 0, INT64_MAX),
        .seconds = reader_number(reader, 6, 0, false),
        .taken = reader_integer(reader, 7, 0, 1) != 0,
    };
    return reader->status;
}

static enum status append_value(void *into, struct reader *reader) {
    struct store_training *out = into;
    void *values = out->values;
    enum status status = connection_grow(&values, out->value_count, sizeof *out->values);
    out->values = values;
    if (status) return status;
    struct store_training_value *value = &out->values[out->value_count++];
    *value = (struct store_training_value){0};
    value->metric = reader_text(reader, 1, 0);
    value->step = reader_integer(reader, 2, 0, INT64_MAX);
    value->value = reader_number(reader, 3, -INFINITY, false);
    value->stderr_value = reader_number(reader, 4, 0, true);
    value->n = reader_integer(reader, 5, 0, INT64_MAX);
    return reader->status;
}

enum status store_get_training(struct store_training *out, struct store *store, int64_t run) {
    *out = (struct store_training){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store,
        "SELECT run, step, loss, rate, norm, tokens, seconds, taken FROM training_step"
        " WHERE run = ? ORDER BY step",
        "i", run);
    if (!status) status = reader_run(store, statement, "training_step", 2, out, append_step);
    if (!status)
        status = connection_prepare(&statement, store,
                                    "SELECT run, metric, step, value, stderr, n FROM training_value"
                                    " WHERE run = ? ORDER BY metric, step",
                                    "i", run);
    if (!status) status = reader_run(store, statement, "training_value", 3, out, append_value);
    if (status) store_training_free(out);
    return status;
}

void store_training_free(struct store_training *training) {
    for (size_t i = 0; i < training->value_count; i++) free(training->values[i].metric);
    free(training->values);
    free(training->steps);
    *training = (struct store_training){0};
}
