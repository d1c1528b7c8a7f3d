/* What the files of src/scores share: the handle, prepared statements and messages for SQLite's
 * failures. Nothing outside this folder includes it. */
#ifndef SCORES_CONNECTION_H
#define SCORES_CONNECTION_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CONNECTION_STATEMENTS = 40 };

struct store {
    sqlite3 *db;
    char *path;
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } cache[CONNECTION_STATEMENTS]; /* [cached] */
    size_t cached;
    int failure; /* SQLite's code of the last connection_fail */
};

/* Turn SQLite's failure `code` into this thread's message: "\"FILE\": what happened". */
enum status connection_fail(struct store *store, int code);

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

/* Calls `append` on every row of the statement, which gives rows, and resets it. */
enum status connection_read(struct store *store, sqlite3_stmt *statement, void *list,
                            enum status (*append)(void *list,
                                                  sqlite3_stmt *statement)) STATUS_CHECKED;

/* Room for one more element of an array that has `count`: its capacity doubles whenever `count`
 * reaches a power of two. */
enum status connection_grow(void **elements, size_t count, size_t size) STATUS_CHECKED;

/* A text column in new memory; NULL stays NULL and is not a failure. */
enum status connection_text(char **out, sqlite3_stmt *statement, int column) STATUS_CHECKED;

/* The first column of the first row of a statement without arguments; 0 when there is none. */
enum status connection_integer(int64_t *out, struct store *store, const char *sql) STATUS_CHECKED;

enum { SCHEMA_VERSION = 6, SCHEMA_APPLICATION = 0x41505253 }; /* "APRS" */

/* The schema version of the open database; 0: empty, to be created. A newer schema, another
 * program's database and a file that is no database are failures. */
enum status schema_version(int64_t *out, struct store *store) STATUS_CHECKED;

/* Create or bring up to SCHEMA_VERSION in one transaction. Safe when two processes do it at once.
 */
enum status schema_migrate(struct store *store) STATUS_CHECKED;

#endif
