/* Databases that somebody else made: each is a good one, changed by SQL, and all that reads one
 * must end with the one line that is expected, which names table, row and column. */
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "check_main.h"
#include "sample_scores.h"
#include "scores/store.h"

static char directory[64];

static const char *path_of(const char *name) {
    static char path[2][128];
    static int turn;
    if (!*directory) {
        strcpy(directory, "/tmp/test_hostile.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
    }
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

static void remove_all(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
    *directory = '\0';
}

static void execute(const char *path, const char *sql) {
    sqlite3 *db;
    char *message = NULL;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s: %s", sql, message);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* TABLE without keys, types and constraints. */
#define LOOSE(table)                                                                               \
    "PRAGMA foreign_keys = OFF; CREATE TABLE loose AS SELECT * FROM " table "; DROP TABLE " table  \
    "; ALTER TABLE loose RENAME TO " table ";"

struct hostile {
    const char *sql, *expected; /* after "score database \"FILE\" is damaged: ", unless it begins
                                   with "=" */
};

static void check(const struct hostile *cases, size_t count) {
    const char *good = path_of("good.db"), *path;
    char *bytes;
    size_t size;
    ck_assert_msg(sample_scores_make(good) == STATUS_OK, "%s", status_message());
    ck_assert_msg(sample_scores_read(good) == STATUS_OK, "%s", status_message());
    ck_assert_int_eq(file_read(&bytes, &size, good), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        char expected[512];
        path = path_of("bad.db");
        FILE *file = fopen(path, "wb");
        ck_assert(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
        execute(path, cases[i].sql);
        double start = log_seconds();
        enum status status = sample_scores_read(path);
        bool whole = *cases[i].expected == '=';
        snprintf(expected, sizeof expected,
                 whole ? "\"%s\"%s" : "score database \"%s\" is damaged: %s", path,
                 cases[i].expected + whole);
        ck_assert_msg(status == STATUS_FAILED && strcmp(status_message(), expected) == 0,
                      "%s: %d, \"%s\", not \"%s\"", cases[i].sql, status, status_message(),
                      expected);
        ck_assert_double_lt(log_seconds() - start, 20);
        unlink(path);
    }
    free(bytes);
    remove_all();
}

static const struct hostile no_use[] = {
    {LOOSE("model") "UPDATE model SET fingerprint = NULL",
     "table \"model\", which row 1 of \"run\" refers to: column \"fingerprint\" is NULL, not a "
     "text"},
    {LOOSE("model") "UPDATE model SET shape = x'7b7d'",
     "table \"model\", which row 1 of \"run\" refers to: column \"shape\" is a blob, not a "
     "text"},
    {"UPDATE model SET shape = '[4]'", "table \"model\", which row 1 of \"run\" refers to: "
                                       "column \"shape\" is not a JSON object"},
    {"UPDATE model SET shape = '{\"num_hidden_layers\": -3}'",
     "table \"model\", row 1: column \"shape\" has \"num_hidden_layers\" that is not 1 to "
     "65536"},
    {"UPDATE model SET shape = '{\"num_hidden_layers\": 1e300}'",
     "table \"model\", row 1: column \"shape\" has \"num_hidden_layers\" that is not 1 to "
     "65536"},
    {LOOSE("dataset") "UPDATE dataset SET path = NULL",
     "table \"dataset\", which row 1 of \"run\" refers to: column \"path\" is NULL, not a "
     "text"},
    {"UPDATE dataset SET rows = -1", "table \"dataset\", row 1: column \"rows\" is -1, below 0"},
    {LOOSE("run") "UPDATE run SET base = NULL WHERE id = 2",
     "table \"run\", row 2: column \"base\" is NULL, not a text"},
    {"UPDATE run SET base = 'txtt' WHERE id = 5",
     "table \"run\", row 5: column \"base\" is not a layout of the letters of mixers"},
    {LOOSE("run") "UPDATE run SET kind = x'6c6f6f' WHERE id = 1",
     "table \"run\", row 1: column \"kind\" is a blob, not a text"},
    {"UPDATE run SET parameters = 'no' WHERE id = 3",
     "table \"run\", row 3: column \"parameters\" is not a JSON object"},
    {"UPDATE run SET status = 'perhaps' WHERE id = 3",
     "table \"run\", row 3: column \"status\" is none of done, running, …"},
    {"UPDATE run SET device = CAST(x'ff' AS TEXT) WHERE id = 3",
     "table \"run\", row 3: column \"device\" is not UTF-8"},
    {"UPDATE run SET started = CAST(x'320033' AS TEXT) WHERE id = 3",
     "table \"run\", row 3: column \"started\" has a NUL byte"},
    {"UPDATE run SET version = printf('%.*c', 20000000, 'v') WHERE id = 1",
     "table \"run\", row 1: column \"version\" has 20000000 bytes, more than 16777216"},
    {LOOSE("run") "UPDATE run SET id = 'one' WHERE id = 1",
     "table \"run\", row \"one\": column \"id\" is a text, not an integer"},
    {LOOSE("run") "UPDATE run SET seed = 0.5 WHERE id = 1",
     "table \"run\", row 1: column \"seed\" is a fraction, not an integer"},
    {"UPDATE run SET note = x'61' WHERE id = 2",
     "table \"run\", row 2: column \"note\" is a blob, not a text"},
    {"UPDATE run SET note = CAST(x'c328' AS TEXT) WHERE id = 2",
     "table \"run\", row 2: column \"note\" is not UTF-8"},
    {"UPDATE run SET seconds = -1 WHERE id = 2",
     "table \"run\", row 2: column \"seconds\" is -1, below 0"},
    {"UPDATE run SET seconds = 9e999 WHERE id = 2",
     "table \"run\", row 2: column \"seconds\" is infinite"},
    {"UPDATE run SET numbers = -1 WHERE id = 2",
     "table \"run\", row 2: column \"numbers\" is -1, below 0"},
    {"UPDATE model SET fingerprint_kind = 0", "table \"model\", which row 1 of \"run\" refers "
                                              "to: column \"fingerprint_kind\" is 0, below "
                                              "1"},
    {"UPDATE plan SET document = '[1]'",
     "table \"plan\", row 1: column \"document\" is not a JSON object"},
    {LOOSE("plan") "UPDATE plan SET created = NULL",
     "table \"plan\", row 1: column \"created\" is NULL, not a text"},
    {"PRAGMA foreign_keys = OFF; UPDATE run SET model = 9 WHERE id = 4",
     "table \"model\", which row 4 of \"run\" refers to: column \"name\" is NULL, not a text"},
    {"UPDATE score SET value = 9e999 WHERE layer = 2",
     "table \"score\", row of run 1, metric \"ce\", layer 2: column \"value\" is infinite"},
    {"UPDATE score SET value = 1.7e308 WHERE layer = 2",
     "table \"score\", row of run 1, metric \"ce\", layer 2: column \"value\" is 1.7e+308, "
     "beyond "
     "1e+100"},
    {"UPDATE sequence_score SET value = -1e200 WHERE run = 4 AND row = 2",
     "table \"sequence_score\", row of run 4, layer 0, metric \"heldout_rkl_after\", row 2: "
     "column \"value\" is -1e+200, beyond 1e+100"},
    {"UPDATE score SET value = 'much' WHERE layer = 2 AND metric = 'kl'",
     "table \"score\", row of run 1, metric \"kl\", layer 2: column \"value\" is a text, not a "
     "number"},
    {"UPDATE score SET stderr = -1 WHERE run = 2 AND layer = 0",
     "table \"score\", row of run 2, metric \"heldout_rkl_after\", layer 0: column \"stderr\" "
     "is "
     "-1, below 0"},
    {"UPDATE score SET n = -5 WHERE run = 2 AND layer = 0",
     "table \"score\", row of run 2, metric \"heldout_rkl_after\", layer 0: column \"n\" is "
     "-5, "
     "below 0"},
    {"UPDATE score SET layer = 4 WHERE run = 2 AND layer = 0",
     "table \"score\", row of run 2, metric \"heldout_rkl_after\", layer 4: column \"layer\" "
     "is "
     "4, above 3"},
    {"UPDATE score SET layer = -2 WHERE run = 2 AND layer = 0",
     "table \"score\", row of run 2, metric \"heldout_rkl_after\", layer -2: column \"layer\" "
     "is "
     "-2, below -1"},
    {"UPDATE score SET layer = 4294967296 WHERE run = 2 AND layer = 0",
     "table \"score\", row of run 2, metric \"heldout_rkl_after\", layer 4294967296: column "
     "\"layer\" is 4294967296, above 3"},
    {"UPDATE score SET metric = CAST(x'1b5b334a' AS TEXT) WHERE run = 1 AND layer = 0 AND"
     " metric = 'ce'; UPDATE score SET value = -9e999 WHERE metric < 'a'",
     "table \"score\", row of run 1, metric \"\x1b[3J\", layer 0: column \"value\" is "
     "infinite"},
    {"UPDATE sequence_score SET count = -9 WHERE run = 1 AND metric = 'kl' AND layer = 1",
     "table \"sequence_score\", row of run 1, layer 1, metric \"kl\", row 0: column \"count\" "
     "is "
     "-9, below 0"},
    {"UPDATE sequence_score SET row = -9 WHERE run = 1 AND metric = 'kl' AND row = 1",
     "table \"sequence_score\", row of run 1, layer 0, metric \"kl\", row -9: column \"row\" "
     "is "
     "-9, below 0"},
    {"UPDATE sequence_score SET value = -9e999 WHERE run = 4 AND row = 2",
     "table \"sequence_score\", row of run 4, layer 0, metric \"heldout_rkl_after\", row 2: "
     "column \"value\" is infinite"},
    {"UPDATE sequence_score SET layer = 77 WHERE run = 4 AND layer = 2",
     "table \"sequence_score\", row of run 4, metric \"heldout_rkl_after\", layer 77: column "
     "\"layer\" is 77, above 3"},
    {"UPDATE probe_step SET loss = 9e999 WHERE run = 2 AND layer = 3 AND step = 1",
     "table \"probe_step\", row of run 2, layer 3, seed 0, step 1: column \"loss\" is "
     "infinite"},
    {"UPDATE probe_step SET step = -1 WHERE run = 2 AND layer = 3 AND step = 1",
     "table \"probe_step\", row of run 2, layer 3, seed 0, step -1: column \"step\" is -1, "
     "below "
     "0"},
    {"UPDATE probe_step SET layer = 9 WHERE run = 2 AND layer = 3",
     "table \"probe_step\", row of run 2, layer 9: column \"layer\" is 9, above 3"},
    {"UPDATE probe_state SET step = 8 WHERE part = 1",
     "table \"probe_state\", row of run 4, layer 3, seed 0, part 1: column \"step\" is 8, not "
     "3 "
     "as in the parts before"},
    {"UPDATE probe_state SET part = 2 WHERE part = 1",
     "table \"probe_state\", row of run 4, layer 3, seed 0, part 2: column \"part\" is 2 where "
     "1 "
     "is missing"},
    {"UPDATE probe_state SET part = -1 WHERE part = 0",
     "table \"probe_state\", row of run 4, layer 3, seed 0, part -1: column \"part\" is -1, "
     "below 0"},
    {"UPDATE probe_state SET bytes = 'text' WHERE part = 1",
     "table \"probe_state\", row of run 4, layer 3, seed 0, part 1: column \"bytes\" is NULL, "
     "not an integer"},
    {"UPDATE probe_state SET bytes = x'' WHERE part = 1",
     "table \"probe_state\", row of run 4, layer 3, seed 0, part 1: column \"bytes\" is 0, "
     "below "
     "1"},
    {LOOSE("item") "UPDATE item SET gold = NULL WHERE row = 1",
     "table \"item\", row of run 3, row 1: column \"gold\" is NULL, not a text"},
    {"UPDATE item SET row = -1 WHERE row = 1",
     "table \"item\", row of run 3, row -1: column \"row\" is -1, below 0"},
    {"UPDATE choice SET loglikelihood = 9e999 WHERE row = 1",
     "table \"choice\", row of run 3, row 1, choice 0: column \"loglikelihood\" is infinite"},
    {"UPDATE choice SET choice = 9000000000 WHERE row = 1 AND choice = 1",
     "table \"choice\", row of run 3, row 1, choice 9000000000: column \"choice\" is "
     "9000000000, above 2147483647"},
    {"UPDATE answer SET correct = 2 WHERE row = 0",
     "table \"answer\", row of run 3, row 0, sample 0: column \"correct\" is 2, above 1"},
    {"UPDATE answer SET text = CAST(x'6100' AS TEXT) WHERE row = 0",
     "table \"answer\", row of run 3, row 0, sample 0: column \"text\" has a NUL byte"},
    {"UPDATE bench SET tokens_per_second = -1 WHERE id = 2",
     "table \"bench\", row 2: column \"tokens_per_second\" is -1, below 0"},
    {"UPDATE bench SET settings = '{' WHERE id = 3",
     "table \"bench\", row 3: column \"settings\" is not a JSON object"},
    {"PRAGMA foreign_keys = OFF; UPDATE bench SET model = 5 WHERE id = 1",
     "table \"model\", which row 1 of \"bench\" refers to: column \"name\" is NULL, not a "
     "text"},
    {"UPDATE bench SET replaced = 70000 WHERE id = 1",
     "table \"bench\", row 1: column \"replaced\" is 70000, above 65536"},
    {LOOSE("bench") "UPDATE bench SET series = 'x' WHERE id = 3",
     "table \"bench\", row 3: column \"series\" is a text, not an integer"},
};

START_TEST(values_of_no_use) {
    check(no_use, sizeof no_use / sizeof *no_use);
}
END_TEST

START_TEST(rows_that_are_there_twice) {
    static const struct hostile cases[] = {
        {LOOSE("model") "INSERT INTO model SELECT * FROM model",
         "table \"run\", row 1 is there twice"},
        {LOOSE("dataset") "INSERT INTO dataset SELECT * FROM dataset",
         "table \"run\", row 1 is there twice"},
        {LOOSE("run") "INSERT INTO run SELECT * FROM run WHERE id = 5",
         "table \"run\", row 5 is there twice"},
        {LOOSE("score") "INSERT INTO score SELECT * FROM score WHERE layer = 3",
         "table \"score\", row of run 1, metric \"ce\", layer 3 is there twice"},
        {LOOSE("sequence_score") "INSERT INTO sequence_score SELECT * FROM sequence_score"
                                 " WHERE run = 5 AND row = 2",
         "table \"sequence_score\", row of run 5, layer -1, metric \"ce\", row 2 is there twice"},
        {LOOSE("probe_step") "INSERT INTO probe_step SELECT * FROM probe_step WHERE layer = 1",
         "table \"probe_step\", row of run 2, layer 1, seed 0, step 0 is there twice"},
        {LOOSE("probe_state") "INSERT INTO probe_state SELECT * FROM probe_state",
         "table \"probe_state\", row of run 4, layer 3, seed 0, part 0: column \"part\" is 0 where "
         "1 "
         "is missing"},
        {LOOSE("item") "INSERT INTO item SELECT * FROM item WHERE row = 2",
         "table \"item\", row of run 3, row 2 is there twice"},
        {LOOSE("choice") "INSERT INTO choice SELECT * FROM choice WHERE row = 2",
         "table \"choice\", row of run 3, row 2, choice 0 is there twice"},
        {LOOSE("answer") "INSERT INTO answer SELECT * FROM answer WHERE row = 2",
         "table \"answer\", row of run 3, row 2, sample 0 is there twice"},
        {LOOSE("bench") "INSERT INTO bench SELECT * FROM bench WHERE id = 3",
         "table \"bench\", row 3 is there twice"},
    };
    check(cases, sizeof cases / sizeof *cases);
}
END_TEST

#define ENDLESS " AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "

START_TEST(tables_that_are_none) {
    static const struct hostile cases[] = {
        {"DROP TABLE score; CREATE VIEW score" ENDLESS
         "1 AS run, i AS layer, 'kl' AS metric, 1.0 AS value, 0.1 AS stderr, 3 AS n FROM n",
         "\"score\" is not a table"},
        {"PRAGMA foreign_keys = OFF; DROP TABLE run; CREATE VIEW run" ENDLESS
         "i AS id, 'loo' AS kind, 1 AS model, 1 AS dataset, '' AS base, '{}' AS parameters, 0 AS"
         " seed, 'cpu' AS device_kind, 'cpu' AS device, '1' AS version, 'done' AS status, '' AS"
         " started, '' AS finished FROM n",
         "\"run\" is not a table"},
        {"DROP TABLE bench; CREATE VIEW BENCH AS SELECT 1 AS id", "\"bench\" is not a table"},
        {"DROP TABLE item", "\"item\" is missing"},
        {"DROP TABLE plan; CREATE VIRTUAL TABLE plan USING fts4(id, model, created, document)",
         "\"plan\" has columns that are computed"},
        {"DROP TABLE item; CREATE TABLE item (run, row, category, gold GENERATED ALWAYS AS (row))",
         "\"item\" has columns that are computed"},
        {"ALTER TABLE score RENAME COLUMN value TO worth",
         "table \"score\" has no column \"value\""},
        {"DROP TABLE choice; CREATE TABLE choice (x)", "table \"choice\" has no column \"run\""},
        {"DROP TABLE answer; CREATE TABLE answer (run, row, sample, text, correct, tokens)",
         "table \"answer\" has no column \"answer\""},
        {"ALTER TABLE probe_step RENAME TO steps", "\"probe_step\" is missing"},
        {"PRAGMA application_id = 1", "= is another program's database, not a score database"},
    };
    check(cases, sizeof cases / sizeof *cases);
}
END_TEST

/* What a user adds for himself is no damage: views, triggers, tables, columns and indices. */
START_TEST(additions_do_no_harm) {
    const char *path = path_of("more.db");
    ck_assert_int_eq(sample_scores_make(path), STATUS_OK);
    execute(path, "CREATE VIEW mine" ENDLESS "i FROM n; CREATE TABLE notes (text);"
                  "CREATE TRIGGER boom AFTER INSERT ON score BEGIN SELECT RAISE(FAIL, 'boom'); END;"
                  "ALTER TABLE run ADD COLUMN colour TEXT; CREATE INDEX by_layer ON score (layer)");
    ck_assert_msg(sample_scores_read(path) == STATUS_OK, "%s", status_message());
    struct store *store;
    ck_assert_msg(store_open(&store, path, STORE_WRITE) == STATUS_OK, "%s", status_message());
    ck_assert_msg(store_put_score(store, 1, 0, "new", 1, 1, 1) == STATUS_OK, "%s",
                  status_message());
    store_close(store);
    remove_all();
}
END_TEST

/* Who writes needs the keys that make a second value replace the first. */
START_TEST(a_writer_wants_its_keys) {
    static const char *const tables[] = {"run", "score", "sequence_score", "probe_step", "answer"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const char *path = path_of("loose.db");
        char sql[256], expected[256];
        struct store *store;
        ck_assert_int_eq(sample_scores_make(path), STATUS_OK);
        snprintf(sql, sizeof sql,
                 "PRAGMA foreign_keys = OFF; CREATE TABLE loose AS SELECT * FROM %s;"
                 " DROP TABLE %s; ALTER TABLE loose RENAME TO %s",
                 tables[i], tables[i], tables[i]);
        execute(path, sql);
        ck_assert_msg(sample_scores_read(path) == STATUS_OK, "%s", status_message());
        snprintf(
            expected, sizeof expected,
            "score database \"%s\" is damaged: column \"%s\" of table \"%s\" is not part of its "
            "primary key",
            path, i ? "run" : "id", tables[i]);
        ck_assert_int_eq(store_open(&store, path, STORE_WRITE), STATUS_FAILED);
        ck_assert_str_eq(status_message(), expected);
        unlink(path);
    }
    remove_all();
}
END_TEST

/* Page 2 and others made to refer to each other: rows without end, or none; never a hang. */
START_TEST(pages_in_circles) {
    const char *path = path_of("circle.db");
    ck_assert_int_eq(sample_scores_make(path), STATUS_OK);
    execute(path, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM;"
                  "WITH RECURSIVE n(i) AS (SELECT 9 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
                  " INSERT INTO sequence_score SELECT 1, 0, i, 'kl', 1.0, 1 FROM n; VACUUM");
    char *bytes;
    size_t size;
    ck_assert_int_eq(file_read(&bytes, &size, path), STATUS_OK);
    /* Every interior page of an index points to one and the same page, by all its children. */
    int changed = 0;
    for (size_t at = 512; at + 512 <= size; at += 512) {
        unsigned char *page = (unsigned char *)bytes + at;
        if (*page != 2) continue;
        int cells = page[3] << 8 | page[4];
        for (int cell = 0; cell < cells; cell++) {
            int offset = page[12 + 2 * cell] << 8 | page[13 + 2 * cell];
            if (offset + 4 > 512) continue;
            page[offset] = page[offset + 1] = 0;
            page[offset + 2] = (unsigned char)((at / 512 + 1) >> 8);
            page[offset + 3] = (unsigned char)(at / 512 + 1);
            changed++;
        }
    }
    ck_assert_int_gt(changed, 10);
    FILE *file = fopen(path, "wb"); /* the program's own writer replaces no database */
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
    free(bytes);
    double start = log_seconds();
    ck_assert_int_eq(sample_scores_read(path), STATUS_FAILED);
    ck_assert_msg(strstr(status_message(), "is damaged"), "%s", status_message());
    ck_assert_double_lt(log_seconds() - start, 20);
    remove_all();
}
END_TEST

/* The log of another database beside this one. */
START_TEST(a_log_of_another_file) {
    const char *path = path_of("one.db"), *other = path_of("other.db");
    ck_assert_int_eq(sample_scores_make(path), STATUS_OK);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(other, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db,
                                  "PRAGMA journal_mode = WAL; CREATE TABLE x (y);"
                                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                                  " WHERE i < 3000) INSERT INTO x SELECT randomblob(50) FROM n",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    char log[160], beside[160];
    snprintf(log, sizeof log, "%s-wal", other);
    snprintf(beside, sizeof beside, "%s-wal", path);
    ck_assert_int_eq(file_copy(beside, log), STATUS_OK);
    sqlite3_close(db);
    ck_assert_int_eq(sample_scores_read(path), STATUS_FAILED);
    ck_assert_ptr_null(strchr(status_message(), '\n'));
    remove_all();
}
END_TEST

CHECK_MAIN("hostile_scores", values_of_no_use, rows_that_are_there_twice, tables_that_are_none,
           additions_do_no_harm, a_writer_wants_its_keys, pages_in_circles, a_log_of_another_file)
