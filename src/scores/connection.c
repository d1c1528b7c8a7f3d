#define _GNU_SOURCE
#include "scores/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

/* ---- locks: SQLite takes a file system without any for one where another process holds them */

static _Thread_local int lock_reason; /* of the last lock that was not given */

static int note_lock(int file, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    if (command != F_SETLK && command != F_GETLK && command != F_SETLKW) {
        int value = va_arg(arguments, int);
        va_end(arguments);
        return fcntl(file, command, value);
    }
    void *lock = va_arg(arguments, void *);
    va_end(arguments);
    int result = fcntl(file, command, lock);
    if (command == F_SETLK) lock_reason = result == 0 ? 0 : errno;
    return result;
}

static void replace_call(void) {
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    if (vfs && vfs->iVersion >= 3 && vfs->xSetSystemCall)
        vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)(void (*)(void))note_lock);
}

void connection_note_locks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, replace_call);
    lock_reason = 0;
}

bool connection_lacks_locks(void) {
    static const int held[] = {0, EACCES, EAGAIN, EBUSY, EINTR, ETIMEDOUT, EDEADLK};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        if (lock_reason == held[i]) return false;
    return true;
}

/* ---- messages */

static enum status fail_to_write(const struct store *store, const char *reason) {
    return status_fail("cannot write to \"%s\": %s", store->path, reason);
}

static enum status fail_read_only(const struct store *store, int code) {
    switch (code) {
    case SQLITE_READONLY_ROLLBACK:
    case SQLITE_READONLY_RECOVERY:
        return fail_to_write(store, "it is read-only, and has an unfinished transaction of a run "
                                    "that was killed: open it once where it can be written");
    case SQLITE_READONLY_DIRECTORY:
    case SQLITE_READONLY_CANTINIT:
        return fail_to_write(store, "its directory is read-only, and SQLite's journal belongs "
                                    "there");
    case SQLITE_READONLY_DBMOVED:
        return fail_to_write(store, "the file was moved or removed while in use");
    default:
        return fail_to_write(store, "it is read-only");
    }
}

static enum status fail_interrupted(const struct store *store) {
    if (store->mode == STORE_READ && interrupt_requested())
        return status_set(STATUS_INTERRUPTED, "interrupted");
    return status_fail("score database \"%s\" is damaged: a query takes more steps than a file of "
                       "its size can need",
                       store->path);
}

enum status connection_fail(struct store *store, int code) {
    int reason = store->db ? sqlite3_system_errno(store->db) : 0;
    const char *path = store->path, *said = store->db ? sqlite3_errmsg(store->db) : "";
    store->failure = code;
    store->reason = reason;
    if (connection_lacks_locks())
        return status_fail("the file system of \"%s\" has no locks (%s): put the database on a "
                           "local disk",
                           path, strerror(lock_reason));
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return status_fail("\"%s\": unexpected answer %d of SQLite", path, code);
    case SQLITE_NOTADB:
        return status_fail("\"%s\" is not a score database (not SQLite)", path);
    case SQLITE_CORRUPT:
        return status_fail("score database \"%s\" is damaged or truncated (%s)", path,
                           *said ? said : "malformed");
    case SQLITE_READONLY:
        return fail_read_only(store, code);
    case SQLITE_FULL:
        return fail_to_write(store, "the disk is full");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        if (interrupt_requested())
            return status_set(STATUS_INTERRUPTED,
                              "interrupted while \"%s\" was locked by another process", path);
        return status_fail("\"%s\" was locked by another process for %d seconds; try again later",
                           path, STORE_BUSY_SECONDS);
    case SQLITE_NOMEM:
        return status_fail("out of memory while using \"%s\"", path);
    case SQLITE_TOOBIG:
        return status_fail("score database \"%s\" is damaged: it has a value of more than %d bytes",
                           path, STORE_VALUE_MOST);
    case SQLITE_INTERRUPT:
        return fail_interrupted(store);
    case SQLITE_CANTOPEN:
        return status_fail("cannot open \"%s\": %s", path,
                           reason ? strerror(reason) : "unable to open the database file");
    case SQLITE_IOERR:
        /* The shared-memory file of WAL mode reports a full disk this way. */
        if (reason == ENOSPC) return fail_to_write(store, "the disk is full");
        return status_fail("input or output error on \"%s\": %s", path,
                           reason ? strerror(reason) : sqlite3_errstr(code));
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_FOREIGNKEY)
            return status_fail("\"%s\": what a value belongs to is not there: was the run deleted "
                               "meanwhile?",
                               path);
        /* Nothing that this program writes of its own. */
        return status_fail("score database \"%s\" is damaged: %s", path, said);
    default:
        return status_fail("\"%s\": %s", path, store->db ? said : sqlite3_errstr(code));
    }
}

/* ---- watching */

enum {
    OPERATIONS = 10000,           /* between two looks */
    LEAST_OPERATIONS = 300000000, /* what any statement may take: some seconds */
    OPERATIONS_PER_BYTE = 8,
};

int64_t connection_bytes(const struct store *store) {
    struct stat about;
    int64_t bytes = stat(store->file, &about) == 0 ? about.st_size : 0;
    char *log = text_format("%s-wal", store->file);
    if (log && stat(log, &about) == 0) bytes += about.st_size;
    free(log);
    return bytes;
}

static int look(void *context) {
    struct store *store = context;
    if (store->mode == STORE_READ && interrupt_requested()) return 1;
    store->operations += OPERATIONS;
    if (store->operations <= store->most_operations) return 0;
    /* The file may have grown since. */
    store->most_operations = LEAST_OPERATIONS + OPERATIONS_PER_BYTE * connection_bytes(store);
    return store->operations > store->most_operations;
}

/* Another process holds the lock: ask again, but not for ever, and not where there are none. What a
 * run has finished must be saved after an interruption too, so that shortens the wait only. */
static int wait_for_lock(void *context, int tries) {
    enum { SHORTEST = 1, LONGEST = 50 };
    struct store *store = context;
    if (connection_lacks_locks()) return 0;
    if (tries == 0) store->busy_since = log_seconds();
    double waited = log_seconds() - store->busy_since;
    if (waited >= STORE_BUSY_SECONDS || (interrupt_requested() && waited >= 1.5)) return 0;
    sqlite3_sleep(tries < LONGEST ? SHORTEST + tries : LONGEST);
    return 1;
}

void connection_watch(struct store *store) {
    store->most_operations = LEAST_OPERATIONS;
    sqlite3_busy_handler(store->db, wait_for_lock, store);
    sqlite3_progress_handler(store->db, OPERATIONS, look, store);
}

/* ---- statements */

enum status connection_execute(struct store *store, const char *sql) {
    store->operations = 0;
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
    store->operations = 0;
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

enum status connection_integer(int64_t *out, struct store *store, const char *sql) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    *out = 0;
    store->operations = 0;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    enum status status = code == SQLITE_OK ? STATUS_OK : connection_fail(store, code);
    if (!status) status = connection_step(&row, store, statement);
    if (!status && row) *out = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return status;
}

enum status connection_grow(void **elements, size_t count, size_t size) {
    if (count & (count - 1)) return STATUS_OK;
    void *more = memory_resize(*elements, count ? 2 * count : 1, size);
    if (!more) return STATUS_FAILED;
    *elements = more;
    return STATUS_OK;
}

const char *store_library_version(void) {
    return sqlite3_libversion();
}
