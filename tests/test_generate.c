#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "check_main.h"
#include "generate/bench.h"
#include "generate/generate.h"
#include "kernels/ops/embedding.h"
#include "mixer_choices.h"
#include "model/block.h"
#include "model/replacement.h"
#include "model/sequences.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"

enum { MAX_TOKENS = 64, MAX_LAYERS = 16 };

static struct backend *backend;

static void must(enum status status) {
    ck_assert_msg(!status, "%s", status_message());
}

static const char *test_device(void) {
    const char *device = getenv("TEST_DEVICE");
    return device ? device : "cpu";
}

/* The CPU, or with TEST_DEVICE=cuda a GPU, where BF16 rounds differently in the two forms. */
static struct model *open_model(const char *directory) {
    struct model *model;
    must(backend_open(&backend, test_device()));
    must(model_open(&model, backend, directory, NULL));
    return model;
}

static void close_model(struct model *model) {
    model_close(model);
    backend->close(backend);
}

/* A checkpoint on a device, with MIL's mixers in some layers and none in others. */
struct variant {
    struct backend *backend;
    struct model *model;
    struct mixer mixers[MAX_LAYERS];
    const struct mixer *replaced[MAX_LAYERS]; /* NULL: the layer's own */
    bool ablated[MAX_LAYERS];
};

/* Bit l of `replaced` and of `ablated` is layer l. */
static void variant_open(struct variant *out, const char *device, const char *directory,
                         unsigned replaced, unsigned ablated) {
    const struct mixer_choices choices = choices_of("");
    *out = (struct variant){0};
    must(backend_open(&out->backend, device));
    must(model_open(&out->model, out->backend, directory, NULL));
    ck_assert_int_le(out->model->config->n_layers, MAX_LAYERS);
    for (int l = 0; l < out->model->config->n_layers; l++) {
        out->ablated[l] = ablated >> l & 1;
        if (!(replaced >> l & 1)) continue;
        must(replacement_create(&out->mixers[l], out->model, l, &choices));
        out->replaced[l] = &out->mixers[l];
    }
}

static void variant_close(struct variant *variant) {
    for (int l = 0; l < MAX_LAYERS; l++)
        if (variant->replaced[l]) mixer_free(&variant->mixers[l], variant->backend);
    model_close(variant->model);
    variant->backend->close(variant->backend);
}

/* Logits of all tokens by the parallel forms, [tokens, V]. */
static float *full_logits(const struct variant *variant, const uint32_t *ids, int tokens) {
    struct model *model = variant->model;
    struct backend *b = variant->backend;
    const struct model_config *config = model->config;
    size_t n = (size_t)tokens, count = n * (size_t)config->vocab_size;
    size_t acc = dtype_size(b->acc), wide = n * (size_t)config->hidden_size * acc;
    void *hidden = b->alloc(b, wide, "test"), *normed = b->alloc(b, wide, "test");
    void *device_logits = b->alloc(b, count * acc, "test"), *rstd = b->alloc(b, n * acc, "test");
    float *logits = memory_calloc(count, sizeof *logits);
    uint64_t offsets[] = {0, (uint64_t)tokens};
    struct token_batch batch;
    struct trace trace;
    struct trace_needs needs = trace_needs_of(model, 1, tokens, tokens);
    for (int l = 0; l < config->n_layers; l++)
        if (variant->replaced[l]) trace_needs_add(&needs, model, &variant->replaced[l]->sizes);
    must(token_batch_create(&batch, b, ids, offsets, 1));
    must(trace_alloc(&trace, model, &needs));
    must(model_prepare(model, tokens));
    b->embedding->embed(b, hidden, batch.ids, model->embedding, tokens, config->hidden_size);
    for (int l = 0; l < config->n_layers; l++) {
        const struct layer *layer;
        must(model_layer(&layer, model, l));
        const struct mixer *mixer = variant->replaced[l] ? variant->replaced[l] : &layer->mixer;
        if (!variant->ablated[l])
            block_mix(model, layer, mixer, &trace, hidden, hidden, &batch.sequences);
        block_mlp(model, layer, &trace, hidden, hidden, tokens);
    }
    model_logits(model, device_logits, normed, rstd, hidden, tokens);
    b->download(b, logits, DTYPE_F32, device_logits, b->acc, count);
    must(b->sync(b));
    trace_free(&trace, b);
    token_batch_free(&batch);
    void *memory[] = {hidden, normed, rstd, device_logits};
    for (int i = 0; i < 4; i++) b->free(b, memory[i]);
    return logits;
}

