/* loo_run against a slow computation of the same numbers: every branch as a model of its own (the
 * ablated layer's output weights set to zero), one row at a time, metrics in double from the logits
 * by the formulas of doc/ARCHITECTURE.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "analysis/loo/loo.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "check_main.h"
#include "model/forward.h"
#include "scores/store.h"

#define MODELS TEST_DATA "/models/"

enum { VOCABULARY = 300, ROWS = 6, TOKENS = 33, MAX_LAYERS = 8, LONGEST = 12 };

/* Ragged rows, two of them of one token. */
static uint64_t row_offsets[ROWS + 1] = {0, 9, 10, 21, 22, 24, 33};
/* Row 2 is masked out, row 4 has its first token only, which is no target. */
static uint8_t mask[TOKENS] = {1,      0, 1,      1, 0, 0, 1, 1, 0, /**/ 1, /**/ 0,
                               0,      0, 0,      0, 0, 0, 0, 0, 0, 0,      /**/ 0,
                               /**/ 1, 0, /**/ 0, 0, 0, 0, 1, 1, 1, 1,      1};

static char directory[64], data_path[80], database_path[80];

static void in_scratch(void) {
    strcpy(directory, "/tmp/test-loo-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(data_path, sizeof data_path, "%s/rows.h5", directory);
    snprintf(database_path, sizeof database_path, "%s/scores.db", directory);
}

static void out_of_scratch(void) {
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}

static void write_rows(uint8_t *loss_mask) {
    static uint32_t ids[TOKENS];
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = (t * 97 + 13) % VOCABULARY;
    struct tokenset set = {.rows = ROWS,
                           .tokens = TOKENS,
                           .row_offsets = row_offsets,
                           .ids = ids,
                           .loss_mask = loss_mask,
                           .vocab_size = VOCABULARY,
                           .sources = "test_loo"};
    ck_assert_int_eq(tokenset_write(data_path, &set), STATUS_OK);
}

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* ---- the slow computation */

struct variant {
    const char *model;
    const bool *removed; /* [L] or NULL: layers without their mixer (or block) */
    int ablated;         /* one more of them, or -1 */
    enum ablation ablation;
};

static void clear(void *weight, const struct model *model, const struct mixer *mixer,
                  enum weight which) {
    int64_t count = weight_shape(model->config, &mixer->sizes, which).count;
    if (weight) memset(weight, 0, (size_t)count * sizeof(float));
}

/* A mixer (and MLP) whose output projection is zero adds nothing to the residual stream. */
static void silence(struct model *model, int index, enum ablation ablation) {
    const struct layer *layer;
    succeeds(model_layer(&layer, model, index));
    const struct mixer *mixer = &layer->mixer;
    for (enum weight which = WEIGHT_FIRST_OF_MIXER;
         which < WEIGHT_FIRST_OF_MIXER + (enum weight)mixer->sizes.kind->n_weights; which++)
        if (strncmp(weight_name(&mixer->sizes, which), "out_proj", 8) == 0)
            clear(weight_at(layer, mixer, which), model, mixer, which);
    if (ablation != ABLATE_BLOCK) return;
    clear(layer->weights[WEIGHT_DOWN], model, mixer, WEIGHT_DOWN);
    clear(layer->weights[WEIGHT_DOWN_BIAS], model, mixer, WEIGHT_DOWN_BIAS);
}

/* Log-probabilities [tokens, V] of every row, one after another. The caller frees. */
static double *log_probabilities(const struct variant *variant, const struct tokenset *set) {
    static float hidden[LONGEST * 128], normed[LONGEST * 128], rstd[LONGEST];
    static float logits[LONGEST * VOCABULARY];
    struct backend *backend;
    struct model *model;
    struct forward *forward;
    succeeds(backend_open_cpu(&backend));
    succeeds(model_open(&model, backend, variant->model, NULL));
    succeeds(model_keep_layers(model));
    ck_assert_int_le(model->config->hidden_size, 128);
    for (int l = 0; l < model->config->n_layers; l++)
        if (l == variant->ablated || (variant->removed && variant->removed[l]))
            silence(model, l, variant->ablation);
    succeeds(forward_open(&forward, model, 1, LONGEST, LONGEST));
    double *out = memory_calloc(set->tokens * VOCABULARY, sizeof *out);
    for (uint64_t row = 0; row < set->rows; row++) {
        struct token_batch batch;
        uint64_t start = set->row_offsets[row], count = set->row_offsets[row + 1] - start;
        ck_assert_uint_le(count, LONGEST);
        uint64_t offsets[] = {0, count};
        succeeds(token_batch_create(&batch, backend, set->ids + start, offsets, 1));
        succeeds(forward_run(forward, (struct acc *)hidden, &batch));
        model_logits(model, (struct acc *)logits, (struct act *)normed, (struct acc *)rstd,
                     (struct acc *)hidden, (int64_t)count);
        token_batch_free(&batch);
        for (uint64_t t = 0; t < count; t++) {
            const float *from = logits + t * VOCABULARY;
            double sum = 0;
            for (int v = 0; v < VOCABULARY; v++) sum += exp((double)from[v]);
            for (int v = 0; v < VOCABULARY; v++)
                out[(start + t) * VOCABULARY + (uint64_t)v] = (double)from[v] - log(sum);
        }
    }
    forward_close(forward);
    model_close(model);
    backend->close(backend);
    return out;
}

static int largest_of(const double *values) {
    int best = 0;
    for (int v = 1; v < VOCABULARY; v++)
        if (values[v] > values[best]) best = v;
    return best;
}

struct expected {
    double sum[METRIC_COUNT];
    int64_t count[METRIC_COUNT];
};

static void add_position(struct expected *out, const double *trunk, const double *branch) {
    double kl = 0, rkl = 0;
    for (int v = 0; v < VOCABULARY; v++) {
        kl += exp(trunk[v]) * (trunk[v] - branch[v]);
        rkl += exp(branch[v]) * (branch[v] - trunk[v]);
    }
    out->sum[METRIC_KL] += kl;
    out->sum[METRIC_RKL] += rkl;
    out->sum[METRIC_TOP1] += largest_of(trunk) == largest_of(branch);
    for (int m = METRIC_KL; m <= METRIC_TOP1; m++) out->count[m]++;
}

static struct expected expect_row(const struct tokenset *set, uint64_t row, const double *trunk,
                                  const double *branch) {
    struct expected out = {0};
    for (uint64_t t = set->row_offsets[row], end = set->row_offsets[row + 1]; t < end; t++) {
        bool last = t + 1 == end;
        if (set->loss_mask && (last || !set->loss_mask[t + 1])) continue;
        add_position(&out, trunk + t * VOCABULARY, branch + t * VOCABULARY);
        if (last) continue;
        out.sum[METRIC_CE] -= branch[t * VOCABULARY + set->ids[t + 1]];
        out.count[METRIC_CE]++;
    }
    return out;
}

/* ---- what the database says */

static void compare_value(double found, double expected, const char *what, int layer, int64_t row) {
    /* Logits are float32: a divergence has an absolute error too. */
    double limit = 1e-4 * fabs(expected) + 1e-6;
    ck_assert_msg(fabs(found - expected) <= limit, "layer %d, row %d: %s is %.9f, expected %.9f",
                  layer, (int)row, what, found, expected);
}

static void compare_layer(struct store *store, int64_t run, int layer, const struct tokenset *set,
                          const double *trunk, const double *branch) {
    for (int m = 0; m < METRIC_COUNT; m++) {
        struct store_sequence_list list;
        const char *name = metric_name((enum metric)m);
        if (layer == STORE_TRUNK && m != METRIC_CE) continue;
        succeeds(store_get_sequence_scores(&list, store, run, layer, name));
        ck_assert_uint_eq(list.count, ROWS);
        for (size_t row = 0; row < ROWS; row++) {
            struct expected expected = expect_row(set, row, trunk, branch);
            ck_assert_int_eq(list.values[row].row, (int64_t)row);
            ck_assert_int_eq(list.values[row].count, expected.count[m]);
            if (!expected.count[m]) continue;
            compare_value(list.values[row].value, expected.sum[m] / (double)expected.count[m], name,
                          layer, (int64_t)row);
        }
        store_sequence_list_free(&list);
    }
}

/* The stored mean over all counted positions of the set. */
static void compare_mean(struct store *store, int64_t run, int layer, const struct tokenset *set,
                         const double *trunk, const double *branch) {
    struct store_score_list list;
    succeeds(store_get_scores(&list, store, run));
    int found = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (list.scores[i].layer != layer) continue;
        struct expected all = {0};
        int m = 0;
        while (strcmp(metric_name((enum metric)m), list.scores[i].metric) != 0) m++;
        for (size_t row = 0; row < ROWS; row++) {
            struct expected one = expect_row(set, row, trunk, branch);
            all.sum[m] += one.sum[m];
            all.count[m] += one.count[m];
        }
        compare_value(list.scores[i].value, all.sum[m] / (double)all.count[m],
                      list.scores[i].metric, layer, -1);
        found++;
    }
    ck_assert_int_eq(found, layer == STORE_TRUNK ? 1 : METRIC_COUNT);
    store_score_list_free(&list);
}

