/* The layout of what convert writes is exactly the published one, byte for byte where the
 * bytes come from the source. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "check_main.h"
#include "checkpoint/fast_llm.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shape.h"
#include "convert/convert.h"
#include "mixer_choices.h"
#include "model/replacement.h"
#include "plan/serving.h"
#include "plan/yaml.h"

#define DEMO TEST_DATA "/../../recipes/demo-model"
#define MODELS TEST_DATA "/models/"

struct result {
    char parent[64], path[80], file[128];
    struct checkpoint *base;
    struct safetensors *weights;
    struct json *config;
};

static struct convert_options options_of(struct checkpoint *base, enum hybrid_format format,
                                         int *layers, size_t count) {
    struct convert_options options = {
        .base = base, .layers = {layers, count}, .format = format, .choices = choices_of("")};
    options.choices.seed = 3;
    return options;
}

static void run_sized(struct result *result, const char *model, enum hybrid_format format,
                      int *layers, size_t count, const struct mixer_choices *choices) {
    struct convert_job job;
    struct json *provenance = js_new_object();
    *result = (struct result){0};
    strcpy(result->parent, "/tmp/test-convert-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(result->parent));
    snprintf(result->path, sizeof result->path, "%s/out", result->parent);
    ck_assert_int_eq(checkpoint_open(&result->base, model, NULL), STATUS_OK);
    struct convert_options options = options_of(result->base, format, layers, count);
    options.choices = *choices;
    options.choices.seed = 3;
    if (checkpoint_config(result->base)->head_dim % 16) options.choices.sizes.value[M2_D_STATE] = 8;
    enum status status = convert_prepare(&job, &options);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    status = convert_write(&job, result->path, provenance, NULL);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    js_free(provenance);
    convert_free(&job);
    snprintf(result->file, sizeof result->file, "%s/model.safetensors", result->path);
    ck_assert_int_eq(safetensors_open(&result->weights, result->file), STATUS_OK);
    char config[128];
    snprintf(config, sizeof config, "%s/config.json", result->path);
    ck_assert_int_eq(js_read(&result->config, config), STATUS_OK);
}

static void run_with(struct result *result, const char *model, enum hybrid_format format,
                     int *layers, size_t count, const char *words) {
    const struct mixer_choices choices = choices_of(words);
    run_sized(result, model, format, layers, count, &choices);
}

/* With the tensors that apriel-h1 lists: a random gate needs no biases. */
static void run(struct result *result, const char *model, enum hybrid_format format, int *layers,
                size_t count) {
    run_with(result, model, format, layers, count, "gate=random");
}

static void finish(struct result *result) {
    safetensors_close(result->weights);
    checkpoint_close(result->base);
    js_free(result->config);
    ck_assert_int_eq(file_remove_directory(result->path), STATUS_OK);
    ck_assert_int_eq(file_remove_directory(result->parent), STATUS_OK);
}

struct expected {
    const char *name;
    enum dtype dtype;
    int rank;
    int64_t shape[3];
};

/* A layer's mixer has these tensors, and nothing else stands under `prefix`. */
static void check_mixer(const struct result *result, const char *prefix,
                        const struct expected *expected, size_t count) {
    size_t found = 0;
    for (size_t i = 0; i < safetensors_count(result->weights); i++)
        found += strncmp(safetensors_at(result->weights, i)->name, prefix, strlen(prefix)) == 0;
    ck_assert_uint_eq(found, count);
    for (size_t i = 0; i < count; i++) {
        const struct safetensors_entry *entry;
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, expected[i].name);
        entry = safetensors_find(result->weights, name);
        ck_assert_msg(entry != NULL, "no %s", name);
        ck_assert_msg(entry->dtype == expected[i].dtype, "%s is %s", name, entry->dtype_name);
        ck_assert_msg(entry->rank == expected[i].rank, "%s has rank %d", name, entry->rank);
        for (int k = 0; k < entry->rank; k++)
            ck_assert_msg(entry->shape[k] == expected[i].shape[k], "%s: size %d is %lld", name, k,
                          (long long)entry->shape[k]);
    }
}

