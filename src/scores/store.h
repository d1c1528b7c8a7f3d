/* Scores on disk: one SQLite database (WAL, foreign keys; `user_version` is the schema version) for
 * any number of models, token sets and runs. The tables stand in
 * schema.c, with the migrations.
 *
 * A run has a key (kind, model, dataset, base, parameters, seed, kind of device, numbers version).
 * The same command run again finds its run by the key and continues it; values are written in
 * transactions, so that after a kill at any moment each transaction is there whole or not at all.
 * Two processes may write one database: a writer waits up to STORE_BUSY_SECONDS for the other's
 * transaction.
 *
 * Every failure names the database file. A handle serves one thread at a time. */
#ifndef SCORES_STORE_H
#define SCORES_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "scores/statistics.h"

enum { STORE_BUSY_SECONDS = 30 };

/* Bytes of one value that a reader takes; and layers of a model, which all share. */
enum { STORE_VALUE_MOST = 64 << 20, STORE_LAYERS_MOST = 1 << 16 };

/* The layer of values that belong to the unmodified pass (the trunk) itself. */
enum { STORE_TRUNK = -1 };

struct store;

enum store_mode {
    STORE_READ,  /* the file must exist; its directory may be read-only */
    STORE_WRITE, /* created when absent */
};

/* Open, and bring an older schema up to date. What names no plain file, a newer schema, another
 * program's database, one whose tables are not this program's, and a file that is no database are
 * failures. A database comes from anywhere: no query of a reader outlasts what the size of the file
 * explains, and every row is checked where it is read; a fault names table, row and column. */
enum status store_open(struct store **out, const char *path, enum store_mode mode) STATUS_CHECKED;

/* NULL is fine; an open transaction is rolled back. Leaves no journal behind, and gives the space
 * of what was dropped back to the file system. */
void store_close(struct store *store);

/* Everything put between begin and commit is written at once. Without begin each put is its own
 * transaction (slow). Rollback after a failure; it does not touch the message. */
enum status store_begin(struct store *store) STATUS_CHECKED;
enum status store_commit(struct store *store) STATUS_CHECKED;
void store_rollback(struct store *store);

/* ---- models and token sets: found by their fingerprint (SHA-256 in hexadecimal), else inserted */

struct store_model {
    int64_t id;
    char *fingerprint, *name; /* name: the path it was read from when first seen */
    char *shape; /* JSON object with config.json's own keys, as many as apply: architecture,
                  * num_hidden_layers (required by plans), hidden_size, num_attention_heads,
                  * num_key_value_heads, head_dim, intermediate_size, vocab_size, rms_norm_eps,
                  * rope_theta; also rope_type, qkv_bias, o_bias, mlp_bias and qk_norm, which
                  * config.json spells in several ways */
    int fingerprint_kind; /* as CHECKPOINT_FINGERPRINT; what is added has that */
};

struct store_dataset {
    int64_t id, rows, tokens;
    char *fingerprint, *path;
};

/* What to say behind a model's name of a kind of fingerprint: "" for today's. */
const char *store_fingerprint_remark(int kind);

enum status store_add_model(int64_t *id, struct store *store, const char *fingerprint,
                            const char *name, const char *shape) STATUS_CHECKED;
enum status store_add_dataset(int64_t *id, struct store *store, const char *fingerprint,
                              const char *path, int64_t rows, int64_t tokens) STATUS_CHECKED;

/* By id; an unknown id is a failure. Release with the free functions. */
enum status store_find_model(struct store_model *out, struct store *store,
                             int64_t id) STATUS_CHECKED;
enum status store_find_dataset(struct store_dataset *out, struct store *store,
                               int64_t id) STATUS_CHECKED;
void store_model_free(struct store_model *model);
void store_dataset_free(struct store_dataset *dataset);

/* ---- runs */

/* What makes a run the same run. Of the device its kind does, the part before ":": values of the
 * CPU and of a GPU differ by rounding and are not mixed. */
struct store_run_key {
    const char *kind; /* "loo", "mmr" */
    int64_t model, dataset;
    const char *base;       /* layout the run starts from: one of t, m a layer; "" for none */
    const char *parameters; /* JSON object with sorted keys (js_print_sorted) */
    int64_t seed;
    const char *device; /* "cpu", "cuda:0" */
    int64_t numbers; /* numbers_version of the kind of run; 0: unknown, of before there were any */
};

