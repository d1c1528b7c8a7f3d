/* mmr_run, stopped and continued: the training states that it keeps in the database. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "analysis/mmr/mmr.h"
#include "base/file.h"
#include "base/text.h"
#include "check_main.h"
#include "mixer_choices.h"

#define DEMO_MODEL TEST_DATA "/../../recipes/demo-model"

enum { ROWS = 6, LENGTH = 24, STEPS = 4 };

static char directory[64], data_path[80];

static void in_scratch(void) {
    static uint32_t ids[ROWS * LENGTH];
    static uint64_t offsets[ROWS + 1];
    strcpy(directory, "/tmp/test-mmr-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(data_path, sizeof data_path, "%s/rows.h5", directory);
    for (uint32_t t = 0; t < ROWS * LENGTH; t++) ids[t] = (t * 97 + 13) % 2048;
    for (uint64_t r = 0; r <= ROWS; r++) offsets[r] = r * LENGTH;
    struct tokenset set = {.rows = ROWS,
                           .tokens = ROWS * LENGTH,
                           .row_offsets = offsets,
                           .ids = ids,
                           .vocab_size = 2048,
                           .sources = "test_mmr"};
    ck_assert_int_eq(tokenset_write(data_path, &set), STATUS_OK);
}

static void out_of_scratch(void) {
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}

static char *path_of(const char *name) {
    return file_join(directory, name);
}

/* Two seeds of the last two layers' probes; at most `limit` steps of them, 0: all. */
static enum status run(const char *database, int64_t limit, size_t state_part) {
    struct mmr_outcome outcome;
    struct mmr_settings settings = {
        .model = DEMO_MODEL,
        .data = data_path,
        .database = database,
        .device = "cpu",
        .layers = "10,11",
        .seeds = 2,
        .limit_steps = limit,
        .state_part = state_part,
        .probe = {.data = {.batch = 2, .heldout = 2},
                  .schedule = {.steps = STEPS, .rate = 1e-3},
                  .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                  .loss = {LOSS_REVERSE_KL, 1},
                  .choices = choices_of("init=published align=paper qkv-bias=drop")}};
    enum status status = probe_parts_from_name(&settings.probe.parts, "mixer", 0);
    if (status) return status;
    return mmr_run(&outcome, &settings);
}

