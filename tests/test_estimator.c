/* The estimates against slow computations of what they estimate: a forward pass in which a share of
 * one layer's contribution is taken away, and differences of its losses. */
#include <math.h>
#include <string.h>

#include "analysis/loo/estimator.h"
#include "base/memory.h"
#include "check_main.h"
#include "kernels/ops/embedding.h"
#include "model/block.h"
#include "model/sequences.h"
#include "scores/ranking.h"

#define MODELS TEST_DATA "/models/"

enum { VOCABULARY = 300, ROWS = 4, TOKENS = 33, MAX_LAYERS = 8, WIDTH = 128 };

static uint64_t row_offsets[ROWS + 1] = {0, 9, 10, 21, 33};
static uint8_t mask[TOKENS] = {1, 0, 1, 1, 0,      0, 1, 1, 0, /**/ 1, /**/ 0, 0, 1, 1, 0, 1, 1,
                               1, 0, 1, 1, /**/ 0, 1, 0, 0, 0, 0,      0,      0, 1, 1, 1, 1};
static uint32_t ids[TOKENS];

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct tokenset rows_with(uint8_t *loss_mask) {
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = (t * 97 + 13) % VOCABULARY;
    return (struct tokenset){.rows = ROWS,
                             .tokens = TOKENS,
                             .row_offsets = row_offsets,
                             .ids = ids,
                             .loss_mask = loss_mask,
                             .vocab_size = VOCABULARY};
}

/* ---- the slow forward pass */

struct setting {
    struct model *model;
    const struct tokenset *set;
    enum ablation ablation;
    bool removed[MAX_LAYERS];
};

/* h -= share * (h - before) */
static void take_away(float *h, const float *before, int64_t count, double share) {
    for (int64_t i = 0; i < count; i++)
        h[i] = (float)((double)h[i] - share * ((double)h[i] - (double)before[i]));
}

/* Log-probabilities [TOKENS, V] with a share of one layer's mixer (or of the layer) taken away;
 * `before` and `after` (or NULL) receive the streams around it. */
static void forward(double *out, const struct setting *setting, int layer, double share,
                    float *before, float *after) {
    static float h[TOKENS * WIDTH], input[TOKENS * WIDTH], normed[TOKENS * WIDTH], rstd[TOKENS];
    static float logits[TOKENS * VOCABULARY];
    struct model *model = setting->model;
    struct acc *stream = (struct acc *)h;
    struct trace trace;
    struct token_batch batch;
    bool block = setting->ablation == ABLATE_BLOCK;
    int64_t values = (int64_t)TOKENS * model->config->hidden_size;
    ck_assert_int_le(model->config->hidden_size, WIDTH);
    struct trace_needs needs = trace_needs_of(model, ROWS, TOKENS, TOKENS);
    succeeds(model_prepare(model, TOKENS));
    succeeds(trace_alloc(&trace, model, &needs));
    succeeds(token_batch_create(&batch, model->backend, ids, row_offsets, ROWS));
    model->backend->embedding->embed(model->backend, stream, batch.ids, model->embedding, TOKENS,
                                     model->config->hidden_size);
    for (int l = 0; l < model->config->n_layers; l++) {
        const struct layer *weights;
        succeeds(model_layer(&weights, model, l));
        if (setting->removed[l] && block) continue;
        memcpy(input, h, sizeof h);
        if (!setting->removed[l])
            block_mix(model, weights, &weights->mixer, &trace, stream, stream, &batch.sequences);
        if (l == layer && !block && before) memcpy(before, input, sizeof input);
        if (l == layer && !block && after) memcpy(after, h, sizeof h);
        if (l == layer && !block) take_away(h, input, values, share);
        block_mlp(model, weights, &trace, stream, stream, TOKENS);
        if (l == layer && block && before) memcpy(before, input, sizeof input);
        if (l == layer && block && after) memcpy(after, h, sizeof h);
        if (l == layer && block) take_away(h, input, values, share);
    }
    model_logits(model, (struct acc *)logits, (struct act *)normed, (struct acc *)rstd, stream,
                 TOKENS);
    for (int t = 0; out && t < TOKENS; t++) {
        double sum = 0;
        for (int v = 0; v < VOCABULARY; v++) sum += exp((double)logits[t * VOCABULARY + v]);
        for (int v = 0; v < VOCABULARY; v++)
            out[t * VOCABULARY + v] = (double)logits[t * VOCABULARY + v] - log(sum);
    }
    token_batch_free(&batch);
    trace_free(&trace, model->backend);
}

/* Whether position t (of a row that ends at `end`) counts. */
static bool counts(const struct tokenset *set, uint64_t t, uint64_t end) {
    return !set->loss_mask || (t + 1 < end && set->loss_mask[t + 1]);
}

