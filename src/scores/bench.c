/* Throughput rows. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/version.h"
#include "scores/reader.h"

/* The clock of SQLite, as the other tables write it. */
static const char insert[] =
    "INSERT INTO bench (series, model, created, device, version, settings, replaced, batch,"
    " automatic, memory, tokens_per_second, step_seconds, first_token_seconds, bytes_per_token,"
    " roofline, spread) VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?, ?, ?, ?, ?, ?, ?, "
    "?,"
    " ?, ?, ?, ?, ?)";

enum status store_add_bench(int64_t *id, struct store *store, const struct store_bench *row) {
    enum status status =
        connection_run(store, insert, "iitttiiiidddddd", row->series, row->model, row->device,
                       VERSION, row->settings, row->replaced, row->batch, (int64_t)row->automatic,
                       row->memory, row->tokens_per_second, row->step_seconds,
                       row->first_token_seconds, row->bytes_per_token, row->roofline, row->spread);
    if (status) return status;
    *id = sqlite3_last_insert_rowid(store->db);
    if (row->series) return STATUS_OK;
    return connection_run(store, "UPDATE bench SET series = id WHERE id = ?", "i", *id);
}

static enum status append(void *into, struct reader *reader) {
    struct store_bench_list *list = into;
    void *rows = list->rows;
    enum status status = connection_grow(&rows, list->count, sizeof *list->rows);
    list->rows = rows;
    if (status) return status;
    struct store_bench *row = &list->rows[list->count++];
    *row = (struct store_bench){0};
    row->id = reader_integer(reader, 0, 1, INT64_MAX);
    row->series = reader_integer(reader, 1, 1, INT64_MAX);
    row->model = reader_integer(reader, 2, 1, INT64_MAX);
    row->replaced = reader_integer(reader, 3, 0, STORE_LAYERS_MOST);
    row->batch = reader_integer(reader, 4, 0, INT64_MAX);
    row->automatic = reader_integer(reader, 5, 0, 1) != 0;
    row->memory = reader_integer(reader, 6, 0, INT64_MAX);
    row->tokens_per_second = reader_number(reader, 7, 0, false);
    row->step_seconds = reader_number(reader, 8, 0, false);
    row->first_token_seconds = reader_number(reader, 9, 0, false);
    row->bytes_per_token = reader_number(reader, 10, 0, false);
    row->roofline = reader_number(reader, 11, 0, false);
    row->spread = reader_number(reader, 12, 0, true);
    row->created = reader_text(reader, 13, 0);
    row->device = reader_text(reader, 14, 0);
    row->version = reader_text(reader, 15, 0);
    row->settings = reader_object(reader, 16);
    row->model_name = reader_text(reader, 17, READER_BYTES);
    return reader->status;
}

static enum status fill_series(void *into, struct reader *reader) {
    *(int64_t *)into = reader_integer(reader, 1, 1, INT64_MAX);
    return reader->status;
}

static enum status find_last(int64_t *series, struct store *store) {
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store, "SELECT id, series FROM bench ORDER BY id DESC LIMIT 1", "");
    return status ? status : reader_run(store, statement, "bench", 1, series, fill_series);
}

/* Of a series; 0: of all. */
static enum status read_bench(struct store_bench_list *out, struct store *store, int64_t series) {
    sqlite3_stmt *statement = NULL;
    *out = (struct store_bench_list){0};
    enum status status = connection_prepare(
        &statement, store,
        "SELECT bench.id AS id, series, model, replaced, batch, automatic, memory,"
        " tokens_per_second, step_seconds, first_token_seconds, bytes_per_token, roofline,"
        " spread, created, device, version, settings, model.name AS 'model.name' FROM bench"
        " LEFT JOIN model ON model.id = bench.model WHERE ?1 = 0 OR series = ?1 ORDER BY bench.id",
        "i", series);
    if (!status) status = reader_run(store, statement, "bench", 1, out, append);
    return status;
}

enum status store_list_bench(struct store_bench_list *out, struct store *store) {
    enum status status = read_bench(out, store, 0);
    if (status) store_bench_list_free(out);
    return status;
}

enum status store_get_bench(struct store_bench_list *out, struct store *store, int64_t series) {
    *out = (struct store_bench_list){0};
    enum status status = STATUS_OK;
    if (!series) status = find_last(&series, store);
    if (!status) status = read_bench(out, store, series);
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