/* Run loo into a fresh database and compare every value; `trunk_model` is the hybrid if there is
 * one. */
static void compare_run(const struct loo_settings *settings, int layers) {
    struct loo_outcome outcome;
    struct store *store;
    struct tokenset *set;
    bool removed[MAX_LAYERS] = {0};
    for (size_t i = 0; i < settings->removed.count; i++)
        removed[settings->removed.values[i]] = true;
    unlink(database_path);
    succeeds(loo_run(&outcome, settings));
    ck_assert_int_eq(outcome.rows, ROWS);
    ck_assert_int_eq(outcome.rows_before, 0);
    ck_assert_int_eq(outcome.branches, layers);
    succeeds(store_open(&store, database_path, STORE_READ));
    succeeds(tokenset_read(&set, data_path));
    struct variant variant = {.model = settings->hybrid ? settings->hybrid : settings->model,
                              .removed = removed,
                              .ablated = -1,
                              .ablation = settings->ablation};
    double *trunk = log_probabilities(&variant, set);
    compare_layer(store, outcome.run, STORE_TRUNK, set, trunk, trunk);
    compare_mean(store, outcome.run, STORE_TRUNK, set, trunk, trunk);
    struct store_score_list scores;
    succeeds(store_get_scores(&scores, store, outcome.run));
    int compared = 0;
    for (size_t i = 0; i < scores.count; i++) {
        if (strcmp(scores.scores[i].metric, "kl") != 0) continue;
        variant.ablated = scores.scores[i].layer;
        ck_assert(!removed[variant.ablated]);
        double *branch = log_probabilities(&variant, set);
        compare_layer(store, outcome.run, variant.ablated, set, trunk, branch);
        compare_mean(store, outcome.run, variant.ablated, set, trunk, branch);
        free(branch);
        compared++;
    }
    ck_assert_int_eq(compared, layers);
    free(trunk);
    store_score_list_free(&scores);
    tokenset_free(set);
    store_close(store);
    unlink(database_path);
    char aside[96];
    snprintf(aside, sizeof aside, "%s-wal", database_path);
    unlink(aside);
    snprintf(aside, sizeof aside, "%s-shm", database_path);
    unlink(aside);
}

