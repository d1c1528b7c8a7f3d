#define _GNU_SOURCE
#include "store_case.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

static char directory[64];

const char *path_of(const char *name) {
    static char path[128];
    if (!*directory) {
        strcpy(directory, "/tmp/test_store.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
    }
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

const char *directory_of_test(void) {
    return directory;
}

void remove_all(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

struct store *open_store(const char *path) {
    struct store *store;
    ok(store_open(&store, path, STORE_WRITE));
    return store;
}

struct store_run_key add_key(struct store *store) {
    struct store_run_key key = {.kind = "loo", .base = "tttt", .parameters = "{}", .device = "cpu"};
    ok(store_add_model(&key.model, store, "abc", "model-a", "{\"layers\": 4}"));
    ok(store_add_dataset(&key.dataset, store, "def", "tokens.h5", 8, 1024));
    return key;
}

void execute(const char *path, const char *sql) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

void check_message(const char *path, const char *format) {
    char expected[512];
    snprintf(expected, sizeof expected, format, path);
    ck_assert_str_eq(status_message(), expected);
}
