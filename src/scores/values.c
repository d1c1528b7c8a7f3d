/* Sequence values, scores and probe steps. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "scores/reader.h"

static enum status check_finite(struct store *store, int layer, const char *metric, double value) {
    if (isfinite(value)) return STATUS_OK;
    return status_fail("layer %d: \"%s\" is %s; not stored in \"%s\"", layer, metric,
                       isnan(value) ? "not a number" : "infinite", store->path);
}

enum status store_put_sequence_score(struct store *store, int64_t run, int layer, int64_t row,
                                     const char *metric, double value, int64_t count) {
    enum status status = check_finite(store, layer, metric, value);
    if (status) return status;
    if (count < 0)
        return status_fail("layer %d, row %lld: \"%s\" has a negative count", layer, (long long)row,
                           metric);
    return connection_run(store,
                          "INSERT OR REPLACE INTO sequence_score (run, layer, row, metric, value,"
                          " count) VALUES (?, ?, ?, ?, ?, ?)",
                          "iiitdi", run, (int64_t)layer, row, metric, value, count);
}

enum status store_put_score(struct store *store, int64_t run, int layer, const char *metric,
                            double value, double stderr_value, int64_t n) {
    enum status status = check_finite(store, layer, metric, value);
    if (!status && isinf(stderr_value))
        status = status_fail("layer %d: the standard error of \"%s\" is infinite", layer, metric);
    if (status) return status;
    return connection_run(store,
                          "INSERT OR REPLACE INTO score (run, layer, metric, value, stderr, n)"
                          " VALUES (?, ?, ?, ?, ?, ?)",
                          "iitddi", run, (int64_t)layer, metric, value, stderr_value, n);
}

enum status store_put_probe_step(struct store *store, int64_t run, int layer, int64_t seed,
                                 int64_t step, double loss) {
    enum status status = check_finite(store, layer, "probe loss", loss);
    if (status) return status;
    return connection_run(store,
                          "INSERT OR REPLACE INTO probe_step (run, layer, seed, step, loss)"
                          " VALUES (?, ?, ?, ?, ?)",
                          "iiiid", run, (int64_t)layer, seed, step, loss);
}

/* ---- reading */

/* What is read, and the bounds of its rows. */
struct list {
    void *out;
    int64_t layers; /* of the model */
};

static enum status append_row(void *into, struct reader *reader) {
    struct store_row_list *list = into;
    void *rows = list->rows;
    enum status status = connection_grow(&rows, list->count, sizeof *list->rows);
    list->rows = rows;
    if (!status) list->rows[list->count++] = reader_integer(reader, 1, 0, INT64_MAX);
    return status;
}

enum status store_get_rows(struct store_row_list *out, struct store *store, int64_t run) {
    *out = (struct store_row_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store,
        "SELECT DISTINCT run, row FROM sequence_score WHERE run = ? ORDER BY row", "i", run);
    if (!status) status = reader_run(store, statement, "sequence_score", 2, out, append_row);
    if (status) store_row_list_free(out);
    return status;
}

static enum status append_layer(void *into, struct reader *reader) {
    const struct list *list = into;
    struct store_row_list *layers = list->out;
    void *rows = layers->rows;
    enum status status = connection_grow(&rows, layers->count, sizeof *layers->rows);
    layers->rows = rows;
    if (!status) layers->rows[layers->count++] = reader_integer(reader, 1, 0, list->layers - 1);
    return status;
}

enum status store_get_probe_layers(struct store_row_list *out, struct store *store, int64_t run) {
    *out = (struct store_row_list){0};
    struct list list = {.out = out};
    sqlite3_stmt *statement = NULL;
    enum status status = runs_find_layers(&list.layers, store, run);
    if (!status)
        status = connection_prepare(
            &statement, store,
            "SELECT DISTINCT run, layer FROM probe_step WHERE run = ? ORDER BY layer", "i", run);
    if (!status) status = reader_run(store, statement, "probe_step", 2, &list, append_layer);
    if (status) store_row_list_free(out);
    return status;
}

static enum status append_sequence(void *into, struct reader *reader) {
    struct store_sequence_list *list = into;
    void *values = list->values;
    enum status status = connection_grow(&values, list->count, sizeof *list->values);
    list->values = values;
    if (status) return status;
    list->values[list->count++] = (struct sequence_value){
        .row = reader_integer(reader, 3, 0, INT64_MAX),
        .count = reader_integer(reader, 4, 0, INT64_MAX),
        .value = reader_number(reader, 5, -INFINITY, false),
    };
    return reader->status;
}

