/* Score databases of older versions: read, brought up to date, continued. */
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

START_TEST(an_older_schema_is_brought_up_to_date) {
    const char *path = path_of("older.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    store_close(store);
    execute(path, "DROP TABLE probe_state; DROP TABLE item; DROP TABLE choice; DROP TABLE answer;"
                  " DROP TABLE bench; DROP TABLE training_step; DROP TABLE training_value;"
                  " PRAGMA user_version = 1"); /* schema 1 as it was */
    for (int i = 0; i < 2; i++) {
        ok(store_open(&store, path, i ? STORE_WRITE : STORE_READ));
        store_close(store);
    }
    store = open_store(path);
    struct store_run about;
    ok(store_get_run(&about, store, run));
    store_run_free(&about);
    store_close(store);
    remove_all();
}
END_TEST

/* A database as the program of that schema wrote it, with a row in every table it had. */
static void make_old(const char *path, int version) {
    static const struct {
        int since, until;
        const char *sql;
    } rows[] = {
        {1, 6, "INSERT INTO model VALUES (1, 'abc', 'model-a', '{\"num_hidden_layers\": 4}')"},
        {7, 99, "INSERT INTO model VALUES (1, 'abc', 'model-a', '{\"num_hidden_layers\": 4}', 2)"},
        {1, 99, "INSERT INTO dataset VALUES (1, 'def', 'rows.h5', 8, 1024)"},
        {1, 5,
         "INSERT INTO run VALUES (1, 'loo', 1, 1, '', '{}', 0, 'cpu', '0.1', 'running', 's', "
         "NULL)"},
        {6, 6,
         "INSERT INTO run (id, kind, model, dataset, base, parameters, seed, device_kind, device,"
         " version, status, started) VALUES (1, 'loo', 1, 1, '', '{}', 0, 'cpu', 'cpu', '0.1',"
         " 'running', 's')"},
        {7, 99,
         "INSERT INTO run (id, kind, model, dataset, base, parameters, seed, device_kind, numbers,"
         " device, version, revision, status, started) VALUES (1, 'loo', 1, 1, '', '{}', 0, 'cpu',"
         " 3, 'cpu', '0.1', 'c0ffee', 'running', 's')"},
        {1, 99, "INSERT INTO score VALUES (1, 2, 'kl', 0.5, NULL, 8)"},
        {1, 99, "INSERT INTO sequence_score VALUES (1, 2, 7, 'kl', 0.25, 16)"},
        {1, 99, "INSERT INTO probe_step VALUES (1, 2, 0, 0, 1.5)"},
        {1, 99, "INSERT INTO plan VALUES (1, 1, 's', '{}')"},
        {10, 99, "INSERT INTO training_step VALUES (1, 3, 0.5, 1e-3, NULL, 64, 0.25, 1)"},
        {10, 99, "INSERT INTO training_value VALUES (1, 4, 'kl', 0.125, NULL, 8)"},
        {2, 4, "INSERT INTO probe_state VALUES (1, 2, 0, 40, x'010203')"},
        {5, 99, "INSERT INTO probe_state VALUES (1, 2, 0, 0, 40, x'010203')"},
        {3, 99, "INSERT INTO item VALUES (1, 3, NULL, '2')"},
        {4, 99,
         "INSERT INTO bench (series, model, created, device, version, settings, replaced, batch,"
         " automatic, memory, tokens_per_second, step_seconds, first_token_seconds,"
         " bytes_per_token, roofline) VALUES (1, 1, 's', 'cpu', '0.1', '{}', 0, 1, 0, 1, 1, 1, 1, "
         "1,"
         " 1)"},
    };
    char sql[96];
    for (int v = 1; v <= version; v++) execute(path, schema_migration(v));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].since <= version && version <= rows[i].until) execute(path, rows[i].sql);
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SCHEMA_APPLICATION, version);
    execute(path, sql);
}

