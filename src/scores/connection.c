#define _POSIX_C_SOURCE 200809L
#include "scores/connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "scores/store.h"

enum status connection_fail(struct store *store, int code) {
    int reason = store->db ? sqlite3_system_errno(store->db) : 0;
    const char *path = store->path;
    store->failure = code & 0xff;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return status_fail("\"%s\": unexpected answer %d of SQLite", path, code);
    case SQLITE_NOTADB:
        return status_fail("\"%s\" is not a score database (not SQLite)", path);
    case SQLITE_CORRUPT:
        return status_fail("score database \"%s\" is damaged or truncated (%s)", path,
                           store->db ? sqlite3_errmsg(store->db) : "malformed");
    case SQLITE_READONLY:
        return status_fail("cannot write to \"%s\": it is read-only", path);
    case SQLITE_FULL:
        return status_fail("cannot write to \"%s\": the disk is full", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return status_fail("\"%s\" was locked by another process for %d seconds; try again later",
                           path, STORE_BUSY_SECONDS);
    case SQLITE_NOMEM:
        return status_fail("out of memory while using \"%s\"", path);
    case SQLITE_CANTOPEN:
        return status_fail("cannot open \"%s\": %s", path,
                           reason ? strerror(reason) : "unable to open the database file");
    case SQLITE_IOERR:
        /* The shared-memory file of WAL mode reports a full disk this way. */
        if (reason == ENOSPC) return status_fail("cannot write to \"%s\": the disk is full", path);
        return status_fail("input or output error on \"%s\": %s", path,
                           reason ? strerror(reason) : sqlite3_errstr(code));
    default:
        return status_fail("\"%s\": %s", path,
                           store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code));
    }
}

enum status connection_execute(struct store *store, const char *sql) {
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? STATUS_OK : connection_fail(store, code);
}

static enum status find_statement(sqlite3_stmt **out, struct store *store, const char *sql) {
    for (size_t i = 0; i < store->cached; i++)
        if (store->cache[i].sql == sql) {
            *out = store->cache[i].statement;
            return STATUS_OK;
        }
    if (store->cached == CONNECTION_STATEMENTS)
        return status_fail("\"%s\": too many prepared statements", store->path);
    int code = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    if (code != SQLITE_OK) return connection_fail(store, code);
    store->cache[store->cached].sql = sql;
    store->cache[store->cached++].statement = *out;
    return STATUS_OK;
}

static enum status bind(sqlite3_stmt **out, struct store *store, const char *sql, const char *types,
                        va_list arguments) {
    enum status status = find_statement(out, store, sql);
    if (status) return status;
    connection_reset(*out);
    int code = SQLITE_OK;
    for (int i = 1; *types && code == SQLITE_OK; types++, i++) {
        switch (*types) {
        case 'i':
            code = sqlite3_bind_int64(*out, i, va_arg(arguments, int64_t));
            break;
        case 'd':
            code = sqlite3_bind_double(*out, i, va_arg(arguments, double));
            break;
        case 't':
            code = sqlite3_bind_text(*out, i, va_arg(arguments, const char *), -1, SQLITE_STATIC);
            break;
        default: {
            const void *bytes = va_arg(arguments, const void *);
            size_t size = va_arg(arguments, size_t);
            code = sqlite3_bind_blob64(*out, i, bytes, size, SQLITE_STATIC);
        }
        }
    }
    return code == SQLITE_OK ? STATUS_OK : connection_fail(store, code);
}

enum status connection_prepare(sqlite3_stmt **out, struct store *store, const char *sql,
                               const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    enum status status = bind(out, store, sql, types, arguments);
    va_end(arguments);
    return status;
}

enum status connection_step(bool *row, struct store *store, sqlite3_stmt *statement) {
    int code = sqlite3_step(statement);
    *row = code == SQLITE_ROW;
    if (*row) return STATUS_OK;
    enum status status = code == SQLITE_DONE ? STATUS_OK : connection_fail(store, code);
    connection_reset(statement);
    return status;
}

void connection_reset(sqlite3_stmt *statement) {
    if (!statement) return;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

enum status connection_run(struct store *store, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement = NULL;
    va_list arguments;
    va_start(arguments, types);
    enum status status = bind(&statement, store, sql, types, arguments);
    va_end(arguments);
    bool row;
    if (!status) status = connection_step(&row, store, statement);
    connection_reset(statement);
    return status;
}

enum status connection_text(char **out, sqlite3_stmt *statement, int column) {
    *out = NULL;
    const unsigned char *text = sqlite3_column_text(statement, column);
    if (!text) return STATUS_OK;
    *out = memory_copy_string((const char *)text);
    return *out ? STATUS_OK : STATUS_FAILED;
}

enum status connection_integer(int64_t *out, struct store *store, const char *sql) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *out = 0;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    enum status status = code == SQLITE_OK ? STATUS_OK : connection_fail(store, code);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && row) *out = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return status;
}

