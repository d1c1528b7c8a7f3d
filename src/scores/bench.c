/* Throughput rows. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/version.h"
#include "scores/connection.h"
#include "scores/store.h"

/* The clock of SQLite, as the other tables write it. */
static const char insert[] =
    "INSERT INTO bench (series, model, created, device, version, settings, replaced, batch,"
    " automatic, memory, tokens_per_second, step_seconds, first_token_seconds, bytes_per_token,"
    " roofline) VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?)";

enum status store_add_bench(int64_t *id, struct store *store, const struct store_bench *row) {
    enum status status =
        connection_run(store, insert, "iitttiiiiddddd", row->series, row->model, row->device,
                       VERSION, row->settings, row->replaced, row->batch, (int64_t)row->automatic,
                       row->memory, row->tokens_per_second, row->step_seconds,
                       row->first_token_seconds, row->bytes_per_token, row->roofline);
    if (status) return status;
    *id = sqlite3_last_insert_rowid(store->db);
    if (row->series) return STATUS_OK;
    return connection_run(store, "UPDATE bench SET series = id WHERE id = ?", "i", *id);
}

static enum status append(struct store_bench_list *list, sqlite3_stmt *statement) {
    struct store_bench *more = memory_resize(list->rows, list->count + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    list->rows = more;
    struct store_bench *row = &list->rows[list->count++];
    *row = (struct store_bench){
        .id = sqlite3_column_int64(statement, 0),
        .series = sqlite3_column_int64(statement, 1),
        .model = sqlite3_column_int64(statement, 2),
        .replaced = sqlite3_column_int64(statement, 3),
        .batch = sqlite3_column_int64(statement, 4),
        .automatic = sqlite3_column_int64(statement, 5) != 0,
        .memory = sqlite3_column_int64(statement, 6),
        .tokens_per_second = sqlite3_column_double(statement, 7),
        .step_seconds = sqlite3_column_double(statement, 8),
        .first_token_seconds = sqlite3_column_double(statement, 9),
        .bytes_per_token = sqlite3_column_double(statement, 10),
        .roofline = sqlite3_column_double(statement, 11),
    };
    char **texts[] = {&row->created, &row->device, &row->version, &row->settings, &row->model_name};
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < (int)(sizeof texts / sizeof *texts); i++)
        status = connection_text(texts[i], statement, 12 + i);
    return status;
}

enum status store_get_bench(struct store_bench_list *out, struct store *store, int64_t series) {
    *out = (struct store_bench_list){0};
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = STATUS_OK;
    if (!series)
        status =
            connection_integer(&series, store, "SELECT series FROM bench ORDER BY id DESC LIMIT 1");
    if (!status)
        status = connection_prepare(
            &statement, store,
            "SELECT bench.id, series, model, replaced, batch, automatic, memory,"
            " tokens_per_second, step_seconds, first_token_seconds, bytes_per_token, roofline,"
            " created, device, version, settings, model.name FROM bench"
            " JOIN model ON model.id = bench.model WHERE series = ? ORDER BY bench.id",
            "i", series);
    if (!status) status = connection_step(&row, store, statement);
    while (!status && row) {
        status = append(out, statement);
        if (!status) status = connection_step(&row, store, statement);
    }
    if (statement) connection_reset(statement);
    if (!status && !out->count)
        status = series ? status_fail("\"%s\" has no throughput series %lld", store->path,
                                      (long long)series)
                        : status_fail("\"%s\" has no throughput rows (apriel-tool bench --db)",
                                      store->path);
    if (status) store_bench_list_free(out);
    return status;
}

void store_bench_list_free(struct store_bench_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        struct store_bench *row = &list->rows[i];
        free(row->created);
        free(row->device);
        free(row->version);
        free(row->settings);
        free(row->model_name);
    }
    free(list->rows);
    *list = (struct store_bench_list){0};
}