static void check_old(struct store *store, int version) {
    struct store_run run;
    struct store_score_list scores;
    struct store_item_list items;
    struct store_bench_list bench;
    size_t bytes;
    int64_t step;
    ok(store_get_run(&run, store, 1));
    ck_assert_int_eq(run.layers, 1);
    ck_assert_int_eq(run.rows, 1);
    ck_assert_ptr_null(run.note);
    ck_assert(isnan(run.seconds));
    store_run_free(&run);
    ok(store_get_scores(&scores, store, 1));
    ck_assert_uint_eq(scores.count, 1);
    ck_assert_double_eq(scores.scores[0].value, 0.5);
    store_score_list_free(&scores);
    ok(store_find_probe_state(&bytes, &step, store, 1, 2, 0));
    ck_assert_int_eq(step, version < 2 ? 0 : 40);
    ck_assert_uint_eq(bytes, version < 2 ? 0 : 3);
    ok(store_get_items(&items, store, 1));
    ck_assert_uint_eq(items.count, version >= 3);
    store_item_list_free(&items);
    ok(store_list_bench(&bench, store));
    ck_assert_uint_eq(bench.count, version >= 4);
    store_bench_list_free(&bench);
    struct store_training training;
    ok(store_get_training(&training, store, 1));
    ck_assert_uint_eq(training.step_count, version >= 10);
    ck_assert_uint_eq(training.value_count, version >= 10);
    if (version >= 10) {
        ck_assert_int_eq(training.steps[0].step, 3);
        ck_assert(isnan(training.steps[0].norm));
        ck_assert_double_eq(training.values[0].value, 0.125);
    }
    store_training_free(&training);
}

/* Brought up to date where that is possible, else read from a copy. */
START_TEST(databases_of_every_schema_are_read_and_continued) {
    bool privileged = geteuid() == 0;
    for (int version = 1; version <= SCHEMA_VERSION; version++) {
        const char *path = path_of("every.db");
        struct store *store;
        make_old(path, version);
        ck_assert_int_eq(chmod(path, 0444), 0);
        ck_assert_int_eq(chmod(directory_of_test(), 0555), 0);
        if (privileged) ck_assert_int_eq(seteuid(65534), 0);
        ok(store_open(&store, path, STORE_READ));
        check_old(store, version);
        store_close(store);
        if (privileged) ck_assert_int_eq(seteuid(0), 0);
        ck_assert_int_eq(chmod(directory_of_test(), 0755), 0);
        ck_assert_int_eq(chmod(path, 0644), 0);
        for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
            ok(store_open(&store, path, mode));
            check_old(store, version);
            store_close(store);
        }
        store = open_store(path);
        struct store_run_key key = {.kind = "loo",
                                    .base = "",
                                    .parameters = "{}",
                                    .device = "cpu",
                                    .numbers = version < 7 ? 0 : 3}; /* 0: not known before */
        int64_t run;
        enum store_run_state state;
        ok(store_add_model(&key.model, store, "abc", "model-a", "{}"));
        ok(store_add_dataset(&key.dataset, store, "def", "rows.h5", 8, 1024));
        ok(store_begin_run(&run, &state, store, &key));
        ck_assert_int_eq(run, 1);
        ck_assert_int_eq(state, STORE_RUN_CONTINUED);
        ok(store_finish_run(store, run, STORE_STATUS_DONE));
        ok(store_set_note(store, run, "mine"));
        struct store_run about;
        ok(store_get_run(&about, store, run));
        ck_assert_str_eq(about.note, "mine");
        ck_assert_double_ge(about.seconds, 0);
        ck_assert_double_lt(about.seconds, 60);
        store_run_free(&about);
        store_close(store);
        unlink(path);
    }
    remove_all();
}
END_TEST