static struct loo_settings settings_for(const char *model) {
    return (struct loo_settings){
        .model = model, .data = data_path, .database = database_path, .device = "cpu"};
}

START_TEST(ragged_rows) {
    static const struct {
        const char *model;
        int layers;
    } cases[] = {
        {MODELS "llama-rope-linear-biases", 2},
        {MODELS "mistral-window", 3},
        {MODELS "qwen2-tied", 3},
        {MODELS "qwen3", 3},
        {MODELS "apriel-h1", 2},
        {MODELS "apriel2", 1},
    };
    in_scratch();
    write_rows(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int ablation = ABLATE_MIXER; ablation <= ABLATE_BLOCK; ablation++) {
            struct loo_settings settings = settings_for(cases[i].model);
            settings.ablation = (enum ablation)ablation;
            compare_run(&settings, cases[i].layers);
        }
    out_of_scratch();
}
END_TEST

START_TEST(masked_rows) {
    in_scratch();
    write_rows(mask);
    for (int ablation = ABLATE_MIXER; ablation <= ABLATE_BLOCK; ablation++) {
        struct loo_settings settings = settings_for(MODELS "qwen2-window");
        settings.ablation = (enum ablation)ablation;
        compare_run(&settings, 4);
    }
    out_of_scratch();
}
END_TEST