static void execute(const char *database, const char *sql) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(database, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* The first column of the first row; NULL is -1. */
static int64_t query(const char *database, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    ck_assert_int_eq(sqlite3_open(database, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(statement), SQLITE_ROW);
    int64_t value =
        sqlite3_column_type(statement, 0) == SQLITE_NULL ? -1 : sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

/* Every value of both databases is the same, to the last bit. */
static void check_same(const char *database, const char *other) {
    char *sql =
        text_format("ATTACH '%s' AS other;"
                    "CREATE TEMP TABLE differs AS"
                    " SELECT * FROM (SELECT run, layer, seed, step, loss FROM probe_step"
                    "  EXCEPT SELECT run, layer, seed, step, loss FROM other.probe_step) UNION ALL"
                    " SELECT * FROM (SELECT run, layer, metric, value, count FROM sequence_score"
                    "  EXCEPT SELECT run, layer, metric, value, count FROM other.sequence_score);",
                    other);
    sqlite3 *db;
    sqlite3_stmt *statement;
    ck_assert_int_eq(sqlite3_open(database, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT count(*) FROM differs", -1, &statement, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(statement), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(statement, 0), 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    free(sql);
    static const char *const counts[] = {"SELECT count(*) FROM probe_step",
                                         "SELECT count(*) FROM sequence_score"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_gt(query(database, counts[i]), 0);
        ck_assert_int_eq(query(database, counts[i]), query(other, counts[i]));
    }
}

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* Parts smaller than most parameters and of an odd size, one part, and parts of another size than
 * those that are there. */
START_TEST(a_state_in_parts_goes_on_with_the_same_bits) {
    in_scratch();
    char *whole = path_of("whole.db"), *parts = path_of("parts.db");
    succeeds(run(whole, 0, 0));
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(run(parts, 3, round ? 0 : 10007), STATUS_INTERRUPTED);
        int64_t count = query(parts, "SELECT count(*) FROM probe_state");
        ck_assert_int_eq(query(parts, "SELECT min(step) FROM probe_state"), 3);
        ck_assert_int_eq(query(parts, "SELECT max(step) FROM probe_state"), 3);
        if (round)
            ck_assert_int_eq(count, 1);
        else
            ck_assert_int_gt(count, 10);
        ck_assert_int_eq(run(parts, 4, round ? 10007 : 0), STATUS_INTERRUPTED);
        succeeds(run(parts, 0, 10007));
        ck_assert_int_eq(query(parts, "SELECT count(*) FROM probe_state"), 0);
        check_same(whole, parts);
        ck_assert_int_eq(unlink(parts), 0);
    }
    free(whole);
    free(parts);
    out_of_scratch();
}
END_TEST

/* Whatever ends the writing of a state, the one before it is there as it was. */
START_TEST(a_state_is_replaced_as_a_whole_or_not_at_all) {
    in_scratch();
    char *whole = path_of("whole.db"), *torn = path_of("torn.db");
    succeeds(run(whole, 0, 0));
    ck_assert_int_eq(run(torn, 1, 10007), STATUS_INTERRUPTED);
    static const char sums[] = "SELECT sum((part + 1) * length(bytes)) FROM probe_state";
    int64_t before = query(torn, sums);
    ck_assert_int_gt(before, 0);
    execute(torn, "CREATE UNIQUE INDEX no_space ON probe_state"
                  " (run, layer, seed, CASE part WHEN 5 THEN 0 ELSE part END) WHERE step > 1");
    ck_assert_int_eq(run(torn, 2, 10007), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "no_space"));
    ck_assert_int_eq(query(torn, sums), before);
    ck_assert_int_eq(query(torn, "SELECT min(step) FROM probe_state"), 1);
    ck_assert_int_eq(query(torn, "SELECT max(step) FROM probe_state"), 1);
    ck_assert_int_eq(query(torn, "SELECT count(*) FROM probe_step"), 1);
    execute(torn, "DROP INDEX no_space");
    succeeds(run(torn, 0, 0));
    check_same(whole, torn);
    free(whole);
    free(torn);
    out_of_scratch();
}
END_TEST

/* A saved state is as foreign as anything else in a database. */
START_TEST(a_state_that_no_run_saved_is_refused) {
    static const struct {
        const char *sql, *message; /* behind the name of the file */
    } cases[] = {
        {"UPDATE probe_state SET step = 0",
         "\": the saved training state of layer 10 is of step 0, and a probe has 4"},
        {"UPDATE probe_state SET step = 7",
         "\": the saved training state of layer 10 is of step 7, and a probe has 4"},
        {"UPDATE probe_state SET step = -3", "table \"probe_state\", row of run 1, layer 10, seed "
                                             "0, part 0: column \"step\" is -3, below "
                                             "0"},
        {"UPDATE probe_state SET step = 9223372036854775807",
         "is of step 9223372036854775807, and a probe has 4"},
        {"UPDATE probe_state SET step = 'two'",
         "part 0: column \"step\" is a text, not an integer"},
        {"UPDATE probe_state SET step = 2 WHERE part = 2",
         "part 2: column \"step\" is 2, not 3 as in the parts before"},
        {"DELETE FROM probe_state WHERE part = 0",
         "part 1: column \"part\" is 1 where 0 is missing"},
        {"DELETE FROM probe_state WHERE part > 3", "the saved training state of layer 10 has "},
        {"UPDATE probe_state SET part = part + 5000 WHERE part > 2",
         "part 5003: column \"part\" is 5003 where 3 is missing"},
        {"UPDATE probe_state SET bytes = x'00' WHERE part = 1",
         "the saved training state of layer 10 has "},
        {"UPDATE probe_state SET bytes = zeroblob(length(bytes) + 4) WHERE part = 1",
         "the saved training state of layer 10 has "},
        {"UPDATE probe_state SET bytes = CAST(bytes AS TEXT) WHERE part = 1",
         "part 1: column \"bytes\" is NULL, not an integer"},
    };
    in_scratch();
    char *good = path_of("good.db"), *bad = path_of("bad.db");
    ck_assert_int_eq(run(good, 3, 10007), STATUS_INTERRUPTED);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unlink(bad);
        succeeds(file_copy(bad, good));
        execute(bad, cases[i].sql);
        ck_assert_int_eq(run(bad, 0, 0), STATUS_FAILED);
        ck_assert_msg(strstr(status_message(), "bad.db\"") &&
                          strstr(status_message(), cases[i].message),
                      "%s: \"%s\"", cases[i].sql, status_message());
    }
    free(good);
    free(bad);
    out_of_scratch();
}
END_TEST

CHECK_MAIN("mmr", a_state_that_no_run_saved_is_refused, a_state_in_parts_goes_on_with_the_same_bits,
           a_state_is_replaced_as_a_whole_or_not_at_all)
