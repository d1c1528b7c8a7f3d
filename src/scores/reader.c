#include "scores/reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

enum { MOST_KEYS = 4, SHOWN = 60 };

/* ---- what went wrong where */

/* "row 3" of a table with ids, else "row of run 1, layer 2, metric "kl"". */
static void append_row(struct text *out, const struct reader *reader) {
    sqlite3_stmt *statement = reader->statement;
    bool id = strcmp(sqlite3_column_name(statement, 0), "id") == 0;
    text_append(out, id ? "row " : "row of ");
    for (int i = 0; i < reader->keys; i++) {
        if (!id) text_append(out, "%s%s ", i ? ", " : "", sqlite3_column_name(statement, i));
        bool integer = sqlite3_column_type(statement, i) == SQLITE_INTEGER;
        const char *text = (const char *)sqlite3_column_text(statement, i);
        if (text && integer)
            text_append(out, "%s", text);
        else if (text)
            text_append(out, "\"%.*s\"", SHOWN, text);
        else
            text_append(out, "NULL");
    }
}

/* "\"FILE\" is damaged: table \"score\", row of run 1, layer 2"; of a `joined` table: "table
 * \"model\", which row 1 of \"run\" refers to". */
static void append_place(struct text *out, const struct reader *reader, const char *joined) {
    text_append(out, "score database \"%s\" is damaged: table \"%s\", ", reader->store->path,
                joined ? joined : reader->table);
    if (joined) text_append(out, "which ");
    append_row(out, reader);
    if (joined) text_append(out, " of \"%s\" refers to", reader->table);
}

enum status reader_fail(struct reader *reader, int column, const char *format, ...) {
    if (reader->status) return reader->status;
    struct text message = {0};
    const char *name = sqlite3_column_name(reader->statement, column);
    const char *dot = strchr(name, '.');
    char *table = dot ? memory_copy_bytes(name, (size_t)(dot - name)) : NULL;
    append_place(&message, reader, table);
    text_append(&message, ": column \"%s\" ", dot ? dot + 1 : name);
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    text_append(&message, "%s", reason);
    char *text = text_finish(&message);
    reader->status = text ? status_fail("%s", text) : STATUS_FAILED;
    free(text);
    free(table);
    return reader->status;
}

static const char *type_name(int type) {
    return type == SQLITE_NULL    ? "NULL"
           : type == SQLITE_BLOB  ? "a blob"
           : type == SQLITE_TEXT  ? "a text"
           : type == SQLITE_FLOAT ? "a fraction"
                                  : "an integer";
}

/* ---- values */

int64_t reader_integer(struct reader *reader, int column, int64_t least, int64_t most) {
    if (reader->status) return 0;
    int type = sqlite3_column_type(reader->statement, column);
    int64_t value = sqlite3_column_int64(reader->statement, column);
    if (type != SQLITE_INTEGER)
        reader_fail(reader, column, "is %s, not an integer", type_name(type));
    else if (value < least)
        reader_fail(reader, column, "is %lld, below %lld", (long long)value, (long long)least);
    else if (value > most)
        reader_fail(reader, column, "is %lld, above %lld", (long long)value, (long long)most);
    return reader->status ? 0 : value;
}

double reader_number(struct reader *reader, int column, double least, bool null) {
    if (reader->status) return NAN;
    const double most = 1e100; /* squares and sums of such are finite */
    int type = sqlite3_column_type(reader->statement, column);
    double value = sqlite3_column_double(reader->statement, column);
    if (type == SQLITE_NULL && null) return NAN;
    if (type != SQLITE_FLOAT && type != SQLITE_INTEGER)
        reader_fail(reader, column, "is %s, not a number", type_name(type));
    else if (!isfinite(value))
        reader_fail(reader, column, "is infinite");
    else if (value < least)
        reader_fail(reader, column, "is %g, below %g", value, least);
    else if (fabs(value) > most)
        reader_fail(reader, column, "is %g, beyond %g", value, most);
    return reader->status ? NAN : value;
}