/* Groups of one row, of a few, and rows longer than a group may be. */
START_TEST(groups_of_rows) {
    static const int64_t sizes[] = {1, 10, 11, 24};
    in_scratch();
    write_rows(mask);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct loo_settings settings = settings_for(MODELS "mistral-window");
        settings.group_tokens = sizes[i];
        compare_run(&settings, 3);
    }
    out_of_scratch();
}
END_TEST

START_TEST(chosen_layers) {
    in_scratch();
    write_rows(NULL);
    struct loo_settings settings = settings_for(MODELS "qwen2-window");
    settings.layers = "1,last";
    compare_run(&settings, 2);
    out_of_scratch();
}
END_TEST

/* The trunk goes without the layers that a plan replaces. */
START_TEST(base_of_a_plan) {
    in_scratch();
    write_rows(mask);
    int layers[] = {0, 2};
    for (int ablation = ABLATE_MIXER; ablation <= ABLATE_BLOCK; ablation++) {
        struct loo_settings settings = settings_for(MODELS "qwen2-window");
        settings.ablation = (enum ablation)ablation;
        settings.removed = (struct int_list){.values = layers, .count = 2};
        compare_run(&settings, 2);
    }
    /* Layer 1 of this hybrid is a Mamba layer already and keeps its mixer. */
    int hybrid_layers[] = {0, 1};
    bool removed[] = {true, false, false, false};
    struct loo_settings settings = settings_for(MODELS "apriel-h1");
    struct loo_outcome outcome;
    struct tokenset *set;
    struct store *store;
    settings.removed = (struct int_list){.values = hybrid_layers, .count = 2};
    succeeds(loo_run(&outcome, &settings));
    ck_assert_int_eq(outcome.branches, 1);
    succeeds(tokenset_read(&set, data_path));
    succeeds(store_open(&store, database_path, STORE_READ));
    struct variant variant = {.model = settings.model, .removed = removed, .ablated = -1};
    double *trunk = log_probabilities(&variant, set);
    compare_layer(store, outcome.run, STORE_TRUNK, set, trunk, trunk);
    free(trunk);
    store_close(store);
    tokenset_free(set);
    out_of_scratch();
}
END_TEST

/* The apriel-h1 test model as a transformer: what a hybrid of it must look like. */
static void write_transformer(char path[96]) {
    static const char config[] =
        "{\"architectures\": [\"MistralForCausalLM\"], \"model_type\": \"mistral\","
        " \"vocab_size\": 300, \"hidden_size\": 48, \"intermediate_size\": 64,"
        " \"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
        " \"head_dim\": 16, \"hidden_act\": \"silu\", \"max_position_embeddings\": 256,"
        " \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000, \"sliding_window\": 8,"
        " \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}";
    snprintf(path, 96, "%s/config.json", directory);
    ck_assert_int_eq(output_write(path, config, strlen(config), OUTPUT_REPLACE), STATUS_OK);
    strcpy(path, directory);
}