/* How far a device's logits are from float32's. */
struct noise {
    double squares, largest;
};

static void noise_add(struct noise *noise, const float *got, const float *reference, int count) {
    for (int i = 0; i < count; i++) {
        double error = fabs((double)got[i] - (double)reference[i]);
        ck_assert(isfinite(error));
        noise->squares += error * error;
        noise->largest = fmax(noise->largest, error);
    }
}

/* The logits by steps against those at once. On the CPU each is within 1e-4 of the other. With
 * BF16 both are measured against the CPU's logits at once. */
struct comparison {
    const char *what;
    int vocabulary;
    bool exact;                 /* float32 */
    float *at_once, *reference; /* [tokens, V], of this device and of the CPU */
    struct noise of_steps, of_once;
    double squares; /* of the reference */
    int64_t count;
};

static void compare(struct comparison *comparison, const float *got, int token) {
    int vocabulary = comparison->vocabulary;
    const float *at_once = comparison->at_once + token * vocabulary;
    const float *reference = comparison->reference + token * vocabulary;
    for (int i = 0; comparison->exact && i < vocabulary; i++)
        ck_assert_msg(fabs((double)got[i] - (double)at_once[i]) <= 1e-4,
                      "%s: token %d, logit %d: %.8f by steps, %.8f at once", comparison->what,
                      token, i, (double)got[i], (double)at_once[i]);
    noise_add(&comparison->of_steps, got, reference, vocabulary);
    noise_add(&comparison->of_once, at_once, reference, vocabulary);
    for (int i = 0; i < vocabulary; i++)
        comparison->squares += (double)reference[i] * (double)reference[i];
    comparison->count += vocabulary;
}

/* Both forms round the same products to BF16, in another order: two draws of the same noise. Such
 * draws, emulated by random roundings of every matrix input and output in float64, twelve for each
 * tiny model and the demo model, differ by up to 1.55 times in their root mean square and 3.3 times
 * in their largest error; rounded to the nearest, the root mean square is 0.3 % to 1.8 % of the
 * logits'. */
static void judge(const struct comparison *comparison) {
    double n = (double)comparison->count, size = sqrt(comparison->squares / n);
    double steps = sqrt(comparison->of_steps.squares / n);
    double once = sqrt(comparison->of_once.squares / n);
    const struct noise *of_steps = &comparison->of_steps, *of_once = &comparison->of_once;
    printf("# %s: logits of %.4g; rms error %.2e by steps, %.2e at once; largest %.2e, %.2e\n",
           comparison->what, size, steps, once, of_steps->largest, of_once->largest);
    fflush(stdout);
    if (comparison->exact) return;
    ck_assert_msg(steps <= 2 * once, "%s: rms error %.3e by steps, %.3e at once", comparison->what,
                  steps, once);
    ck_assert_msg(of_steps->largest <= 4 * of_once->largest,
                  "%s: largest error %.3e by steps, %.3e at once", comparison->what,
                  of_steps->largest, of_once->largest);
    ck_assert_msg(steps <= 0.05 * size, "%s: rms error %.3e by steps of logits of %.3e",
                  comparison->what, steps, size);
}

/* Three sequences, the first `tokens` ids, fewer, and one id, begin one after another in slots of
 * their own and go on side by side; every row of logits against the whole sequence's. */
