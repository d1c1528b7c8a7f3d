/* The tables, and how an older database becomes a newer one. Version n of the schema is reached
 * from n - 1 by migrations[n - 1]; a released entry never changes, a change of schema appends one.
 */
#include <stdlib.h>

#include "base/text.h"
#include "scores/connection.h"
#include "scores/store.h"

static const char *const migrations[SCHEMA_VERSION] = {
    /* 1: models, token sets, runs, their values, plans */
    "CREATE TABLE model ("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  shape TEXT NOT NULL);"
    "CREATE TABLE dataset ("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL UNIQUE,"
    "  path TEXT NOT NULL,"
    "  rows INTEGER NOT NULL,"
    "  tokens INTEGER NOT NULL);"
    "CREATE TABLE run ("
    "  id INTEGER PRIMARY KEY,"
    "  kind TEXT NOT NULL,"
    "  model INTEGER NOT NULL REFERENCES model(id),"
    "  dataset INTEGER NOT NULL REFERENCES dataset(id),"
    "  base TEXT NOT NULL,"
    "  parameters TEXT NOT NULL," /* JSON, sorted keys */
    "  seed INTEGER NOT NULL,"
    "  device TEXT NOT NULL,"
    "  version TEXT NOT NULL,"
    "  status TEXT NOT NULL,"
    "  started TEXT NOT NULL,"
    "  finished TEXT,"
    "  UNIQUE (kind, model, dataset, base, parameters, seed));"
    "CREATE TABLE score ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  layer INTEGER NOT NULL," /* -1: the trunk */
    "  metric TEXT NOT NULL,"
    "  value REAL NOT NULL,"
    "  stderr REAL," /* over n sequences; NULL: unknown */
    "  n INTEGER NOT NULL,"
    "  PRIMARY KEY (run, metric, layer)) WITHOUT ROWID;"
    "CREATE TABLE sequence_score ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  layer INTEGER NOT NULL,"
    "  row INTEGER NOT NULL,"
    "  metric TEXT NOT NULL,"
    "  value REAL NOT NULL,"    /* mean over the counted positions of the row */
    "  count INTEGER NOT NULL," /* of those positions */
    "  PRIMARY KEY (run, metric, layer, row)) WITHOUT ROWID;"
    "CREATE TABLE probe_step ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  layer INTEGER NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  step INTEGER NOT NULL,"
    "  loss REAL NOT NULL,"
    "  PRIMARY KEY (run, layer, seed, step)) WITHOUT ROWID;"
    "CREATE TABLE plan ("
    "  id INTEGER PRIMARY KEY,"
    "  model INTEGER NOT NULL REFERENCES model(id),"
    "  created TEXT NOT NULL,"
    "  document TEXT NOT NULL);",
    /* 2: where an unfinished probe stands */
    "CREATE TABLE probe_state ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  layer INTEGER NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  step INTEGER NOT NULL,"
    "  state BLOB NOT NULL,"
    "  PRIMARY KEY (run, layer, seed));",
    /* 3: tasks, item by item */
    "CREATE TABLE item ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  row INTEGER NOT NULL," /* as in sequence_score */
    "  category TEXT,"
    "  gold TEXT NOT NULL,"
    "  PRIMARY KEY (run, row)) WITHOUT ROWID;"
    "CREATE TABLE choice ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  row INTEGER NOT NULL,"
    "  choice INTEGER NOT NULL," /* from 0 */
    "  loglikelihood REAL NOT NULL,"
    "  tokens INTEGER NOT NULL,"
    "  characters INTEGER NOT NULL,"
    "  greedy INTEGER NOT NULL," /* tokens that the model would have chosen */
    "  PRIMARY KEY (run, row, choice)) WITHOUT ROWID;"
    "CREATE TABLE answer ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  row INTEGER NOT NULL,"
    "  sample INTEGER NOT NULL," /* from 0 */
    "  text TEXT NOT NULL,"
    "  answer TEXT," /* what was taken from the text; NULL: nothing */
    "  correct INTEGER NOT NULL,"
    "  tokens INTEGER NOT NULL,"
    "  PRIMARY KEY (run, row, sample)) WITHOUT ROWID;",
    /* 4: throughput; the rows of one measurement share a series, the id of its first */
    "CREATE TABLE bench ("
    "  id INTEGER PRIMARY KEY,"
    "  series INTEGER NOT NULL,"
    "  model INTEGER NOT NULL REFERENCES model(id),"
    "  created TEXT NOT NULL,"
    "  device TEXT NOT NULL,"
    "  version TEXT NOT NULL,"
    "  settings TEXT NOT NULL,"     /* JSON, sorted keys */
    "  replaced INTEGER NOT NULL,"  /* layers */
    "  batch INTEGER NOT NULL,"     /* sequences at a time */
    "  automatic INTEGER NOT NULL," /* the memory decided it */
    "  memory INTEGER NOT NULL,"    /* bytes */
    "  tokens_per_second REAL NOT NULL,"
    "  step_seconds REAL NOT NULL,"
    "  first_token_seconds REAL NOT NULL,"
    "  bytes_per_token REAL NOT NULL,"
    "  roofline REAL NOT NULL);", /* tokens a second */
    /* 5: a probe's state in parts; a state in one piece becomes part 0 */
    "ALTER TABLE probe_state RENAME TO whole_state;"
    "CREATE TABLE probe_state ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  layer INTEGER NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  part INTEGER NOT NULL," /* from 0 */
    "  step INTEGER NOT NULL," /* the same in every part */
    "  bytes BLOB NOT NULL,"
    "  PRIMARY KEY (run, layer, seed, part));"
    "INSERT INTO probe_state SELECT run, layer, seed, 0, step, state FROM whole_state;"
    "DROP TABLE whole_state;",
    /* 6: the kind of device is part of a run's key; a run that both have computed is never
     * continued */
    "CREATE TABLE keyed_run ("
    "  id INTEGER PRIMARY KEY,"
    "  kind TEXT NOT NULL,"
    "  model INTEGER NOT NULL REFERENCES model(id),"
    "  dataset INTEGER NOT NULL REFERENCES dataset(id),"
    "  base TEXT NOT NULL,"
    "  parameters TEXT NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  device_kind TEXT NOT NULL," /* cpu, cuda */
    "  device TEXT NOT NULL,"
    "  version TEXT NOT NULL,"
    "  status TEXT NOT NULL,"
    "  started TEXT NOT NULL,"
    "  finished TEXT,"
    "  UNIQUE (kind, model, dataset, base, parameters, seed, device_kind));"
    "INSERT INTO keyed_run SELECT id, kind, model, dataset, base, parameters, seed,"
    "  CASE WHEN device LIKE '%cpu%' AND device LIKE '%cuda%' THEN 'both'"
    "    WHEN device LIKE 'cuda%' THEN 'cuda' ELSE 'cpu' END,"
    "  device, version, status, started, finished FROM run;"
    "DROP TABLE run;"
    "ALTER TABLE keyed_run RENAME TO run;",
    /* 7: the numbers version is part of a run's key (0: unknown, of before), the commit of the
     * program is recorded, and a model says by which kind of fingerprint it is known: all models
     * of before by the first, which reads samples of the weights */
    "CREATE TABLE known_model ("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  shape TEXT NOT NULL,"
    "  fingerprint_kind INTEGER NOT NULL);"
    "INSERT INTO known_model SELECT id, fingerprint, name, shape, 1 FROM model;"
    "DROP TABLE model;"
    "ALTER TABLE known_model RENAME TO model;"
    "CREATE TABLE numbered_run ("
    "  id INTEGER PRIMARY KEY,"
    "  kind TEXT NOT NULL,"
    "  model INTEGER NOT NULL REFERENCES model(id),"
    "  dataset INTEGER NOT NULL REFERENCES dataset(id),"
    "  base TEXT NOT NULL,"
    "  parameters TEXT NOT NULL,"
    "  seed INTEGER NOT NULL,"
    "  device_kind TEXT NOT NULL,"
    "  numbers INTEGER NOT NULL,"
    "  device TEXT NOT NULL,"
    "  version TEXT NOT NULL,"  /* of the program: its releases */
    "  revision TEXT NOT NULL," /* and its commits */
    "  status TEXT NOT NULL,"
    "  started TEXT NOT NULL,"
    "  finished TEXT,"
    "  UNIQUE (kind, model, dataset, base, parameters, seed, device_kind, numbers));"
    "INSERT INTO numbered_run SELECT id, kind, model, dataset, base, parameters, seed,"
    "  device_kind, 0, device, version, '', status, started, finished FROM run;"
    "DROP TABLE run;"
    "ALTER TABLE numbered_run RENAME TO run;",
    /* 8: what the user wants to remember of a run, and the time that it has taken, pauses between
     * its parts left out */
    "ALTER TABLE run ADD COLUMN note TEXT;"
    "ALTER TABLE run ADD COLUMN seconds REAL;",
    /* 9: how far rounds of a measurement of throughput lie apart */
    "ALTER TABLE bench ADD COLUMN spread REAL;",
    /* 10: the curves of a training */
    "CREATE TABLE training_step ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  step INTEGER NOT NULL," /* from 0 */
    "  loss REAL,"             /* before the update; NULL: not finite */
    "  rate REAL NOT NULL,"    /* learning rate */
    "  norm REAL,"             /* of the gradient, before it was limited; NULL: not finite */
    "  tokens INTEGER NOT NULL,"
    "  seconds REAL NOT NULL,"
    "  taken INTEGER NOT NULL," /* 0: skipped */
    "  PRIMARY KEY (run, step)) WITHOUT ROWID;"
    "CREATE TABLE training_value ("
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"
    "  step INTEGER NOT NULL," /* steps that were done when it was measured */
    "  metric TEXT NOT NULL,"
    "  value REAL NOT NULL,"
    "  stderr REAL," /* over n sequences; NULL: unknown */
    "  n INTEGER NOT NULL,"
    "  PRIMARY KEY (run, metric, step)) WITHOUT ROWID;",
};

