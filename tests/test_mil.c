#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "mixer_choices.h"
#include "mixers/attention/attention.h"
#include "model/replacement.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"

static struct checkpoint *open_model(const char *directory) {
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(&checkpoint, directory, NULL);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    return checkpoint;
}

static struct mixer_choices options_of(const char *words) {
    struct mixer_choices choices = choices_of(words);
    choices.seed = 5;
    return choices;
}

/* One tensor of the new mixer; the caller frees. */
static float *make(const struct checkpoint *checkpoint, int layer,
                   const struct mixer_choices *options, int role, int64_t *count) {
    struct mixer_sizes mamba;
    ck_assert_int_eq(replacement_sizes(&mamba, checkpoint_config(checkpoint), options), STATUS_OK);
    struct model_config *hybrid;
    ck_assert_int_eq(config_copy(&hybrid, checkpoint_config(checkpoint)), STATUS_OK);
    hybrid->layers[layer] = (struct layer_config){.mixer = mamba};
    struct tensor_spec spec;
    ck_assert(tensor_spec_for(&spec, hybrid, layer, TENSOR_OF_MIXER + role));
    *count = 1;
    for (int i = 0; i < spec.rank; i++) *count *= spec.shape[i];
    float *values = memory_calloc((size_t)*count, sizeof *values);
    struct replacement_source source;
    enum status status = replacement_source_open(&source, checkpoint, layer);
    if (!status) status = mixer_init(values, role, &mamba, options, &source.attention);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    config_free(hybrid);
    return values;
}

static const float *golden(const struct safetensors *file, int layer, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "layer.%d.%s", layer, name);
    const struct safetensors_entry *entry = safetensors_find(file, full);
    ck_assert_ptr_nonnull(entry);
    return entry->data;
}

/* The reference implementation's x, B, C rows and output projection, bit for bit. */
START_TEST(weights_equal_the_golden_file) {
    struct checkpoint *checkpoint = open_model(DEMO);
    struct safetensors *file;
    ck_assert_int_eq(safetensors_open(&file, TEST_DATA "/golden/demo-llama-2.6m.mmr.safetensors"),
                     STATUS_OK);
    struct mixer_choices options = options_of("init=published");
    int layers[] = {0, 5, 11};
    for (int i = 0; i < 3; i++) {
        int64_t count;
        float *in = make(checkpoint, layers[i], &options, M2_T_IN_PROJ, &count);
        const float *expected = golden(file, layers[i], "in_proj.weight");
        ck_assert_mem_eq(in + 128 * 128, expected + 128 * 128, (384 - 128) * 128 * sizeof *in);
        ck_assert_mem_ne(in, expected, 128 * 128 * sizeof *in);
        free(in);
        float *out = make(checkpoint, layers[i], &options, M2_T_OUT_PROJ, &count);
        ck_assert_mem_eq(out, golden(file, layers[i], "out_proj.weight"), 128 * 128 * sizeof *out);
        free(out);
        float *a_log = make(checkpoint, layers[i], &options, M2_T_A_LOG, &count);
        for (int64_t k = 0; k < count; k++)
            ck_assert_double_lt(fabs(a_log[k] - golden(file, layers[i], "A_log")[k]), 1e-6);
        free(a_log);
    }
    safetensors_close(file);
    checkpoint_close(checkpoint);
}
END_TEST

/* Every query sub-head meets, in the repeated B, the key block that it meets in attention. */
START_TEST(gqa_order_pairs_each_subhead_with_its_key_block) {
    const int shapes[][4] = {{4, 2, 32, 16}, {32, 8, 128, 16}, {6, 3, 64, 16},
                             {8, 1, 64, 32}, {4, 4, 32, 8},    {15, 5, 64, 64}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const struct mixer_host host = {
            .heads = shapes[s][0], .kv_heads = shapes[s][1], .head_dim = shapes[s][2]};
        int states = shapes[s][3], group = host.heads / host.kv_heads;
        int blocks = host.head_dim / states, count = host.heads * blocks;
        int *seen = calloc((size_t)count, sizeof *seen);
        for (int j = 0; j < count; j++) {
            int old = m2_subhead(&host, states, M2_ALIGN_GQA, j);
            int query_head = old / blocks, query_block = old % blocks;
            int key_subhead = j / group; /* repeat_interleave by H/G */
            ck_assert_int_eq(key_subhead / blocks, query_head / group);
            ck_assert_int_eq(key_subhead % blocks, query_block);
            seen[old]++;
            ck_assert_int_eq(m2_subhead(&host, states, M2_ALIGN_PAPER, j), j);
            if (states == host.head_dim) ck_assert_int_eq(old, j);
        }
        for (int j = 0; j < count; j++) ck_assert_int_eq(seen[j], 1);
        free(seen);
    }
}
END_TEST