static void follow_steps(struct comparison *comparison, const struct variant *variant,
                         const uint32_t *ids, int tokens) {
    struct decoder *decoder;
    struct decoder_options options = {
        .slots = 4, .tokens = tokens, .mixers = variant->replaced, .ablated = variant->ablated};
    int vocabulary = comparison->vocabulary, begin[] = {tokens / 3, 1, tokens - 3};
    const int slots[] = {2, 0, 3};
    float *got = memory_calloc(3 * (size_t)vocabulary, sizeof *got);
    must(decoder_open(&decoder, variant->model, &options));
    for (int s = 0; s < 3; s++) {
        uint64_t offsets[] = {0, (uint64_t)begin[s]};
        must(decoder_prefill(decoder, &slots[s], ids, offsets, 1));
        must(decoder_logits(decoder, got, 0, 1));
        compare(comparison, got, begin[s] - 1);
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
            compare(comparison, got + i * vocabulary, at[i]);
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
    compare(comparison, got, begin[0]);
    compare(comparison, got + vocabulary, 5);
    decoder_close(decoder);
    free(got);
}

static void check_steps(const char *directory, unsigned replaced, unsigned ablated,
                        const uint32_t *ids, int tokens, const char *what) {
    struct variant variant, plain;
    variant_open(&variant, test_device(), directory, replaced, ablated);
    variant_open(&plain, "cpu", directory, replaced, ablated);
    struct comparison comparison = {.what = what,
                                    .vocabulary = variant.model->config->vocab_size,
                                    .exact = variant.backend->act == variant.backend->acc,
                                    .at_once = full_logits(&variant, ids, tokens),
                                    .reference = full_logits(&plain, ids, tokens)};
    follow_steps(&comparison, &variant, ids, tokens);
    judge(&comparison);
    variant_close(&variant);
    variant_close(&plain);
    free(comparison.at_once);
    free(comparison.reference);
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
        char *golden = file_join(path, "golden.json");
        if (entry->d_name[0] != '.' && file_exists(golden)) {
            uint32_t ids[MAX_TOKENS];
            int tokens = golden_ids(ids, path);
            check_steps(path, 0, 0, ids, tokens, entry->d_name);
            models++;
        }
        free(golden);
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
    static const struct {
        unsigned replaced;
        const char *name;
    } hybrids[] = {{0x001, "demo model with layer 0 replaced"},
                   {0x800, "demo model with layer 11 replaced"},
                   {0x2a4, "demo model with layers 2, 5, 7, 9 replaced"},
                   {0xfff, "demo model with all layers replaced"}};
    uint32_t ids[MAX_TOKENS];
    demo_ids(ids);
    for (int i = 0; i < 4; i++)
        check_steps(DEMO, hybrids[i].replaced, 0, ids, MAX_TOKENS, hybrids[i].name);
}
END_TEST

START_TEST(ablated_layers_are_left_out) {
    uint32_t ids[MAX_TOKENS];
    demo_ids(ids);
    check_steps(DEMO, 0, 1 << 3 | 1 << 7, ids, 20, "demo model without two mixers");
}
END_TEST

/* Steps of one kind are carried out op by op, recorded and replayed in turn: the same sequence in
 * slots of its own gives the same bits each time, alone and beside others. */
START_TEST(steps_repeat_to_the_last_bit) {
    static const int sizes[] = {1, 3, 6};
    enum { SLOTS = 6, PROMPT = 20, STEPS = 5 };
    uint32_t ids[MAX_TOKENS];
    struct variant variant;
    demo_ids(ids);
    variant_open(&variant, test_device(), DEMO, 1 << 5, 0);
    struct decoder *decoder;
    struct decoder_options options = {
        .slots = SLOTS, .tokens = MAX_TOKENS, .mixers = variant.replaced};
    size_t row = (size_t)variant.model->config->vocab_size;
    float *first = memory_calloc(STEPS * SLOTS * row, sizeof *first);
    float *again = memory_calloc(SLOTS * row, sizeof *again);
    must(decoder_open(&decoder, variant.model, &options));
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int round = 0; round < 3; round++) {
            int slots[SLOTS], count = sizes[k];
            for (int i = 0; i < count; i++) {
                slots[i] = (i + round) % SLOTS;
                must(
                    decoder_prefill(decoder, &slots[i], ids + i, (const uint64_t[]){0, PROMPT}, 1));
            }
            for (int step = 0; step < STEPS; step++) {
                float *to = round ? again : first + (size_t)(step * SLOTS) * row;
                must(decoder_step(decoder, slots, ids + PROMPT + step, count));
                must(decoder_logits(decoder, to, 0, count));
                if (round)
                    ck_assert_mem_eq(again, first + (size_t)(step * SLOTS) * row,
                                     (size_t)count * row * sizeof *again);
            }
        }
    decoder_close(decoder);
    variant_close(&variant);
    free(first);
    free(again);
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

START_TEST(greedy_ids_are_those_of_transformers) {
    struct json *golden;
    must(js_read(&golden, TEST_DATA "/golden/greedy-demo.json"));
    size_t count = js_count(golden);
    ck_assert_uint_ge(count, 6);
    struct generate_prompt prompts[8];
    struct generate_output outputs[8];
    uint32_t ids[8][64];
    for (size_t i = 0; i < count; i++) {
        const struct json *list = js_member(js_element(golden, i), "prompt_ids");
        for (size_t t = 0; t < js_count(list); t++)
            ids[i][t] = (uint32_t)js_integer_or(js_element(list, t), 0);
        prompts[i] = (struct generate_prompt){.ids = ids[i], .count = js_count(list)};
    }
    for (int batch = 1; batch <= 4; batch += 3) {
        struct model *model = open_model(DEMO);
        struct generate_settings settings = generate_defaults();
        settings.max_tokens = 32;
        settings.batch = batch;
        settings.use_model_stops = false;
        must(generate_run(outputs, model, prompts, count, &settings, NULL));
        for (size_t i = 0; i < count; i++) {
            const struct json *item = js_element(golden, i), *list = js_member(item, "ids");
            /* No near tie among them that float32's rounding could turn; BF16's could. */
            ck_assert_double_gt(js_number_or(js_member(item, "gap"), 0), 1e-3);
            if (backend->act != backend->acc) continue;
            ck_assert_uint_eq(outputs[i].count, js_count(list));
            ck_assert_int_eq(outputs[i].stop, GENERATE_LENGTH);
            for (size_t t = 0; t < js_count(list); t++)
                ck_assert_uint_eq(outputs[i].ids[t],
                                  (uint32_t)js_integer_or(js_element(list, t), 0));
        }
        generate_free(outputs, count);
        close_model(model);
    }
    js_free(golden);
}
END_TEST

/* Everything that a listener hears, prompt by prompt. */
struct heard {
    struct text text[8];
    int finished[8];
    bool valid;
};

static void hear(void *context, size_t index, const char *text, size_t length, bool finished) {
    struct heard *heard = context;
    size_t where;
    if (!utf8_valid(text, length, &where)) heard->valid = false;
    text_append_bytes(&heard->text[index], text, length);
    heard->finished[index] += finished;
}

static void generate_samples(struct generate_output outputs[6], int batch, uint64_t seed,
                             struct heard *heard) {
    struct model *model = open_model(DEMO);
    struct tokenizer *tokenizer;
    must(tokenizer_read(&tokenizer, DEMO));
    struct generate_settings settings = generate_defaults();
    static const uint32_t ids[] = {300, 301, 302, 303, 304, 305, 306};
    struct generate_prompt prompts[6];
    for (size_t i = 0; i < 6; i++)
        prompts[i] = (struct generate_prompt){.ids = ids, .count = 1 + i / 2 * 2, .stream = i % 2};
    settings.max_tokens = 24;
    settings.batch = batch;
    settings.tokenizer = tokenizer;
    settings.sampling = (struct sampling){.temperature = 1.5, .top_p = 0.95, .seed = seed};
    settings.listener = hear;
    settings.context = heard;
    must(generate_run(outputs, model, prompts, 6, &settings, NULL));
    tokenizer_free(tokenizer);
    close_model(model);
}

START_TEST(samples_depend_on_seed_and_stream_but_not_on_the_batch) {
    struct generate_output first[6], other[6];
    struct heard heard = {.valid = true};
    generate_samples(first, 1, 7, &heard);
    ck_assert(heard.valid);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(heard.finished[i], 1);
        ck_assert_uint_eq(heard.text[i].length, first[i].length);
        if (first[i].length) ck_assert_mem_eq(heard.text[i].bytes, first[i].text, first[i].length);
        text_free(&heard.text[i]);
    }
    for (int batch = 2; batch <= 6; batch += 2) {
        struct heard again = {.valid = true};
        generate_samples(other, batch, 7, &again);
        for (int i = 0; i < 6 && !getenv("TEST_DEVICE"); i++) {
            ck_assert_uint_eq(other[i].count, first[i].count);
            ck_assert_mem_eq(other[i].ids, first[i].ids, first[i].count * sizeof(uint32_t));
            text_free(&again.text[i]);
        }
        generate_free(other, 6);
    }
    ck_assert(first[0].count != first[1].count ||
              memcmp(first[0].ids, first[1].ids, first[0].count * sizeof(uint32_t)) != 0);
    struct heard third = {.valid = true};
    generate_samples(other, 3, 8, &third);
    int equal = 0;
    for (int i = 0; i < 6; i++) {
        equal += other[i].count == first[i].count &&
                 memcmp(other[i].ids, first[i].ids, first[i].count * sizeof(uint32_t)) == 0;
        text_free(&third.text[i]);
    }
    ck_assert_int_lt(equal, 2);
    generate_free(other, 6);
    generate_free(first, 6);
}
END_TEST

