/* Models, token sets, runs and plans. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/version.h"
#include "checkpoint/checkpoint.h"
#include "mixers/sizes.h"
#include "scores/reader.h"

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

const char *store_fingerprint_remark(int kind) {
    return kind < CHECKPOINT_FINGERPRINT ? ", known by an older fingerprint" : "";
}

enum status store_add_model(int64_t *id, struct store *store, const char *fingerprint,
                            const char *name, const char *shape) {
    enum status status =
        connection_run(store,
                       "INSERT INTO model (fingerprint, name, shape, fingerprint_kind)"
                       " VALUES (?, ?, ?, ?) ON CONFLICT (fingerprint) DO NOTHING",
                       "ttti", fingerprint, name, shape, (int64_t)CHECKPOINT_FINGERPRINT);
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

static enum status fill_model(void *into, struct reader *reader) {
    struct store_model *model = into;
    store_model_free(model); /* of a row with the same id: the reader complains */
    model->id = reader_integer(reader, 0, 1, INT64_MAX);
    model->fingerprint = reader_text(reader, 1, 0);
    model->name = reader_text(reader, 2, READER_BYTES);
    model->shape = reader_object(reader, 3);
    model->fingerprint_kind = (int)reader_integer(reader, 4, 1, INT32_MAX);
    return reader->status;
}

enum status store_find_model(struct store_model *out, struct store *store, int64_t id) {
    *out = (struct store_model){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store,
        "SELECT id, fingerprint, name, shape, fingerprint_kind FROM model WHERE id = ?", "i", id);
    if (!status) status = reader_run(store, statement, "model", 1, out, fill_model);
    if (!status && !out->id)
        status = status_fail("\"%s\" has no model %lld", store->path, (long long)id);
    if (status) store_model_free(out);
    return status;
}

static enum status fill_dataset(void *into, struct reader *reader) {
    struct store_dataset *dataset = into;
    store_dataset_free(dataset);
    dataset->id = reader_integer(reader, 0, 1, INT64_MAX);
    dataset->fingerprint = reader_text(reader, 1, 0);
    dataset->path = reader_text(reader, 2, READER_BYTES);
    dataset->rows = reader_integer(reader, 3, 0, INT64_MAX);
    dataset->tokens = reader_integer(reader, 4, 0, INT64_MAX);
    return reader->status;
}

enum status store_find_dataset(struct store_dataset *out, struct store *store, int64_t id) {
    *out = (struct store_dataset){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store, "SELECT id, fingerprint, path, rows, tokens FROM dataset WHERE id = ?",
        "i", id);
    if (!status) status = reader_run(store, statement, "dataset", 1, out, fill_dataset);
    if (!status && !out->id)
        status = status_fail("\"%s\" has no token set %lld", store->path, (long long)id);
    if (status) store_dataset_free(out);
    return status;
}

/* Layers of the model of a run: no row of the run may name others. */
static enum status fill_layers(void *into, struct reader *reader) {
    struct json *shape = NULL;
    char *text = reader_object(reader, 1);
    if (reader->status) return reader->status;
    enum status status = js_parse(&shape, text, strlen(text), "model.shape");
    const struct json *layers = js_member(shape, "num_hidden_layers");
    int64_t count = js_integer_or(layers, layers ? 0 : STORE_LAYERS_MOST);
    if (!status && (count < 1 || count > STORE_LAYERS_MOST))
        status = reader_fail(reader, 1, "has \"num_hidden_layers\" that is not 1 to %d",
                             STORE_LAYERS_MOST);
    *(int64_t *)into = count;
    js_free(shape);
    free(text);
    return status;
}