START_TEST(gqa_moves_queries_and_output_columns_alike) {
    struct checkpoint *checkpoint = open_model(DEMO);
    struct mixer_choices paper = options_of(""), gqa = paper;
    paper.word[M2_ALIGN] = M2_ALIGN_PAPER;
    int64_t count;
    float *in_paper = make(checkpoint, 3, &paper, M2_T_IN_PROJ, &count);
    float *in_gqa = make(checkpoint, 3, &gqa, M2_T_IN_PROJ, &count);
    float *out_paper = make(checkpoint, 3, &paper, M2_T_OUT_PROJ, &count);
    float *out_gqa = make(checkpoint, 3, &gqa, M2_T_OUT_PROJ, &count);
    ck_assert_mem_eq(in_paper, in_gqa, 256 * 128 * sizeof *in_gqa); /* z, x, B stay */
    const struct mixer_host host = config_host(checkpoint_config(checkpoint));
    for (int c = 0; c < 128; c++) {
        int old = m2_subhead(&host, 16, M2_ALIGN_GQA, c / 16) * 16 + c % 16;
        ck_assert_mem_eq(in_gqa + (256 + c) * 128, in_paper + (256 + old) * 128,
                         128 * sizeof *in_gqa);
        for (int d = 0; d < 128; d++) ck_assert(out_gqa[d * 128 + c] == out_paper[d * 128 + old]);
    }
    free(in_paper);
    free(in_gqa);
    free(out_paper);
    free(out_gqa);
    checkpoint_close(checkpoint);
}
END_TEST

static double softplus(double x) {
    return log1p(exp(x));
}

START_TEST(random_parts_have_mambas_distributions) {
    struct checkpoint *checkpoint = open_model(DEMO);
    struct mixer_choices once = options_of(""), twice = options_of("init=published");
    int64_t count;
    float *b = make(checkpoint, 2, &once, M2_T_DT_PROJ_BIAS, &count);
    float *b2 = make(checkpoint, 2, &twice, M2_T_DT_PROJ_BIAS, &count);
    struct random_stream stream = random_stream_for(5, 2, "mixer.dt_proj.bias");
    for (int64_t i = 0; i < count; i++) {
        double dt = exp(log(1e-3) + random_uniform(&stream, (uint64_t)i) * log(100));
        /* BF16 holds b/2 to one part in 256 */
        ck_assert_double_lt(fabs(log(softplus(b[i]) / dt)), 0.02);
        ck_assert_double_lt(fabs(b2[i] / b[i] - 2), 2.0 / 128);
        ck_assert(dtype_f32_from_bf16(dtype_bf16_from_f32(b[i] / 2)) * 2 == b[i]);
    }
    free(b);
    free(b2);
    const struct {
        int role;
        double bound;
    } uniform[] = {{M2_T_DT_IN_PROJ, 1 / sqrt(128)},
                   {M2_T_DT_PROJ, 1 / sqrt(8)},
                   {M2_T_CONV, 0.5},
                   {M2_T_CONV_BIAS, 0.5}};
    for (int k = 0; k < 4; k++) {
        float *values = make(checkpoint, 2, &twice, uniform[k].role, &count);
        double squares = 0, most = 0, n = (double)count;
        for (int64_t i = 0; i < count; i++) {
            double x = values[i] / uniform[k].bound;
            squares += x * x;
            most = fmax(most, fabs(x));
        }
        ck_assert_double_lt(most, 1.004);
        ck_assert_double_gt(most, 0.9);
        ck_assert_double_lt(fabs(squares / n - 1.0 / 3), 1.2 / sqrt(n));
        free(values);
    }
    float *conv = make(checkpoint, 2, &once, M2_T_CONV, &count);
    for (int64_t i = 0; i < count; i++) ck_assert(conv[i] == (i % 4 == 3));
    free(conv);
    float *again = make(checkpoint, 2, &once, M2_T_DT_PROJ, &count);
    float *other = make(checkpoint, 3, &once, M2_T_DT_PROJ, &count);
    float *same = make(checkpoint, 2, &once, M2_T_DT_PROJ, &count);
    ck_assert_mem_eq(again, same, (size_t)count * sizeof *same);
    ck_assert_mem_ne(again, other, (size_t)count * sizeof *same);
    free(again);
    free(other);
    free(same);
    checkpoint_close(checkpoint);
}
END_TEST