static const struct expected demo_mamba[] = {
    {"in_proj.weight", DTYPE_BF16, 2, {384, 128}},
    {"dt_in_proj.weight", DTYPE_BF16, 2, {8, 128}},
    {"dt_proj.weight", DTYPE_BF16, 2, {128, 8}},
    {"dt_proj.bias", DTYPE_BF16, 1, {128}},
    {"conv1d.weight", DTYPE_BF16, 3, {128, 1, 4}},
    {"conv1d.bias", DTYPE_BF16, 1, {128}},
    {"A_log", DTYPE_F32, 2, {128, 16}},
    {"D", DTYPE_F32, 1, {128}},
    {"out_proj.weight", DTYPE_BF16, 2, {128, 128}},
};
enum { DEMO_MAMBA = sizeof demo_mamba / sizeof *demo_mamba };

static const struct json *path_of(const struct json *json, const char *first, const char *second) {
    json = js_member(json, first);
    return second ? js_member(json, second) : json;
}

/* Every tensor outside the new mixers has the bytes it had. */
static void check_copies(const struct result *result, const char *from_prefix,
                         const char *to_prefix, const int *layers, size_t count) {
    size_t copied = 0;
    for (size_t i = 0; i < checkpoint_count(result->base); i++) {
        const struct checkpoint_tensor *tensor = checkpoint_at(result->base, i);
        bool replaced = false;
        for (size_t k = 0; k < count; k++) replaced |= layers[k] == tensor->layer;
        bool attention = tensor->spec->part == PART_MIXER;
        if (replaced && attention) continue;
        char name[128];
        snprintf(name, sizeof name, "%s", tensor->name);
        if (strncmp(name, from_prefix, strlen(from_prefix)) == 0) {
            const char *rest = tensor->name + strlen(from_prefix);
            const char *attn = attention ? strstr(rest, "self_attn.") : NULL;
            bool rename = attn && strcmp(from_prefix, to_prefix) != 0;
            int head = rename ? (int)(attn - rest) : (int)strlen(rest);
            snprintf(name, sizeof name, "%s%.*s%s%s", to_prefix, head, rest, rename ? "mixer." : "",
                     rename ? attn + strlen("self_attn.") : "");
        }
        const struct safetensors_entry *entry = safetensors_find(result->weights, name);
        ck_assert_msg(entry != NULL, "%s is missing", name);
        ck_assert_int_eq(entry->dtype, tensor->dtype);
        ck_assert_uint_eq(entry->bytes, tensor->bytes);
        ck_assert_mem_eq(entry->data, tensor->data, tensor->bytes);
        copied++;
    }
    ck_assert_uint_gt(copied, 10);
}

/* Files of transformers' own classes, written again: the same tensors, byte for byte. */
START_TEST(stock_files_come_back) {
    static const struct {
        const char *model;
        enum hybrid_format format;
    } stock[] = {{MODELS "granite-hybrid", FORMAT_GRANITE_HYBRID},
                 {MODELS "qwen3.5", FORMAT_QWEN35}};
    for (size_t m = 0; m < 2; m++) {
        struct result result;
        struct safetensors *original;
        char path[512];
        int layers[] = {0, 2};
        run(&result, stock[m].model, stock[m].format, layers, 2);
        snprintf(path, sizeof path, "%s/model.safetensors", stock[m].model);
        ck_assert_int_eq(safetensors_open(&original, path), STATUS_OK);
        ck_assert_uint_eq(safetensors_count(original), safetensors_count(result.weights));
        for (size_t i = 0; i < safetensors_count(original); i++) {
            const struct safetensors_entry *before = safetensors_at(original, i);
            const struct safetensors_entry *after = safetensors_find(result.weights, before->name);
            ck_assert_msg(after != NULL, "%s is missing", before->name);
            ck_assert_int_eq(after->dtype, before->dtype);
            ck_assert_int_eq(after->rank, before->rank);
            for (int k = 0; k < before->rank; k++)
                ck_assert_int_eq(after->shape[k], before->shape[k]);
            ck_assert_uint_eq(after->bytes, before->bytes);
            ck_assert_msg(memcmp(after->data, before->data, before->bytes) == 0, "%s differs",
                          before->name);
        }
        safetensors_close(original);
        finish(&result);
    }
}
END_TEST