/* Sums over the counted positions of each row. */
static void cross_entropy(double sums[ROWS], const struct setting *setting, int layer,
                          double share) {
    static double log_p[TOKENS * VOCABULARY];
    forward(log_p, setting, layer, share, NULL, NULL);
    for (int row = 0; row < ROWS; row++) {
        sums[row] = 0;
        for (uint64_t t = row_offsets[row]; t + 1 < row_offsets[row + 1]; t++)
            if (counts(setting->set, t, row_offsets[row + 1]))
                sums[row] -= log_p[t * VOCABULARY + ids[t + 1]];
    }
}

static double divergence(const struct setting *setting, int layer, double share) {
    static double whole[TOKENS * VOCABULARY], part[TOKENS * VOCABULARY];
    double sum = 0;
    forward(whole, setting, layer, 0, NULL, NULL);
    forward(part, setting, layer, share, NULL, NULL);
    for (int row = 0; row < ROWS; row++)
        for (uint64_t t = row_offsets[row]; t < row_offsets[row + 1]; t++) {
            if (!counts(setting->set, t, row_offsets[row + 1])) continue;
            const double *p = whole + t * VOCABULARY, *q = part + t * VOCABULARY;
            for (int v = 0; v < VOCABULARY; v++) sum += exp(p[v]) * (p[v] - q[v]);
        }
    return sum;
}

/* ---- the estimates */

/* All layers with attention that are not removed. */
static int choose(int layers[MAX_LAYERS], const struct setting *setting) {
    int count = 0;
    for (int l = 0; l < setting->model->config->n_layers; l++)
        if (config_is_attention(setting->model->config, l) && !setting->removed[l])
            layers[count++] = l;
    return count;
}

/* sums [count][ROWS][metrics], counts [ROWS][metrics]; rows `group` at a time. */
static void estimate(double *sums, int64_t *counted, const struct setting *setting,
                     enum estimate which, const int *layers, int count, int samples, int group) {
    struct estimator *estimator;
    struct estimator_options options = {.estimate = which,
                                        .ablation = setting->ablation,
                                        .layers = layers,
                                        .count = count,
                                        .removed = setting->removed,
                                        .samples = samples,
                                        .seed = 5};
    int metrics = which == ESTIMATE_FIRST_ORDER ? 2 : 1;
    ck_assert_ptr_null(estimate_metric(which, metrics));
    succeeds(estimator_open(&estimator, setting->model, &options, ROWS, TOKENS, TOKENS));
    for (int first = 0; first < ROWS; first += group) {
        double part[MAX_LAYERS * ROWS * ESTIMATE_MAX_METRICS];
        int64_t part_counts[ROWS * ESTIMATE_MAX_METRICS];
        int rows = ROWS - first < group ? ROWS - first : group;
        succeeds(estimator_group(estimator, setting->set, first, rows, part, part_counts));
        for (int l = 0; l < count; l++)
            memcpy(sums + (l * ROWS + first) * metrics, part + l * rows * metrics,
                   (size_t)(rows * metrics) * sizeof *sums);
        memcpy(counted + first * metrics, part_counts, (size_t)(rows * metrics) * sizeof *counted);
    }
    estimator_close(estimator);
}

static void check_first_order(const struct setting *setting) {
    int layers[MAX_LAYERS], count = choose(layers, setting);
    double sums[MAX_LAYERS * ROWS * 2], largest = 0;
    int64_t counted[ROWS * 2];
    estimate(sums, counted, setting, ESTIMATE_FIRST_ORDER, layers, count, 1, ROWS);
    const double e = 0.015; /* small: layer 0 of these models is far from linear */
    for (int l = 0; l < count; l++) {
        double far_below[ROWS], below[ROWS], above[ROWS], far_above[ROWS];
        cross_entropy(far_below, setting, layers[l], -2 * e);
        cross_entropy(below, setting, layers[l], -e);
        cross_entropy(above, setting, layers[l], e);
        cross_entropy(far_above, setting, layers[l], 2 * e);
        for (int row = 0; row < ROWS; row++) {
            double expected =
                (8 * (above[row] - below[row]) - (far_above[row] - far_below[row])) / (12 * e);
            double found = sums[(l * ROWS + row) * 2];
            ck_assert_msg(fabs(found - expected) <= 2e-3 * fabs(expected) + 5e-4,
                          "layer %d, row %d: %.6f, expected %.6f", layers[l], row, found, expected);
            ck_assert(sums[(l * ROWS + row) * 2 + 1] == fabs(found));
            largest = fmax(largest, fabs(expected));
        }
    }
    ck_assert_double_ge(largest, 0.05); /* there was something to see */
}

/* KL(share) = share^2 d^T F d / 2 + O(share^3): the odd terms cancel between the two signs. */
static void check_fisher(const struct setting *setting) {
#ifdef __SANITIZE_ADDRESS__ /* ten times slower; the bound below follows */
    enum { SAMPLES = 300 };
#else
    enum { SAMPLES = 1200 };
#endif
    int layers[MAX_LAYERS], count = choose(layers, setting);
    double sums[MAX_LAYERS * ROWS];
    int64_t counted[ROWS];
    estimate(sums, counted, setting, ESTIMATE_FISHER, layers, count, SAMPLES, ROWS);
    const double share = 0.04;
    for (int l = 0; l < count; l++) {
        double found = 0, expected = (divergence(setting, layers[l], share) +
                                      divergence(setting, layers[l], -share)) /
                                     (2 * share * share);
        for (int row = 0; row < ROWS; row++) found += sums[l * ROWS + row];
        /* Each draw's deviation is 1.4 times its mean: 4 deviations of the mean of them. */
        ck_assert_msg(fabs(found / expected - 1) <= 4 * 1.5 / sqrt(SAMPLES),
                      "layer %d: %.6f, expected %.6f", layers[l], found, expected);
    }
}