enum store_run_state {
    STORE_RUN_NEW,       /* nothing stored yet */
    STORE_RUN_CONTINUED, /* unfinished: ask store_get_rows / store_get_scores what is there */
    STORE_RUN_FINISHED,  /* nothing to do */
};

/* Find or insert the run of a key; a new or continued run gets status "running". */
enum status store_begin_run(int64_t *id, enum store_run_state *state, struct store *store,
                            const struct store_run_key *key) STATUS_CHECKED;

/* A run that asks what a key asks and is not the key's. */
struct store_other {
    int64_t run; /* 0: none */
    int64_t numbers;
    bool older_model; /* its model is known by an older fingerprint */
    char *version;
};

/* The last run that differs from the key in its numbers version only, else the last of the same
 * kind, seed and kind of device whose model has the older fingerprint `sampled`. Release with
 * store_other_free. */
enum status store_find_other(struct store_other *out, struct store *store,
                             const struct store_run_key *key, const char *sampled) STATUS_CHECKED;
void store_other_free(struct store_other *other); /* accepts a zeroed struct */

/* Which releases of the program have computed the run: "0.1.0", "0.1.0; 0.2.0". The caller frees.
 */
enum status store_find_version(char **out, struct store *store, int64_t run) STATUS_CHECKED;

#define STORE_STATUS_RUNNING "running"
#define STORE_STATUS_DONE "done"
#define STORE_STATUS_INTERRUPTED "interrupted"
#define STORE_STATUS_FAILED "failed"

/* Record how the run ended and when. Only STORE_STATUS_DONE makes it finished for store_begin_run.
 */
enum status store_finish_run(struct store *store, int64_t run, const char *status) STATUS_CHECKED;

struct store_run {
    int64_t id, model, dataset, seed;
    int64_t numbers;      /* numbers version; 0: unknown */
    int fingerprint_kind; /* of its model */
    char *kind, *base, *parameters, *device, *version, *revision, *status;
    char *started, *finished; /* "2026-01-31T12:00:00Z"; finished is NULL until then */
    char *model_name, *model_fingerprint, *model_shape, *dataset_path, *dataset_fingerprint;
    char *note;     /* of the user; NULL: none */
    double seconds; /* that it has taken, without pauses between its parts; NAN: unknown */
    int64_t layers; /* with values, without the trunk */
    int64_t rows;   /* with values */
};

struct store_run_list {
    struct store_run *runs; /* [count], by id */
    size_t count;
};

enum status store_list_runs(struct store_run_list *out, struct store *store) STATUS_CHECKED;
enum status store_get_run(struct store_run *out, struct store *store, int64_t id) STATUS_CHECKED;
void store_run_free(struct store_run *run);

/* The run that was begun last. None is a failure. */
enum status store_find_last_run(int64_t *id, struct store *store) STATUS_CHECKED;

/* What the user wants to remember of a run; "": nothing any more. An unknown run is a failure. */
enum status store_set_note(struct store *store, int64_t run, const char *note) STATUS_CHECKED;

/* Delete a run with all its values, a series of throughput rows, or a recorded plan, in one
 * transaction. A run that a recorded plan was made from is not deleted: the message names the plan.
 * What is not there is a failure. */
enum status store_delete_run(struct store *store, int64_t run) STATUS_CHECKED;
enum status store_delete_bench(struct store *store, int64_t series) STATUS_CHECKED;
enum status store_delete_plan(struct store *store, int64_t plan) STATUS_CHECKED;
void store_run_list_free(struct store_run_list *list);

/* ---- values: a second put of the same key replaces the first. A value that is not finite is a
 * failure that names layer and metric. */

/* `value`: mean over the row's `count` counted positions. */
enum status store_put_sequence_score(struct store *store, int64_t run, int layer, int64_t row,
                                     const char *metric, double value,
                                     int64_t count) STATUS_CHECKED;

/* The run's value for a layer, with its standard error over n sequences; a NAN standard error
 * (unknown, as statistics_mean gives it for n < 2) is stored as NULL and read back as NAN. */
