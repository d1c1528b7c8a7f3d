/* Opening a database file: what it is, who may write it, which journal it gets; and closing it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "scores/connection.h"

/* ---- the file */

/* Names that SQLite takes for something else than a file. */
static enum status check_name(const char *path) {
    if (!*path || strcmp(path, ":memory:") == 0)
        return status_set(STATUS_USAGE,
                          "\"%s\" names no file, and scores kept nowhere are lost: give a score "
                          "database as FILE.db",
                          path);
    if (strncmp(path, "file:", 5) == 0)
        return status_set(
            STATUS_USAGE,
            "\"%s\" is a URI, not the name of a file; a file of that name is \"./%s\"", path, path);
    return STATUS_OK;
}

/* A file of its own, with the permissions that the umask leaves: SQLite's would be 0644, and the
 * journals beside it get those of the database. An existing file is not opened here: closing it
 * would drop the locks that this process has on it. */
static enum status create_file(bool *created, const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno == EEXIST) {
        /* Another process was faster, or a symbolic link leads to no file yet. */
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        *created = false;
    } else {
        *created = file >= 0;
    }
    if (file < 0) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    close(file);
    return STATUS_OK;
}

/* As access(), for the user whose permissions hold. */
static bool may(const char *path, int mode) {
    return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
}

static enum status check_file(bool *created, const char *path, enum store_mode mode) {
    struct stat about;
    *created = false;
    if (stat(path, &about) != 0) {
        if (errno == ENOENT && mode == STORE_WRITE) return create_file(created, path);
        return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    }
    if (S_ISDIR(about.st_mode))
        return status_fail("\"%s\" is a directory, not a score database", path);
    if (!S_ISREG(about.st_mode))
        return status_fail("\"%s\" is a device or a pipe, not a score database", path);
    if (!may(path, R_OK)) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    if (mode == STORE_WRITE && !may(path, W_OK))
        return status_fail("cannot write to \"%s\": %s", path,
                           errno == EACCES || errno == EPERM || errno == EROFS ? "it is read-only"
                                                                               : strerror(errno));
    return STATUS_OK;
}

static bool directory_is_writable(const struct store *store) {
    char *directory = file_parent(store->file);
    bool writable = directory && may(directory, W_OK | X_OK);
    free(directory);
    return writable;
}

/* File systems that several machines may see, where shared memory and so the log of WAL mode do not
 * work; NULL for others. */