const char *schema_migration(int version) {
    return version < 1 || version > SCHEMA_VERSION ? NULL : migrations[version - 1];
}

static enum status read_version(int64_t *version, int64_t *application, int64_t *tables,
                                struct store *store) {
    enum status status = connection_integer(version, store, "PRAGMA user_version");
    if (!status) status = connection_integer(application, store, "PRAGMA application_id");
    if (!status) status = connection_integer(tables, store, "SELECT count(*) FROM sqlite_master");
    return status;
}

enum status schema_version(int64_t *out, struct store *store) {
    int64_t application = 0, tables = 0;
    /* One snapshot for the three: another process may be creating the database. */
    enum status status = connection_execute(store, "SAVEPOINT version");
    if (status) return status;
    status = read_version(out, &application, &tables, store);
    if (status) {
        sqlite3_exec(store->db, "RELEASE version", NULL, NULL, NULL);
        return status;
    }
    status = connection_execute(store, "RELEASE version");
    if (status) return status;
    if (tables == 0 && *out == 0) return STATUS_OK;
    if (application != SCHEMA_APPLICATION || *out < 1)
        return status_fail("\"%s\" is another program's database, not a score database",
                           store->path);
    if (*out > SCHEMA_VERSION)
        return status_fail("\"%s\" has schema version %lld, this program knows %d; use a newer "
                           "apriel-tool",
                           store->path, (long long)*out, SCHEMA_VERSION);
    return STATUS_OK;
}

