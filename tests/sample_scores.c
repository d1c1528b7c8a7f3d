#define _GNU_SOURCE
#include "sample_scores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "plan/build.h"
#include "reports/importance.h"
#include "reports/probes.h"
#include "reports/ranks.h"
#include "reports/throughput.h"
#include "scores/comparison.h"
#include "scores/store.h"

enum { LAYERS = 4, ROWS = 3, STEPS = 3, RUNS = 5 };

/* ---- making one */

static enum status put_values(struct store *store, int64_t run, const char *metric, int first) {
    enum status status = STATUS_OK;
    for (int layer = first; layer < LAYERS; layer++)
        for (int row = 0; !status && row < ROWS; row++)
            status = store_put_sequence_score(store, run, layer, row, metric,
                                              layer + 0.1 * row + 0.02 * layer * row, row + 1);
    return status;
}

static enum status put_probes(struct store *store, int64_t run, bool state) {
    enum status status = STATUS_OK;
    for (int layer = 0; layer < LAYERS; layer++)
        for (int step = 0; !status && step < STEPS; step++)
            status = store_put_probe_step(store, run, layer, 0, step, 2.0 / (step + 1));
    for (int part = 0; !status && state && part < 2; part++)
        status = store_put_probe_part(store, run, 3, 0, part, STEPS, "state of a probe", 16);
    return status;
}

static enum status put_items(struct store *store, int64_t run) {
    enum status status = STATUS_OK;
    for (int row = 0; !status && row < ROWS; row++) {
        status =
            store_put_item(store, run, &(struct store_item){row, row % 2 ? "algebra" : NULL, "1"});
        for (int choice = 0; !status && choice < 2; choice++)
            status = store_put_choice(store, run,
                                      &(struct store_choice){row, choice, 2, 9, 1, -1.5 - choice});
        if (!status)
            status = store_put_answer(store, run,
                                      &(struct store_answer){row, 0, 7, "so 4", "4", row == 1});
        if (!status) status = store_put_sequence_score(store, run, -1, row, "acc", row == 1, 1);
    }
    return status;
}

static enum status add_run(struct store *store, const struct store_run_key *key, int number) {
    int64_t run;
    enum store_run_state state;
    enum status status = store_begin_run(&run, &state, store, key);
    bool mmr = strcmp(key->kind, "mmr") == 0, eval = strcmp(key->kind, "eval") == 0;
    if (!status) status = store_begin(store);
    if (!status && eval) status = put_items(store, run);
    if (!status && mmr) status = put_probes(store, run, number == 4);
    if (!status && !eval) status = put_values(store, run, mmr ? "heldout_rkl_after" : "kl", 0);
    if (!status && !eval && !mmr) status = put_values(store, run, "ce", -1);
    if (!status && number != 4) status = store_summarise_run(store, run);
    if (!status)
        status = store_finish_run(store, run,
                                  number == 4 ? STORE_STATUS_INTERRUPTED : STORE_STATUS_DONE);
    return status ? status : store_commit(store);
}

static enum status add_bench(struct store *store, int64_t model) {
    enum status status = STATUS_OK;
    int64_t series = 0, id;
    if ((status = store_begin(store))) return status;
    for (int replaced = 0; !status && replaced < 3; replaced++) {
        struct store_bench row = {.series = series,
                                  .model = model,
                                  .replaced = replaced,
                                  .batch = 2,
                                  .memory = 1000,
                                  .tokens_per_second = 10 + replaced,
                                  .step_seconds = 0.1,
                                  .first_token_seconds = 0.2,
                                  .bytes_per_token = 64,
                                  .roofline = 20,
                                  .device = "cpu",
                                  .settings = "{\"layers\": 4, \"prompt\": 1, \"output\": 8}"};
        status = store_add_bench(&id, store, &row);
        if (!series) series = id;
    }
    return status ? status : store_commit(store);
}

static enum status fill(struct store *store) {
    static const struct {
        const char *kind, *base, *parameters;
    } runs[RUNS] = {{"loo", "", "{\"ablate\":\"mixer\"}"},
                    {"mmr", "", "{\"steps\":3}"},
                    {"eval", "tttt", "{\"task\":\"arc_easy\"}"},
                    {"mmr", "", "{\"steps\":9}"},
                    {"loo", "tmtt", "{\"ablate\":\"mixer\"}"}};
    int64_t model, dataset, plan;
    enum status status = store_begin(store);
    if (!status)
        status = store_add_model(&model, store, "aa11", "model-a", "{\"num_hidden_layers\": 4}");
    if (!status) status = store_add_dataset(&dataset, store, "bb22", "rows.h5", ROWS, 60);
    if (!status) status = store_commit(store);
    for (int i = 0; !status && i < RUNS; i++) {
        struct store_run_key key = {.kind = runs[i].kind,
                                    .model = model,
                                    .dataset = dataset,
                                    .base = runs[i].base,
                                    .parameters = runs[i].parameters,
                                    .device = "cpu"};
        status = add_run(store, &key, i + 1);
    }
    if (!status) status = add_bench(store, model);
    return status ? status : store_add_plan(&plan, store, model, "{\"layers\": 4}");
}