START_TEST(base_hybrid) {
    char transformer[96];
    struct loo_outcome outcome;
    in_scratch();
    write_rows(mask);
    write_transformer(transformer);
    struct loo_settings settings = settings_for(transformer);
    settings.hybrid = MODELS "apriel-h1";
    settings.checkpoint = (struct checkpoint_options){.random_weights = true, .seed = 5};
    for (int ablation = ABLATE_MIXER; ablation <= ABLATE_BLOCK; ablation++) {
        settings.ablation = (enum ablation)ablation;
        compare_run(&settings, 2);
    }
    settings.hybrid = MODELS "apriel2";
    ck_assert_int_eq(loo_run(&outcome, &settings), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "is not a hybrid of"));
    ck_assert_ptr_nonnull(strstr(status_message(), "their shapes differ"));
    settings.hybrid = MODELS "apriel-h1";
    settings.layers = "1";
    ck_assert_int_eq(loo_run(&outcome, &settings), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--layers: layer 1 has no attention left to remove");
    ck_assert(!file_exists(database_path));
    out_of_scratch();
}
END_TEST

/* Sums of a sweep over all rows with so many states on the device; the caller frees. */
static double *sweep_sums(struct model *model, const struct tokenset *set,
                          struct sweep_options options, int on_device) {
    struct sweep *sweep;
    int64_t counts[ROWS * METRIC_COUNT];
    double *sums =
        memory_calloc((size_t)(1 + options.branches) * ROWS * METRIC_COUNT, sizeof *sums);
    options.on_device = on_device;
    succeeds(sweep_open(&sweep, model, &options, ROWS, TOKENS, LONGEST));
    succeeds(sweep_group(sweep, set, 0, ROWS, sums, counts));
    sweep_close(sweep);
    return sums;
}

/* States that wait in host memory, layers that stream: the same bits. */
START_TEST(parked_branches) {
    struct backend *backend;
    struct model *model;
    struct tokenset *set;
    const int layers[] = {0, 1, 2, 3};
    const bool removed[] = {false, false, true, false};
    in_scratch();
    write_rows(mask);
    succeeds(tokenset_read(&set, data_path));
    succeeds(backend_open_cpu(&backend));
    succeeds(model_open(&model, backend, MODELS "qwen2-window", NULL));
    ck_assert_int_eq(model->config->n_layers, 4);
    for (int ablation = ABLATE_MIXER; ablation <= ABLATE_BLOCK; ablation++)
        for (int i = 0; i < 3; i++) { /* all layers; a base; streamed layers */
            struct sweep_options options = {.ablation = (enum ablation)ablation,
                                            .layers = layers,
                                            .branches = 4,
                                            .pass_tokens = 1};
            const int some[] = {0, 1, 3};
            if (i == 1) options.layers = some, options.branches = 3, options.removed = removed;
            size_t bytes = (size_t)(1 + options.branches) * ROWS * METRIC_COUNT * sizeof(double);
            double *expected = sweep_sums(model, set, options, 0);
            for (int here = 1; here <= options.branches; here++) {
                if (i == 2) succeeds(model_stream_layers(model));
                double *sums = sweep_sums(model, set, options, here);
                ck_assert_msg(memcmp(sums, expected, bytes) == 0, "%d of %d states on the device",
                              here, 1 + options.branches);
                free(sums);
            }
            free(expected);
        }
    model_close(model);
    backend->close(backend);
    tokenset_free(set);
    out_of_scratch();
}
END_TEST