static const char *network_of(const char *path) {
    static const struct {
        unsigned long type;
        const char *name;
    } systems[] = {
        {0x6969, "NFS"},        {0xff534d42, "CIFS"},  {0xfe534d42, "SMB"},
        {0x517b, "SMB"},        {0x01021997, "9p"},    {0x65735546, "FUSE or virtiofs"},
        {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},  {0x19830326, "BeeGFS"},
        {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},   {0x6b414653, "AFS"},
        {0x73757245, "Coda"},   {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"},
        {0xaad7aaea, "PanFS"},  {0x564c, "NCP"},
    };
    struct statfs about;
    if (statfs(path, &about) != 0) return NULL;
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
        if (((unsigned long)about.f_type & 0xffffffff) == systems[i].type) return systems[i].name;
    return NULL;
}

/* ---- a connection */

static void configure(struct store *store) {
    sqlite3_extended_result_codes(store->db, 1);
#ifdef SQLITE_DBCONFIG_DEFENSIVE
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
#endif
#ifdef SQLITE_DBCONFIG_TRUSTED_SCHEMA
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
#endif
#ifdef SQLITE_DBCONFIG_ENABLE_VIEW
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
#endif
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    connection_watch(store);
}

static void drop_statements(struct store *store) {
    for (size_t i = 0; i < store->cached; i++) sqlite3_finalize(store->cache[i].statement);
    store->cached = 0;
}

static void drop_connection(struct store *store) {
    drop_statements(store);
    sqlite3_close(store->db);
    store->db = NULL;
}

static enum status open_file(struct store *store, const char *name, int flags) {
    drop_connection(store);
    connection_note_locks();
    int code = sqlite3_open_v2(name, &store->db, flags, NULL);
    if (code != SQLITE_OK) return connection_fail(store, code);
    configure(store);
    /* A journal that has grown for one large transaction gets small again. */
    return connection_execute(store, "PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON;"
                                     "PRAGMA journal_size_limit = 16777216");
}

/* Whether WAL mode failed because the shared-memory file cannot be made or mapped, on a disk that
 * has room for it. */
static bool lacks_shared_memory(const struct store *store) {
    static const int scarce[] = {ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM};
    int failure = store->failure;
    for (size_t i = 0; i < sizeof scarce / sizeof *scarce; i++)
        if (store->reason == scarce[i]) return false;
    if (connection_lacks_locks()) return false;
    return failure == SQLITE_IOERR_SHMMAP || failure == SQLITE_IOERR_SHMOPEN ||
           failure == SQLITE_IOERR_SHMSIZE || (failure & 0xff) == SQLITE_CANTOPEN ||
           (failure & 0xff) == SQLITE_PROTOCOL;
}

/* Changing the journal mode does not use the busy handler, so two processes that create one
 * database at once would disturb each other here. */
static enum status set_journal(struct store *store, const char *pragma) {
    for (int tries = 0;; tries++) {
        int code = sqlite3_exec(store->db, pragma, NULL, NULL, NULL);
        if (code == SQLITE_OK) return STATUS_OK;
        if ((code & 0xff) != SQLITE_BUSY || tries >= STORE_BUSY_SECONDS * 20)
            return connection_fail(store, code);
        enum status status = connection_fail(store, code);
        if (connection_lacks_locks()) return status;
        sqlite3_sleep(50);
    }
}

/* A database in WAL mode where there is no shared memory: alone, SQLite does without, and can
 * change the mode. */
static enum status leave_wal(struct store *store) {
    enum status status = open_file(store, store->file, SQLITE_OPEN_READWRITE);
    if (!status) status = connection_execute(store, "PRAGMA locking_mode = EXCLUSIVE");
    if (!status) status = set_journal(store, "PRAGMA journal_mode = DELETE");
    char *shared = text_format("%s-shm", store->file);
    if (!status && shared) unlink(shared); /* of the attempt to map it */
    free(shared);
    if (!status) status = open_file(store, store->file, SQLITE_OPEN_READWRITE);
    if (!status)
        log_warn("\"%s\": no shared memory on this file system, so the database goes on with a "
                 "rollback journal: open it on one machine at a time",
                 store->path);
    return status;
}

static bool is_wal(struct store *store) {
    sqlite3_stmt *statement = NULL;
    bool wal = false;
    if (sqlite3_prepare_v2(store->db, "PRAGMA journal_mode", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        wal = mode && strcmp(mode, "wal") == 0;
    }
    sqlite3_finalize(statement);
    return wal;
}

/* A new database gets WAL mode where that works; an old one keeps what it has, unless it came to a
 * network file system in WAL mode, which there would damage it. */
static enum status choose_journal(struct store *store, bool new) {
    const char *network = network_of(store->file);
    enum status status = STATUS_OK;
    if (network && (new || is_wal(store))) {
        status = set_journal(store, "PRAGMA journal_mode = DELETE");
        if (!status)
            log_warn("\"%s\" is on a network file system (%s), so the database gets a rollback "
                     "journal: open it on one machine at a time",
                     store->path, network);
    } else if (new) {
        status = set_journal(store, "PRAGMA journal_mode = WAL");
        int64_t version;
        if (!status) status = schema_version(&version, store); /* maps the shared memory */
    }
    if (status && lacks_shared_memory(store) && directory_is_writable(store))
        status = leave_wal(store);
    if (!status) status = connection_execute(store, "PRAGMA synchronous = FULL");
    return status;
}

static enum status open_for_writing(struct store *store) {
    int64_t version = 0;
    enum status status = open_file(store, store->file, SQLITE_OPEN_READWRITE);
    /* Look before touching: the journal mode of another program's database must stay. */
    if (!status) status = schema_version(&version, store);
    if (status && lacks_shared_memory(store) && directory_is_writable(store)) {
        status = leave_wal(store);
        if (!status) status = schema_version(&version, store);
    }
    if (status && !directory_is_writable(store))
        status = connection_fail(store, SQLITE_READONLY_DIRECTORY);
    if (!status && sqlite3_db_readonly(store->db, "main") == 1)
        status = connection_fail(store, SQLITE_READONLY);
    if (!status) status = choose_journal(store, version == 0);
    if (!status) status = schema_migrate(store);
    if (!status) status = schema_check(store);
    return status;
}

/* ---- reading */

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

/* Failures of a reader that could not make the shared-memory file of WAL mode: no permission, no
 * space. */
static bool wants_to_write(int failure) {
    if (connection_lacks_locks()) return false;
    int primary = failure & 0xff;
    return primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_FULL ||
           primary == SQLITE_IOERR;
}

/* A WAL database in a directory that cannot be written (or is full) opens only as immutable, which
 * is right when no writer has left anything in a WAL file. */
static enum status open_immutable(struct store *store) {
    enum status status = STATUS_FAILED; /* the message of the first try stands */
    bool pending = false;
    for (int i = 0; i < 2; i++) {
        char *journal = text_format(i ? "%s-journal" : "%s-wal", store->file);
        struct stat about;
        pending = pending || !journal || (stat(journal, &about) == 0 && about.st_size > 0);
        free(journal);
    }
    char *uri = pending ? NULL : immutable_uri(store->file);
    if (uri) status = open_file(store, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    free(uri);
    if (pending && !directory_is_writable(store))
        status = status_fail("cannot read \"%s\" here: the journal beside it has values of a run "
                             "that was killed or still computes, and its directory is read-only: "
                             "open the database once where it can be written",
                             store->path);
    return status;
}

/* An older database where it cannot be brought up to date: a copy in memory can. */
static enum status open_copy(struct store *store) {
    sqlite3 *original = store->db;
    store->db = NULL;
    drop_statements(store);
    enum status status = open_file(store, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY);
    sqlite3_backup *backup =
        status ? NULL : sqlite3_backup_init(store->db, "main", original, "main");
    if (!status && (!backup || sqlite3_backup_step(backup, -1) != SQLITE_DONE))
        status = connection_fail(store, sqlite3_errcode(store->db));
    sqlite3_backup_finish(backup);
    sqlite3_close(original);
    return status ? status : schema_migrate(store);
}

/* A reader that may write opens the file so: the last one to close it must be able to clear the
 * journals away. */
static enum status open_for_reading(struct store *store) {
    int64_t version = 0;
    bool writable = may(store->file, W_OK);
    enum status status =
        open_file(store, store->file, writable ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    if (!status) status = schema_version(&version, store);
    if (status && wants_to_write(store->failure)) {
        status = open_immutable(store);
        if (status && writable && directory_is_writable(store) && lacks_shared_memory(store))
            status = leave_wal(store);
        if (!status) status = schema_version(&version, store);
    }
    if (status) return status;
    if (version == 0) return status_fail("\"%s\" is empty, not a score database", store->path);
    if (version < SCHEMA_VERSION) {
        bool possible = writable && directory_is_writable(store);
        status = possible ? open_for_writing(store) : open_copy(store);
    }
    if (status) return status;
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, STORE_VALUE_MOST);
    status = schema_check(store);
    if (!status) status = connection_execute(store, "PRAGMA query_only = ON");
    return status;
}

enum status store_open(struct store **out, const char *path, enum store_mode mode) {
    bool created = false;
    struct store *store = NULL;
    *out = NULL;
    enum status status = check_name(path);
    if (!status) status = check_file(&created, path, mode);
    if (status) return status;
    store = memory_calloc(1, sizeof *store);
    if (!store) return STATUS_FAILED;
    store->mode = mode;
    store->path = memory_copy_string(path);
    store->file = realpath(path, NULL);
    if (!store->file) status = status_fail("cannot open \"%s\": %s", path, strerror(errno));
    if (!store->path) status = STATUS_FAILED;
    if (!status) status = mode == STORE_WRITE ? open_for_writing(store) : open_for_reading(store);
    if (!status) {
        *out = store;
        return STATUS_OK;
    }
    struct stat about;
    bool empty = created && store->file && stat(store->file, &about) == 0 && about.st_size == 0;
    if (empty) unlink(store->file);
    store_close(store);
    return status;
}

/* The number that a pragma gives; -1: none. Leaves the message as it is. */
static int64_t pragma_number(struct store *store, const char *sql) {
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

/* Space of dropped training states goes back to the file system where most of the file is such, and
 * the rest is copied in a few seconds. What does not work now, because another process reads or the
 * disk is full, is done by a later run; a kill leaves the file as it was. */
static void compact(struct store *store) {
    enum { LEAST_UNUSED = 1 << 16, MOST_USED = 1 << 29 };
    if (!store->db || store->mode != STORE_WRITE || !sqlite3_get_autocommit(store->db)) return;
    int64_t size = pragma_number(store, "PRAGMA page_size");
    int64_t unused = pragma_number(store, "PRAGMA freelist_count");
    int64_t used = pragma_number(store, "PRAGMA page_count") - unused;
    if (size < 1 || unused < LEAST_UNUSED / size || unused < used || used > MOST_USED / size)
        return;
    store->operations = 0;
    sqlite3_busy_timeout(store->db, 0);
    sqlite3_exec(store->db, "VACUUM", NULL, NULL, NULL);
}

void store_close(struct store *store) {
    if (!store) return;
    compact(store);
    drop_connection(store);
    free(store->path);
    free(store->file);
    free(store);
}

/* ---- transactions */

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