/* Up to schema 5 the device did not matter: a run of the CPU, one of a GPU, one of both. */
START_TEST(runs_of_schema_5_are_continued_on_their_kind_of_device) {
    static const char *const before[] = {"cpu", "cuda:0; cuda:1", "cuda:0; cpu"};
    const char *path = path_of("devices.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    store_close(store);
    execute(path,
            "PRAGMA foreign_keys = OFF;"
            "ALTER TABLE bench DROP COLUMN spread;"
            "DROP TABLE training_step; DROP TABLE training_value;"
            "DROP TABLE run;"
            "CREATE TABLE run (id INTEGER PRIMARY KEY, kind TEXT NOT NULL,"
            "  model INTEGER NOT NULL REFERENCES model(id),"
            "  dataset INTEGER NOT NULL REFERENCES dataset(id),"
            "  base TEXT NOT NULL, parameters TEXT NOT NULL, seed INTEGER NOT NULL,"
            "  device TEXT NOT NULL, version TEXT NOT NULL, status TEXT NOT NULL,"
            "  started TEXT NOT NULL, finished TEXT,"
            "  UNIQUE (kind, model, dataset, base, parameters, seed));"
            "INSERT INTO run VALUES"
            " (3, 'loo', 1, 1, 'tttt', '{}', 0, 'cpu', 'v', 'running', 's', NULL),"
            " (5, 'loo', 1, 1, 'tttt', '{}', 1, 'cuda:0; cuda:1', 'v', 'done', 's', 'f'),"
            " (6, 'loo', 1, 1, 'tttt', '{}', 2, 'cuda:0; cpu', 'v', 'running', 's', NULL);"
            "INSERT INTO sequence_score VALUES (3, 2, 0, 'kl', 0.5, 7), (6, 2, 0, 'kl', 1, 7);"
            "PRAGMA user_version = 5");
    static const struct {
        int64_t seed, id; /* id 0: a new run */
        const char *device;
        enum store_run_state state;
    } expected[] = {
        {0, 3, "cpu", STORE_RUN_CONTINUED},   {0, 0, "cuda:0", STORE_RUN_NEW},
        {1, 5, "cuda:0", STORE_RUN_FINISHED}, {1, 0, "cpu", STORE_RUN_NEW},
        {2, 0, "cpu", STORE_RUN_NEW},         {2, 0, "cuda:0", STORE_RUN_NEW},
    };
    store = open_store(path);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int64_t run;
        enum store_run_state state;
        key.seed = expected[i].seed;
        key.device = expected[i].device;
        ok(store_begin_run(&run, &state, store, &key));
        ck_assert_int_eq(state, expected[i].state);
        if (expected[i].id)
            ck_assert_int_eq(run, expected[i].id);
        else
            ck_assert_int_gt(run, 6);
    }
    /* What was there stays readable, and values still refer to runs. */
    for (int i = 0; i < 3; i++) {
        struct store_run run;
        ok(store_get_run(&run, store, (const int64_t[]){3, 5, 6}[i]));
        ck_assert_str_eq(run.device, before[i]);
        ck_assert_int_eq(run.rows, i != 1);
        store_run_free(&run);
    }
    ck_assert_int_eq(store_put_score(store, 4, 3, "rkl", 1, 1, 1), STATUS_FAILED); /* no run 4 */
    store_close(store);
    remove_all();
}
END_TEST

/* Schemas 2 to 4 keep a probe's state in one piece. */
#define WHOLE_STATES                                                                               \
    "DROP TABLE probe_state;"                                                                      \
    "CREATE TABLE probe_state ("                                                                   \
    "  run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,"                                 \
    "  layer INTEGER NOT NULL,"                                                                    \
    "  seed INTEGER NOT NULL,"                                                                     \
    "  step INTEGER NOT NULL,"                                                                     \
    "  state BLOB NOT NULL,"                                                                       \
    "  PRIMARY KEY (run, layer, seed));"

/* The part of a probe's state, which must be `expected` (a string literal). */
static void check_part(struct store *store, int64_t run, int64_t part, const char *expected,
                       size_t length) {
    void *bytes;
    size_t size;
    ok(store_get_probe_part(&bytes, &size, store, run, 0, 5, part));
    ck_assert_uint_eq(size, length);
    ck_assert_mem_eq(bytes, expected, length);
    free(bytes);
}