START_TEST(a_finished_row_is_not_computed_again) {
    struct loo_outcome outcome;
    struct store *store;
    struct store_sequence_list list;
    in_scratch();
    write_rows(NULL);
    struct loo_settings settings = settings_for(MODELS "llama-f32-bare");
    settings.group_tokens = 1;
    succeeds(loo_run(&outcome, &settings));
    int64_t run = outcome.run;
    succeeds(store_open(&store, database_path, STORE_WRITE));
    succeeds(store_put_sequence_score(store, run, 0, 2, "kl", 123, 11));
    succeeds(store_finish_run(store, run, STORE_STATUS_INTERRUPTED));
    store_close(store);
    succeeds(loo_run(&outcome, &settings));
    ck_assert_int_eq(outcome.run, run);
    ck_assert_int_eq(outcome.rows_before, ROWS);
    succeeds(store_open(&store, database_path, STORE_READ));
    succeeds(store_get_sequence_scores(&list, store, run, 0, "kl"));
    ck_assert_double_eq(list.values[2].value, 123);
    store_sequence_list_free(&list);
    store_close(store);
    /* Another ablation, other layers and other rows are other runs. */
    settings.ablation = ABLATE_BLOCK;
    succeeds(loo_run(&outcome, &settings));
    ck_assert_int_eq(outcome.rows_before, 0);
    settings.layers = "1";
    succeeds(loo_run(&outcome, &settings));
    ck_assert_int_eq(outcome.rows_before, 0);
    write_rows(mask);
    succeeds(loo_run(&outcome, &settings));
    ck_assert_int_eq(outcome.rows_before, 0);
    ck_assert_int_eq(outcome.run, run + 3);
    out_of_scratch();
}
END_TEST

START_TEST(what_cannot_be_measured_is_refused) {
    struct loo_outcome outcome;
    char message[200];
    in_scratch();
    static uint8_t nothing[TOKENS];
    nothing[0] = nothing[9] = 1; /* first tokens are nobody's next token */
    write_rows(nothing);
    struct loo_settings settings = settings_for(MODELS "llama-f32-bare");
    ck_assert_int_eq(loo_run(&outcome, &settings), STATUS_FAILED);
    snprintf(message, sizeof message, "\"%s\": the loss mask leaves no token to predict",
             data_path);
    ck_assert_str_eq(status_message(), message);
    write_rows(NULL);
    int outside[] = {2};
    settings.removed = (struct int_list){.values = outside, .count = 1};
    ck_assert_int_eq(loo_run(&outcome, &settings), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "the plan replaces layer 2, but"));
    int all[] = {0, 1};
    settings.removed = (struct int_list){.values = all, .count = 2};
    ck_assert_int_eq(loo_run(&outcome, &settings), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "no attention layer is left to score");
    ck_assert(!file_exists(database_path));
    out_of_scratch();
}
END_TEST

/* They are named by their rows. */
START_TEST(values_that_are_not_finite_are_refused) {
    struct backend *backend;
    struct model *model;
    struct tokenset *set;
    struct sweep *sweep;
    const int layers[] = {0, 1};
    struct sweep_options options = {.layers = layers, .branches = 2};
    double sums[3 * 2 * METRIC_COUNT];
    int64_t counts[2 * METRIC_COUNT];
    in_scratch();
    write_rows(NULL);
    succeeds(tokenset_read(&set, data_path));
    succeeds(backend_open_cpu(&backend));
    succeeds(model_open(&model, backend, MODELS "llama-f32-bare", NULL));
    succeeds(sweep_open(&sweep, model, &options, 2, TOKENS, LONGEST));
    succeeds(sweep_group(sweep, set, 2, 2, sums, counts));
    float *embedding = (float *)model->embedding;
    embedding[(int64_t)set->ids[row_offsets[3]] * model->config->hidden_size] = INFINITY;
    ck_assert_int_eq(sweep_group(sweep, set, 2, 2, sums, counts), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "rows 2 to 3: kl is not finite at token 11 of the batch");
    succeeds(sweep_group(sweep, set, 0, 2, sums, counts));
    sweep_close(sweep);
    model_close(model);
    backend->close(backend);
    tokenset_free(set);
    out_of_scratch();
}
END_TEST

CHECK_MAIN("loo", ragged_rows, masked_rows, groups_of_rows, chosen_layers, base_of_a_plan,
           parked_branches, base_hybrid, a_finished_row_is_not_computed_again,
           what_cannot_be_measured_is_refused, values_that_are_not_finite_are_refused)
