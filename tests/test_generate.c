#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "check_main.h"
#include "generate/generate.h"
#include "generate/stream.h"
#include "model/block.h"
#include "model/mil_mixer.h"
#include "model/sequences.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"

enum { MAX_TOKENS = 64, MAX_LAYERS = 16 };

static struct backend *backend;

static void must(enum status status) {
    ck_assert_msg(!status, "%s", status_message());
}

static struct model *open_model(const char *directory) {
    struct model *model;
    must(backend_open_cpu(&backend));
    must(model_open(&model, backend, directory, NULL));
    return model;
}

static void close_model(struct model *model) {
    model_close(model);
    backend->close(backend);
}

/* Logits of all tokens by the parallel forms, [tokens, V]. */
static float *full_logits(struct model *model, const struct mixer *const *mixers,
                          const bool *ablated, const uint32_t *ids, int tokens) {
    const struct model_config *config = model->config;
    size_t width = (size_t)config->hidden_size, n = (size_t)tokens;
    float *hidden = memory_aligned(n * width * sizeof *hidden);
    float *normed = memory_aligned(n * width * sizeof *normed);
    float *logits = memory_aligned(n * (size_t)config->vocab_size * sizeof *logits);
    float *rstd = memory_aligned(n * sizeof *rstd);
    uint64_t offsets[] = {0, (uint64_t)tokens};
    struct token_batch batch;
    struct trace trace;
    struct trace_needs needs = trace_needs_of(model, 1, tokens, tokens);
    for (int l = 0; mixers && l < config->n_layers; l++)
        if (mixers[l]) needs.mamba = &mixers[l]->mamba;
    must(token_batch_create(&batch, backend, ids, offsets, 1));
    must(trace_alloc(&trace, model, &needs));
    must(model_prepare(model, tokens));
    backend->embed(backend, hidden, batch.ids, model->embedding, tokens, config->hidden_size);
    for (int l = 0; l < config->n_layers; l++) {
        const struct layer *layer;
        must(model_layer(&layer, model, l));
        const struct mixer *mixer = mixers && mixers[l] ? mixers[l] : &layer->mixer;
        if (!ablated || !ablated[l])
            block_mix(model, layer, mixer, &trace, hidden, hidden, &batch.sequences);
        block_mlp(model, layer, &trace, hidden, hidden, tokens);
    }
    model_logits(model, logits, normed, rstd, hidden, tokens);
    trace_free(&trace, backend);
    token_batch_free(&batch);
    free(hidden);
    free(normed);
    free(rstd);
    return logits;
}

static void compare(const float *got, const float *expected, int vocabulary, const char *what,
                    int token) {
    for (int i = 0; i < vocabulary; i++)
        ck_assert_msg(fabs((double)got[i] - (double)expected[i]) <= 1e-4,
                      "%s: token %d, logit %d: %.8f by steps, %.8f at once", what, token, i,
                      (double)got[i], (double)expected[i]);
}

/* Three sequences, the first `tokens` ids, fewer, and one id, begin one after another in slots of
 * their own and go on side by side; every row of logits against the whole sequence's. */
static void check_steps(struct model *model, const struct mixer *const *mixers, const bool *ablated,
                        const uint32_t *ids, int tokens, const char *what) {
    struct decoder *decoder;
    struct decoder_options options = {
        .slots = 4, .tokens = tokens, .mixers = mixers, .ablated = ablated};
    int vocabulary = model->config->vocab_size, begin[] = {tokens / 3, 1, tokens - 3};
    const int slots[] = {2, 0, 3};
    size_t row = (size_t)vocabulary;
    float *expected = full_logits(model, mixers, ablated, ids, tokens);
    float *got = memory_calloc(3 * row, sizeof *got);
    must(decoder_open(&decoder, model, &options));
    for (int s = 0; s < 3; s++) {
        uint64_t offsets[] = {0, (uint64_t)begin[s]};
        must(decoder_prefill(decoder, &slots[s], ids, offsets, 1));
        must(decoder_logits(decoder, got, 0, 1));
        compare(got, expected + (begin[s] - 1) * vocabulary, vocabulary, what, begin[s] - 1);
    }
    for (int step = 0, active = 3; active > 0; step++) {
        int rows[3], at[3];
        uint32_t next[3];
        active = 0;
        for (int s = 0; s < 3; s++)
            if (begin[s] + step < tokens) {
                rows[active] = slots[s];
                at[active] = begin[s] + step;
                next[active++] = ids[begin[s] + step];
            }
        if (active == 0) break;
        must(decoder_step(decoder, rows, next, active));
        must(decoder_logits(decoder, got, 0, active));
        for (int i = 0; i < active; i++) {
            compare(got + i * vocabulary, expected + at[i] * vocabulary, vocabulary, what, at[i]);
            ck_assert_int_eq(decoder_length(decoder, rows[i]), at[i] + 1);
        }
    }
    /* A slot is used again. */
    uint64_t offsets[] = {0, 5, (uint64_t)(5 + begin[0])};
    uint32_t two[2 * MAX_TOKENS];
    memcpy(two, ids, 5 * sizeof *ids);
    memcpy(two + 5, ids, (size_t)begin[0] * sizeof *ids);
    must(decoder_prefill(decoder, (const int[]){3, 2}, two, offsets, 2));
    must(decoder_step(decoder, (const int[]){2, 3}, (const uint32_t[]){ids[begin[0]], ids[5]}, 2));
    must(decoder_logits(decoder, got, 0, 2));
    compare(got, expected + begin[0] * vocabulary, vocabulary, what, begin[0]);
    compare(got + vocabulary, expected + 5 * vocabulary, vocabulary, what, 5);
    decoder_close(decoder);
    free(expected);
    free(got);
}

