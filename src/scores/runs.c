/* Models, token sets, runs and plans. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/version.h"
#include "scores/connection.h"
#include "scores/store.h"

enum { TIME_SIZE = sizeof "2026-01-31T12:00:00Z" };

static void format_now(char out[TIME_SIZE]) {
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || !strftime(out, TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts))
        memcpy(out, "1970-01-01T00:00:00Z", TIME_SIZE);
}

/* The id that `select` finds by fingerprint; 0 when there is none. */
static enum status find_id(int64_t *id, struct store *store, const char *select,
                           const char *fingerprint) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *id = 0;
    enum status status = connection_prepare(&statement, store, select, "t", fingerprint);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && row) *id = sqlite3_column_int64(statement, 0);
    connection_reset(statement);
    return status;
}

enum status store_add_model(int64_t *id, struct store *store, const char *fingerprint,
                            const char *name, const char *shape) {
    enum status status =
        connection_run(store,
                       "INSERT INTO model (fingerprint, name, shape) VALUES (?, ?, ?)"
                       " ON CONFLICT (fingerprint) DO NOTHING",
                       "ttt", fingerprint, name, shape);
    if (status) return status;
    return find_id(id, store, "SELECT id FROM model WHERE fingerprint = ?", fingerprint);
}

enum status store_add_dataset(int64_t *id, struct store *store, const char *fingerprint,
                              const char *path, int64_t rows, int64_t tokens) {
    enum status status =
        connection_run(store,
                       "INSERT INTO dataset (fingerprint, path, rows, tokens) VALUES (?, ?, ?, ?)"
                       " ON CONFLICT (fingerprint) DO NOTHING",
                       "ttii", fingerprint, path, rows, tokens);
    if (status) return status;
    return find_id(id, store, "SELECT id FROM dataset WHERE fingerprint = ?", fingerprint);
}

enum status store_find_model(struct store_model *out, struct store *store, int64_t id) {
    *out = (struct store_model){.id = id};
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = connection_prepare(
        &statement, store, "SELECT fingerprint, name, shape FROM model WHERE id = ?", "i", id);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && !row)
        status = status_fail("\"%s\" has no model %lld", store->path, (long long)id);
    if (!status) status = connection_text(&out->fingerprint, statement, 0);
    if (!status) status = connection_text(&out->name, statement, 1);
    if (!status) status = connection_text(&out->shape, statement, 2);
    connection_reset(statement);
    if (status) store_model_free(out);
    return status;
}

enum status store_find_dataset(struct store_dataset *out, struct store *store, int64_t id) {
    *out = (struct store_dataset){.id = id};
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = connection_prepare(
        &statement, store, "SELECT fingerprint, path, rows, tokens FROM dataset WHERE id = ?", "i",
        id);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && !row)
        status = status_fail("\"%s\" has no token set %lld", store->path, (long long)id);
    if (!status) status = connection_text(&out->fingerprint, statement, 0);
    if (!status) status = connection_text(&out->path, statement, 1);
    if (!status) out->rows = sqlite3_column_int64(statement, 2);
    if (!status) out->tokens = sqlite3_column_int64(statement, 3);
    connection_reset(statement);
    if (status) store_dataset_free(out);
    return status;
}

void store_model_free(struct store_model *model) {
    free(model->fingerprint);
    free(model->name);
    free(model->shape);
    *model = (struct store_model){0};
}

void store_dataset_free(struct store_dataset *dataset) {
    free(dataset->fingerprint);
    free(dataset->path);
    *dataset = (struct store_dataset){0};
}

/* ---- beginning and ending a run */

/* "cuda" of "cuda:0"; the caller frees. */
static char *device_kind(const char *device) {
    return text_format("%.*s", (int)strcspn(device, ":"), device);
}

/* The run of the key, its status and device; `*id` 0 when there is none. */
static enum status find_run(int64_t *id, bool *finished, char **device, struct store *store,
                            const struct store_run_key *key, const char *kind_of_device) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *id = 0;
    enum status status = connection_prepare(
        &statement, store,
        "SELECT id, status = '" STORE_STATUS_DONE "', device FROM run WHERE kind = ? AND model = ?"
        " AND dataset = ? AND base = ? AND parameters = ? AND seed = ? AND device_kind = ?",
        "tiittit", key->kind, key->model, key->dataset, key->base, key->parameters, key->seed,
        kind_of_device);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && row) {
        *id = sqlite3_column_int64(statement, 0);
        *finished = sqlite3_column_int(statement, 1) != 0;
        status = connection_text(device, statement, 2);
    }
    connection_reset(statement);
    return status;
}

static enum status insert_run(int64_t *id, struct store *store, const struct store_run_key *key,
                              const char *kind_of_device) {
    char now[TIME_SIZE];
    format_now(now);
    enum status status = connection_run(
        store,
        "INSERT INTO run (kind, model, dataset, base, parameters, seed, device_kind, device,"
        " version, status, started) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "tiittittttt", key->kind, key->model, key->dataset, key->base, key->parameters, key->seed,
        kind_of_device, key->device, VERSION, STORE_STATUS_RUNNING, now);
    if (!status) *id = sqlite3_last_insert_rowid(store->db);
    return status;
}