START_TEST(a_training_state_in_parts_and_one_of_schema_4) {
    const char *path = path_of("parts.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run, step;
    enum store_run_state state;
    size_t bytes;
    ok(store_begin_run(&run, &state, store, &key));
    store_close(store);
    execute(path, WHOLE_STATES " INSERT INTO probe_state VALUES (1, 0, 5, 40, x'6100ff');"
                               " ALTER TABLE bench DROP COLUMN spread;"
                               " DROP TABLE training_step; DROP TABLE training_value;"
                               " PRAGMA user_version = 4");
    store = open_store(path);
    ok(store_find_probe_state(&bytes, &step, store, run, 0, 5));
    ck_assert_uint_eq(bytes, 3);
    ck_assert_int_eq(step, 40);
    check_part(store, run, 0, "a\0\xff", 3);
    ok(store_drop_probe_state(store, run, 0, 5));
    ok(store_find_probe_state(&bytes, &step, store, run, 0, 5));
    ck_assert_uint_eq(bytes, 0);
    ok(store_put_probe_part(store, run, 0, 5, 0, 50, "\0xyz", 4));
    ok(store_put_probe_part(store, run, 0, 5, 1, 50, "end", 3));
    ok(store_put_probe_part(store, run, 0, 6, 0, 70, "other", 5));
    ok(store_find_probe_state(&bytes, &step, store, run, 0, 5));
    ck_assert_uint_eq(bytes, 7);
    ck_assert_int_eq(step, 50);
    check_part(store, run, 0, "\0xyz", 4);
    check_part(store, run, 1, "end", 3);
    void *absent;
    ck_assert_int_eq(store_get_probe_part(&absent, &bytes, store, run, 0, 5, 2), STATUS_FAILED);
    check_message(path, "\"%s\": part 2 of the training state of layer 0 is missing");
    store_close(store);
    remove_all();
}
END_TEST

START_TEST(items_come_back_from_a_database_of_schema_2) {
    const char *path = path_of("items.db");
    struct store *store = open_store(path);
    struct store_run_key key = add_key(store);
    int64_t run, other;
    enum store_run_state state;
    ok(store_begin_run(&run, &state, store, &key));
    key.seed = 1;
    ok(store_begin_run(&other, &state, store, &key));
    store_close(store);
    execute(path,
            "DROP TABLE item; DROP TABLE choice; DROP TABLE answer; DROP TABLE bench;" WHOLE_STATES
            "DROP TABLE training_step; DROP TABLE training_value;"
            " PRAGMA user_version = 2");
    store = open_store(path);
    ok(store_put_item(store, run, &(struct store_item){7, NULL, "2"}));
    ok(store_put_item(store, run, &(struct store_item){3, "algebra", "1/2"}));
    ok(store_put_item(store, run, &(struct store_item){3, "logic", "0"})); /* replaces */
    ok(store_put_item(store, other, &(struct store_item){0, "other", "0"}));
    struct store_choice choice = {
        .row = 3, .choice = 1, .tokens = 4, .characters = 17, .greedy = 2, .loglikelihood = -12.25};
    ok(store_put_choice(store, run, &choice));
    choice.choice = 0;
    ok(store_put_choice(store, run, &choice));
    choice.loglikelihood = -INFINITY;
    ck_assert_int_eq(store_put_choice(store, run, &choice), STATUS_FAILED);
    check_message(path,
                  "item 3: the log-likelihood of choice 0 is not finite; not stored in \"%s\"");
    ok(store_put_answer(store, run, &(struct store_answer){7, 1, 30, "so 4", "4", true}));
    ok(store_put_answer(store, run, &(struct store_answer){7, 0, 20, "", NULL, false}));
    store_close(store);

    ok(store_open(&store, path, STORE_READ));
    struct store_item_list items;
    ok(store_get_items(&items, store, run));
    ck_assert_uint_eq(items.count, 2);
    ck_assert_int_eq(items.items[0].row, 3);
    ck_assert_str_eq(items.items[0].category, "logic");
    ck_assert_str_eq(items.items[0].gold, "0");
    ck_assert_ptr_null(items.items[1].category);
    store_item_list_free(&items);
    struct store_choice_list choices;
    ok(store_get_choices(&choices, store, run));
    ck_assert_uint_eq(choices.count, 2);
    ck_assert_int_eq(choices.choices[0].choice, 0);
    ck_assert(choices.choices[1].loglikelihood == -12.25);
    ck_assert_int_eq(choices.choices[1].tokens, 4);
    ck_assert_int_eq(choices.choices[1].characters, 17);
    ck_assert_int_eq(choices.choices[1].greedy, 2);
    store_choice_list_free(&choices);
    struct store_answer_list answers;
    ok(store_get_answers(&answers, store, run));
    ck_assert_uint_eq(answers.count, 2);
    ck_assert_ptr_null(answers.answers[0].answer);
    ck_assert(!answers.answers[0].correct && answers.answers[1].correct);
    ck_assert_str_eq(answers.answers[1].text, "so 4");
    ck_assert_str_eq(answers.answers[1].answer, "4");
    ck_assert_int_eq(answers.answers[1].tokens, 30);
    store_answer_list_free(&answers);
    store_close(store);
    remove_all();
}
END_TEST

CHECK_MAIN("schemas", an_older_schema_is_brought_up_to_date,
           databases_of_every_schema_are_read_and_continued,
           runs_of_schema_5_are_continued_on_their_kind_of_device,
           a_training_state_in_parts_and_one_of_schema_4,
           items_come_back_from_a_database_of_schema_2)
