#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "check_main.h"
#include "checkpoint/checkpoint.h"
#include "mixers/attention/attention.h"
#include "mixers/m2/m2.h"

#define MODELS TEST_DATA "/models/"

static struct checkpoint *open_model(const char *directory, const struct checkpoint_options *how) {
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(&checkpoint, directory, how);
    ck_assert_msg(status == STATUS_OK, "%s: %s", directory, status_message());
    return checkpoint;
}

/* Sum of all weights, as NumPy gives it in float64. */
static double sum_weights(const struct checkpoint *checkpoint) {
    double sum = 0;
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++) {
        const struct checkpoint_tensor *tensor = checkpoint_at(checkpoint, i);
        float *values = memory_calloc((size_t)tensor->count, sizeof *values);
        ck_assert_int_eq(checkpoint_read_f32(checkpoint, tensor, 0, tensor->count, values), 0);
        for (int64_t k = 0; k < tensor->count; k++) sum += values[k];
        checkpoint_drop(checkpoint, tensor);
        free(values);
    }
    return sum;
}

START_TEST(every_architecture_opens) {
    const struct {
        const char *name;
        enum config_family family;
        size_t tensors;
        double sum; /* of all weights, in float64, by PyTorch */
    } models[] = {
        {"apriel-h1", FAMILY_APRIEL_H1, 49, 919.61361748739728},
        {"apriel2", FAMILY_APRIEL2, 48, 1473.7301509132958},
        {"llama-f16", FAMILY_LLAMA, 20, 266.88369673490524},
        {"llama-f32-bare", FAMILY_LLAMA, 21, 399.48952348344847},
        {"llama-rope-linear-biases", FAMILY_LLAMA, 35, 216.37582948803902},
        {"llama-rope-llama3-legacy", FAMILY_LLAMA, 21, 294.38276685774326},
        {"llama-rope-llama3", FAMILY_LLAMA, 30, 310.07893416285515},
        {"llama-sharded", FAMILY_LLAMA, 30, 195.33576855063438},
        {"mistral-window", FAMILY_MISTRAL, 30, 408.84414882957935},
        {"qwen2-tied", FAMILY_QWEN2, 38, 897.37544883787632},
        {"qwen2-window", FAMILY_QWEN2, 51, 653.80729056149721},
        {"qwen2-yarn-legacy", FAMILY_QWEN2, 26, 221.90859870612621},
        {"qwen2-yarn", FAMILY_QWEN2, 27, 234.85943211615086},
        {"qwen3", FAMILY_QWEN3, 35, 684.93621347844601},
        {"granite-hybrid", FAMILY_GRANITE, 46, 768.0741046052426},
        {"qwen3.5", FAMILY_QWEN35, 37, 1171.3257157485932},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[512];
        snprintf(path, sizeof path, MODELS "%s", models[i].name);
        struct checkpoint *checkpoint = open_model(path, NULL);
        ck_assert_int_eq(checkpoint_config(checkpoint)->family, models[i].family);
        ck_assert_uint_eq(checkpoint_count(checkpoint), models[i].tensors);
        ck_assert_double_eq_tol(sum_weights(checkpoint), models[i].sum, 1e-9);
        ck_assert_uint_eq(checkpoint_warning_count(checkpoint), 0);
        checkpoint_close(checkpoint);
    }
}
END_TEST