static void check_cosine(const struct setting *setting) {
    static float before[TOKENS * WIDTH], after[TOKENS * WIDTH];
    int layers[MAX_LAYERS], count = choose(layers, setting);
    int64_t width = setting->model->config->hidden_size, counted[ROWS];
    double sums[MAX_LAYERS * ROWS];
    estimate(sums, counted, setting, ESTIMATE_COSINE, layers, count, 1, ROWS);
    for (int l = 0; l < count; l++) {
        forward(NULL, setting, layers[l], 0, before, after);
        for (int row = 0; row < ROWS; row++) {
            double expected = 0;
            int64_t positions = 0;
            for (uint64_t t = row_offsets[row]; t < row_offsets[row + 1]; t++) {
                double ab = 0, aa = 0, bb = 0;
                if (!counts(setting->set, t, row_offsets[row + 1])) continue;
                for (int64_t i = 0; i < width; i++) {
                    double a = (double)before[(int64_t)t * width + i];
                    double b = (double)after[(int64_t)t * width + i];
                    ab += a * b;
                    aa += a * a;
                    bb += b * b;
                }
                expected += 1 - ab / sqrt(aa * bb);
                positions++;
            }
            ck_assert_double_eq_tol(sums[l * ROWS + row], expected, 1e-4 * expected + 1e-7);
            ck_assert_int_eq(counted[row], positions);
        }
    }
}

/* Rows one at a time, and all at once: the draws depend on the token only. */
static void check_groups(const struct setting *setting) {
    int layers[MAX_LAYERS], count = choose(layers, setting);
    for (enum estimate e = ESTIMATE_FIRST_ORDER; e <= ESTIMATE_COSINE; e++) {
        double whole[MAX_LAYERS * ROWS * 2], parts[MAX_LAYERS * ROWS * 2];
        int64_t counted[ROWS * 2], counted_parts[ROWS * 2];
        int metrics = e == ESTIMATE_FIRST_ORDER ? 2 : 1;
        estimate(whole, counted, setting, e, layers, count, 2, ROWS);
        estimate(parts, counted_parts, setting, e, layers, count, 2, 1);
        for (int i = 0; i < count * ROWS * metrics; i++)
            ck_assert_double_eq_tol(whole[i], parts[i], 1e-3 * fabs(whole[i]) + 1e-5);
        ck_assert_mem_eq(counted, counted_parts, (size_t)(ROWS * metrics) * sizeof *counted);
    }
}

static void check_all(const char *directory, uint8_t *loss_mask, int removed) {
    struct backend *backend;
    struct tokenset set = rows_with(loss_mask);
    struct setting setting = {.set = &set};
    if (removed >= 0) setting.removed[removed] = true;
    succeeds(backend_open_cpu(&backend));
    succeeds(model_open(&setting.model, backend, directory, NULL));
    for (int block = 0; block < 2; block++) {
        setting.ablation = block ? ABLATE_BLOCK : ABLATE_MIXER;
        check_first_order(&setting);
        check_fisher(&setting);
        check_cosine(&setting);
        check_groups(&setting);
    }
    model_close(setting.model);
    backend->close(backend);
}

START_TEST(a_transformer) {
    check_all(MODELS "qwen3", NULL, -1);
}
END_TEST

START_TEST(masked_rows) {
    check_all(MODELS "llama-f32-bare", mask, -1);
}
END_TEST

START_TEST(windows_and_a_removed_layer) {
    check_all(MODELS "mistral-window", NULL, 1);
}
END_TEST

START_TEST(a_hybrid) {
    check_all(MODELS "apriel-h1", mask, -1);
}
END_TEST

START_TEST(names) {
    enum estimate estimate;
    for (enum estimate e = ESTIMATE_FIRST_ORDER; e <= ESTIMATE_COSINE; e++) {
        succeeds(estimate_from_name(&estimate, estimate_name(e)));
        ck_assert_int_eq(estimate, e);
        ck_assert(ranking_is_estimate(estimate_kind(e)));
        /* What a run is ranked by is one of its metrics. */
        int m = 0;
        while (strcmp(estimate_metric(e, m), ranking_default_metric(estimate_kind(e))) != 0) m++;
        ck_assert(ranking_ascending(estimate_metric(e, m)));
    }
    ck_assert_int_eq(estimate_from_name(&estimate, "none"), STATUS_USAGE);
}
END_TEST

CHECK_MAIN("estimator", a_transformer, masked_rows, windows_and_a_removed_layer, a_hybrid, names)
