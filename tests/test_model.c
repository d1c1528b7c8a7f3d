#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "check_main.h"
#include "model/forward.h"

/* Logits of a whole sequence, [tokens, V]. */
static float *run_model(const char *directory, const uint32_t *ids, int tokens, int *vocabulary) {
    struct backend *backend;
    struct model *model;
    struct forward *forward;
    struct token_batch batch;
    uint64_t offsets[] = {0, (uint64_t)tokens};
    ck_assert_int_eq(backend_open_cpu(&backend), STATUS_OK);
    enum status status = model_open(&model, backend, directory, NULL);
    ck_assert_msg(!status, "%s", status_message());
    *vocabulary = model->config->vocab_size;
    size_t width = (size_t)model->config->hidden_size, n = (size_t)tokens;
    struct acc *hidden = memory_aligned(n * width * sizeof(float));
    struct act *normed = memory_aligned(n * width * sizeof(float));
    float *logits = memory_aligned(n * (size_t)*vocabulary * sizeof *logits);
    struct acc *rstd = memory_aligned(n * sizeof(float));
    status = token_batch_create(&batch, backend, ids, offsets, 1);
    if (!status) status = forward_open(&forward, model, 1, tokens, tokens);
    if (!status) status = forward_run(forward, hidden, &batch);
    ck_assert_msg(!status, "%s", status_message());
    model_logits(model, (struct acc *)logits, normed, rstd, hidden, tokens);
    forward_close(forward);
    token_batch_free(&batch);
    model_close(model);
    backend->close(backend);
    free(hidden);
    free(normed);
    free(rstd);
    return logits;
}

static double largest_of(const float *values, int count) {
    double largest = 0;
    for (int i = 0; i < count; i++) {
        ck_assert(isfinite(values[i]));
        if (fabs((double)values[i]) > largest) largest = fabs((double)values[i]);
    }
    return largest;
}

/* golden.json of tests/oracle: logits in float64 of some positions of one sequence. */
static void compare_with_golden(const char *directory) {
    char *path = file_join(directory, "golden.json");
    struct json *golden;
    enum status status = js_read(&golden, path);
    ck_assert_msg(!status, "%s", status_message());
    const struct json *list = js_member(golden, "ids");
    int tokens = (int)js_count(list), vocabulary;
    uint32_t ids[64];
    ck_assert_int_le(tokens, 64);
    for (int t = 0; t < tokens; t++)
        ids[t] = (uint32_t)js_integer_or(js_element(list, (size_t)t), 0);
    float *logits = run_model(directory, ids, tokens, &vocabulary);
    const struct json *positions = js_member(golden, "positions");
    ck_assert_uint_gt(js_count(positions), 3);
    for (size_t p = 0; p < js_count(positions); p++) {
        int64_t position = js_integer_or(js_element(positions, p), -1);
        const struct json *row = js_element(js_member(golden, "logits"), p);
        const float *ours = logits + position * vocabulary;
        ck_assert_uint_eq(js_count(row), (size_t)vocabulary);
        double limit = 1e-5 * largest_of(ours, vocabulary);
        for (int i = 0; i < vocabulary; i++) {
            double expected = js_number_or(js_element(row, (size_t)i), NAN);
            ck_assert_msg(fabs(expected - (double)ours[i]) <= limit,
                          "%s: position %d, token %d: %.8f, expected %.8f", directory,
                          (int)position, i, (double)ours[i], expected);
        }
    }
    free(logits);
    js_free(golden);
    free(path);
}

/* Every model directory below `parent`; how many there were. */
static int compare_all(const char *parent) {
    DIR *directory = opendir(parent);
    ck_assert_ptr_nonnull(directory);
    struct dirent *entry;
    int models = 0;
    while ((entry = readdir(directory))) {
        char *path = file_join(parent, entry->d_name), *golden = file_join(path, "golden.json");
        if (entry->d_name[0] != '.' && file_exists(golden)) {
            compare_with_golden(path);
            models++;
        }
        free(golden);
        free(path);
    }
    closedir(directory);
    return models;
}

START_TEST(every_architecture_gives_the_reference_logits) {
    ck_assert_int_ge(compare_all(TEST_DATA "/models"), 14);
    /* Real models, which the repository does not carry (tests/oracle/qwen2_real.py). */
    const char *more = getenv("GOLDEN_MODELS");
    if (more) ck_assert_int_ge(compare_all(more), 1);
}
END_TEST

