#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "check_main.h"
#include "scores/connection.h"
#include "store_case.h"

START_TEST(values_come_back) {
    const char *path = path_of("values.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    ck_assert_int_eq(state, STORE_RUN_NEW);
    ok(store_begin(store));
    for (int layer = STORE_TRUNK; layer < 4; layer++)
        for (int row = 0; row < 8; row++)
            ok(store_put_sequence_score(store, run, layer, row, "kl", layer + 0.25 * row, 16));
    ok(store_put_probe_step(store, run, 2, 7, 1, 0.5));
    ok(store_put_probe_step(store, run, 2, 7, 0, 0.75));
    ok(store_commit(store));
    store_close(store);

    ok(store_open(&store, path, STORE_READ));
    struct store_score_list scores;
    ok(store_get_scores(&scores, store, run)); /* unfinished: computed */
    ck_assert_uint_eq(scores.count, 5);
    ck_assert_int_eq(scores.scores[0].layer, -1);
    ck_assert_double_eq(scores.scores[4].value, 3.875);
    ck_assert_double_eq_tol(scores.scores[4].stderr_value, 0.25 * sqrt(6.0 / 8), 1e-15);
    ck_assert_int_eq(scores.scores[4].n, 8);
    store_score_list_free(&scores);

    struct store_row_list rows;
    ok(store_get_rows(&rows, store, run));
    ck_assert_uint_eq(rows.count, 8);
    ck_assert_int_eq(rows.rows[7], 7);
    store_row_list_free(&rows);

    struct store_step_list steps;
    ok(store_get_probe_steps(&steps, store, run, 2));
    ck_assert_uint_eq(steps.count, 2);
    ck_assert_double_eq(steps.steps[0].loss, 0.75);
    store_step_list_free(&steps);

    struct store_run about;
    ok(store_get_run(&about, store, run));
    ck_assert_int_eq(about.layers, 4);
    ck_assert_int_eq(about.rows, 8);
    ck_assert_str_eq(about.status, "running");
    ck_assert_ptr_null(about.finished);
    ck_assert_str_eq(about.model_name, "model-a");
    store_run_free(&about);
    ck_assert_int_eq(store_get_run(&about, store, 99), STATUS_FAILED);
    store_close(store);
    remove_all();
}
END_TEST

START_TEST(a_run_is_found_by_its_key) {
    struct store *store = open_store(path_of("key.db"));
    struct store_run_key key = add_key(store), again = add_key(store);
    ck_assert_int_eq(key.model, again.model);
    ck_assert_int_eq(key.dataset, again.dataset);
    int64_t first, second, other;
    enum store_run_state state;
    ok(store_begin_run(&first, &state, store, &key));
    ok(store_finish_run(store, first, STORE_STATUS_INTERRUPTED));
    ok(store_begin_run(&second, &state, store, &key));
    ck_assert_int_eq(state, STORE_RUN_CONTINUED);
    ck_assert_int_eq(first, second);
    key.device = "cuda:0";
    ok(store_begin_run(&other, &state, store, &key)); /* never a mixture */
    ck_assert_int_eq(state, STORE_RUN_NEW);
    ck_assert_int_ne(other, first);
    first = other;
    key.device = "cuda:1";
    ok(store_begin_run(&second, &state, store, &key));
    ck_assert_int_eq(state, STORE_RUN_CONTINUED);
    ck_assert_int_eq(first, second);
    struct store_run run;
    ok(store_get_run(&run, store, first));
    ck_assert_str_eq(run.device, "cuda:0; cuda:1");
    ck_assert_str_eq(run.status, "running");
    store_run_free(&run);
    ok(store_summarise_run(store, first));
    ok(store_finish_run(store, first, STORE_STATUS_DONE));
    ok(store_begin_run(&second, &state, store, &key));
    ck_assert_int_eq(state, STORE_RUN_FINISHED);
    ck_assert_int_eq(first, second);
    struct store_run_key different[] = {key, key, key, key};
    different[0].kind = "mmr";
    different[1].base = "tmtt";
    different[2].parameters = "{\"ablate\": \"block\"}";
    different[3].seed = 1;
    for (int i = 0; i < 4; i++) {
        ok(store_begin_run(&other, &state, store, &different[i]));
        ck_assert_int_eq(state, STORE_RUN_NEW);
        ck_assert_int_ne(other, first);
    }
    struct store_run_list runs;
    ok(store_list_runs(&runs, store));
    ck_assert_uint_eq(runs.count, 6);
    store_run_list_free(&runs);
    store_close(store);
    remove_all();
}
END_TEST

START_TEST(values_that_are_not_finite_are_refused) {
    const char *path = path_of("nan.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    ck_assert_int_eq(store_put_sequence_score(store, run, 3, 0, "kl", NAN, 1), STATUS_FAILED);
    check_message(path, "layer 3: \"kl\" is not a number; not stored in \"%s\"");
    ck_assert_int_eq(store_put_score(store, run, 3, "rkl", INFINITY, 0, 1), STATUS_FAILED);
    check_message(path, "layer 3: \"rkl\" is infinite; not stored in \"%s\"");
    ck_assert_int_eq(store_put_score(store, run, 3, "rkl", 1, INFINITY, 1), STATUS_FAILED);
    ck_assert_int_eq(store_put_probe_step(store, run, 3, 0, 0, -INFINITY), STATUS_FAILED);
    ck_assert_int_eq(store_put_score(store, run + 1, 3, "rkl", 1, 1, 1), STATUS_FAILED);
    ok(store_put_score(store, run, 3, "rkl", 1, NAN, 1)); /* an unknown standard error is fine */
    struct store_score_list scores;
    ok(store_get_scores(&scores, store, run));
    ck_assert_uint_eq(scores.count, 1);
    ck_assert(isnan(scores.scores[0].stderr_value));
    store_score_list_free(&scores);
    store_close(store);
    remove_all();
}
END_TEST

START_TEST(throughput_rows_come_back_by_series) {
    struct store *store = open_store(path_of("bench.db"));
    struct store_run_key key = add_key(store);
    struct store_bench_list list;
    struct store_bench row = {.model = key.model,
                              .device = "cpu",
                              .settings = "{}",
                              .batch = 15,
                              .automatic = true,
                              .memory = 80000000000,
                              .tokens_per_second = 812.5,
                              .step_seconds = 0.0185,
                              .first_token_seconds = 0.02,
                              .bytes_per_token = 3.6e9,
                              .roofline = 900,
                              .spread = 0.03};
    int64_t first, id;
    ck_assert_int_eq(store_get_bench(&list, store, 0), STATUS_FAILED);
    ok(store_add_bench(&first, store, &row));
    row.series = first;
    row.replaced = 30;
    row.tokens_per_second = 1900.25;
    ok(store_add_bench(&id, store, &row));
    row.series = 0;
    ok(store_add_bench(&id, store, &row));
    ok(store_get_bench(&list, store, first));
    ck_assert_uint_eq(list.count, 2);
    ck_assert_int_eq(list.rows[0].series, first);
    ck_assert_int_eq(list.rows[1].replaced, 30);
    ck_assert(list.rows[0].automatic);
    ck_assert_int_eq(list.rows[0].memory, 80000000000);
    ck_assert_double_eq(list.rows[0].tokens_per_second, 812.5);
    ck_assert_double_eq(list.rows[1].tokens_per_second, 1900.25);
    ck_assert_double_eq(list.rows[1].roofline, 900);
    ck_assert_double_eq(list.rows[1].spread, 0.03);
    ck_assert_str_eq(list.rows[1].settings, "{}");
    store_bench_list_free(&list);
    ok(store_get_bench(&list, store, 0)); /* the last one */
    ck_assert_uint_eq(list.count, 1);
    ck_assert_int_eq(list.rows[0].series, id);
    store_bench_list_free(&list);
    ck_assert_int_eq(store_get_bench(&list, store, 99), STATUS_FAILED);
    row.tokens_per_second = NAN;
    ck_assert_int_eq(store_add_bench(&id, store, &row), STATUS_FAILED);
    store_close(store);
    remove_all();
}
END_TEST

START_TEST(files_that_are_no_score_database) {
    struct store *store;
    const char *path = path_of("newer.db");
    store_close(open_store(path));
    execute(path, "PRAGMA user_version = 11");
    for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        ck_assert_int_eq(store_open(&store, path, mode), STATUS_FAILED);
        check_message(path, "\"%s\" has schema version 11, this program knows 10; use a newer "
                            "apriel-tool");
    }
    path = path_of("other.db");
    execute(path, "CREATE TABLE song (name)");
    for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        ck_assert_int_eq(store_open(&store, path, mode), STATUS_FAILED);
        check_message(path, "\"%s\" is another program's database, not a score database");
    }
    path = path_of("text.db");
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 200; i++) fputs("this is no database at all\n", file);
    fclose(file);
    for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        ck_assert_int_eq(store_open(&store, path, mode), STATUS_FAILED);
        check_message(path, "\"%s\" is not a score database (not SQLite)");
    }
    path = path_of("empty.db");
    fclose(fopen(path, "w"));
    ck_assert_int_eq(store_open(&store, path, STORE_READ), STATUS_FAILED);
    check_message(path, "\"%s\" is empty, not a score database");
    path = path_of("absent.db");
    ck_assert_int_eq(store_open(&store, path, STORE_READ), STATUS_FAILED);
    check_message(path, "cannot open \"%s\": No such file or directory");
    path = path_of("no/such/folder.db");
    ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_FAILED);
    check_message(path, "cannot open \"%s\": No such file or directory");
    path = path_of("");
    ck_assert_int_eq(store_open(&store, path, STORE_READ), STATUS_FAILED);
    remove_all();
}
END_TEST