static enum status migrate(struct store *store) {
    int64_t version = 0;
    enum status status = store_begin(store);
    if (status) return status;
    /* Another process may have done it while this one waited. */
    status = schema_version(&version, store);
    for (; !status && version < SCHEMA_VERSION; version++)
        status = connection_execute(store, migrations[version]);
    char *pragmas = text_format("PRAGMA application_id = %d; PRAGMA user_version = %d",
                                SCHEMA_APPLICATION, SCHEMA_VERSION);
    if (!pragmas) status = STATUS_FAILED;
    if (!status) status = connection_execute(store, pragmas);
    free(pragmas);
    if (!status) return store_commit(store);
    store_rollback(store);
    return status;
}

/* What the migrations copy into tables of their own, which want these columns (integers are marked
 * with "#") and ids once: a row that they would stumble over is named. */
static const struct {
    const char *table, *columns[12];
} copied[] = {
    {"model", {"fingerprint", "name", "shape"}},
    {"run",
     {"kind", "#model", "#dataset", "base", "parameters", "#seed", "device", "version", "status",
      "started"}},
};

/* The id of the first row where the column is NULL or, without one, of a row that is there twice;
 * 0: none. */
static enum status find_fault(int64_t *id, struct store *store, const char *table,
                              const char *column) {
    sqlite3_stmt *statement = NULL;
    bool found = false;
    char *sql = column
                    ? sqlite3_mprintf("SELECT id FROM %s WHERE %s IS NULL LIMIT 1", table, column)
                    : sqlite3_mprintf("SELECT id FROM %s GROUP BY id HAVING count(*) > 1", table);
    *id = 0;
    if (!sql) return connection_fail(store, SQLITE_NOMEM);
    store->operations = 0;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    sqlite3_free(sql);
    enum status status = code == SQLITE_OK ? STATUS_OK : connection_fail(store, code);
    if (!status) status = connection_step(&found, store, statement);
    if (found) *id = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return status;
}

static enum status check_copied(struct store *store, const char *table,
                                const char *const *columns) {
    int64_t id;
    for (; *columns; columns++) {
        bool integer = **columns == '#';
        enum status status = find_fault(&id, store, table, *columns + integer);
        if (status) return status;
        if (id)
            return status_fail("score database \"%s\" is damaged: table \"%s\", row %lld: column "
                               "\"%s\" is NULL, not %s",
                               store->path, table, (long long)id, *columns + integer,
                               integer ? "an integer" : "a text");
    }
    enum status status = find_fault(&id, store, table, NULL);
    if (!status && id)
        status = status_fail("score database \"%s\" is damaged: table \"%s\", row %lld is there "
                             "twice",
                             store->path, table, (long long)id);
    return status;
}