START_TEST(demo_model_gives_the_golden_logits) {
    struct json *golden;
    ck_assert_int_eq(js_read(&golden, TEST_DATA "/golden/demo-llama-2.6m.json"), STATUS_OK);
    const struct json *row = js_element(js_member(golden, "tokens"), 0);
    uint32_t ids[128];
    for (size_t t = 0; t < 128; t++) ids[t] = (uint32_t)js_integer_or(js_element(row, t), 0);
    int vocabulary;
    float *logits = run_model(TEST_DATA "/../../recipes/demo-model", ids, 128, &vocabulary);
    const struct json *expected = js_member(golden, "logits_first_sequence_last_position");
    ck_assert_uint_eq(js_count(expected), (size_t)vocabulary);
    for (int i = 0; i < vocabulary; i++)
        ck_assert_double_le(fabs(js_number_or(js_element(expected, (size_t)i), NAN) -
                                 (double)logits[127 * vocabulary + i]),
                            1e-4);
    free(logits);
    js_free(golden);
}
END_TEST

/* Every weight of every layer, in an order of layers that jumps, as one number. */
static uint64_t digest_layers(struct model *model) {
    int count = model->config->n_layers;
    uint64_t digest = 14695981039346656037u;
    for (int step = 0; step < 3 * count; step++) {
        int index = step < 2 * count ? step % count : step * 7 % count;
        const struct layer *layer;
        enum status status = model_layer(&layer, model, index);
        ck_assert_msg(!status, "%s", status_message());
        ck_assert_int_eq(layer->index, index);
        for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
            const unsigned char *bytes = weight_at(layer, &layer->mixer, weight);
            if (!bytes) continue;
            struct weight_shape shape = weight_shape(model->config, &layer->mixer.sizes, weight);
            for (size_t i = 0; i < (size_t)shape.count * sizeof(float); i++)
                digest = (digest ^ bytes[i]) * 1099511628211u;
        }
    }
    return digest;
}

enum way { LOADED, KEPT, STREAMED, STREAMED_AND_KEPT, WAYS };

static uint64_t digest_model(const char *directory, const struct checkpoint_options *options,
                             enum way way) {
    struct backend *backend;
    struct model *model;
    ck_assert_int_eq(backend_open_cpu(&backend), STATUS_OK);
    enum status status = model_open(&model, backend, directory, options);
    if (!status && way >= STREAMED) status = model_stream_layers(model);
    if (!status && (way == KEPT || way == STREAMED_AND_KEPT)) status = model_keep_layers(model);
    ck_assert_msg(!status, "%s", status_message());
    uint64_t digest = digest_layers(model);
    if (way == STREAMED_AND_KEPT) { /* changed on the backend, then as it was */
        const struct layer *layer;
        ck_assert_int_eq(model_layer(&layer, model, 0), STATUS_OK);
        ((float *)layer->weights[WEIGHT_INPUT_NORM])[0] += 1;
        ck_assert_uint_ne(digest_layers(model), digest);
        model_forget_layer(model, 0);
        ck_assert_uint_eq(digest_layers(model), digest);
    }
    model_close(model);
    backend->close(backend);
    return digest;
}

START_TEST(streamed_layers_are_the_loaded_ones) {
    const char *models[] = {"apriel-h1",  "llama-f16", "llama-rope-linear-biases",
                            "qwen2-tied", "qwen3",     "mistral-window"};
    const struct checkpoint_options random = {.random_weights = true, .seed = 5};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (int drawn = 0; drawn < 2; drawn++) {
            char *path = file_join(TEST_DATA "/models", models[i]);
            const struct checkpoint_options *options = drawn ? &random : NULL;
            uint64_t expected = digest_model(path, options, LOADED);
            for (enum way way = KEPT; way < WAYS; way++)
                ck_assert_msg(digest_model(path, options, way) == expected, "%s, way %d", models[i],
                              (int)way);
            free(path);
        }
}
END_TEST

/* Up and back down, twice: the two layers at a turn are still there, and each other one is loaded
 * once a pass. */