enum status store_put_score(struct store *store, int64_t run, int layer, const char *metric,
                            double value, double stderr_value, int64_t n) STATUS_CHECKED;

enum status store_put_probe_step(struct store *store, int64_t run, int layer, int64_t seed,
                                 int64_t step, double loss) STATUS_CHECKED;

/* Mean and standard error of every (layer, metric) that has sequence values, put into `score`. */
enum status store_summarise_run(struct store *store, int64_t run) STATUS_CHECKED;

struct store_score {
    int layer;
    char *metric;
    double value, stderr_value; /* stderr_value NAN: unknown */
    int64_t n;
};

struct store_score_list {
    struct store_score *scores; /* [count], by metric, then layer */
    size_t count;
};

struct store_sequence_list {
    struct sequence_value *values; /* [count], by row */
    size_t count;
};

struct store_step {
    int64_t seed, step;
    double loss;
};

struct store_step_list {
    struct store_step *steps; /* [count], by seed, then step */
    size_t count;
};

struct store_row_list { /* rows, or layers */
    int64_t *rows;      /* [count], ascending */
    size_t count;
};

/* The rows that have a value of any layer. A sweep writes a row for all layers in one transaction,
 * so these are the rows it need not compute again. */
enum status store_get_rows(struct store_row_list *out, struct store *store,
                           int64_t run) STATUS_CHECKED;

/* The stored scores of a run. When it has none (unfinished) they are computed from its sequence
 * values. */
enum status store_get_scores(struct store_score_list *out, struct store *store,
                             int64_t run) STATUS_CHECKED;
enum status store_get_sequence_scores(struct store_sequence_list *out, struct store *store,
                                      int64_t run, int layer, const char *metric) STATUS_CHECKED;
/* The layers with probe steps. */
enum status store_get_probe_layers(struct store_row_list *out, struct store *store,
                                   int64_t run) STATUS_CHECKED;
enum status store_get_probe_steps(struct store_step_list *out, struct store *store, int64_t run,
                                  int layer) STATUS_CHECKED;

void store_row_list_free(struct store_row_list *list); /* all accept zeroed lists */
void store_score_list_free(struct store_score_list *list);
void store_sequence_list_free(struct store_sequence_list *list);
void store_step_list_free(struct store_step_list *list);

/* ---- state of an unfinished probe: bytes that only the writer understands, replaced at each step
 * window and dropped when the layer is done. A state of any size consists of parts, counted from 0,
 * because SQLite's values end at 1 GB. To replace one, drop it and put all parts of the new one in
 * one transaction. */

/* The `*step` that a state stands at and the bytes of all its parts; none: 0 bytes. */
enum status store_find_probe_state(size_t *bytes, int64_t *step, struct store *store, int64_t run,
                                   int layer, int64_t seed) STATUS_CHECKED;
/* One part; the caller frees `*bytes`. An absent one is a failure. */
enum status store_get_probe_part(void **bytes, size_t *size, struct store *store, int64_t run,
                                 int layer, int64_t seed, int64_t part) STATUS_CHECKED;
enum status store_put_probe_part(struct store *store, int64_t run, int layer, int64_t seed,
                                 int64_t part, int64_t step, const void *bytes,
                                 size_t size) STATUS_CHECKED;
enum status store_drop_probe_state(struct store *store, int64_t run, int layer,
                                   int64_t seed) STATUS_CHECKED;

/* ---- curves of a training (scores/training.c) */

struct store_training_step {
    int64_t step;      /* from 0 */
    double loss, norm; /* before the update; of the gradient before it was limited; NAN: not finite
                        */
    double rate;       /* learning rate */
    int64_t tokens;
    double seconds;
    bool taken; /* else it was skipped, and changed nothing */
};

struct store_training_value {
    int64_t step; /* steps that were done when it was measured */
    char *metric;
    double value, stderr_value; /* NAN: unknown */
    int64_t n;
};

struct store_training {
    struct store_training_step *steps;   /* [step_count], by step */
    struct store_training_value *values; /* [value_count], by metric, then step */
    size_t step_count, value_count;
};