enum status runs_find_layers(int64_t *layers, struct store *store, int64_t run) {
    sqlite3_stmt *statement = NULL;
    enum status status = STATUS_OK;
    if (run != store->layers_run) {
        store->layers = STORE_LAYERS_MOST;
        status = connection_prepare(&statement, store,
                                    "SELECT model.id AS id, model.shape AS shape FROM run"
                                    " JOIN model ON model.id = run.model WHERE run.id = ?",
                                    "i", run);
        if (!status) status = reader_run(store, statement, "model", 1, &store->layers, fill_layers);
        store->layers_run = status ? 0 : run;
    }
    *layers = store->layers;
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

/* The run of a key. */
struct found {
    int64_t id; /* 0: none */
    bool finished;
    char *device, *version, *revision;
};

static const char *const statuses[] = {STORE_STATUS_DONE, STORE_STATUS_RUNNING,
                                       STORE_STATUS_INTERRUPTED, STORE_STATUS_FAILED, NULL};

static void found_free(struct found *found) {
    free(found->device);
    free(found->version);
    free(found->revision);
    *found = (struct found){0};
}

static enum status fill_found(void *into, struct reader *reader) {
    struct found *found = into;
    found_free(found);
    found->id = reader_integer(reader, 0, 1, INT64_MAX);
    char *status = reader_word(reader, 1, statuses);
    found->finished = status && strcmp(status, STORE_STATUS_DONE) == 0;
    found->device = reader_text(reader, 2, 0);
    found->version = reader_text(reader, 3, 0);
    found->revision = reader_text(reader, 4, 0);
    free(status);
    return reader->status;
}

static enum status find_run(struct found *found, struct store *store,
                            const struct store_run_key *key, const char *kind_of_device) {
    sqlite3_stmt *statement = NULL;
    *found = (struct found){0};
    enum status status = connection_prepare(
        &statement, store,
        "SELECT id, status, device, version, revision FROM run WHERE kind = ? AND model = ?"
        " AND dataset = ? AND base = ? AND parameters = ? AND seed = ? AND device_kind = ?"
        " AND numbers = ? ORDER BY id",
        "tiittiti", key->kind, key->model, key->dataset, key->base, key->parameters, key->seed,
        kind_of_device, key->numbers);
    return status ? status : reader_run(store, statement, "run", 1, found, fill_found);
}

static enum status insert_run(int64_t *id, struct store *store, const struct store_run_key *key,
                              const char *kind_of_device) {
    char now[TIME_SIZE];
    format_now(now);
    enum status status = connection_run(
        store,
        "INSERT INTO run (kind, model, dataset, base, parameters, seed, device_kind, numbers,"
        " device, version, revision, status, started)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "tiittitittttt", key->kind, key->model, key->dataset, key->base, key->parameters, key->seed,
        kind_of_device, key->numbers, key->device, VERSION, version_commit(), STORE_STATUS_RUNNING,
        now);
    if (!status) *id = sqlite3_last_insert_rowid(store->db);
    return status;
}

/* "before; more", or `before` when it has `more`; the caller frees. */
static char *add_word(const char *before, const char *more) {
    if (!*before || !*more) return memory_copy_string(*before ? before : more);
    return strstr(before, more) ? memory_copy_string(before) : text_format("%s; %s", before, more);
}

/* A run continued on another device of its kind, or by another release, says so: its values come
 * from both. */
static enum status continue_run(struct store *store, const struct found *found,
                                const char *device) {
    char *devices = add_word(found->device, device);
    char *versions = add_word(found->version, VERSION);
    char *revisions = add_word(found->revision, version_commit());
    enum status status = devices && versions && revisions ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status =
            connection_run(store,
                           "UPDATE run SET status = ?, device = ?, version = ?, revision = ?,"
                           " finished = NULL WHERE id = ?",
                           "tttti", STORE_STATUS_RUNNING, devices, versions, revisions, found->id);
    free(devices);
    free(versions);
    free(revisions);
    return status;
}

enum status store_begin_run(int64_t *id, enum store_run_state *state, struct store *store,
                            const struct store_run_key *key) {
    struct found found = {0};
    char *kind_of_device = device_kind(key->device);
    enum status status = kind_of_device ? store_begin(store) : STATUS_FAILED;
    if (status) {
        free(kind_of_device);
        return status;
    }
    status = find_run(&found, store, key, kind_of_device);
    *id = found.id;
    if (!status && !found.id) {
        *state = STORE_RUN_NEW;
        status = insert_run(id, store, key, kind_of_device);
    } else if (!status && found.finished) {
        *state = STORE_RUN_FINISHED;
    } else if (!status) {
        *state = STORE_RUN_CONTINUED;
        status = continue_run(store, &found, key->device);
    }
    found_free(&found);
    free(kind_of_device);
    store->run_begun = log_seconds();
    if (!status) return store_commit(store);
    store_rollback(store);
    return status;
}

enum status store_finish_run(struct store *store, int64_t run, const char *text) {
    char now[TIME_SIZE];
    format_now(now);
    double seconds = store->run_begun > 0 ? log_seconds() - store->run_begun : 0;
    return connection_run(store,
                          "UPDATE run SET status = ?, finished = ?,"
                          " seconds = coalesce(seconds, 0) + ? WHERE id = ?",
                          "ttdi", text, now, seconds, run);
}

/* ---- runs of other numbers */

static enum status fill_other(void *into, struct reader *reader) {
    struct store_other *other = into;
    store_other_free(other);
    other->run = reader_integer(reader, 0, 1, INT64_MAX);
    other->numbers = reader_integer(reader, 1, 0, INT64_MAX);
    other->older_model = reader_integer(reader, 2, 0, 1) != 0;
    other->version = reader_text(reader, 3, 0);
    return reader->status;
}

enum status store_find_other(struct store_other *out, struct store *store,
                             const struct store_run_key *key, const char *sampled) {
    sqlite3_stmt *statement = NULL;
    char *kind_of_device = device_kind(key->device);
    *out = (struct store_other){0};
    enum status status = kind_of_device ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status = connection_prepare(
            &statement, store,
            "SELECT id, numbers, model <> ?1 AS older, version FROM run WHERE kind = ?2"
            " AND seed = ?3 AND device_kind = ?4 AND (model = ?1 AND dataset = ?5 AND base = ?6"
            "   AND parameters = ?7 AND numbers <> ?8"
            "  OR model IN (SELECT id FROM model WHERE fingerprint = ?9 AND fingerprint_kind = 1))"
            " ORDER BY older, id DESC LIMIT 1",
            "itititt"
            "it",
            key->model, key->kind, key->seed, kind_of_device, key->dataset, key->base,
            key->parameters, key->numbers, sampled);
    if (!status) status = reader_run(store, statement, "run", 1, out, fill_other);
    if (status) store_other_free(out);
    free(kind_of_device);
    return status;
}

void store_other_free(struct store_other *other) {
    free(other->version);
    *other = (struct store_other){0};
}

static enum status fill_version(void *into, struct reader *reader) {
    char **version = into;
    free(*version);
    *version = reader_text(reader, 1, 0);
    return reader->status;
}

enum status store_find_version(char **out, struct store *store, int64_t run) {
    sqlite3_stmt *statement = NULL;
    *out = NULL;
    enum status status =
        connection_prepare(&statement, store, "SELECT id, version FROM run WHERE id = ?", "i", run);
    if (!status) status = reader_run(store, statement, "run", 1, out, fill_version);
    if (!status && !*out)
        status = status_fail("\"%s\" has no run %lld", store->path, (long long)run);
    if (status) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- reading runs */

static const char select_runs[] =
    "SELECT run.id AS id, run.model AS model, run.dataset AS dataset, run.seed AS seed,"
    " run.kind AS kind, run.base AS base, run.parameters AS parameters, run.device AS device,"
    " run.version AS version, run.status AS status, run.started AS started,"
    " run.finished AS finished, model.name AS 'model.name', dataset.path AS 'dataset.path',"
    " (SELECT count(DISTINCT layer) FROM (SELECT layer FROM score WHERE run = run.id"
    "   UNION SELECT layer FROM sequence_score WHERE run = run.id"
    "   UNION SELECT layer FROM probe_step WHERE run = run.id) WHERE layer >= 0) AS layers,"
    " (SELECT count(DISTINCT row) FROM sequence_score WHERE run = run.id) AS rows,"
    " run.numbers AS numbers, run.revision AS revision,"
    " model.fingerprint_kind AS 'model.fingerprint_kind',"
    " run.note AS note, model.fingerprint AS 'model.fingerprint', model.shape AS 'model.shape',"
    " dataset.fingerprint AS 'dataset.fingerprint', run.seconds AS seconds"
    " FROM run LEFT JOIN model ON model.id = run.model"
    " LEFT JOIN dataset ON dataset.id = run.dataset WHERE ?1 = 0 OR run.id = ?1 ORDER BY run.id";

/* A letter a layer, that of its mixer's kind. */
static char *read_layout(struct reader *reader, int column) {
    char *base = reader_text(reader, column, 0);
    const char *letter = base;
    while (letter && *letter && mixer_kind_of_letter(*letter)) letter++;
    if (!letter || !*letter) return base;
    reader_fail(reader, column, "is not a layout of the letters of mixers");
    free(base);
    return NULL;
}

static enum status append_run(void *into, struct reader *reader) {
    struct store_run_list *list = into;
    void *runs = list->runs;
    enum status status = connection_grow(&runs, list->count, sizeof *list->runs);
    list->runs = runs;
    if (status) return status;
    struct store_run *run = &list->runs[list->count++];
    *run = (struct store_run){0};
    run->id = reader_integer(reader, 0, 1, INT64_MAX);
    run->model = reader_integer(reader, 1, 1, INT64_MAX);
    run->dataset = reader_integer(reader, 2, 1, INT64_MAX);
    run->seed = reader_integer(reader, 3, INT64_MIN, INT64_MAX);
    run->kind = reader_text(reader, 4, 0);
    run->base = read_layout(reader, 5);
    run->parameters = reader_object(reader, 6);
    run->device = reader_text(reader, 7, 0);
    run->version = reader_text(reader, 8, 0);
    run->status = reader_word(reader, 9, statuses);
    run->started = reader_text(reader, 10, 0);
    run->finished = reader_text(reader, 11, READER_NULL);
    run->model_name = reader_text(reader, 12, READER_BYTES);
    run->dataset_path = reader_text(reader, 13, READER_BYTES);
    run->layers = reader_integer(reader, 14, 0, INT64_MAX);
    run->rows = reader_integer(reader, 15, 0, INT64_MAX);
    run->numbers = reader_integer(reader, 16, 0, INT64_MAX);
    run->revision = reader_text(reader, 17, 0);
    run->fingerprint_kind = (int)reader_integer(reader, 18, 1, INT32_MAX);
    run->note = reader_text(reader, 19, READER_NULL);
    run->model_fingerprint = reader_text(reader, 20, 0);
    run->model_shape = reader_object(reader, 21);
    run->dataset_fingerprint = reader_text(reader, 22, 0);
    run->seconds = reader_number(reader, 23, 0, true);
    return reader->status;
}

/* Runs with this id; 0: all. */
static enum status list_runs(struct store_run_list *out, struct store *store, int64_t id) {
    *out = (struct store_run_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(&statement, store, select_runs, "i", id);
    if (!status) status = reader_run(store, statement, "run", 1, out, append_run);
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
    char *texts[] = {run->kind,        run->base,
                     run->parameters,  run->device,
                     run->version,     run->status,
                     run->started,     run->finished,
                     run->model_name,  run->dataset_path,
                     run->note,        run->model_fingerprint,
                     run->model_shape, run->dataset_fingerprint,
                     run->revision};
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