START_TEST(passes_to_and_fro_load_what_is_not_there) {
    enum { FIRST = 3, LAST = 11, COUNT = LAST - FIRST + 1, PASSES = 4 };
    struct backend *backend;
    struct model *kept, *streamed;
    ck_assert_int_eq(backend_open_cpu(&backend), STATUS_OK);
    enum status status = model_open(&kept, backend, TEST_DATA "/../../recipes/demo-model", NULL);
    if (!status) status = model_keep_layers(kept);
    if (!status)
        status = model_open(&streamed, backend, TEST_DATA "/../../recipes/demo-model", NULL);
    if (!status) status = model_stream_layers(streamed);
    ck_assert_msg(!status, "%s", status_message());
    model_turn(streamed, FIRST, LAST);
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < COUNT; i++) {
            int index = pass % 2 ? LAST - i : FIRST + i;
            const struct layer *layer, *expected;
            status = model_layer(&layer, streamed, index);
            if (!status) status = model_layer(&expected, kept, index);
            ck_assert_msg(!status, "%s", status_message());
            ck_assert_int_eq(layer->index, index);
            ck_assert_mem_eq(
                layer->weights[WEIGHT_DOWN], expected->weights[WEIGHT_DOWN],
                (size_t)weight_shape(kept->config, &kept->resident[index].mixer.sizes, WEIGHT_DOWN)
                        .count *
                    sizeof(float));
        }
    uint64_t one = model_layers_bytes(kept) / (uint64_t)kept->config->n_layers;
    ck_assert_uint_eq(streamed->loaded_bytes, (COUNT + (PASSES - 1) * (COUNT - 2)) * one);
    ck_assert_uint_eq(kept->loaded_bytes, COUNT * one);
    model_close(streamed);
    model_close(kept);
    backend->close(backend);
}
END_TEST

/* A model whose layer 1 has NaN as the first value of its up projection, in `directory`. */
static void write_damaged(const char *directory, const char *model) {
    static const unsigned char nan_bytes[] = {0, 0, 0xc0, 0x7f};
    struct checkpoint *checkpoint;
    char path[256], config[256];
    ck_assert_int_eq(checkpoint_open(&checkpoint, model, NULL), STATUS_OK);
    const struct checkpoint_tensor *tensor = checkpoint_find(checkpoint, 1, TENSOR_UP);
    ck_assert_int_eq(tensor->dtype, DTYPE_F32);
    snprintf(path, sizeof path, "%s/config.json", model);
    snprintf(config, sizeof config, "%s/config.json", directory);
    ck_assert_int_eq(file_copy(config, path), STATUS_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    ck_assert_int_eq(file_copy(path, tensor->file), STATUS_OK);
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    static unsigned char bytes[1 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    const unsigned char *place = memmem(bytes, size, tensor->data, 64);
    ck_assert_ptr_nonnull(place);
    ck_assert_int_eq(fseek(file, place - bytes, SEEK_SET), 0);
    ck_assert_uint_eq(fwrite(nan_bytes, 1, sizeof nan_bytes, file), sizeof nan_bytes);
    ck_assert_int_eq(fclose(file), 0);
    checkpoint_close(checkpoint);
}

/* The thread's failure comes out of model_layer, with its message, each time; others still load. */
START_TEST(a_streamed_layer_that_is_not_finite_is_named) {
    char directory[] = "/tmp/test-model-XXXXXX";
    struct backend *backend;
    struct model *model;
    const struct layer *layer;
    ck_assert_ptr_nonnull(mkdtemp(directory));
    write_damaged(directory, TEST_DATA "/models/llama-f32-bare");
    for (int kept = 0; kept < 2; kept++) {
        ck_assert_int_eq(backend_open_cpu(&backend), STATUS_OK);
        enum status status = model_open(&model, backend, directory, NULL);
        if (!status) status = model_stream_layers(model);
        if (!status && kept) status = model_keep_layers(model);
        ck_assert_msg(!status, "%s", status_message());
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(model_layer(&layer, model, 0), STATUS_OK);
            ck_assert_int_eq(model_layer(&layer, model, 1), STATUS_FAILED);
            ck_assert_ptr_nonnull(strstr(status_message(),
                                         "tensor \"model.layers.1.mlp.up_proj.weight\" is not "
                                         "finite (NaN or infinity) at element 0"));
        }
        model_close(model);
        backend->close(backend);
    }
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}
END_TEST

CHECK_MAIN("model", every_architecture_gives_the_reference_logits,
           demo_model_gives_the_golden_logits, streamed_layers_are_the_loaded_ones,
           passes_to_and_fro_load_what_is_not_there, a_streamed_layer_that_is_not_finite_is_named)