START_TEST(apriel_h1_layout) {
    struct result result;
    int layers[] = {0, 5};
    run(&result, DEMO, FORMAT_APRIEL_H1, layers, 2);
    check_mixer(&result, "model.layers.0.mixer.", demo_mamba, DEMO_MAMBA);
    check_mixer(&result, "model.layers.5.mixer.", demo_mamba, DEMO_MAMBA);
    check_mixer(&result, "model.layers.0.self_attn.", NULL, 0);
    check_mixer(&result, "model.layers.1.mixer.", NULL, 0);
    check_copies(&result, "model.layers.", "model.layers.", layers, 2);
    /* 2 mixers of 9 for 2 of 4; the head is tied */
    ck_assert_uint_eq(safetensors_count(result.weights), 110 + 2 * (9 - 4));

    const struct json *c = result.config, *layout = js_member(c, "hybrid_block_layout");
    ck_assert_str_eq(js_string_or(js_element(js_member(c, "architectures"), 0), ""),
                     "AprielHybridSSMForCausalLM");
    ck_assert_str_eq(js_string_or(js_member(c, "model_type"), ""), "apriel_hybrid_ssm");
    ck_assert_uint_eq(js_count(layout), 12);
    for (size_t i = 0; i < 12; i++)
        ck_assert_str_eq(js_string_or(js_element(layout, i), ""), i == 0 || i == 5 ? "m2" : "t");
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"d_state", 16}, {"d_xb", 64},   {"d_inner", 128},
                 {"d_conv", 4},   {"dt_rank", 8}, {"expand", 1}};
    const struct json *ssm = js_member(c, "ssm_cfg");
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(js_integer_or(js_member(ssm, sizes[i].key), -1), sizes[i].value);
    ck_assert(!js_bool_or(js_member(ssm, "bias"), true));
    ck_assert(js_bool_or(js_member(ssm, "conv_bias"), false));
    ck_assert(js_bool_or(js_member(ssm, "dt_proj_bias"), false));
    ck_assert(js_bool_or(js_member(ssm, "repeat_kv_before_conv"), false));
    ck_assert_double_eq(js_number_or(js_member(ssm, "dt_min"), 0), 1e-3);
    ck_assert_double_eq(js_number_or(js_member(ssm, "dt_max"), 0), 1e-1);
    ck_assert_double_eq(js_number_or(js_member(ssm, "dt_init_floor"), 0), 1e-4);
    ck_assert_uint_eq(js_count(ssm), 13);
    ck_assert_double_eq(js_number_or(js_member(c, "rope_theta"), 0), 10000);
    ck_assert_double_eq(js_number_or(js_member(c, "rms_norm_eps"), 0), 1e-5);
    ck_assert(js_bool_or(js_member(c, "tie_word_embeddings"), false));
    finish(&result);
}
END_TEST

