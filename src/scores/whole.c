/* Whether a run that says that it is done has all that such a run has. What a database says of
 * itself may have been changed by hand; means of fewer rows would pass for those of all. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "scores/connection.h"

/* The run as far as it tells what belongs to it. */
struct claim {
    bool done, task;
    int64_t layers; /* that were asked for; 0: not told */
};

static enum status read_parameters(struct claim *out, const char *text) {
    struct json *parameters = NULL;
    struct int_list layers = {0};
    if (js_parse(&parameters, text, strlen(text), "parameters") != STATUS_OK)
        return STATUS_OK; /* the reader of runs complains */
    const char *list = js_string_or(js_member(parameters, "layers"), NULL);
    out->task = js_member(parameters, "task") != NULL;
    if (list && list_parse(&layers, list, 0, STORE_LAYERS_MOST, "layers") == STATUS_OK)
        out->layers = (int64_t)layers.count;
    list_free(&layers);
    js_free(parameters);
    return STATUS_OK;
}

static enum status read_claim(struct claim *out, struct store *store, int64_t run) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *out = (struct claim){0};
    enum status status = connection_prepare(
        &statement, store, "SELECT status, parameters FROM run WHERE id = ?", "i", run);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && row) {
        const char *word = (const char *)sqlite3_column_text(statement, 0);
        const char *parameters = (const char *)sqlite3_column_text(statement, 1);
        out->done = word && strcmp(word, STORE_STATUS_DONE) == 0;
        if (out->done && parameters) status = read_parameters(out, parameters);
    }
    connection_reset(statement);
    return status;
}

/* "run 1 of "x.db" is finished, but WHAT" */
static enum status fail(const struct store *store, int64_t run, const char *format, ...)
    STATUS_PRINTF(3, 4);
static enum status fail(const struct store *store, int64_t run, const char *format, ...) {
    char what[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return status_fail("run %lld of \"%s\" is finished, but %s: delete it (scores --delete %lld) "
                       "and run its command again",
                       (long long)run, store->path, what, (long long)run);
}

/* Up to two integers of the first row of a query by run; `*row`: whether there is one whose first
 * column is not NULL. */
static enum status ask(bool *row, int64_t out[2], struct store *store, const char *sql,
                       int64_t run) {
    sqlite3_stmt *statement = NULL;
    *row = false;
    enum status status = connection_prepare(&statement, store, sql, "i", run);
    if (!status) status = connection_step(row, store, statement);
    if (!status && *row) *row = sqlite3_column_type(statement, 0) != SQLITE_NULL;
    for (int i = 0; !status && *row && i < sqlite3_column_count(statement) && i < 2; i++)
        out[i] = sqlite3_column_int64(statement, i);
    connection_reset(statement);
    return status;
}

/* Every score of sequences is of as many as there are, and every metric of them has its scores. */
static enum status check_rows(struct store *store, int64_t run, const char *noun) {
    int64_t found[2] = {0};
    bool row;
    enum status status =
        ask(&row, found, store,
            "SELECT max(s.n), min(coalesce(q.counted, 0)) FROM score s LEFT JOIN"
            " (SELECT layer, metric, sum(count IS NOT 0) AS counted FROM sequence_score"
            "  WHERE run = ?1 GROUP BY metric, layer) q"
            " ON q.metric = s.metric AND q.layer = s.layer"
            " WHERE s.run = ?1 AND s.n > coalesce(q.counted, 0) AND s.metric IN"
            " (SELECT DISTINCT metric FROM sequence_score WHERE run = ?1)",
            run);
    if (!status && row)
        return fail(store, run, "%lld of its %lld %s are missing", (long long)(found[0] - found[1]),
                    (long long)found[0], noun);
    if (!status)
        status = ask(&row, found, store,
                     "SELECT row FROM sequence_score q WHERE run = ?1"
                     " AND count > 0 AND NOT EXISTS (SELECT 1 FROM score s WHERE s.run = q.run"
                     "  AND s.metric = q.metric AND s.layer = q.layer) LIMIT 1",
                     run);
    if (!status && row) return fail(store, run, "some of its values have no score");
    return status;
}

static enum status check_layers(struct store *store, int64_t run, int64_t layers) {
    int64_t found[2] = {0};
    bool row;
    enum status status =
        ask(&row, found, store,
            "SELECT count(DISTINCT layer) FROM score WHERE run = ?1 AND layer >= 0", run);
    if (status || !layers || found[0] >= layers) return status;
    return fail(store, run, "%lld of its %lld layers are missing", (long long)(layers - found[0]),
                (long long)layers);
}

/* Steps of a probe are counted from 0 without a gap. */
static enum status check_steps(struct store *store, int64_t run) {
    int64_t found[2] = {0};
    bool row;
    enum status status =
        ask(&row, found, store,
            "SELECT layer, max(step) + 1 - count(DISTINCT step) FROM probe_step WHERE run = ?1"
            " GROUP BY layer, seed HAVING max(step) + 1 > count(DISTINCT step) LIMIT 1",
            run);
    if (status || !row) return status;
    return fail(store, run, "%lld of the steps of layer %lld are missing", (long long)found[1],
                (long long)found[0]);
}

/* Items of a task, and their choices or answers where there are any. */
static enum status check_items(struct store *store, int64_t run) {
    static const struct {
        const char *noun, *sql; /* how many there are, and of how many */
    } rows[] = {
        {"items", "SELECT (SELECT count(DISTINCT row) FROM item WHERE run = ?1),"
                  " (SELECT count(DISTINCT row) FROM sequence_score WHERE run = ?1)"},
        {"items' choices", "SELECT (SELECT count(DISTINCT row) FROM choice WHERE run = ?1),"
                           " (SELECT count(DISTINCT row) FROM item WHERE run = ?1) * EXISTS"
                           "  (SELECT 1 FROM choice WHERE run = ?1)"},
        {"items' answers", "SELECT (SELECT count(DISTINCT row) FROM answer WHERE run = ?1),"
                           " (SELECT count(DISTINCT row) FROM item WHERE run = ?1) * EXISTS"
                           "  (SELECT 1 FROM answer WHERE run = ?1)"},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof rows / sizeof *rows; i++) {
        int64_t found[2] = {0};
        bool row;
        status = ask(&row, found, store, rows[i].sql, run);
        if (!status && found[0] < found[1])
            return fail(store, run, "%lld of its %lld %s are missing",
                        (long long)(found[1] - found[0]), (long long)found[1], rows[i].noun);
    }
    return status;
}

enum status whole_check(struct store *store, int64_t run) {
    struct claim claim;
    if (run == store->whole_run) return STATUS_OK;
    enum status status = read_claim(&claim, store, run);
    if (status || !claim.done) return status;
    status = check_rows(store, run, claim.task ? "items" : "rows");
    if (!status) status = check_layers(store, run, claim.layers);
    if (!status) status = check_steps(store, run);
    if (!status && claim.task) status = check_items(store, run);
    if (!status) store->whole_run = run;
    return status;
}
