#include <math.h>
#include <string.h>

#include "check_main.h"
#include "mixer_choices.h"
#include "plan/serving.h"

/* Apriel-15B's shape with some layers replaced: those of `replaced` first. */
static void make_plan(struct plan *plan, int *layers, const int *counts, size_t n_stages,
                      struct plan_stage *stages, bool from_behind) {
    static const char shape[] =
        "{\"num_hidden_layers\": 50, \"hidden_size\": 5120, \"num_attention_heads\": 32,"
        " \"num_key_value_heads\": 8, \"head_dim\": 128, \"intermediate_size\": 14336,"
        " \"vocab_size\": 131072}";
    *plan = (struct plan){.layers = 50, .stages = stages, .n_stages = n_stages};
    ck_assert_int_eq(js_parse(&plan->shape, shape, strlen(shape), "shape"), STATUS_OK);
    for (int i = 0; i < 50; i++) layers[i] = i;
    for (size_t s = 0; s < n_stages; s++)
        stages[s] = (struct plan_stage){
            .layers = {layers + (from_behind ? 50 - counts[s] : 0), (size_t)counts[s]}};
}

START_TEST(estimates_of_the_published_hybrids) {
    static const int counts[] = {25, 30, 40, 50};
    const struct plan_mixers mixers = {.choices = choices_of("init=published qkv-bias=drop")};
    struct serving_device device = serving_defaults();
    struct serving_estimate rows[5];
    struct plan_stage stages[4];
    struct plan plan;
    int layers[50];
    bool complete;
    make_plan(&plan, layers, counts, 4, stages, true);
    ck_assert_int_eq(serving_predict(rows, &complete, &plan, &device, &mixers), STATUS_OK);
    ck_assert(complete);
    /* 2 x 8 x 128 values of 2 bytes a layer and token; N x I floats and 3 x X inputs a mixer. */
    ck_assert_uint_eq(rows[0].kv_per_token, 50 * 4096);
    ck_assert_uint_eq(rows[2].kv_per_token, 20 * 4096);
    ck_assert_uint_eq(rows[2].state, 30 * (4096 * 16 * 4 + 3 * 1024 * 2));
    ck_assert_uint_eq(rows[0].state, 0);
    ck_assert_uint_eq(rows[4].kv_per_token, 0);
    /* 14.97 billion parameters. */
    ck_assert_double_eq_tol((double)rows[0].weights, 2 * 14.97e9, 0.01e9);
    /* (80 GB - weights) / (16385 tokens of 204800 bytes) */
    ck_assert_int_eq(rows[0].batch,
                     (int64_t)((80e9 - (double)rows[0].weights) / (16385.0 * 204800)));
    /* One step of the mean context: all weights but the embedding, and the caches, at 3 TB/s. */
    double bytes = (double)rows[0].weights - 2.0 * 131072 * 5120 +
                   (double)rows[0].batch * 204800 * (1 + 8192 + 1);
    ck_assert_double_eq_tol(rows[0].tokens_per_second, (double)rows[0].batch / (bytes / 3e12),
                            0.002 * rows[0].tokens_per_second);
    ck_assert_double_eq(rows[0].ratio, 1);
    for (int i = 1; i < 5; i++) ck_assert_double_gt(rows[i].ratio, rows[i - 1].ratio);
    ck_assert_double_gt(rows[2].ratio, 2.1);
    ck_assert_double_gt(rows[3].ratio, 3.4);
    /* No room for the weights. */
    device.memory = 20000000000;
    ck_assert_int_eq(serving_predict(rows, &complete, &plan, &device, &mixers), STATUS_OK);
    ck_assert_int_eq(rows[0].batch, 0);
    ck_assert(isnan(rows[0].ratio));
    js_remove(plan.shape, "vocab_size");
    ck_assert_int_eq(serving_predict(rows, &complete, &plan, &device, &mixers), STATUS_OK);
    ck_assert(!complete);
    js_free(plan.shape);
}
END_TEST

static void expect_warning(int count, bool from_behind, int d_state, const char *expected) {
    struct plan_mixers mixers = {.choices = choices_of("init=published qkv-bias=drop")};
    mixers.choices.sizes.value[M2_D_STATE] = d_state;
    struct plan_stage stage;
    struct plan plan;
    int layers[50];
    char *text;
    make_plan(&plan, layers, &count, 1, &stage, from_behind);
    ck_assert_int_eq(serving_warnings(&text, &plan, &stage, &mixers), STATUS_OK);
    ck_assert_msg(expected ? strstr(text, expected) != NULL : *text == '\0', "%d layers: \"%s\"",
                  count, text);
    free(text);
    js_free(plan.shape);
}

/* Of 34 replaced layers of 50, by the letters of their kinds. */
static void expect_kind(const char *letters, const char *expected) {
    const struct plan_mixers mixers = {.choices = choices_of("init=published qkv-bias=drop")};
    int layers[50], count = 34;
    char layout[51] = "", *text;
    struct plan_stage stage;
    struct plan plan;
    make_plan(&plan, layers, &count, 1, &stage, true);
    for (int i = 0; i < 50; i++) layout[i] = letters[(size_t)i % strlen(letters)];
    plan.base_layout = layout;
    ck_assert_int_eq(serving_warnings(&text, &plan, &stage, &mixers), STATUS_OK);
    ck_assert_msg(strstr(text, expected) != NULL, "%s: \"%s\"", letters, text);
    free(text);
    js_free(plan.shape);
}

START_TEST(warnings_name_the_kind) {
    expect_kind("m", "16 attention and 34 Mamba layers do not");
    expect_kind("2", "16 attention and 34 Mamba-2 layers do not");
    expect_kind("g", "16 attention and 34 Gated DeltaNet layers do not");
    expect_kind("w", "16 attention and 34 window layers do not");
    expect_kind("mg", "16 attention and 34 replaced layers do not");
    expect_kind("ww2", "16 attention and 34 replaced layers do not");
}
END_TEST

START_TEST(warnings_about_layouts) {
    expect_warning(50, true, 0, "no attention layer is left");
    expect_warning(25, true, 0, "25 of 25 attention layers left stand in one half");
    expect_warning(34, true, 0,
                   "16 attention and 34 Mamba layers do not make equal groups: "
                   "engines that page both alike (vLLM) pad 14 layers of caches");
    expect_warning(25, false, 128, "as large as 514 tokens of its cache");
    /* Every other layer: nothing to say. */
    const struct plan_mixers mixers = {.choices = choices_of("init=published qkv-bias=drop")};
    int even[25], count = 25, layers[50];
    struct plan_stage stage;
    struct plan plan;
    char *text;
    make_plan(&plan, layers, &count, 1, &stage, true);
    for (int i = 0; i < 25; i++) even[i] = 2 * i;
    stage.layers.values = even;
    ck_assert_int_eq(serving_warnings(&text, &plan, &stage, &mixers), STATUS_OK);
    ck_assert_str_eq(text, "");
    free(text);
    js_free(plan.shape);
}
END_TEST

CHECK_MAIN("serving", estimates_of_the_published_hybrids, warnings_about_layouts,
           warnings_name_the_kind)