START_TEST(apriel2_layout) {
    struct result result;
    int layers[] = {2, 11};
    run(&result, DEMO, FORMAT_APRIEL2, layers, 2);
    check_mixer(&result, "model.decoder.blocks.2.mixer.", demo_mamba, DEMO_MAMBA);
    const struct expected attention[] = {{"q_proj.weight", DTYPE_BF16, 2, {128, 128}},
                                         {"k_proj.weight", DTYPE_BF16, 2, {64, 128}},
                                         {"v_proj.weight", DTYPE_BF16, 2, {64, 128}},
                                         {"o_proj.weight", DTYPE_BF16, 2, {128, 128}}};
    check_mixer(&result, "model.decoder.blocks.3.mixer.", attention, 4);
    check_mixer(&result, "model.layers.", NULL, 0);
    check_copies(&result, "model.layers.", "model.decoder.blocks.", layers, 2);

    const struct json *decoder = js_member(result.config, "decoder");
    ck_assert_str_eq(js_string_or(js_member(result.config, "model_type"), ""), "apriel2_text");
    ck_assert_str_eq(js_string_or(js_element(js_member(result.config, "architectures"), 0), ""),
                     "Apriel2ForCausalLM");
    ck_assert_str_eq(js_string_or(js_member(decoder, "type"), ""), "pattern");
    ck_assert_int_eq(js_integer_or(js_member(decoder, "num_blocks"), 0), 12);
    for (size_t i = 0; i < 12; i++)
        ck_assert_str_eq(js_string_or(js_element(js_member(decoder, "pattern"), i), ""),
                         i == 2 || i == 11 ? "mamba" : "attention");
    const struct json *blocks = js_member(decoder, "blocks");
    ck_assert_uint_eq(js_count(blocks), 2);
    const struct json *mamba = path_of(js_member(blocks, "mamba"), "mixer", NULL);
    ck_assert_int_eq(js_integer_or(js_member(mamba, "d_state"), 0), 16);
    ck_assert_int_eq(js_integer_or(js_member(mamba, "state_size"), 0), 16);
    const struct json *mixer = path_of(js_member(blocks, "attention"), "mixer", NULL);
    ck_assert_int_eq(js_integer_or(js_member(mixer, "heads"), 0), 4);
    ck_assert_int_eq(js_integer_or(js_member(mixer, "head_groups"), 0), 2);
    ck_assert_int_eq(js_integer_or(js_member(mixer, "head_size"), 0), 32);
    ck_assert_str_eq(js_string_or(path_of(mixer, "rotary", "type"), ""), "mistral_1d");
    finish(&result);
}
END_TEST

/* dt_proj.bias holds half of the effective bias, exactly; A_log and D are as Mamba has them. */
START_TEST(stored_values) {
    struct result result;
    int layer = 4;
    run(&result, DEMO, FORMAT_APRIEL_H1, &layer, 1);
    struct mixer_choices choices = choices_of("gate=random");
    struct replacement_source source;
    struct mixer_sizes m2;
    choices.seed = 3;
    float b[128];
    ck_assert_int_eq(replacement_sizes(&m2, checkpoint_config(result.base), &choices), STATUS_OK);
    ck_assert_int_eq(replacement_source_open(&source, result.base, layer), STATUS_OK);
    ck_assert_int_eq(mixer_init(b, M2_T_DT_PROJ_BIAS, &m2, &choices, &source.attention), 0);
    const uint16_t *stored =
        safetensors_find(result.weights, "model.layers.4.mixer.dt_proj.bias")->data;
    for (int i = 0; i < 128; i++) ck_assert(2 * dtype_f32_from_bf16(stored[i]) == b[i]);
    float *in = memory_calloc(384 * 128, sizeof *in);
    ck_assert_int_eq(mixer_init(in, M2_T_IN_PROJ, &m2, &choices, &source.attention), STATUS_OK);
    stored = safetensors_find(result.weights, "model.layers.4.mixer.in_proj.weight")->data;
    for (int i = 0; i < 384 * 128; i++) ck_assert(dtype_f32_from_bf16(stored[i]) == in[i]);
    free(in);
    finish(&result);
}
END_TEST

/* Every architecture, all layers or one, in each format that can hold it, reads back as the same
 * function's configuration. */
