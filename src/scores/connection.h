/* What the files of src/scores share: the handle, prepared statements and messages for SQLite's
 * failures. Nothing outside this folder includes it. */
#ifndef SCORES_CONNECTION_H
#define SCORES_CONNECTION_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "scores/store.h"

enum { CONNECTION_STATEMENTS = 60 };

struct store {
    sqlite3 *db;
    char *path; /* as given */
    char *file; /* without symbolic links: beside this one lie the journals */
    enum store_mode mode;
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } cache[CONNECTION_STATEMENTS]; /* [cached] */
    size_t cached;
    int failure, reason; /* SQLite's extended code and errno of the last connection_fail */
    int64_t operations, most_operations; /* of the statement that runs, in CONNECTION_OPERATIONS */
    double busy_since;                   /* waiting for another process */
    double run_begun;                    /* by the program's clock */
    int64_t layers_run, layers;          /* the run that runs_find_layers was last asked for */
    int64_t whole_run;                   /* the one that whole_check last found whole */
};

/* Turn SQLite's failure `code` into this thread's message: "\"FILE\": what happened". */
enum status connection_fail(struct store *store, int code);

/* Watch the open connection: waits for other processes, and ends statements that take more
 * operations than a file of this size can need, or that a reader has interrupted. */
void connection_watch(struct store *store);

/* Keep in mind why a lock of the thread's last file was not given; for all connections. */
void connection_note_locks(void);

/* Whether the last lock failed for another reason than that somebody has it. */
bool connection_lacks_locks(void);

/* Bytes of the database and what waits in its log. */
int64_t connection_bytes(const struct store *store);

/* Run statements that give no rows. */
enum status connection_execute(struct store *store, const char *sql) STATUS_CHECKED;

/* The prepared statement of `sql` (a literal: kept until the store is closed), reset and bound.
 * `types` has a letter an argument: i int64_t, d double (NAN becomes NULL), t const char * (NULL
 * becomes NULL), b const void * and size_t. Text and bytes must live until the next
 * connection_reset. */
enum status connection_prepare(sqlite3_stmt **out, struct store *store, const char *sql,
                               const char *types, ...) STATUS_CHECKED;

/* Advance; `*row` tells whether there is a row to read. At the end the statement is reset. */
enum status connection_step(bool *row, struct store *store, sqlite3_stmt *statement) STATUS_CHECKED;
void connection_reset(sqlite3_stmt *statement);

/* Prepare, bind and step a statement that gives no rows. */
enum status connection_run(struct store *store, const char *sql, const char *types,
                           ...) STATUS_CHECKED;

/* Room for one more element of an array that has `count`: its capacity doubles whenever `count`
 * reaches a power of two. */
enum status connection_grow(void **elements, size_t count, size_t size) STATUS_CHECKED;

/* The first column of the first row of a statement without arguments; 0 when there is none. */
enum status connection_integer(int64_t *out, struct store *store, const char *sql) STATUS_CHECKED;

/* Layers that the model of a run has, as far as the database knows; no more than
 * STORE_LAYERS_MOST. */
enum status runs_find_layers(int64_t *layers, struct store *store, int64_t run) STATUS_CHECKED;

/* Fails where the run says that it is done and lacks rows, layers, steps or items of it: to be
 * asked after what it has of them is read. */
enum status whole_check(struct store *store, int64_t run) STATUS_CHECKED;

enum { SCHEMA_VERSION = 10, SCHEMA_APPLICATION = 0x41505253 }; /* "APRS" */

/* What makes a database of this version from one of the version before; for tests, which make old
 * databases with it. */
const char *schema_migration(int version);

/* The schema version of the open database; 0: empty, to be created. A newer schema, another
 * program's database and a file that is no database are failures. */
enum status schema_version(int64_t *out, struct store *store) STATUS_CHECKED;

/* Create or bring up to SCHEMA_VERSION in one transaction. Safe when two processes do it at once.
 */
enum status schema_migrate(struct store *store) STATUS_CHECKED;

/* The tables are tables with the columns that this program knows, not views or what else computes
 * rows; for STORE_WRITE with their primary keys. What they hold is the reader's to check. */
enum status schema_check(struct store *store) STATUS_CHECKED;

#endif