/* What a loaded CPU once gave: 1.67 where the bytes allow 1.28. */
START_TEST(doubtful_rates_are_found) {
    struct bench_row rows[] = {
        {.replaced = 0,
         .batch = 4,
         .tokens_per_second = {100, 98, 102},
         .roofline = 200,
         .ratio = {1, 1, 1},
         .roofline_ratio = 1},
        {.replaced = 6,
         .batch = 4,
         .tokens_per_second = {167, 160, 170},
         .roofline = 256,
         .ratio = {1.67, 1.6, 1.7},
         .roofline_ratio = 1.28},
        {.replaced = 7,
         .batch = 4,
         .tokens_per_second = {130, 100, 140},
         .roofline = 260,
         .ratio = {1.3, 1, 1.4},
         .roofline_ratio = 1.3},
        {.replaced = 8,
         .batch = 4,
         .tokens_per_second = {290, 288, 291},
         .roofline = 270,
         .ratio = {NAN, NAN, NAN},
         .roofline_ratio = NAN},
        {.replaced = 9, .batch = 0},
    };
    struct bench_result result = {.rows = rows, .n_rows = 5};
    struct bench_doubts doubts = bench_doubts(&result);
    ck_assert_int_eq(doubts.too_good, 1);
    ck_assert_ptr_eq(doubts.best, &rows[1]);
    ck_assert_int_eq(doubts.varied, 1);
    ck_assert_int_eq(doubts.widest_replaced, 7);
    ck_assert_int_eq(doubts.impossible, 1);
    rows[1].ratio.middle = 1.3; /* within the rounding of measurements */
    ck_assert_int_eq(bench_doubts(&result).too_good, 0);
    ck_assert_ptr_null(bench_doubts(&result).best);
}
END_TEST

CHECK_MAIN("generate", steps_equal_the_full_pass_for_every_architecture,
           steps_equal_the_full_pass_for_hybrids_of_any_share, ablated_layers_are_left_out,
           steps_repeat_to_the_last_bit, wrong_calls_are_refused,
           greedy_ids_are_those_of_transformers,
           samples_depend_on_seed_and_stream_but_not_on_the_batch, doubtful_rates_are_found)