START_TEST(a_truncated_database_is_reported) {
    const char *path = path_of("cut.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    ok(store_begin(store));
    for (int row = 0; row < 2000; row++)
        ok(store_put_sequence_score(store, run, 0, row, "kl", row, 1));
    ok(store_commit(store));
    store_close(store);
    struct stat about;
    ck_assert_int_eq(stat(path, &about), 0);
    int failures = 0;
    for (off_t size = about.st_size - 1; size > 0; size -= 4000) {
        ck_assert_int_eq(truncate(path, size), 0);
        struct store_score_list scores = {0};
        enum status status = store_open(&store, path, STORE_READ);
        if (!status) status = store_get_scores(&scores, store, run);
        /* Cut inside the last page nothing may be missing; else the answer is not the whole. */
        if (!status) {
            ck_assert_uint_eq(scores.count, 1);
            ck_assert_int_eq(scores.scores[0].n, 2000);
        }
        failures += status != STATUS_OK;
        ck_assert_ptr_null(strchr(status_message(), '\n'));
        store_score_list_free(&scores);
        store_close(store);
    }
    ck_assert_int_gt(failures, 5);
    remove_all();
}
END_TEST

static void write_rows(const char *path, int seed, int layer) {
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    key.seed = seed;
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    for (int group = 0; group < 20; group++) {
        ok(store_begin(store));
        for (int row = 0; row < 10; row++)
            ok(store_put_sequence_score(store, run, layer, group * 10 + row, "kl", layer, 1));
        ok(store_commit(store));
    }
    ok(store_finish_run(store, run, STORE_STATUS_DONE));
    store_close(store);
}

START_TEST(several_processes_write_one_database) {
    /* Also creating it at once, and two of them the same run. */
    for (int repeat = 0; repeat < 5; repeat++) {
        char name[16];
        snprintf(name, sizeof name, "both%d.db", repeat);
        const char *path = path_of(name);
        enum { PROCESSES = 4 };
        pid_t children[PROCESSES];
        for (int i = 0; i < PROCESSES; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                write_rows(path, i / 2, i);
                _exit(0);
            }
        }
        for (int i = 0; i < PROCESSES; i++) {
            int result;
            ck_assert_int_eq(waitpid(children[i], &result, 0), children[i]);
            ck_assert_int_eq(result, 0);
        }
        struct store *store;
        ok(store_open(&store, path, STORE_READ));
        struct store_run_list runs;
        ok(store_list_runs(&runs, store));
        ck_assert_uint_eq(runs.count, 2);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(runs.runs[i].layers, 2);
            ck_assert_int_eq(runs.runs[i].rows, 200);
        }
        store_run_list_free(&runs);
        store_close(store);
    }
    remove_all();
}
END_TEST