enum status sample_scores_make(const char *path) {
    struct store *store = NULL;
    enum status status = store_open(&store, path, STORE_WRITE);
    if (!status) status = fill(store);
    store_close(store);
    return status;
}

/* ---- reading one */

struct first {
    enum status status;
    char *message;
};

static enum status note(struct first *first, enum status status) {
    if (!status || first->status) return status;
    first->status = status;
    first->message = memory_copy_string(status_message());
    return status;
}

static void read_values(struct first *first, struct store *store, int64_t run) {
    struct store_score_list scores;
    struct store_row_list rows, layers;
    if (!note(first, store_get_scores(&scores, store, run))) {
        for (size_t i = 0; i < scores.count; i++) {
            struct store_sequence_list values;
            const struct store_score *score = &scores.scores[i];
            if (!note(first,
                      store_get_sequence_scores(&values, store, run, score->layer, score->metric)))
                store_sequence_list_free(&values);
        }
        store_score_list_free(&scores);
    }
    if (!note(first, store_get_rows(&rows, store, run))) store_row_list_free(&rows);
    if (note(first, store_get_probe_layers(&layers, store, run))) return;
    for (size_t i = 0; i < layers.count; i++) {
        struct store_step_list steps;
        size_t bytes;
        int64_t step;
        int layer = (int)layers.rows[i];
        if (!note(first, store_get_probe_steps(&steps, store, run, layer)))
            store_step_list_free(&steps);
        note(first, store_find_probe_state(&bytes, &step, store, run, layer, 0));
    }
    store_row_list_free(&layers);
}

static void read_items(struct first *first, struct store *store, int64_t run) {
    struct store_item_list items;
    struct store_choice_list choices;
    struct store_answer_list answers;
    if (!note(first, store_get_items(&items, store, run))) store_item_list_free(&items);
    if (!note(first, store_get_choices(&choices, store, run))) store_choice_list_free(&choices);
    if (!note(first, store_get_answers(&answers, store, run))) store_answer_list_free(&answers);
}

/* Plans and comparisons of the runs that have rankings. */
static void use_rankings(struct first *first, struct store *store) {
    struct ranking rankings[RUNS] = {{0}};
    for (int i = 0; i < RUNS; i++) {
        struct store_run run;
        struct plan plan;
        int64_t model;
        if (i == 2 || i == 3) continue; /* of a task; of one that stopped */
        if (note(first, store_get_run(&run, store, i + 1))) continue;
        note(first, ranking_load(&rankings[i], store, &run, NULL));
        store_run_free(&run);
        struct plan_choice choice = {.run = i + 1};
        struct plan_choices choices = {
            .runs = &choice, .count = 1, .stages = "2,3", .unfinished = true};
        if (!note(first, plan_from_store(&plan, &model, store, &choices))) plan_free(&plan);
    }
    struct comparison comparison;
    if (!note(first, comparison_build(&comparison, &rankings[0], &rankings[1])))
        comparison_free(&comparison);
    for (int i = 0; i < RUNS; i++) ranking_free(&rankings[i]);
}

static void draw(struct first *first, struct store *store) {
    const struct ranking_choice runs[] = {{1, NULL}, {2, NULL}}, probes[] = {{2, NULL}};
    const struct figure_request layers = {.runs = runs, .run_count = 2};
    const struct figure_request training = {.runs = probes, .run_count = 1};
    for (int kind = 0; kind < 4; kind++) {
        struct picture picture;
        const char *drawing;
        if (note(first, picture_begin(&picture, "never.svg"))) return;
        note(first, kind == 0   ? importance_fill(&picture, store, &layers)
                    : kind == 1 ? ranks_fill(&picture, store, &layers)
                    : kind == 2 ? probes_fill(&picture, &drawing, store, &training)
                                : throughput_fill(&picture, store, 0));
        picture_free(&picture);
    }
}

static void read_all(struct first *first, struct store *store) {
    struct store_run_list list;
    struct store_bench_list bench;
    struct store_plan_list plans;
    struct store_dataset dataset;
    struct store_model model;
    if (!note(first, store_list_runs(&list, store))) store_run_list_free(&list);
    if (!note(first, store_find_model(&model, store, 1))) store_model_free(&model);
    if (!note(first, store_find_dataset(&dataset, store, 1))) store_dataset_free(&dataset);
    for (int64_t run = 1; run <= RUNS; run++) {
        read_values(first, store, run);
        read_items(first, store, run);
    }
    if (!note(first, store_get_bench(&bench, store, 0))) store_bench_list_free(&bench);
    if (!note(first, store_list_bench(&bench, store))) store_bench_list_free(&bench);
    if (!note(first, store_list_plans(&plans, store))) store_plan_list_free(&plans);
    use_rankings(first, store);
    draw(first, store);
}

enum status sample_scores_read(const char *path) {
    struct store *store = NULL;
    struct first first = {0};
    note(&first, store_open(&store, path, STORE_READ));
    if (store) read_all(&first, store);
    store_close(store);
    if (first.status && first.message) status_set(first.status, "%s", first.message);
    free(first.message);
    return first.status;
}