START_TEST(every_architecture_round_trips) {
    const char *names[] = {"llama-f16",
                           "llama-f32-bare",
                           "llama-rope-linear-biases",
                           "llama-rope-llama3",
                           "llama-rope-llama3-legacy",
                           "llama-sharded",
                           "mistral-window",
                           "qwen2-tied",
                           "qwen2-window",
                           "qwen2-yarn",
                           "qwen2-yarn-legacy",
                           "qwen3",
                           "apriel-h1",
                           "apriel2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        int all[64], count = 0;
        snprintf(path, sizeof path, MODELS "%s", names[i]);
        struct checkpoint *base;
        ck_assert_int_eq(checkpoint_open(&base, path, NULL), STATUS_OK);
        struct model_config *before;
        ck_assert_int_eq(config_copy(&before, checkpoint_config(base)), STATUS_OK);
        checkpoint_close(base);
        for (int k = 0; k < before->n_layers; k++)
            if (!config_is_attention(before, k) || k == 1) all[count++] = k;
        struct result result;
        run(&result, path, FORMAT_APRIEL2, all, (size_t)count);
        struct model_config *after;
        ck_assert_int_eq(config_parse(&after, result.config, "after"), STATUS_OK);
        ck_assert_int_eq(after->n_heads, before->n_heads);
        ck_assert_int_eq(after->q_bias, before->q_bias);
        ck_assert_int_eq(after->o_bias, before->o_bias);
        ck_assert_int_eq(after->mlp_bias, before->mlp_bias);
        ck_assert_int_eq(after->qk_norm, before->qk_norm);
        ck_assert_double_eq(after->rms_norm_eps, before->rms_norm_eps);
        double one[256], two[256], factor_one, factor_two;
        rope_frequencies(before, one, &factor_one);
        rope_frequencies(after, two, &factor_two);
        ck_assert_mem_eq(one, two, (size_t)before->head_dim / 2 * sizeof *one);
        ck_assert_double_eq(factor_one, factor_two);
        for (int k = 0; k < before->n_layers; k++)
            if (k != 1) ck_assert(mixer_same(&after->layers[k].mixer, &before->layers[k].mixer));
        config_free(before);
        config_free(after);
        finish(&result);
    }
}
END_TEST

/* All attention gone: apriel-h1 can hold a Qwen model, whose biases are then in the mixers. */
START_TEST(biases_with_no_attention_left) {
    struct result result;
    struct checkpoint *base;
    int layers[64];
    ck_assert_int_eq(checkpoint_open(&base, MODELS "qwen2-tied", NULL), STATUS_OK);
    int n = checkpoint_config(base)->n_layers;
    checkpoint_close(base);
    for (int i = 0; i < n; i++) layers[i] = i;
    run(&result, MODELS "qwen2-tied", FORMAT_APRIEL_H1, layers, (size_t)n);
    ck_assert(js_bool_or(path_of(result.config, "ssm_cfg", "bias"), false));
    ck_assert_ptr_nonnull(safetensors_find(result.weights, "model.layers.0.mixer.in_proj.bias"));
    ck_assert_ptr_nonnull(safetensors_find(result.weights, "model.layers.0.mixer.out_proj.bias"));
    ck_assert_ptr_nonnull(safetensors_find(result.weights, "model.layers.0.mixer.dt_in_proj.bias"));
    finish(&result);
}
END_TEST

/* An open gate is a bias of in_proj, so the mixers have biases and the configuration says so. */
START_TEST(an_open_gate_is_a_bias) {
    static const char *const names[] = {"in_proj.bias", "dt_in_proj.bias", "out_proj.bias"};
    for (int apriel2 = 0; apriel2 < 2; apriel2++) {
        struct result result;
        int layers[] = {2, 7};
        run_with(&result, DEMO, apriel2 ? FORMAT_APRIEL2 : FORMAT_APRIEL_H1, layers, 2, "");
        for (int i = 0; i < 3; i++) {
            char name[128];
            snprintf(name, sizeof name, "%s.7.mixer.%s",
                     apriel2 ? "model.decoder.blocks" : "model.layers", names[i]);
            ck_assert_ptr_nonnull(safetensors_find(result.weights, name));
        }
        if (!apriel2) ck_assert(js_bool_or(path_of(result.config, "ssm_cfg", "bias"), false));
        struct checkpoint *again;
        ck_assert_int_eq(checkpoint_open(&again, result.path, NULL), STATUS_OK);
        ck_assert(checkpoint_config(again)->layers[7].mixer.value[M2_BIAS]);
        checkpoint_close(again);
        finish(&result);
    }
}
END_TEST

