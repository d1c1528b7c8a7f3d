/* Rows as they are read. A database comes from anywhere: its columns may hold NULL, another type,
 * values out of range, or the same row twice, whatever its schema says. Every value is checked
 * here, where it is read, and nowhere else; a fault names the table, the row by its keys, and the
 * column. Nothing outside this folder includes it. */
#ifndef SCORES_READER_H
#define SCORES_READER_H

#include "scores/connection.h"

struct reader {
    struct store *store;
    sqlite3_stmt *statement;
    const char *table;  /* of the columns, but those named "TABLE.COLUMN" */
    int keys;           /* the first so many columns tell rows apart; rows come in their order */
    enum status status; /* of the first fault; what is read after it means nothing */
};

/* Calls `append` on every row of the statement and resets it. Two rows of equal keys, and more rows
 * than the file can hold, are failures. */
enum status reader_run(struct store *store, sqlite3_stmt *statement, const char *table, int keys,
                       void *list,
                       enum status (*append)(void *list, struct reader *reader)) STATUS_CHECKED;

/* An integer within bounds. */
int64_t reader_integer(struct reader *reader, int column, int64_t least, int64_t most);

/* A finite number of at least `least` (-INFINITY: any) and no enormous one, as no measurement is;
 * with `null` NULL is NAN. */
double reader_number(struct reader *reader, int column, double least, bool null);

enum {
    READER_NULL = 1,  /* NULL is fine and gives NULL */
    READER_BYTES = 2, /* names of files and what models wrote: any bytes but NUL */
};
enum { READER_TEXT_MOST = 16 << 20 };

/* Text in new memory: UTF-8 without NUL, of at most READER_TEXT_MOST bytes. */
char *reader_text(struct reader *reader, int column, unsigned allowed);

/* Text that is one of `words`, which ends with NULL. */
char *reader_word(struct reader *reader, int column, const char *const *words);

/* Text that is a JSON object. */
char *reader_object(struct reader *reader, int column);

/* "… column "NAME" " and the rest as given; sets the reader's status and returns it. */
enum status reader_fail(struct reader *reader, int column, const char *format, ...)
    STATUS_PRINTF(3, 4);

#endif