/* "file:PATH?immutable=1" with everything that means something in a URI escaped. */
static char *immutable_uri(const char *path) {
    struct text uri = {0};
    text_append(&uri, "file:");
    for (const char *byte = path; *byte; byte++)
        if (strchr("%?#", *byte))
            text_append(&uri, "%%%02X", (unsigned char)*byte);
        else
            text_append_bytes(&uri, byte, 1);
    text_append(&uri, "?immutable=1");
    return text_finish(&uri);
}

static enum status open_file(struct store *store, const char *name, int flags) {
    sqlite3_close(store->db);
    store->db = NULL;
    int code = sqlite3_open_v2(name, &store->db, flags, NULL);
    if (code != SQLITE_OK) return connection_fail(store, code);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, STORE_BUSY_SECONDS * 1000);
    return connection_execute(store, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; "
                                     "PRAGMA cell_size_check = ON");
}

/* Changing the journal mode does not use the busy handler, so two processes that create one
 * database at once would disturb each other here. */
static enum status enter_wal(struct store *store) {
    for (int tries = 0;; tries++) {
        int code = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if (code == SQLITE_OK) break;
        if ((code & 0xff) != SQLITE_BUSY || tries >= STORE_BUSY_SECONDS * 20)
            return connection_fail(store, code);
        sqlite3_sleep(50);
    }
    return connection_execute(store, "PRAGMA synchronous = FULL");
}

static enum status open_for_writing(struct store *store) {
    enum status status = open_file(store, store->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    int64_t version = 0;
    /* Look before touching: the journal mode of another program's database must stay. */
    if (!status) status = schema_version(&version, store);
    if (!status && sqlite3_db_readonly(store->db, "main") == 1)
        status = connection_fail(store, SQLITE_READONLY);
    if (!status) status = enter_wal(store);
    if (!status) status = schema_migrate(store);
    return status;
}

/* Failures of a reader that could not make the shared-memory file of WAL mode: no permission, no
 * space. */
static bool wants_to_write(int failure) {
    return failure == SQLITE_CANTOPEN || failure == SQLITE_READONLY || failure == SQLITE_FULL ||
           failure == SQLITE_IOERR;
}

/* A WAL database in a directory that cannot be written (or is full) opens only as immutable, which
 * is right when no writer has left anything in a WAL file. */
static enum status open_immutable(struct store *store) {
    char *wal = text_format("%s-wal", store->path);
    char *uri = immutable_uri(store->path);
    enum status status = STATUS_FAILED; /* the message of the first try stands */
    struct stat about;
    bool pending = wal && stat(wal, &about) == 0 && about.st_size > 0;
    if (wal && uri && !pending && access(store->path, R_OK) == 0)
        status = open_file(store, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    free(wal);
    free(uri);
    return status;
}

static enum status open_for_reading(struct store *store) {
    int64_t version = 0;
    if (file_is_directory(store->path))
        return status_fail("\"%s\" is a directory, not a score database", store->path);
    enum status status = open_file(store, store->path, SQLITE_OPEN_READONLY);
    if (!status) status = schema_version(&version, store);
    if (status && wants_to_write(store->failure)) {
        status = open_immutable(store);
        if (!status) status = schema_version(&version, store);
    }
    if (status) return status;
    if (version == 0) return status_fail("\"%s\" is empty, not a score database", store->path);
    return version < SCHEMA_VERSION ? open_for_writing(store) : STATUS_OK;
}

enum status store_open(struct store **out, const char *path, enum store_mode mode) {
    *out = NULL;
    struct store *store = memory_calloc(1, sizeof *store);
    if (!store) return STATUS_FAILED;
    store->path = memory_copy_string(path);
    enum status status = store->path ? STATUS_OK : STATUS_FAILED;
    if (!status) status = mode == STORE_WRITE ? open_for_writing(store) : open_for_reading(store);
    if (status)
        store_close(store);
    else
        *out = store;
    return status;
}

void store_close(struct store *store) {
    if (!store) return;
    for (size_t i = 0; i < store->cached; i++) sqlite3_finalize(store->cache[i].statement);
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}

enum status store_begin(struct store *store) {
    /* IMMEDIATE: wait for the other writer now, not in the middle. */
    return connection_execute(store, "BEGIN IMMEDIATE");
}

enum status store_commit(struct store *store) {
    enum status status = connection_execute(store, "COMMIT");
    if (status) store_rollback(store);
    return status;
}

void store_rollback(struct store *store) {
    if (store && store->db && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

enum status connection_grow(void **elements, size_t count, size_t size) {
    if (count & (count - 1)) return STATUS_OK;
    void *more = memory_resize(*elements, count ? 2 * count : 1, size);
    if (!more) return STATUS_FAILED;
    *elements = more;
    return STATUS_OK;
}

enum status connection_read(struct store *store, sqlite3_stmt *statement, void *list,
                            enum status (*append)(void *list, sqlite3_stmt *statement)) {
    bool row = false;
    enum status status = connection_step(&row, store, statement);
    while (!status && row) {
        status = append(list, statement);
        if (!status) status = connection_step(&row, store, statement);
    }
    connection_reset(statement);
    return status;
}