START_TEST(single_choices_change_their_tensor_only) {
    struct checkpoint *checkpoint = open_model(DEMO);
    struct mixer_choices usual = options_of(""), other = options_of("a-init=one dt-range=0.01,0.3");
    int64_t count;
    float *a = make(checkpoint, 2, &usual, M2_T_A_LOG, &count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_double_lt(fabs(exp((double)a[i]) - (double)(i % 16 + 1)), 1e-5);
    float *one = make(checkpoint, 2, &other, M2_T_A_LOG, &count);
    for (int64_t i = 0; i < count; i++) ck_assert(one[i] == 0);
    float *b = make(checkpoint, 2, &other, M2_T_DT_PROJ_BIAS, &count);
    struct random_stream stream = random_stream_for(5, 2, "mixer.dt_proj.bias");
    for (int64_t i = 0; i < count; i++) {
        double dt = exp(log(0.01) + random_uniform(&stream, (uint64_t)i) * log(30));
        ck_assert_double_lt(fabs(log(softplus(b[i]) / dt)), 0.02);
    }
    const int rest[] = {M2_T_IN_PROJ, M2_T_DT_IN_PROJ, M2_T_DT_PROJ, M2_T_D,
                        M2_T_CONV,    M2_T_CONV_BIAS,  M2_T_OUT_PROJ};
    for (int i = 0; i < 7; i++) {
        float *same = make(checkpoint, 2, &usual, rest[i], &count);
        float *again = make(checkpoint, 2, &other, rest[i], &count);
        ck_assert_mem_eq(same, again, (size_t)count * sizeof *same);
        free(same);
        free(again);
    }
    free(a);
    free(one);
    free(b);
    checkpoint_close(checkpoint);
}
END_TEST

START_TEST(biases_go_to_in_proj_or_are_dropped) {
    struct checkpoint *checkpoint = open_model(TEST_DATA "/models/qwen2-tied");
    const struct model_config *config = checkpoint_config(checkpoint);
    struct mixer_choices options = options_of("");
    struct mixer_sizes mamba;
    options.word[M2_GATE] = M2_GATE_RANDOM;
    ck_assert_int_eq(replacement_sizes(&mamba, config, &options), STATUS_OK);
    ck_assert(mamba.value[M2_BIAS]);
    int64_t count;
    float *bias = make(checkpoint, 1, &options, M2_T_IN_PROJ_BIAS, &count);
    ck_assert_int_eq(count, 2 * (mamba.value[M2_D_INNER] + mamba.value[M2_D_XB]));
    const int sources[] = {ATTENTION_V_BIAS, ATTENTION_K_BIAS};
    for (int i = 0; i < mamba.value[M2_D_INNER]; i++) ck_assert(bias[i] == 0);
    for (int part = 0; part < 2; part++) {
        const struct checkpoint_tensor *source =
            checkpoint_find_mixer(checkpoint, 1, &attention_kind, sources[part]);
        float *expected = memory_calloc((size_t)source->count, sizeof *expected);
        ck_assert_int_eq(checkpoint_read_f32(checkpoint, source, 0, source->count, expected), 0);
        ck_assert_mem_eq(bias + mamba.value[M2_D_INNER] + part * mamba.value[M2_D_XB], expected,
                         (size_t)mamba.value[M2_D_XB] * sizeof *bias);
        free(expected);
    }
    free(bias);
    float *zero = make(checkpoint, 1, &options, M2_T_OUT_PROJ_BIAS, &count);
    for (int64_t i = 0; i < count; i++) ck_assert(zero[i] == 0);
    free(zero);
    options.word[M2_QKV_BIAS] = M2_BIAS_DROP;
    ck_assert_int_eq(replacement_sizes(&mamba, config, &options), STATUS_OK);
    ck_assert(!mamba.value[M2_BIAS]);
    /* An open gate has biases; those of the attention may still be left out. */
    options.word[M2_GATE] = M2_GATE_OPEN;
    ck_assert_int_eq(replacement_sizes(&mamba, config, &options), STATUS_OK);
    ck_assert(mamba.value[M2_BIAS]);
    bias = make(checkpoint, 1, &options, M2_T_IN_PROJ_BIAS, &count);
    for (int64_t i = 0; i < count; i++)
        ck_assert(i < mamba.value[M2_D_INNER] ? bias[i] > 1.27f && bias[i] < 1.29f : bias[i] == 0);
    free(bias);
    checkpoint_close(checkpoint);
}
END_TEST

/* silu(z) = 1 for every input, and nothing passes beside the scan. */
START_TEST(improved_starts_close_to_attention) {
    struct checkpoint *checkpoint = open_model(DEMO);
    struct mixer_choices open = options_of(""), random = options_of("init=published");
    struct mixer_sizes mamba;
    int64_t count;
    ck_assert_int_eq(replacement_sizes(&mamba, checkpoint_config(checkpoint), &open), STATUS_OK);
    float *weight = make(checkpoint, 4, &open, M2_T_IN_PROJ, &count);
    float *bias = make(checkpoint, 4, &open, M2_T_IN_PROJ_BIAS, &count);
    float *skip = make(checkpoint, 4, &open, M2_T_D, &count);
    float *one = make(checkpoint, 4, &random, M2_T_D, &count);
    ck_assert_int_eq(count, mamba.value[M2_D_INNER]);
    for (int i = 0; i < mamba.value[M2_D_INNER]; i++) {
        for (int k = 0; k < 128; k++) ck_assert(weight[i * 128 + k] == 0);
        double z = (double)bias[i];
        ck_assert_double_lt(fabs(z / (1 + exp(-z)) - 1), 4e-3); /* z is rounded to BF16 */
        ck_assert(skip[i] == 0 && one[i] == 1);
    }
    /* C is the query weight divided by sqrt(head_dim), rounded to its type. */
    struct mixer_choices whole = open;
    whole.word[M2_C_SCALE] = M2_C_ONE;
    float *unscaled = make(checkpoint, 4, &whole, M2_T_IN_PROJ, &count);
    for (int64_t i = 0; i < count; i++) {
        bool c = i >= 256 * 128;
        double expected = (double)unscaled[i] / (c ? sqrt(32) : 1);
        ck_assert_double_le(fabs((double)weight[i] - expected),
                            (c ? 1.0 / 256 : 0) * fabs(expected));
    }
    free(unscaled);
    free(weight);
    free(bias);
    free(skip);
    free(one);
    ck_assert_int_eq(replacement_sizes(&mamba, checkpoint_config(checkpoint), &random), STATUS_OK);
    ck_assert(!mamba.value[M2_BIAS]);
    checkpoint_close(checkpoint);
}
END_TEST

START_TEST(wrong_choices_are_named) {
    struct mixer_choices options = options_of("");
    ck_assert_int_eq(mixer_choices_set(&options, "align", "x"), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--align must be paper or gqa, not \"x\"");
    struct checkpoint *checkpoint = open_model(DEMO);
    const char *ranges[] = {"",      "0.1",     "0.1,", ",1",   "0.3,0.1",
                            "nan,1", "0.1,nan", "0,1",  "1,11", "1,2x"};
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(mixer_choices_set(&options, "dt-range", ranges[i]), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--dt-range must be two numbers from 0.0001 to 10 like "
                                       "0.001,0.1, not \"1,2x\"");
    struct mixer_sizes mamba;
    struct mixer_choices mixer_unused;
    ck_assert_int_eq(mixer_choices_set(&options, "no-option", "x"), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--no-option says nothing about Mamba mixers");
    ck_assert_int_eq(mixer_choices_begin(&mixer_unused, "mamba3"), STATUS_USAGE);
    ck_assert_int_eq(mixer_choices_begin(&mixer_unused, "attention"), STATUS_USAGE);
    ck_assert_int_eq(mixer_choices_begin(&mixer_unused, "mamba"), STATUS_OK);
    options.sizes.value[M2_D_STATE] = 24;
    ck_assert_int_eq(replacement_sizes(&mamba, checkpoint_config(checkpoint), &options),
                     STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--d-state 24 must divide the head size 32");
    checkpoint_close(checkpoint);
}
END_TEST

CHECK_MAIN("mil", weights_equal_the_golden_file, gqa_order_pairs_each_subhead_with_its_key_block,
           gqa_moves_queries_and_output_columns_alike, random_parts_have_mambas_distributions,
           single_choices_change_their_tensor_only, biases_go_to_in_proj_or_are_dropped,
           improved_starts_close_to_attention, wrong_choices_are_named)