enum status store_put_training_step(struct store *store, int64_t run,
                                    const struct store_training_step *step) STATUS_CHECKED;
enum status store_put_training_value(struct store *store, int64_t run,
                                     const struct store_training_value *value) STATUS_CHECKED;
/* Forget the steps from `step` on and what was measured after them: they come again. */
enum status store_drop_training(struct store *store, int64_t run, int64_t step) STATUS_CHECKED;
enum status store_get_training(struct store_training *out, struct store *store,
                               int64_t run) STATUS_CHECKED;
void store_training_free(struct store_training *training); /* accepts a zeroed struct */

/* ---- items of tasks: their scores are sequence scores of STORE_TRUNK with the item as row */

struct store_item {
    int64_t row;
    char *category; /* NULL: none */
    char *gold;     /* what the right answer is: "2" of choices from 0, or a text */
};

struct store_item_list {
    struct store_item *items; /* [count], by row */
    size_t count;
};

struct store_choice {
    int64_t row, choice, tokens, characters, greedy;
    double loglikelihood;
};

struct store_choice_list {
    struct store_choice *choices; /* [count], by row, then choice */
    size_t count;
};

struct store_answer {
    int64_t row, sample, tokens;
    char *text;
    char *answer; /* NULL: none found */
    bool correct;
};

struct store_answer_list {
    struct store_answer *answers; /* [count], by row, then sample */
    size_t count;
};

/* The fields are copied. A log-likelihood that is not finite is a failure. */
enum status store_put_item(struct store *store, int64_t run,
                           const struct store_item *item) STATUS_CHECKED;
enum status store_put_choice(struct store *store, int64_t run,
                             const struct store_choice *choice) STATUS_CHECKED;
enum status store_put_answer(struct store *store, int64_t run,
                             const struct store_answer *answer) STATUS_CHECKED;

enum status store_get_items(struct store_item_list *out, struct store *store,
                            int64_t run) STATUS_CHECKED;
enum status store_get_choices(struct store_choice_list *out, struct store *store,
                              int64_t run) STATUS_CHECKED;
enum status store_get_answers(struct store_answer_list *out, struct store *store,
                              int64_t run) STATUS_CHECKED;
void store_item_list_free(struct store_item_list *list); /* all accept zeroed lists */
void store_choice_list_free(struct store_choice_list *list);
void store_answer_list_free(struct store_answer_list *list);
/* ---- throughput */

struct store_bench {
    int64_t id, series; /* rows of one measurement share a series: the id of its first row */
    int64_t model, replaced, batch, memory;
    bool automatic;
    double tokens_per_second, step_seconds, first_token_seconds, bytes_per_token, roofline;
    double spread; /* half of what lies between the least and the most rate, as a share of the
                      middle one; NAN: not known */
    char *created, *device, *version, *model_name;
    char *settings; /* JSON object with sorted keys */
};

struct store_bench_list {
    struct store_bench *rows; /* [count], by id */
    size_t count;
};

/* Append a row; its `series` 0 begins one. `created`, `version` and `model_name` are not read.
 * `*id` is the new row's. */
enum status store_add_bench(int64_t *id, struct store *store,
                            const struct store_bench *row) STATUS_CHECKED;
/* The rows of a series; 0: of the last one. None is a failure. */
enum status store_get_bench(struct store_bench_list *out, struct store *store,
                            int64_t series) STATUS_CHECKED;
/* The rows of all series; there may be none. */
enum status store_list_bench(struct store_bench_list *out, struct store *store) STATUS_CHECKED;
void store_bench_list_free(struct store_bench_list *list); /* accepts a zeroed list */

/* ---- plans: the text of plan.json as it was written */
enum status store_add_plan(int64_t *id, struct store *store, int64_t model,
                           const char *document) STATUS_CHECKED;

const char *store_library_version(void); /* of SQLite: "3.40.1" */

struct store_plan {
    int64_t id;
    char *created, *document;
};

struct store_plan_list {
    struct store_plan *plans; /* [count], by id */
    size_t count;
};

enum status store_list_plans(struct store_plan_list *out, struct store *store) STATUS_CHECKED;
void store_plan_list_free(struct store_plan_list *list); /* accepts a zeroed list */

#endif