START_TEST(a_kill_leaves_whole_transactions) {
    const char *path = path_of("kill.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    store_close(store);
    enum { GROUP = 50 };
    for (int repeat = 0; repeat < 6; repeat++) {
        int ready[2];
        ck_assert_int_eq(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
            store = open_store(path);
            for (int group = 0;; group++) {
                ok(store_begin(store));
                for (int row = 0; row < GROUP; row++) {
                    ok(store_put_sequence_score(store, run, repeat, group * GROUP + row, "kl", 1,
                                                1));
                    if (group == repeat && row == GROUP / 2 && write(ready[1], "x", 1) != 1)
                        _exit(1);
                    if (group == repeat && row == GROUP / 2) pause(); /* killed here */
                }
                ok(store_commit(store));
            }
        }
        char byte;
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        waitpid(child, NULL, 0);
        close(ready[0]);
        close(ready[1]);
        store = open_store(path);
        ok(store_begin_run(&run, &state, store, &key));
        ck_assert_int_eq(state, STORE_RUN_CONTINUED);
        struct store_sequence_list values;
        ok(store_get_sequence_scores(&values, store, run, repeat, "kl"));
        ck_assert_uint_eq(values.count, repeat * GROUP);
        store_sequence_list_free(&values);
        store_close(store);
    }
    remove_all();
}
END_TEST

START_TEST(read_only_places) {
    /* A privileged user could write anywhere. */
    bool privileged = geteuid() == 0;
    const char *path = path_of("fixed.db");
    store_close(open_store(path));
    ck_assert_int_eq(chmod(path, 0444), 0);
    ck_assert_int_eq(chmod(directory_of_test(), 0555), 0);
    if (privileged) ck_assert_int_eq(seteuid(65534), 0);
    struct store *store;
    ok(store_open(&store, path, STORE_READ));
    struct store_run_list runs;
    ok(store_list_runs(&runs, store));
    ck_assert_uint_eq(runs.count, 0);
    store_close(store);
    ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_FAILED);
    check_message(path, "cannot write to \"%s\": it is read-only");
    /* The directory alone; no permission at all; a name that is not there. */
    if (privileged) ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(path, 0666), 0);
    if (privileged) ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_FAILED);
    check_message(path, "cannot write to \"%s\": its directory is read-only, and SQLite's journal "
                        "belongs there");
    ok(store_open(&store, path, STORE_READ));
    store_close(store);
    if (privileged) ck_assert_int_eq(seteuid(0), 0);
    /* What a killed run has left in the log cannot be read without a place for its index. */
    char log[160];
    snprintf(log, sizeof log, "%s-wal", path);
    ck_assert_int_eq(chmod(directory_of_test(), 0755), 0);
    FILE *file = fopen(log, "w");
    ck_assert(file && fputs("a log", file) >= 0 && fclose(file) == 0);
    ck_assert_int_eq(chmod(directory_of_test(), 0555), 0);
    if (privileged) ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_int_eq(store_open(&store, path, STORE_READ), STATUS_FAILED);
    check_message(path,
                  "cannot read \"%s\" here: the journal beside it has values of a run that was "
                  "killed or still computes, and its directory is read-only: open the "
                  "database once where it can be written");
    if (privileged) ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(directory_of_test(), 0755), 0);
    ck_assert_int_eq(unlink(log), 0);
    ck_assert_int_eq(chmod(directory_of_test(), 0555), 0);
    ck_assert_int_eq(chmod(path, 0200), 0);
    if (privileged) ck_assert_int_eq(seteuid(65534), 0);
    for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        ck_assert_int_eq(store_open(&store, path, mode), STATUS_FAILED);
        check_message(path, "cannot open \"%s\": Permission denied");
    }
    path = path_of("new.db");
    ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_FAILED);
    check_message(path, "cannot open \"%s\": Permission denied");
    if (privileged) ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(directory_of_test(), 0755), 0);
    remove_all();
}
END_TEST

CHECK_MAIN("store", values_come_back, a_run_is_found_by_its_key,
           values_that_are_not_finite_are_refused, throughput_rows_come_back_by_series,
           files_that_are_no_score_database, a_truncated_database_is_reported,
           several_processes_write_one_database, a_kill_leaves_whole_transactions, read_only_places)