START_TEST(tensors_by_role_and_by_name) {
    struct checkpoint *checkpoint = open_model(MODELS "qwen2-tied", NULL);
    const struct model_config *config = checkpoint_config(checkpoint);
    const struct checkpoint_tensor *embedding = checkpoint_find(checkpoint, -1, TENSOR_EMBEDDING);
    ck_assert_ptr_eq(checkpoint_find(checkpoint, -1, TENSOR_HEAD), embedding);
    ck_assert_ptr_null(checkpoint_find_mixer(checkpoint, 0, &m2_kind, M2_T_IN_PROJ));
    ck_assert_ptr_null(
        checkpoint_find_mixer(checkpoint, config->n_layers, &attention_kind, ATTENTION_Q));
    const struct checkpoint_tensor *bias =
        checkpoint_find_mixer(checkpoint, 1, &attention_kind, ATTENTION_Q_BIAS);
    ck_assert_ptr_nonnull(bias);
    ck_assert_int_eq(bias->count, config->n_heads * config->head_dim);
    ck_assert(checkpoint_has(checkpoint, "model.layers.1.self_attn.q_proj.bias"));
    ck_assert(!checkpoint_has(checkpoint, "x"));
    float value;
    ck_assert_int_eq(checkpoint_read_f32(checkpoint, bias, bias->count, 1, &value), STATUS_FAILED);
    checkpoint_close(checkpoint);
}
END_TEST

START_TEST(sharding_does_not_enter_the_fingerprint) {
    char one[SHA256_HEX_SIZE], other[SHA256_HEX_SIZE];
    struct checkpoint *checkpoint = open_model(MODELS "llama-sharded", NULL);
    ck_assert_int_eq(checkpoint_fingerprint(checkpoint, one), STATUS_OK);
    ck_assert_int_eq(checkpoint_fingerprint(checkpoint, other), STATUS_OK);
    ck_assert_str_eq(one, other);
    checkpoint_close(checkpoint);
    checkpoint = open_model(MODELS "llama-f32-bare", NULL);
    ck_assert_int_eq(checkpoint_fingerprint(checkpoint, other), STATUS_OK);
    ck_assert_str_ne(one, other);
    checkpoint_close(checkpoint);
}
END_TEST

START_TEST(random_weights_are_normal_and_repeatable) {
    struct checkpoint_options how = {.random_weights = true, .seed = 3};
    struct checkpoint *checkpoint = open_model(TEST_DATA "/models/apriel-h1", &how);
    const struct checkpoint_tensor *tensor = checkpoint_find(checkpoint, -1, TENSOR_EMBEDDING);
    float *values = memory_calloc((size_t)tensor->count, sizeof *values);
    ck_assert_int_eq(checkpoint_read_f32(checkpoint, tensor, 0, tensor->count, values), STATUS_OK);
    double sum = 0, squares = 0, fourth = 0, n = (double)tensor->count;
    for (int64_t i = 0; i < tensor->count; i++) {
        double x = values[i] / 0.02;
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    ck_assert_double_lt(fabs(sum / n), 4 / sqrt(n));
    ck_assert_double_lt(fabs(squares / n - 1), 6 / sqrt(n));
    ck_assert_double_lt(fabs(fourth / n - 3), 40 / sqrt(n));
    float part[13]; /* any range gives the same elements */
    ck_assert_int_eq(checkpoint_read_f32(checkpoint, tensor, 5, 13, part), STATUS_OK);
    ck_assert_mem_eq(part, values + 5, sizeof part);
    uint16_t raw[13];
    ck_assert_int_eq(checkpoint_read_raw(checkpoint, tensor, 5, 13, raw), STATUS_OK);
    for (int i = 0; i < 13; i++) ck_assert(dtype_f32_from_bf16(raw[i]) == part[i]);
    const struct checkpoint_tensor *a_log =
        checkpoint_find_mixer(checkpoint, 1, &m2_kind, M2_T_A_LOG);
    ck_assert_int_eq(checkpoint_read_f32(checkpoint, a_log, 9, 1, part), STATUS_OK);
    ck_assert_float_eq(part[0], (float)log(9 % a_log->shape[1] + 1));
    free(values);
    checkpoint_close(checkpoint);
}
END_TEST

CHECK_MAIN("checkpoint", every_architecture_opens, tensors_by_role_and_by_name,
           sharding_does_not_enter_the_fingerprint, random_weights_are_normal_and_repeatable)