char *reader_text(struct reader *reader, int column, unsigned allowed) {
    if (reader->status) return NULL;
    int type = sqlite3_column_type(reader->statement, column);
    if (type == SQLITE_NULL && (allowed & READER_NULL)) return NULL;
    if (type != SQLITE_TEXT) {
        reader_fail(reader, column, "is %s, not a text", type_name(type));
        return NULL;
    }
    const char *text = (const char *)sqlite3_column_text(reader->statement, column);
    size_t length = (size_t)sqlite3_column_bytes(reader->statement, column);
    if (!text)
        reader->status = connection_fail(reader->store, SQLITE_NOMEM);
    else if (length > READER_TEXT_MOST)
        reader_fail(reader, column, "has %zu bytes, more than %d", length, READER_TEXT_MOST);
    else if (memchr(text, 0, length))
        reader_fail(reader, column, "has a NUL byte");
    else if (!(allowed & READER_BYTES) && !utf8_valid(text, length, &(size_t){0}))
        reader_fail(reader, column, "is not UTF-8");
    if (reader->status) return NULL;
    char *copy = memory_copy_bytes(text, length);
    if (!copy) reader->status = STATUS_FAILED;
    return copy;
}

char *reader_word(struct reader *reader, int column, const char *const *words) {
    char *text = reader_text(reader, column, 0);
    for (size_t i = 0; text && words[i]; i++)
        if (strcmp(text, words[i]) == 0) return text;
    if (text) reader_fail(reader, column, "is none of %s, %s, …", words[0], words[1]);
    free(text);
    return NULL;
}

char *reader_object(struct reader *reader, int column) {
    char *text = reader_text(reader, column, 0);
    struct json *value = NULL;
    if (text && js_parse(&value, text, strlen(text), "") == STATUS_OK && js_is_object(value)) {
        js_free(value);
        return text;
    }
    js_free(value);
    if (text) reader_fail(reader, column, "is not a JSON object");
    free(text);
    return NULL;
}

/* ---- rows */

/* The keys of the row before. */
struct keys {
    int64_t integers[MOST_KEYS];
    char *texts[MOST_KEYS]; /* NULL: the key was an integer */
    bool any;
};

/* Whether the row has the keys of the one before; its own are kept. */
static enum status compare_keys(bool *same, struct keys *keys, const struct reader *reader) {
    *same = keys->any;
    for (int i = 0; i < reader->keys; i++) {
        sqlite3_stmt *statement = reader->statement;
        bool integer = sqlite3_column_type(statement, i) == SQLITE_INTEGER;
        const char *text = integer ? NULL : (const char *)sqlite3_column_text(statement, i);
        int64_t value = integer ? sqlite3_column_int64(statement, i) : 0;
        bool equal =
            text && keys->texts[i] ? strcmp(text, keys->texts[i]) == 0 : !text && !keys->texts[i];
        *same = *same && equal && value == keys->integers[i];
        keys->integers[i] = value;
        if (equal) continue;
        free(keys->texts[i]);
        keys->texts[i] = text ? memory_copy_string(text) : NULL;
        if (text && !keys->texts[i]) return STATUS_FAILED;
    }
    keys->any = reader->keys > 0;
    return STATUS_OK;
}

static enum status check_keys(struct keys *keys, struct reader *reader) {
    bool same;
    enum status status = compare_keys(&same, keys, reader);
    if (status || !same) return status;
    struct text message = {0};
    append_place(&message, reader, NULL);
    char *text = text_finish(&message);
    status = text ? status_fail("%s is there twice", text) : STATUS_FAILED;
    free(text);
    return status;
}

/* A file whose pages refer to each other in circles seems to have rows without end. No row takes
 * less than four bytes. */
static enum status check_count(struct store *store, const char *table, int64_t rows) {
    enum { LEAST_BYTES = 4, UNCHECKED = 1 << 20 };
    if (rows & (UNCHECKED - 1)) return STATUS_OK;
    if (rows / (connection_bytes(store) / LEAST_BYTES + 1) == 0) return STATUS_OK;
    return status_fail("score database \"%s\" is damaged: table \"%s\" has more rows than the file "
                       "can hold",
                       store->path, table);
}

enum status reader_run(struct store *store, sqlite3_stmt *statement, const char *table, int keys,
                       void *list, enum status (*append)(void *list, struct reader *reader)) {
    struct reader reader = {.store = store, .statement = statement, .table = table, .keys = keys};
    struct keys before = {0};
    bool row = false;
    int64_t rows = 0;
    enum status status = connection_step(&row, store, statement);
    while (!status && row) {
        status = append(list, &reader);
        if (!status) status = reader.status;
        if (!status) status = check_keys(&before, &reader);
        if (!status) status = check_count(store, table, ++rows);
        if (!status) status = connection_step(&row, store, statement);
    }
    connection_reset(statement);
    for (int i = 0; i < MOST_KEYS; i++) free(before.texts[i]);
    return status;
}