enum status store_get_sequence_scores(struct store_sequence_list *out, struct store *store,
                                      int64_t run, int layer, const char *metric) {
    *out = (struct store_sequence_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status =
        connection_prepare(&statement, store,
                           "SELECT run, layer, metric, row, count, value FROM sequence_score"
                           " WHERE run = ? AND metric = ? AND layer = ? ORDER BY row",
                           "iti", run, metric, (int64_t)layer);
    if (!status) status = reader_run(store, statement, "sequence_score", 4, out, append_sequence);
    if (!status) status = whole_check(store, run);
    if (status) store_sequence_list_free(out);
    return status;
}

static enum status append_step(void *into, struct reader *reader) {
    struct store_step_list *list = into;
    void *steps = list->steps;
    enum status status = connection_grow(&steps, list->count, sizeof *list->steps);
    list->steps = steps;
    if (status) return status;
    list->steps[list->count++] = (struct store_step){
        .seed = reader_integer(reader, 2, INT64_MIN, INT64_MAX),
        .step = reader_integer(reader, 3, 0, INT64_MAX - 1),
        .loss = reader_number(reader, 4, -INFINITY, false),
    };
    return reader->status;
}

enum status store_get_probe_steps(struct store_step_list *out, struct store *store, int64_t run,
                                  int layer) {
    *out = (struct store_step_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(&statement, store,
                                            "SELECT run, layer, seed, step, loss FROM probe_step"
                                            " WHERE run = ? AND layer = ? ORDER BY seed, step",
                                            "ii", run, (int64_t)layer);
    if (!status) status = reader_run(store, statement, "probe_step", 4, out, append_step);
    if (!status) status = whole_check(store, run);
    if (status) store_step_list_free(out);
    return status;
}

static enum status append_score(void *into, struct reader *reader) {
    const struct list *list = into;
    struct store_score_list *out = list->out;
    void *scores = out->scores;
    enum status status = connection_grow(&scores, out->count, sizeof *out->scores);
    out->scores = scores;
    if (status) return status;
    struct store_score *score = &out->scores[out->count++];
    *score = (struct store_score){0};
    score->metric = reader_text(reader, 1, 0);
    score->layer = (int)reader_integer(reader, 2, STORE_TRUNK, list->layers - 1);
    score->value = reader_number(reader, 3, -INFINITY, false);
    score->stderr_value = reader_number(reader, 4, 0, true);
    score->n = reader_integer(reader, 5, 0, INT64_MAX);
    return reader->status;
}

/* ---- summary of sequence values */

/* Every (layer, metric) with sequence values, without the numbers. */
static enum status find_summaries(struct store_score_list *out, struct store *store, int64_t run) {
    struct list list = {.out = out};
    sqlite3_stmt *statement = NULL;
    enum status status = runs_find_layers(&list.layers, store, run);
    if (!status)
        status = connection_prepare(
            &statement, store,
            "SELECT run, metric, layer, 0.0 AS value, NULL AS stderr, 0 AS n FROM sequence_score"
            " WHERE run = ? GROUP BY metric, layer HAVING total(count) > 0 ORDER BY metric, layer",
            "i", run);
    if (!status) status = reader_run(store, statement, "sequence_score", 3, &list, append_score);
    return status;
}

static enum status summarise(struct store_score_list *list, struct store *store, int64_t run) {
    enum status status = find_summaries(list, store, run);
    for (size_t i = 0; !status && i < list->count; i++) {
        struct store_score *score = &list->scores[i];
        struct store_sequence_list values;
        struct statistics result;
        status = store_get_sequence_scores(&values, store, run, score->layer, score->metric);
        if (status) break;
        status = statistics_mean(&result, values.values, values.count);
        store_sequence_list_free(&values);
        if (status) {
            status = status_fail("\"%s\": run %lld, layer %d, \"%s\": %s", store->path,
                                 (long long)run, score->layer, score->metric, status_message());
            break;
        }
        score->value = result.mean;
        score->stderr_value = result.stderr_mean;
        score->n = result.n;
    }
    return status;
}

enum status store_get_scores(struct store_score_list *out, struct store *store, int64_t run) {
    *out = (struct store_score_list){0};
    struct list list = {.out = out};
    sqlite3_stmt *statement = NULL;
    enum status status = runs_find_layers(&list.layers, store, run);
    if (!status)
        status = connection_prepare(&statement, store,
                                    "SELECT run, metric, layer, value, stderr, n FROM score"
                                    " WHERE run = ? ORDER BY metric, layer",
                                    "i", run);
    if (!status) status = reader_run(store, statement, "score", 3, &list, append_score);
    if (!status && !out->count) status = summarise(out, store, run);
    if (!status) status = whole_check(store, run);
    if (status) store_score_list_free(out);
    return status;
}

enum status store_summarise_run(struct store *store, int64_t run) {
    struct store_score_list list = {0};
    bool own = sqlite3_get_autocommit(store->db) != 0;
    enum status status = own ? store_begin(store) : STATUS_OK;
    if (status) return status;
    status = summarise(&list, store, run);
    for (size_t i = 0; !status && i < list.count; i++)
        status =
            store_put_score(store, run, list.scores[i].layer, list.scores[i].metric,
                            list.scores[i].value, list.scores[i].stderr_value, list.scores[i].n);
    store_score_list_free(&list);
    if (own && !status) return store_commit(store);
    if (own) store_rollback(store);
    return status;
}

/* ---- state of a probe */

/* A state as its parts tell it. */
struct state {
    int64_t parts, step;
    size_t bytes;
};

static enum status add_part(void *into, struct reader *reader) {
    enum { MOST_PARTS = 1 << 20 };
    struct state *state = into;
    int64_t part = reader_integer(reader, 3, 0, MOST_PARTS);
    int64_t step = reader_integer(reader, 4, 0, INT64_MAX);
    int64_t bytes = reader_integer(reader, 5, 1, INT32_MAX); /* NULL unless a blob */
    if (reader->status) return reader->status;
    if (part != state->parts)
        return reader_fail(reader, 3, "is %lld where %lld is missing", (long long)part,
                           (long long)state->parts);
    if (state->parts && step != state->step)
        return reader_fail(reader, 4, "is %lld, not %lld as in the parts before", (long long)step,
                           (long long)state->step);
    state->parts++;
    state->step = step;
    state->bytes += (size_t)bytes;
    return STATUS_OK;
}

enum status store_find_probe_state(size_t *bytes, int64_t *step, struct store *store, int64_t run,
                                   int layer, int64_t seed) {
    sqlite3_stmt *statement = NULL;
    struct state state = {0};
    enum status status = connection_prepare(
        &statement, store,
        "SELECT run, layer, seed, part, step,"
        " CASE typeof(bytes) WHEN 'blob' THEN length(bytes) END AS bytes"
        " FROM probe_state WHERE run = ? AND layer = ? AND seed = ? ORDER BY part",
        "iii", run, (int64_t)layer, seed);
    if (!status) status = reader_run(store, statement, "probe_state", 4, &state, add_part);
    *bytes = state.bytes;
    *step = state.step;
    return status;
}

enum status store_get_probe_part(void **bytes, size_t *size, struct store *store, int64_t run,
                                 int layer, int64_t seed, int64_t part) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = connection_prepare(
        &statement, store,
        "SELECT bytes FROM probe_state WHERE run = ? AND layer = ? AND seed = ? AND part = ?",
        "iiii", run, (int64_t)layer, seed, part);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && (!row || sqlite3_column_type(statement, 0) != SQLITE_BLOB))
        status = status_fail("\"%s\": part %lld of the training state of layer %d is missing",
                             store->path, (long long)part, layer);
    if (!status) {
        const char *blob = sqlite3_column_blob(statement, 0);
        *size = (size_t)sqlite3_column_bytes(statement, 0);
        *bytes = memory_copy_bytes(blob ? blob : "", *size);
        if (!*bytes) status = STATUS_FAILED;
    }
    connection_reset(statement);
    return status;
}

enum status store_put_probe_part(struct store *store, int64_t run, int layer, int64_t seed,
                                 int64_t part, int64_t step, const void *bytes, size_t size) {
    return connection_run(store,
                          "INSERT INTO probe_state (run, layer, seed, part, step, bytes)"
                          " VALUES (?, ?, ?, ?, ?, ?)",
                          "iiiiib", run, (int64_t)layer, seed, part, step, bytes, size);
}

enum status store_drop_probe_state(struct store *store, int64_t run, int layer, int64_t seed) {
    return connection_run(store, "DELETE FROM probe_state WHERE run = ? AND layer = ? AND seed = ?",
                          "iii", run, (int64_t)layer, seed);
}

void store_row_list_free(struct store_row_list *list) {
    free(list->rows);
    *list = (struct store_row_list){0};
}

void store_score_list_free(struct store_score_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->scores[i].metric);
    free(list->scores);
    *list = (struct store_score_list){0};
}

void store_sequence_list_free(struct store_sequence_list *list) {
    free(list->values);
    *list = (struct store_sequence_list){0};
}

void store_step_list_free(struct store_step_list *list) {
    free(list->steps);
    *list = (struct store_step_list){0};
}