/* A run continued on another device of its kind says so: its values come from both. */
static enum status continue_run(struct store *store, int64_t id, const char *before,
                                const char *device) {
    char *both =
        strstr(before, device) ? memory_copy_string(before) : text_format("%s; %s", before, device);
    if (!both) return STATUS_FAILED;
    enum status status = connection_run(
        store, "UPDATE run SET status = ?, device = ?, version = ?, finished = NULL WHERE id = ?",
        "ttti", STORE_STATUS_RUNNING, both, VERSION, id);
    free(both);
    return status;
}

enum status store_begin_run(int64_t *id, enum store_run_state *state, struct store *store,
                            const struct store_run_key *key) {
    bool finished = false;
    char *device = NULL, *kind_of_device = device_kind(key->device);
    enum status status = kind_of_device ? store_begin(store) : STATUS_FAILED;
    if (status) {
        free(kind_of_device);
        return status;
    }
    status = find_run(id, &finished, &device, store, key, kind_of_device);
    if (!status && !*id) {
        *state = STORE_RUN_NEW;
        status = insert_run(id, store, key, kind_of_device);
    } else if (!status && finished) {
        *state = STORE_RUN_FINISHED;
    } else if (!status) {
        *state = STORE_RUN_CONTINUED;
        status = continue_run(store, *id, device, key->device);
    }
    free(device);
    free(kind_of_device);
    if (!status) return store_commit(store);
    store_rollback(store);
    return status;
}

enum status store_finish_run(struct store *store, int64_t run, const char *text) {
    char now[TIME_SIZE];
    format_now(now);
    return connection_run(store, "UPDATE run SET status = ?, finished = ? WHERE id = ?", "tti",
                          text, now, run);
}

/* ---- reading runs */

static const char select_runs[] =
    "SELECT run.id, run.model, run.dataset, run.seed, run.kind, run.base, run.parameters,"
    " run.device, run.version, run.status, run.started, run.finished, model.name, dataset.path,"
    " (SELECT count(DISTINCT layer) FROM (SELECT layer FROM score WHERE run = run.id"
    "   UNION SELECT layer FROM sequence_score WHERE run = run.id"
    "   UNION SELECT layer FROM probe_step WHERE run = run.id) WHERE layer >= 0),"
    " (SELECT count(DISTINCT row) FROM sequence_score WHERE run = run.id)"
    " FROM run JOIN model ON model.id = run.model JOIN dataset ON dataset.id = run.dataset"
    " WHERE ?1 = 0 OR run.id = ?1 ORDER BY run.id";

static enum status read_run(struct store_run *run, sqlite3_stmt *statement) {
    *run = (struct store_run){
        .id = sqlite3_column_int64(statement, 0),
        .model = sqlite3_column_int64(statement, 1),
        .dataset = sqlite3_column_int64(statement, 2),
        .seed = sqlite3_column_int64(statement, 3),
        .layers = sqlite3_column_int64(statement, 14),
        .rows = sqlite3_column_int64(statement, 15),
    };
    char **texts[] = {&run->kind,       &run->base,        &run->parameters, &run->device,
                      &run->version,    &run->status,      &run->started,    &run->finished,
                      &run->model_name, &run->dataset_path};
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < (int)(sizeof texts / sizeof *texts); i++)
        status = connection_text(texts[i], statement, 4 + i);
    if (status) store_run_free(run);
    return status;
}

static enum status append_run(struct store_run_list *list, sqlite3_stmt *statement) {
    struct store_run *more = memory_resize(list->runs, list->count + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    list->runs = more;
    enum status status = read_run(&list->runs[list->count], statement);
    if (!status) list->count++;
    return status;
}

/* Runs with this id; 0: all. */
static enum status list_runs(struct store_run_list *out, struct store *store, int64_t id) {
    *out = (struct store_run_list){0};
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = connection_prepare(&statement, store, select_runs, "i", id);
    if (!status) status = connection_step(&row, store, statement);
    while (!status && row) {
        status = append_run(out, statement);
        if (!status) status = connection_step(&row, store, statement);
    }
    connection_reset(statement);
    if (status) store_run_list_free(out);
    return status;
}

enum status store_list_runs(struct store_run_list *out, struct store *store) {
    return list_runs(out, store, 0);
}

enum status store_get_run(struct store_run *out, struct store *store, int64_t id) {
    struct store_run_list list = {0};
    *out = (struct store_run){0};
    enum status status = STATUS_OK;
    if (id > 0) status = list_runs(&list, store, id);
    if (status) return status;
    if (!list.count) return status_fail("\"%s\" has no run %lld", store->path, (long long)id);
    *out = list.runs[0];
    free(list.runs);
    return STATUS_OK;
}

void store_run_free(struct store_run *run) {
    char *texts[] = {run->kind,       run->base,        run->parameters, run->device,
                     run->version,    run->status,      run->started,    run->finished,
                     run->model_name, run->dataset_path};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) free(texts[i]);
    *run = (struct store_run){0};
}

void store_run_list_free(struct store_run_list *list) {
    for (size_t i = 0; i < list->count; i++) store_run_free(&list->runs[i]);
    free(list->runs);
    *list = (struct store_run_list){0};
}

enum status store_add_plan(int64_t *id, struct store *store, int64_t model, const char *document) {
    char now[TIME_SIZE];
    format_now(now);
    enum status status =
        connection_run(store, "INSERT INTO plan (model, created, document) VALUES (?, ?, ?)", "itt",
                       model, now, document);
    if (!status) *id = sqlite3_last_insert_rowid(store->db);
    return status;
}