START_TEST(refusals) {
    struct checkpoint *base;
    struct convert_job job;
    int layer = 12;
    ck_assert_int_eq(checkpoint_open(&base, DEMO, NULL), STATUS_OK);
    struct convert_options options = options_of(base, FORMAT_APRIEL_H1, &layer, 1);
    ck_assert_int_eq(convert_prepare(&job, &options), STATUS_FAILED);
    ck_assert_str_eq(status_message(),
                     "\"" DEMO "\" has 12 layers; there is no layer 12 to replace");
    layer = 0;
    options.choices.sizes.value[M2_D_STATE] = 5;
    ck_assert_int_eq(convert_prepare(&job, &options), STATUS_USAGE);
    checkpoint_close(base);
    ck_assert_int_eq(checkpoint_open(&base, MODELS "qwen2-window", NULL), STATUS_OK);
    options = options_of(base, FORMAT_APRIEL_H1, &layer, 1);
    ck_assert_int_eq(convert_prepare(&job, &options), STATUS_FAILED);
    ck_assert_str_eq(status_message(),
                     "\"" MODELS "qwen2-window\" has sliding windows that differ between layers, "
                     "which apriel-h1 cannot express; use --format apriel2");
    checkpoint_close(base);
}
END_TEST

/* ---- plan's formats and counts against what convert writes */

/* Models and choices that differ in biases, types, windows, tied embeddings and sizes. */
static const struct {
    const char *model;
    const char *choices;
} made[] = {
    {DEMO, ""},
    {DEMO, "init=published d-state=32 dt-rank=5 d-conv=3"},
    {DEMO, "gate=random dt-range=0.01,0.3 d-state=8"},
    {MODELS "llama-f16", "gate=random d-state=8"},
    {MODELS "llama-f32-bare", "d-state=8 d-conv=2"},
    {MODELS "llama-rope-llama3", "d-state=8"},
    {MODELS "llama-rope-linear-biases", "gate=random d-state=8"},
    {MODELS "llama-rope-linear-biases", "gate=random qkv-bias=drop d-state=8"},
    {MODELS "mistral-window", "d-state=8"},
    {MODELS "qwen2-tied", "gate=random d-state=8"},
    {MODELS "qwen2-tied", "gate=random qkv-bias=drop d-state=8"},
    {MODELS "qwen2-window", "d-state=8"},
    {MODELS "qwen2-yarn", "d-state=8"},
    {MODELS "qwen3", "d-state=8 dt-rank=7"},
};
enum { MADE = sizeof made / sizeof *made };

/* A plan that says of the checkpoint what a run records of it. */
static struct plan plan_for(const struct checkpoint *checkpoint, struct plan_stage *stage) {
    return (struct plan){.layers = checkpoint_config(checkpoint)->n_layers,
                         .shape = shape_of(checkpoint),
                         .signal = (char *)(uintptr_t) "loo",
                         .stages = stage,
                         .n_stages = 1};
}

static struct plan_mixers mixers_of(int i) {
    return (struct plan_mixers){.choices = choices_of(made[i].choices)};
}

static uint64_t stored_bytes(const struct result *result) {
    uint64_t sum = 0;
    for (size_t i = 0; i < safetensors_count(result->weights); i++)
        sum += safetensors_at(result->weights, i)->bytes;
    return sum;
}

static const char *section(const char *text, const char *from) {
    const char *at = strstr(text, from);
    return at ? at : "";
}

/* The YAML of the same choices has the biases that the written mixers have, and is, line by line,
 * that of the written configuration. */
