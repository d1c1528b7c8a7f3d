/* The numbers version as part of a run's key: values of another version are kept and not used. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/version.h"
#include "check_main.h"
#include "scores/numbers.h"
#include "scores/store.h"

static char directory[64], path[96];

static void ok(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct store *open_store(void) {
    struct store *store;
    strcpy(directory, "/tmp/test-numbers-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s.db", directory);
    ok(store_open(&store, path, STORE_WRITE));
    return store;
}

static void close_store(struct store *store) {
    store_close(store);
    ok(file_remove_directory(directory));
}

static struct store_run_key add_key(struct store *store) {
    struct store_run_key key = {
        .kind = "loo", .base = "tt", .parameters = "{}", .device = "cpu", .numbers = 1};
    ok(store_add_model(&key.model, store, "new", "model-a", "{\"num_hidden_layers\": 2}"));
    ok(store_add_dataset(&key.dataset, store, "rows", "tokens.h5", 8, 1024));
    return key;
}

static int64_t begin(struct store *store, const struct store_run_key *key,
                     enum store_run_state expected) {
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, key));
    ck_assert_int_eq(state, expected);
    return run;
}

START_TEST(every_kind_has_a_version) {
    int64_t version;
    for (int i = 0; numbers_name(i); i++) {
        ok(numbers_version(&version, numbers_name(i)));
        ck_assert_int_ge(version, 1); /* 0 stands for unknown */
        for (int k = 0; k < i; k++) ck_assert_str_ne(numbers_name(i), numbers_name(k));
    }
    ck_assert_int_eq(numbers_version(&version, "no such kind"), STATUS_FAILED);
}
END_TEST

START_TEST(runs_of_other_versions_are_neither_used_nor_continued) {
    struct store *store = open_store();
    struct store_run_key key = add_key(store);
    struct store_other other;
    int64_t done = begin(store, &key, STORE_RUN_NEW);
    ok(store_finish_run(store, done, STORE_STATUS_DONE));
    ck_assert_int_eq(begin(store, &key, STORE_RUN_FINISHED), done);
    ok(store_find_other(&other, store, &key, "old"));
    ck_assert_int_eq(other.run, 0);

    key.numbers = 2;
    ok(store_find_other(&other, store, &key, "old"));
    ck_assert_int_eq(other.run, done);
    ck_assert_int_eq(other.numbers, 1);
    ck_assert(!other.older_model);
    ck_assert_str_eq(other.version, VERSION);
    store_other_free(&other);
    int64_t second = begin(store, &key, STORE_RUN_NEW);
    ck_assert_int_ne(second, done);
    ok(store_finish_run(store, second, STORE_STATUS_INTERRUPTED));
    ck_assert_int_eq(begin(store, &key, STORE_RUN_CONTINUED), second);

    key.numbers = 3; /* an interrupted one is not continued either */
    int64_t third = begin(store, &key, STORE_RUN_NEW);
    ck_assert(third != done && third != second);
    key.numbers = 1;
    ck_assert_int_eq(begin(store, &key, STORE_RUN_FINISHED), done);
    struct store_run run;
    ok(store_get_run(&run, store, second));
    ck_assert_int_eq(run.numbers, 2);
    ck_assert_str_eq(run.version, VERSION);
    ck_assert_str_eq(run.revision, version_commit());
    store_run_free(&run);
    /* Another question is no other run of this one. */
    key.parameters = "{\"a\":1}";
    ok(store_find_other(&other, store, &key, "old"));
    ck_assert_int_eq(other.run, 0);
    close_store(store);
}
END_TEST

CHECK_MAIN("numbers", every_kind_has_a_version,
           runs_of_other_versions_are_neither_used_nor_continued)
