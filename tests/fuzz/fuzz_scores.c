/* Score databases, as scores, plan, chart, loo, mmr and eval read them. The input is a program of
 * changes to a good database: SQL that a damaged or hostile one can be the result of (values of all
 * types in all columns, tables without keys, views, rows twice, other columns), bytes of the file
 * written over, and the log of another file beside it. So that inputs stay small, every change
 * takes a few bytes. */
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../sample_scores.h"
#include "base/file.h"
#include "fuzz.h"

struct input {
    const uint8_t *bytes;
    size_t size;
};

static unsigned take(struct input *input) {
    if (!input->size) return 0;
    input->size--;
    return *input->bytes++;
}

static const char *const tables[][18] = {
    {"model", "id", "fingerprint", "name", "shape", "fingerprint_kind"},
    {"dataset", "id", "fingerprint", "path", "rows", "tokens"},
    {"run", "id", "kind", "model", "dataset", "base", "parameters", "seed", "device", "version",
     "status", "started", "finished", "note", "seconds", "numbers", "revision"},
    {"score", "run", "layer", "metric", "value", "stderr", "n"},
    {"sequence_score", "run", "layer", "row", "metric", "value", "count"},
    {"probe_step", "run", "layer", "seed", "step", "loss"},
    {"plan", "id", "model", "created", "document"},
    {"probe_state", "run", "layer", "seed", "part", "step", "bytes"},
    {"item", "run", "row", "category", "gold"},
    {"choice", "run", "row", "choice", "loglikelihood", "tokens", "characters", "greedy"},
    {"answer", "run", "row", "sample", "text", "answer", "correct", "tokens"},
    {"bench", "id", "series", "model", "created", "device", "settings", "replaced", "batch",
     "automatic", "memory", "tokens_per_second", "step_seconds", "first_token_seconds", "roofline"},
};
enum { TABLES = sizeof tables / sizeof *tables };

static const char *const values[] = {
    "NULL",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "255",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775807 - 1",
    "0.5",
    "-0.0",
    "1e308",
    "-1e308",
    "1e-308",
    "9e999",
    "-9e999",
    "''",
    "'x'",
    "'loo'",
    "'mmr'",
    "'eval'",
    "'done'",
    "'running'",
    "'kl'",
    "'ce'",
    "'acc'",
    "'heldout_rkl_after'",
    "'cpu'",
    "'tttt'",
    "'tmtt'",
    "'mmmm'",
    "'ttttttttttttttttttttttttt'",
    "'{}'",
    "'[]'",
    "'{'",
    "'{\"num_hidden_layers\": 1}'",
    "'{\"num_hidden_layers\": 1000}'",
    "'{\"num_hidden_layers\": -1}'",
    "'{\"num_hidden_layers\": \"x\"}'",
    "'{\"task\": 7}'",
    "'{\"layers\": 0}'",
    "'{\"layers\": 1e300}'",
    "'{\"steps\": 1e300, \"init\": []}'",
    "x''",
    "x'00'",
    "x'ff00ff'",
    "CAST(x'00' AS TEXT)",
    "CAST(x'6100' AS TEXT)",
    "CAST(x'ff' AS TEXT)",
    "CAST(x'1b5b334a' AS TEXT)",
    "zeroblob(100000)",
    "printf('%.*c', 70000, 'a')",
    "printf('%.*c', 3000, '[')",
    "'2026-01-01T00:00:00Z'",
    "rowid",
    "random()",
};
enum { VALUES = sizeof values / sizeof *values };

static void execute(sqlite3 *db, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *sql = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    if (sql) sqlite3_exec(db, sql, NULL, NULL, NULL); /* what is refused changes nothing */
    sqlite3_free(sql);
}

static const char *choose_column(struct input *input, const char *const *table) {
    unsigned count = 0;
    while (table[count + 1]) count++;
    return table[1 + take(input) % count];
}