static void check_yaml(const struct result *result, const struct plan *plan,
                       const struct plan_mixers *mixers, const struct model_config *written) {
    char *text = NULL;
    const char *lacks = fast_llm_lacks(written);
    enum status status = plan_export(&text, plan, 1, PLAN_FORMAT_FAST_LLM, mixers, "p");
    ck_assert_int_eq(status, lacks ? STATUS_FAILED : STATUS_OK);
    if (lacks) return;
    char bias[64];
    snprintf(bias, sizeof bias, "        add_linear_biases: %s\n",
             safetensors_find(result->weights, "model.decoder.blocks.1.mixer.in_proj.bias")
                 ? "true"
                 : "false");
    ck_assert_ptr_nonnull(strstr(section(text, "    mamba:\n"), bias));
    struct json *model = js_new_object();
    struct text expected = {0};
    js_set(model, "decoder", fast_llm_decoder(written, MIXER_FAST_LLM));
    yaml_append(&expected, model);
    char *decoder = text_finish(&expected);
    ck_assert_mem_eq(section(text, "decoder:\n"), decoder, strlen(decoder));
    free(decoder);
    free(text);
    js_free(model);
}

START_TEST(plans_say_what_is_written) {
    for (int i = 0; i < MADE; i++) {
        struct plan_mixers mixers = mixers_of(i);
        int layers[] = {1};
        struct plan_stage stage = {.layers = {layers, 1}};
        struct result result = {0};
        run_sized(&result, made[i].model, FORMAT_APRIEL2, layers, 1, &mixers.choices);
        struct plan plan = plan_for(result.base, &stage);
        struct serving_device device = serving_defaults();
        struct serving_estimate rows[2];
        struct checkpoint *again;
        bool complete;
        ck_assert_int_eq(serving_predict(rows, &complete, &plan, &device, &mixers), STATUS_OK);
        ck_assert(complete);
        ck_assert_uint_eq(rows[1].weights, stored_bytes(&result));
        uint64_t before = 0;
        for (size_t k = 0; k < checkpoint_count(result.base); k++)
            before += checkpoint_at(result.base, k)->bytes;
        ck_assert_uint_eq(rows[0].weights, before);
        ck_assert_int_eq(checkpoint_open(&again, result.path, NULL), STATUS_OK);
        check_yaml(&result, &plan, &mixers, checkpoint_config(again));
        checkpoint_close(again);
        js_free(plan.shape);
        finish(&result);
    }
}
END_TEST

/* What a run records of a model gives its configuration back. */
START_TEST(shapes_give_the_configuration_back) {
    static const char *const names[] = {"apriel-h1",
                                        "apriel2",
                                        "qwen3",
                                        "mistral-window",
                                        "qwen2-window",
                                        "qwen2-yarn",
                                        "llama-rope-llama3",
                                        "llama-rope-linear-biases",
                                        "foreign-mistral"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], *one, *two;
        struct checkpoint *checkpoint;
        struct model_config *config;
        bool complete;
        snprintf(path, sizeof path, MODELS "%s", names[i]);
        ck_assert_int_eq(checkpoint_open(&checkpoint, path, NULL), STATUS_OK);
        struct json *shape = shape_of(checkpoint);
        enum status status = shape_read(&config, &complete, shape, "plan");
        ck_assert_msg(status == STATUS_OK, "%s: %s", names[i], status_message());
        ck_assert(complete);
        struct json *before = fast_llm_decoder(checkpoint_config(checkpoint), MIXER_APRIEL2);
        struct json *after = fast_llm_decoder(config, MIXER_APRIEL2);
        one = js_print(before, 1);
        two = js_print(after, 1);
        ck_assert_str_eq(one, two);
        free(one);
        free(two);
        js_free(before);
        js_free(after);
        js_free(shape);
        config_free(config);
        checkpoint_close(checkpoint);
    }
}
END_TEST

CHECK_MAIN("convert", plans_say_what_is_written, shapes_give_the_configuration_back,
           stock_files_come_back, apriel_h1_layout, apriel2_layout, stored_values,
           every_architecture_round_trips, biases_with_no_attention_left, an_open_gate_is_a_bias,
           refusals)