static int golden_ids(uint32_t ids[MAX_TOKENS], const char *directory) {
    struct json *golden;
    char *path = file_join(directory, "golden.json");
    must(js_read(&golden, path));
    const struct json *list = js_member(golden, "ids");
    int tokens = (int)js_count(list);
    ck_assert_int_le(tokens, MAX_TOKENS);
    for (int t = 0; t < tokens; t++)
        ids[t] = (uint32_t)js_integer_or(js_element(list, (size_t)t), 0);
    js_free(golden);
    free(path);
    return tokens;
}

START_TEST(steps_equal_the_full_pass_for_every_architecture) {
    DIR *directory = opendir(TEST_DATA "/models");
    ck_assert_ptr_nonnull(directory);
    struct dirent *entry;
    int models = 0;
    while ((entry = readdir(directory))) {
        char *path = file_join(TEST_DATA "/models", entry->d_name);
        if (entry->d_name[0] != '.' && file_is_directory(path)) {
            uint32_t ids[MAX_TOKENS];
            int tokens = golden_ids(ids, path);
            struct model *model = open_model(path);
            check_steps(model, NULL, NULL, ids, tokens, entry->d_name);
            close_model(model);
            models++;
        }
        free(path);
    }
    closedir(directory);
    ck_assert_int_ge(models, 14);
}
END_TEST

/* The demo model's rows are text: ids of the golden file. */
static void demo_ids(uint32_t ids[MAX_TOKENS]) {
    struct json *golden;
    must(js_read(&golden, TEST_DATA "/golden/demo-llama-2.6m.json"));
    const struct json *row = js_element(js_member(golden, "tokens"), 0);
    for (size_t t = 0; t < MAX_TOKENS; t++) ids[t] = (uint32_t)js_integer_or(js_element(row, t), 0);
    js_free(golden);
}

START_TEST(steps_equal_the_full_pass_for_hybrids_of_any_share) {
    static const unsigned layouts[] = {0x001, 0x800, 0x2a4, 0xfff};
    uint32_t ids[MAX_TOKENS];
    struct mil_words words = {0};
    struct mil_options options = {0};
    demo_ids(ids);
    must(mil_options_parse(&options, &words));
    for (int which = 0; which < 4; which++) {
        struct model *model = open_model(DEMO);
        struct mixer mixers[MAX_LAYERS];
        const struct mixer *table[MAX_LAYERS] = {0};
        int layers = model->config->n_layers;
        ck_assert_int_eq(layers, 12);
        for (int l = 0; l < layers; l++) {
            if (!(layouts[which] >> l & 1)) continue;
            must(mil_mixer_create(&mixers[l], model, l, &options));
            table[l] = &mixers[l];
        }
        check_steps(model, table, NULL, ids, MAX_TOKENS, "hybrid of the demo model");
        for (int l = 0; l < layers; l++)
            if (table[l]) mixer_free(&mixers[l], backend);
        close_model(model);
    }
}
END_TEST

START_TEST(ablated_layers_are_left_out) {
    bool ablated[MAX_LAYERS] = {[3] = true, [7] = true};
    uint32_t ids[MAX_TOKENS];
    demo_ids(ids);
    struct model *model = open_model(DEMO);
    check_steps(model, NULL, ablated, ids, 20, "demo model without two mixers");
    close_model(model);
}
END_TEST

START_TEST(wrong_calls_are_refused) {
    struct model *model = open_model(TEST_DATA "/models/qwen3");
    struct decoder *decoder;
    struct decoder_options options = {.slots = 2, .tokens = 3};
    const uint32_t ids[] = {1, 2, 3, 4, 1000000};
    const int slot = 0, wrong = 2;
    must(decoder_open(&decoder, model, &options));
    ck_assert(decoder_prefill(decoder, &slot, ids, (const uint64_t[]){0, 4}, 1));
    ck_assert_str_eq(status_message(), "prompts of 4 tokens for a decoder that takes 3");
    ck_assert(decoder_prefill(decoder, &slot, ids, (const uint64_t[]){4, 5}, 1));
    ck_assert_str_eq(status_message(), "token 1000000 is outside the model's vocabulary of 300");
    ck_assert(decoder_prefill(decoder, &slot, ids, (const uint64_t[]){2, 2}, 1));
    ck_assert_str_eq(status_message(), "a prompt without a token");
    ck_assert(decoder_prefill(decoder, &wrong, ids, (const uint64_t[]){0, 2}, 1));
    ck_assert_str_eq(status_message(), "slot 2 of a decoder of 2");
    must(decoder_prefill(decoder, &slot, ids, (const uint64_t[]){0, 3}, 1));
    ck_assert(decoder_step(decoder, &slot, ids, 1));
    ck_assert_str_eq(status_message(), "a sequence of more than 3 tokens");
    decoder_close(decoder);
    close_model(model);
}
END_TEST

CHECK_MAIN("generate", steps_equal_the_full_pass_for_every_architecture,
           steps_equal_the_full_pass_for_hybrids_of_any_share, ablated_layers_are_left_out,
           wrong_calls_are_refused)