/* A row by its place; 255: all. */
static void set_value(sqlite3 *db, struct input *input, const char *const *table) {
    const char *column = choose_column(input, table);
    const char *value = values[take(input) % VALUES];
    unsigned row = take(input);
    if (row == 255)
        execute(db, "UPDATE %s SET %s = %s", table[0], column, value);
    else /* tables without rowid too */
        execute(db,
                "UPDATE %s SET %s = %s WHERE (%s, %s) IN (SELECT %s, %s FROM %s LIMIT 1 OFFSET %u)",
                table[0], column, value, table[1], table[2], table[1], table[2], table[0], row);
}

static void change_schema(sqlite3 *db, struct input *input, const char *const *table) {
    const char *name = table[0];
    switch (take(input) % 8) {
    case 0: /* no keys, no constraints, rows twice */
        execute(db,
                "CREATE TABLE loose AS SELECT * FROM %s; DROP TABLE %s;"
                " ALTER TABLE loose RENAME TO %s",
                name, name, name);
        execute(db, "INSERT INTO %s SELECT * FROM %s LIMIT %u", name, name, take(input));
        break;
    case 1:
        execute(db, "DROP TABLE %s", name);
        break;
    case 2:
        execute(db, "ALTER TABLE %s RENAME COLUMN %s TO other", name, choose_column(input, table));
        break;
    case 3:
        execute(db, "ALTER TABLE %s RENAME TO hidden", name);
        execute(db, "CREATE VIEW %s AS SELECT * FROM hidden, hidden AS other", name);
        break;
    case 4:
        execute(db, "CREATE INDEX own ON %s (%s, %s)", name, choose_column(input, table),
                choose_column(input, table));
        break;
    case 5:
        execute(db, "DELETE FROM %s", name);
        break;
    case 6:
        execute(db, "PRAGMA user_version = %u", take(input) % 10);
        break;
    default: /* a table that the schema says has another page */
        execute(db,
                "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = %u"
                " WHERE name = '%s'; PRAGMA writable_schema = OFF",
                take(input), name);
    }
}

static void change_sql(const char *path, struct input *input) {
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) == SQLITE_OK) {
        execute(db, "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF");
        for (unsigned count = take(input) % 8; count; count--) {
            const char *const *table = tables[take(input) % TABLES];
            if (take(input) % 4)
                set_value(db, input, table);
            else
                change_schema(db, input, table);
        }
    }
    sqlite3_close(db);
}

static void change_bytes(const char *path, struct input *input) {
    char *bytes;
    size_t size;
    if (file_read(&bytes, &size, path) != STATUS_OK) return;
    for (unsigned count = take(input) % 32; count && size; count--) {
        unsigned page = take(input), high = take(input), low = take(input), value = take(input);
        size_t at = (size_t)page * 4096 + ((high & 15) << 8 | low);
        bytes[at % size] = (char)value;
    }
    unsigned cut = take(input);
    if (cut > 250 && size > 4096) size -= (cut - 250) * 700;
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(bytes, 1, size, file);
        fclose(file);
    }
    free(bytes);
}

/* What is left of the input lies beside the database as its log. */
static void add_log(const char *path, struct input *input) {
    char log[96];
    snprintf(log, sizeof log, "%s-wal", path);
    FILE *file = input->size ? fopen(log, "wb") : NULL;
    if (!file) return;
    fwrite(input->bytes, 1, input->size, file);
    fclose(file);
}

static char path[64], *good;
static size_t good_size;

static void remove_files(void) {
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        unlink(name);
    }
}

static void make_good(void) {
    snprintf(path, sizeof path, "%s/fuzz_scores.XXXXXX",
             file_is_directory("/dev/shm") ? "/dev/shm" : "/tmp");
    int file = mkstemp(path);
    if (file < 0 || close(file) != 0 || sample_scores_make(path) != STATUS_OK ||
        file_read(&good, &good_size, path) != STATUS_OK || sample_scores_read(path) != STATUS_OK)
        abort();
    atexit(remove_files);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = {bytes, size};
    if (!good) make_good();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(good, 1, good_size, file) != good_size || fclose(file) != 0) abort();
    unsigned kinds = take(&input);
    if (kinds & 1) change_sql(path, &input);
    if (kinds & 2) change_bytes(path, &input);
    if (kinds & 4) add_log(path, &input);
    (void)!sample_scores_read(path);
    remove_files();
    return 0;
}