enum status schema_migrate(struct store *store) {
    int64_t version = 0;
    enum status status = schema_version(&version, store);
    if (status || version == SCHEMA_VERSION) return status;
    for (size_t i = 0; version && i < sizeof copied / sizeof *copied; i++)
        if ((status = check_copied(store, copied[i].table, copied[i].columns))) return status;
    /* With foreign keys on, dropping a table that gets a successor would drop what refers to it.
     * SQLite heeds the switch only outside of transactions. */
    status = connection_execute(store, "PRAGMA foreign_keys = OFF");
    if (!status) status = migrate(store);
    if (!status) status = connection_execute(store, "PRAGMA foreign_keys = ON");
    return status;
}

/* ---- what the tables must be */

/* Columns that this program reads; those of the primary key are marked with "*". */
static const struct {
    const char *name;
    const char *columns[20];
} tables[] = {
    {"model", {"*id", "fingerprint", "name", "shape", "fingerprint_kind"}},
    {"dataset", {"*id", "fingerprint", "path", "rows", "tokens"}},
    {"run",
     {"*id", "kind", "model", "dataset", "base", "parameters", "seed", "device_kind", "numbers",
      "device", "version", "revision", "status", "started", "finished", "note", "seconds"}},
    {"score", {"*run", "*layer", "*metric", "value", "stderr", "n"}},
    {"sequence_score", {"*run", "*layer", "*row", "*metric", "value", "count"}},
    {"probe_step", {"*run", "*layer", "*seed", "*step", "loss"}},
    {"training_step", {"*run", "*step", "loss", "rate", "norm", "tokens", "seconds", "taken"}},
    {"training_value", {"*run", "*step", "*metric", "value", "stderr", "n"}},
    {"plan", {"*id", "model", "created", "document"}},
    {"probe_state", {"*run", "*layer", "*seed", "*part", "step", "bytes"}},
    {"item", {"*run", "*row", "category", "gold"}},
    {"choice", {"*run", "*row", "*choice", "loglikelihood", "tokens", "characters", "greedy"}},
    {"answer", {"*run", "*row", "*sample", "text", "answer", "correct", "tokens"}},
    {"bench",
     {"*id", "series", "model", "created", "device", "version", "settings", "replaced", "batch",
      "automatic", "memory", "tokens_per_second", "step_seconds", "first_token_seconds",
      "bytes_per_token", "roofline", "spread"}},
};

static enum status fail_for_table(const struct store *store, const char *table, const char *what) {
    return status_fail("score database \"%s\" is damaged: \"%s\" %s", store->path, table, what);
}

static enum status check_columns(struct store *store, const char *table,
                                 const char *const *columns) {
    for (; *columns; columns++) {
        bool key = **columns == '*';
        const char *name = *columns + key;
        int primary = 0;
        int code = sqlite3_table_column_metadata(store->db, "main", table, name, NULL, NULL, NULL,
                                                 &primary, NULL);
        if (code == SQLITE_NOMEM) return connection_fail(store, code);
        if (code != SQLITE_OK)
            return status_fail("score database \"%s\" is damaged: table \"%s\" has no column "
                               "\"%s\"",
                               store->path, table, name);
        if (store->mode == STORE_WRITE && key != (primary != 0))
            return status_fail("score database \"%s\" is damaged: column \"%s\" of table \"%s\" "
                               "is %s its primary key",
                               store->path, name, table, key ? "not part of" : "part of");
    }
    return STATUS_OK;
}

/* A view, a virtual table or a generated column gives rows that are computed, without end if it
 * likes. */
static enum status check_table(struct store *store, const char *table, const char *const *columns) {
    static const char plain[] =
        "SELECT (SELECT count(*) FROM sqlite_master WHERE name = ?1 COLLATE NOCASE"
        "   AND type = 'table' AND rootpage > 0 AND sql NOT LIKE '%create%virtual%')"
        " + (SELECT count(*) FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND type = 'view')"
        "   * 100 + (SELECT count(*) FROM pragma_table_xinfo(?1) WHERE hidden) * 1000";
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status = connection_prepare(&statement, store, plain, "t", table);
    if (!status) status = connection_step(&row, store, statement);
    int64_t found = !status && row ? sqlite3_column_int64(statement, 0) : 0;
    connection_reset(statement);
    if (status) return status;
    if (found == 0) return fail_for_table(store, table, "is missing");
    if (found >= 1000) return fail_for_table(store, table, "has columns that are computed");
    if (found != 1) return fail_for_table(store, table, "is not a table");
    return check_columns(store, table, columns);
}

enum status schema_check(struct store *store) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof tables / sizeof *tables; i++)
        status = check_table(store, tables[i].name, tables[i].columns);
    return status;
}
