#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "check_main.h"
#include "checkpoint/config.h"
#include "mixers/attention/attention.h"
#include "mixers/m2/m2.h"

/* `text` uses single quotes for double ones. */
static enum status parse(struct model_config **out, const char *text) {
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        if (*c == '\'') *c = '"';
    struct json *json = NULL;
    enum status status = js_parse(&json, copy, strlen(copy), "config.json");
    if (!status) status = config_parse(out, json, "config.json");
    js_free(json);
    free(copy);
    return status;
}

static struct model_config *good(const char *text) {
    struct model_config *config = NULL;
    enum status status = parse(&config, text);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    return config;
}

static void refused(const char *text, const char *message) {
    struct model_config *config = NULL;
    ck_assert_msg(parse(&config, text) == STATUS_FAILED, "accepted: %s", text);
    ck_assert_str_eq(status_message(), message);
}

/* The shape shared by the small cases below; more keys follow. */
#define SHAPE                                                                                      \
    "'hidden_size': 64, 'intermediate_size': 96, 'vocab_size': 100, 'num_hidden_layers': 4, "      \
    "'num_attention_heads': 4, 'num_key_value_heads': 2"
#define LLAMA(...) "{'architectures': ['LlamaForCausalLM'], " SHAPE __VA_ARGS__ "}"
#define QWEN2(...) "{'architectures': ['Qwen2ForCausalLM'], " SHAPE __VA_ARGS__ "}"

START_TEST(llama_3_1) {
    struct model_config *c = good(
        "{'architectures': ['LlamaForCausalLM'], 'attention_bias': false, 'attention_dropout': 0.0,"
        "'bos_token_id': 128000, 'eos_token_id': [128001, 128008, 128009], 'hidden_act': 'silu',"
        "'hidden_size': 4096, 'initializer_range': 0.02, 'intermediate_size': 14336,"
        "'max_position_embeddings': 131072, 'mlp_bias': false, 'model_type': 'llama',"
        "'num_attention_heads': 32, 'num_hidden_layers': 32, 'num_key_value_heads': 8,"
        "'pretraining_tp': 1, 'rms_norm_eps': 1e-05, 'rope_scaling': {'factor': 8.0,"
        "'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 8192,"
        "'rope_type': 'llama3'}, 'rope_theta': 500000.0, 'tie_word_embeddings': false,"
        "'torch_dtype': 'bfloat16', 'use_cache': true, 'vocab_size': 128256}");
    ck_assert_int_eq(c->family, FAMILY_LLAMA);
    ck_assert_int_eq(c->n_layers, 32);
    ck_assert_int_eq(c->head_dim, 128);
    ck_assert_int_eq(c->n_kv_heads, 8);
    ck_assert_int_eq(c->rope.kind, ROPE_LLAMA3);
    ck_assert_double_eq(c->rope.theta, 500000);
    ck_assert_double_eq(c->rope.factor, 8);
    ck_assert_double_eq(c->rope.original_max_position, 8192);
    ck_assert_double_eq(c->rms_norm_eps, 1e-5);
    ck_assert_int_eq(c->bos_token_id, 128000);
    ck_assert_int_eq(c->n_eos, 3);
    ck_assert_int_eq(c->eos_token_ids[2], 128009);
    ck_assert(!c->tie_word_embeddings && !c->q_bias && !c->mlp_bias && !c->qk_norm);
    ck_assert_int_eq(c->layers[31].mixer.value[ATTENTION_WINDOW], 0);
    ck_assert_str_eq(config_architecture(c), "LlamaForCausalLM");
    config_free(c);
}
END_TEST

START_TEST(qwen_2_5_with_yarn) {
    struct model_config *c = good(
        "{'architectures': ['Qwen2ForCausalLM'], 'attention_dropout': 0.0, 'bos_token_id': 151643,"
        "'eos_token_id': 151645, 'hidden_act': 'silu', 'hidden_size': 3584,"
        "'intermediate_size': 18944, 'max_position_embeddings': 32768, 'max_window_layers': 28,"
        "'model_type': 'qwen2', 'num_attention_heads': 28, 'num_hidden_layers': 28,"
        "'num_key_value_heads': 4, 'rms_norm_eps': 1e-06, 'rope_theta': 1000000.0,"
        "'sliding_window': 131072, 'tie_word_embeddings': false, 'torch_dtype': 'bfloat16',"
        "'use_sliding_window': false, 'vocab_size': 152064, 'rope_scaling': {'factor': 4.0,"
        "'original_max_position_embeddings': 32768, 'type': 'yarn'}}");
    ck_assert_int_eq(c->family, FAMILY_QWEN2);
    ck_assert(c->q_bias && c->k_bias && c->v_bias && !c->o_bias);
    ck_assert_int_eq(c->rope.kind, ROPE_YARN);
    ck_assert_double_eq_tol(c->rope.attention_factor, 0.1 * log(4) + 1, 1e-15);
    ck_assert_int_eq(c->layers[0].mixer.value[ATTENTION_WINDOW], 0);
    config_free(c);
}
END_TEST

START_TEST(mistral_windows) {
    struct model_config *c = good("{'architectures': ['MistralForCausalLM'], " SHAPE
                                  ", 'model_type': 'mistral', 'sliding_window': 512}");
    for (int i = 0; i < 4; i++) ck_assert_int_eq(c->layers[i].mixer.value[ATTENTION_WINDOW], 512);
    config_free(c);
    c = good("{'architectures': ['MistralForCausalLM'], " SHAPE ", 'sliding_window': null}");
    ck_assert_int_eq(c->layers[3].mixer.value[ATTENTION_WINDOW], 0);
    config_free(c);
    c = good("{'architectures': ['MistralForCausalLM'], " SHAPE "}"); /* the class default */
    ck_assert_int_eq(c->layers[3].mixer.value[ATTENTION_WINDOW], 4096);
    config_free(c);
    /* With layer_types AutoConfig reads a Ministral: windows per layer. */
    c = good("{'architectures': ['MistralForCausalLM'], " SHAPE ", 'sliding_window': 7, "
             "'layer_types': ['full_attention', 'sliding_attention', 'full_attention', "
             "'sliding_attention']}");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(c->layers[i].mixer.value[ATTENTION_WINDOW], i % 2 ? 7 : 0);
    config_free(c);
    c = good("{'model_type': 'mistral', " SHAPE ", 'sliding_window': null, 'layer_types': null}");
    ck_assert_int_eq(c->layers[1].mixer.value[ATTENTION_WINDOW], 0);
    config_free(c);
    refused("{'architectures': ['MistralForCausalLM'], " SHAPE ", 'sliding_window': null, "
            "'layer_types': ['full_attention', 'sliding_attention', 'full_attention', "
            "'full_attention']}",
            "\"config.json\": \"layer_types\" asks for a sliding window in layer 1, but none is "
            "given or used");
    refused(LLAMA(", 'layer_types': ['full_attention', 'sliding_attention', 'full_attention', "
                  "'full_attention']"),
            "\"config.json\": \"layer_types\" says sliding_attention for layer 1, but "
            "LlamaForCausalLM does not read it and would do otherwise");
}
END_TEST

START_TEST(qwen_windows) {
    struct model_config *c =
        good(QWEN2(", 'use_sliding_window': true, 'sliding_window': 16, 'max_window_layers': 3"));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(c->layers[i].mixer.value[ATTENTION_WINDOW], i < 3 ? 0 : 16);
    config_free(c);
    c = good(QWEN2(", 'use_sliding_window': true, 'sliding_window': 16, 'layer_types': "
                   "['full_attention', 'sliding_attention', 'full_attention', "
                   "'sliding_attention']"));
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(c->layers[i].mixer.value[ATTENTION_WINDOW], i % 2 ? 16 : 0);
    config_free(c);
    refused(QWEN2(", 'layer_types': ['full_attention', 'full_attention']"),
            "\"config.json\": \"layer_types\" must list 4 layers");
    refused(QWEN2(", 'layer_types': ['full_attention', 'linear_attention', 'full_attention', "
                  "'full_attention']"),
            "\"config.json\": \"layer_types\": \"linear_attention\" in layer 1 is not supported "
            "(full_attention or sliding_attention)");
    refused(QWEN2(", 'layer_types': ['full_attention', 'sliding_attention', 'full_attention', "
                  "'full_attention']"),
            "\"config.json\": \"layer_types\" asks for a sliding window in layer 1, but none is "
            "given or used");
}
END_TEST

START_TEST(qwen_3) {
    struct model_config *c =
        good("{'architectures': ['Qwen3ForCausalLM'], 'model_type': 'qwen3', " SHAPE
             ", 'head_dim': 32, 'attention_bias': false, 'tie_word_embeddings': true}");
    ck_assert(c->qk_norm && !c->q_bias && c->tie_word_embeddings);
    ck_assert_int_eq(c->head_dim, 32);
    config_free(c);
    c = good("{'architectures': ['Qwen3ForCausalLM'], " SHAPE "}");
    ck_assert_int_eq(c->head_dim, 128);
    config_free(c);
}
END_TEST

START_TEST(llama_biases_and_defaults) {
    struct model_config *c = good(LLAMA(", 'attention_bias': true, 'mlp_bias': true"));
    ck_assert(c->q_bias && c->k_bias && c->v_bias && c->o_bias && c->mlp_bias);
    ck_assert_double_eq(c->rope.theta, 10000);
    ck_assert_double_eq(c->rms_norm_eps, 1e-6);
    ck_assert_int_eq(c->head_dim, 16);
    ck_assert_int_eq(c->dtype, DTYPE_BF16);
    ck_assert_int_eq(c->bos_token_id, -1);
    config_free(c);
    c = good(LLAMA(", 'dtype': 'float16', 'torch_dtype': 'float32', 'eos_token_id': null"));
    ck_assert_int_eq(c->dtype, DTYPE_F16);
    ck_assert_int_eq(c->n_eos, 0);
    config_free(c);
}
END_TEST

START_TEST(hybrids) {
    struct model_config *c =
        good("{'architectures': ['AprielHybridSSMForCausalLM'], 'model_type': "
             "'apriel_hybrid_ssm', " SHAPE ", 'sliding_window': null, 'hybrid_block_layout': ['t', "
             "'m2', 'm2', 't'], 'ssm_cfg': {'d_state': 8, 'd_inner': 64, 'd_xb': 32, 'dt_rank': "
             "'auto', 'bias': true}}");
    ck_assert_int_eq(config_attention_layers(c), 2);
    const int64_t *m = c->layers[1].mixer.value;
    ck_assert_ptr_eq(c->layers[1].mixer.kind, &m2_kind);
    ck_assert_int_eq(m[M2_DT_RANK], 4);
    ck_assert_int_eq(m[M2_D_CONV], 4);
    ck_assert(m[M2_BIAS] && m[M2_CONV_BIAS] && m[M2_DT_PROJ_BIAS]);
    config_free(c);
    refused("{'architectures': ['AprielHybridSSMForCausalLM'], " SHAPE
            ", 'hybrid_block_layout': ['t', 'm2d', 't', 't']}",
            "\"config.json\": \"hybrid_block_layout\": \"m2d\" in layer 1 is not supported (t or "
            "m2)");
    refused("{'architectures': ['AprielHybridSSMForCausalLM'], " SHAPE
            ", 'hybrid_block_layout': ['t', 't']}",
            "\"config.json\": \"hybrid_block_layout\" must list 4 layers, found 2");
    refused("{'architectures': ['AprielHybridSSMForCausalLM'], " SHAPE ", 'hybrid_block_layout': "
            "['m2'], 'ssm_cfg': {'d_state': 24, 'd_inner': 64, 'd_xb': 32}}",
            "\"config.json\": layer 0: d_state 24 must divide d_xb 32, and d_xb must divide "
            "d_inner 64");
    refused("{'architectures': ['AprielHybridSSMForCausalLM'], " SHAPE ", 'hybrid_block_layout': "
            "['m2'], 'ssm_cfg': {'d_state': 8, 'd_inner': 64, 'd_xb': 32, "
            "'repeat_kv_before_conv': false}}",
            "\"config.json\": \"repeat_kv_before_conv\": false is not supported");
}
END_TEST

/* null stands for as many key/value heads as query heads in every class; the class default is for
 * an absent key. */
START_TEST(null_keys) {
    static const char *const classes[] = {"Llama", "Mistral", "Qwen2", "Qwen3"};
    for (size_t i = 0; i < 4; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{'architectures': ['%sForCausalLM'], 'hidden_size': 64, 'intermediate_size': 96, "
                 "'vocab_size': 100, 'num_hidden_layers': 4, 'num_attention_heads': 4, "
                 "'num_key_value_heads': null, 'sliding_window': null, 'rope_scaling': null, "
                 "'rope_parameters': null, 'layer_types': null, 'eos_token_id': null, "
                 "'bos_token_id': null, 'pad_token_id': null, 'quantization_config': null%s}",
                 classes[i], i == 3 ? "" : ", 'head_dim': null");
        struct model_config *c = good(text);
        ck_assert_int_eq(c->n_kv_heads, 4);
        ck_assert_int_eq(c->head_dim, i == 3 ? 128 : 16);
        ck_assert_int_eq(c->layers[0].mixer.value[ATTENTION_WINDOW], 0);
        config_free(c);
    }
    static const char *const without[] = {"rms_norm_eps", "hidden_act", "rope_theta"};
    for (size_t i = 0; i < 3; i++) {
        char text[512], message[64];
        snprintf(text, sizeof text,
                 "{'architectures': ['LlamaForCausalLM'], " SHAPE ", '%s': null}", without[i]);
        snprintf(message, sizeof message, "\"config.json\": \"%s\" is null", without[i]);
        refused(text, message);
    }
    refused("{'architectures': ['Qwen3ForCausalLM'], " SHAPE ", 'head_dim': null}",
            "\"config.json\": \"head_dim\" is null");
    refused(QWEN2(", 'use_sliding_window': true, 'max_window_layers': null"),
            "\"config.json\": \"max_window_layers\" is null");
    refused(LLAMA(", 'rope_parameters': {'rope_theta': null}"),
            "\"config.json\": \"rope_theta\" is null");
}
END_TEST

/* Files that AutoModel saved without the head, and flags that say what is so anyway. */
START_TEST(other_spellings) {
    struct model_config *c =
        good("{'architectures': ['LlamaModel'], 'model_type': 'llama', " SHAPE "}");
    ck_assert_int_eq(c->family, FAMILY_LLAMA);
    config_free(c);
    c = good("{'architectures': ['MinistralForCausalLM'], 'model_type': 'ministral', " SHAPE
             ", 'sliding_window': 9, 'layer_types': ['full_attention', 'sliding_attention', "
             "'full_attention', 'full_attention']}");
    ck_assert_int_eq(c->family, FAMILY_MISTRAL);
    ck_assert_int_eq(c->layers[0].mixer.value[ATTENTION_WINDOW], 0);
    ck_assert_int_eq(c->layers[1].mixer.value[ATTENTION_WINDOW], 9);
    config_free(c);
    c = good("{'architectures': ['Qwen3Model'], " SHAPE "}");
    ck_assert_int_eq(c->family, FAMILY_QWEN3);
    config_free(c);
    c = good(LLAMA(", 'no_rope_layers': [1, 1, 1, 1], 'time_step_limit': [0.0, Infinity], "
                   "'vocab_size': 101"));
    ck_assert_int_eq(c->vocab_size, 101);
    config_free(c);
    c = good(LLAMA(", 'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0, 'beta_fast': 0, "
                   "'beta_slow': null, 'original_max_position_embeddings': 64}"));
    ck_assert_double_eq(c->rope.beta_fast, 32);
    ck_assert_double_eq(c->rope.beta_slow, 1);
    config_free(c);
    refused(LLAMA(", 'no_rope_layers': [1, 0, 1, 1]"),
            "\"config.json\": \"no_rope_layers\": layers without rope are not supported");
    refused(LLAMA(", 'rms_norm_eps': Infinity"),
            "\"config.json\": \"rms_norm_eps\" must be a number, found Infinity");
    refused("{'architectures': ['LlamaModels'], " SHAPE "}",
            "\"config.json\": architecture \"LlamaModels\" is not supported (LlamaForCausalLM, "
            "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, AprielHybridSSMForCausalLM, "
            "Apriel2ForCausalLM, GraniteMoeHybridForCausalLM or Qwen3_5ForCausalLM)");
}
END_TEST

#define BLOCK_TAIL                                                                                 \
    "'mlp': {'type': 'mlp', 'intermediate_size': 96, 'activation': 'silu', 'gated': true, "        \
    "'add_linear_biases': false}, 'normalization': {'type': 'rms_norm', 'epsilon': 1e-6}"
#define APRIEL2(mixer, ...)                                                                        \
    "{'architectures': ['Apriel2ForCausalLM'], 'model_type': 'apriel2_text', 'hidden_size': 64, "  \
    "'vocab_size': 100, 'head': {'normalization': {'type': 'rms_norm', 'epsilon': 1e-6}}, "        \
    "'decoder': {'type': 'pattern', 'num_blocks': 3, 'pattern': ['a', 'm'], 'blocks': {'a': "      \
    "{'mixer': {" mixer "}, " BLOCK_TAIL "}, 'm': {'mixer': {'type': 'mamba', 'state_size': 8, "   \
    "'d_inner': 64, 'd_xb': 32, 'dt_rank': 3, 'conv_bias': true, 'dt_proj_bias': "                 \
    "true}, " BLOCK_TAIL "}}}" __VA_ARGS__ "}"
#define ATTENTION "'type': 'attention', 'heads': 4, 'head_groups': 2, 'head_size': 16, "

START_TEST(apriel2_blocks) {
    struct model_config *c =
        good(APRIEL2(ATTENTION "'query_layer': {'bias': {'enabled': true}}, 'window_size': 8, "
                               "'rotary': {'type': 'llama3', 'theta': 5000, 'scale_factor': 4}"));
    ck_assert_int_eq(c->n_layers, 3);
    ck_assert_ptr_eq(c->layers[0].mixer.kind, &attention_kind);
    ck_assert_ptr_eq(c->layers[1].mixer.kind, &m2_kind);
    ck_assert_ptr_eq(c->layers[2].mixer.kind, &attention_kind);
    ck_assert_int_eq(c->layers[2].mixer.value[ATTENTION_WINDOW], 8);
    ck_assert(c->q_bias && !c->k_bias && !c->o_bias);
    ck_assert_int_eq(c->rope.kind, ROPE_LLAMA3);
    ck_assert_double_eq(c->rope.factor, 4);
    ck_assert_double_eq(c->rope.original_max_position, 8192);
    config_free(c);
    /* The head norms have epsilons of their own, 1e-5 when they are not stated. */
    c = good(APRIEL2(ATTENTION
                     "'rotary': {'type': 'default', 'theta': 5000}, 'query_norm': {'type': "
                     "'rms_norm', 'epsilon': 10.0}, 'key_norm': {'type': 'rms_norm'}"));
    ck_assert(c->qk_norm);
    ck_assert_double_eq(c->q_norm_eps, 10);
    ck_assert_double_eq(c->k_norm_eps, 1e-5);
    ck_assert_double_eq(c->rms_norm_eps, 1e-6);
    config_free(c);
#define PLAIN ATTENTION "'rotary': {'type': 'default', 'theta': 5000}, "
    refused(
        APRIEL2(PLAIN "'query_norm': {'type': 'rms_norm'}"),
        "\"config.json\": \"query_norm\" and \"key_norm\" must both be rms_norm or be left out");
    refused(APRIEL2(PLAIN "'query_norm': {'type': 'layer_norm'}, 'key_norm': {'type': 'rms_norm'}"),
            "\"config.json\": normalization \"layer_norm\" is not supported; only rms_norm is");
    refused(APRIEL2(PLAIN "'value_norm': {'type': 'rms_norm'}"),
            "\"config.json\": \"value_norm\" is not supported");
    refused(APRIEL2(PLAIN "'softmax_scale_power': 1.0"),
            "\"config.json\": \"softmax_scale_power\" is 1; only 0.5 is supported");
    config_free(good(APRIEL2(PLAIN "'softmax_scale_power': 0.5, 'value_norm': null, "
                                   "'shared_key_value': false, 'causal': true")));
    refused(APRIEL2("'type': 'kda'"),
            "\"config.json\": mixer type \"kda\" is not supported (attention, mamba or gdn)");
#define GDN                                                                                        \
    "'type': 'gdn', 'value_heads': 4, 'key_heads': 2, 'key_head_dim': 8, 'value_head_dim': 8"
    refused(APRIEL2(GDN), "\"config.json\": \"convolution_layer.kernel_size\" is missing");
    refused(APRIEL2(GDN ", 'convolution_layer': {'kernel_size': 4}, 'norm_eps': 0.5"),
            "\"config.json\": \"norm_eps\" 0.5 of a mixer differs from that of the model's norms, "
            "1e-06: this is not supported");
    refused(APRIEL2(ATTENTION "'rotary': {'type': 'default_2d', 'theta': 5000}"),
            "\"config.json\": rotary type \"default_2d\" is not supported (mistral_1d, linear, "
            "llama3 or yarn)");
}
END_TEST

START_TEST(what_changes_the_function_is_refused) {
    const struct {
        const char *keys, *message;
    } cases[] = {
        {", 'quantization_config': {'bits': 4}",
         "\"config.json\": \"quantization_config\": quantized weights are not supported; convert "
         "them to BF16 first"},
        {", 'hidden_act': 'gelu'",
         "\"config.json\": \"hidden_act\" is \"gelu\"; only silu is supported"},
        {", 'num_local_experts': 8",
         "\"config.json\": \"num_local_experts\": mixtures of experts are not supported"},
        {", 'final_logit_softcapping': 30.0",
         "\"config.json\": \"final_logit_softcapping\": logit soft-capping is not supported"},
        {", 'rope_scaling': {'type': 'dynamic', 'factor': 2.0}",
         "\"config.json\": rope type \"dynamic\" is not supported: its frequencies change with the "
         "sequence length"},
        {", 'rope_scaling': {'rope_type': 'longrope', 'factor': 2.0}",
         "\"config.json\": rope type \"longrope\" is not supported (default, linear, llama3 or "
         "yarn)"},
        {", 'rope_scaling': {'rope_type': 'linear'}", "\"config.json\": \"factor\" is missing"},
        {", 'rope_scaling': {'rope_type': 'linear', 'factor': -1}",
         "\"config.json\": \"factor\" must be greater than 0, found -1"},
        {", 'rope_scaling': [1]", "\"config.json\": \"rope_scaling\" must be an object"},
        {", 'rope_parameters': {'full_attention': {'rope_theta': 1e4}}",
         "\"config.json\": \"rope_parameters\" by layer type (\"full_attention\") is not "
         "supported"},
        {", 'partial_rotary_factor': 0.5", "\"config.json\": \"partial_rotary_factor\": rope on a "
                                           "part of each head is not supported"},
        {", 'model_type': 'qwen2'",
         "\"config.json\": \"model_type\" is \"qwen2\", but architecture "
         "\"LlamaForCausalLM\" has \"llama\""},
        {", 'torch_dtype': 'float8'", "\"config.json\": dtype \"float8\" is not supported "
                                      "(bfloat16, float16 or float32)"},
        {", 'rms_norm_eps': 0",
         "\"config.json\": \"rms_norm_eps\" must be greater than 0, found 0"},
        {", 'head_dim': 15", "\"config.json\": head_dim 15 is odd; rope needs pairs"},
        {", 'tie_word_embeddings': 1",
         "\"config.json\": \"tie_word_embeddings\" must be true or false"},
        {", 'rope_theta': 1", "\"config.json\": \"rope_theta\" must be greater than 1, found 1"},
        {", 'rope_scaling': {'rope_type': 'linear', 'factor': 1e-310}",
         "\"config.json\": the rope settings give frequencies that are not finite"},
        {", 'eos_token_id': 'x'", "\"config.json\": \"eos_token_id\" must be token numbers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{'architectures': ['LlamaForCausalLM'], " SHAPE "%s}",
                 cases[i].keys);
        refused(text, cases[i].message);
    }
    /* present with a value that changes nothing */
    config_free(good(LLAMA(", 'quantization_config': null, 'num_experts': 0, 'rope_scaling': null, "
                           "'partial_rotary_factor': 1.0, 'final_logit_softcapping': null")));
}
END_TEST

START_TEST(broken_configs) {
    refused("[]", "\"config.json\" is not a JSON object");
    refused("{}", "\"config.json\": neither \"architectures\" nor \"model_type\" says what the "
                  "model is");
    refused("{'architectures': ['LlamaForCausalLM']}",
            "\"config.json\": \"hidden_size\" is missing");
    refused("{'architectures': ['LlamaForCausalLM'], 'hidden_size': 64, 'intermediate_size': 96, "
            "'vocab_size': 4000000000}",
            "\"config.json\": \"vocab_size\" is 4000000000, outside 1 to 16777216");
    refused("{'architectures': ['LlamaForCausalLM'], 'hidden_size': 64.5}",
            "\"config.json\": \"hidden_size\" must be an integer, found 64.5");
    refused("{'architectures': ['LlamaForCausalLM'], 'hidden_size': 64, 'intermediate_size': 96, "
            "'vocab_size': 9, 'num_hidden_layers': 2, 'num_attention_heads': 5}",
            "\"config.json\": \"num_attention_heads\" 5 does not divide \"hidden_size\" 64, and "
            "there is no \"head_dim\"");
    refused("{'architectures': ['LlamaForCausalLM'], 'hidden_size': 64, 'intermediate_size': 96, "
            "'vocab_size': 9, 'num_hidden_layers': 2, 'num_attention_heads': 4, "
            "'num_key_value_heads': 3}",
            "\"config.json\": 3 key/value heads do not divide 4 query heads");
}
END_TEST

START_TEST(rope_equals_transformers) {
    struct json *cases;
    ck_assert_int_eq(js_read(&cases, TEST_DATA "/rope.json"), STATUS_OK);
    ck_assert_uint_eq(js_count(cases), 8);
    for (size_t i = 0; i < js_count(cases); i++) {
        const struct json *item = js_element(cases, i), *expected = js_member(item, "inv_freq");
        struct model_config *config = NULL;
        enum status status = config_parse(&config, js_member(item, "config"), "rope.json");
        ck_assert_msg(status == STATUS_OK, "%s", status_message());
        double inv_freq[64], factor;
        ck_assert_uint_eq(js_count(expected), (size_t)config->head_dim / 2);
        rope_frequencies(config, inv_freq, &factor);
        for (size_t k = 0; k < js_count(expected); k++) {
            double wanted = js_number_or(js_element(expected, k), NAN);
            ck_assert_double_le(fabs(inv_freq[k] / wanted - 1), 1e-12);
        }
        double wanted = js_number_or(js_member(item, "attention_factor"), NAN);
        ck_assert_double_le(fabs(factor / wanted - 1), 1e-12);
        config_free(config);
    }
    js_free(cases);
}
END_TEST

START_TEST(sizes_of_a_replacement) {
    struct model_config *c = good(LLAMA(""));
    struct mixer_sizes asked = {.kind = &m2_kind}, m2;
    ck_assert_int_eq(config_mixer_for(&m2, c, &asked), STATUS_OK);
    ck_assert_int_eq(m2.value[M2_D_INNER], 64);
    ck_assert_int_eq(m2.value[M2_D_XB], 32);
    ck_assert_int_eq(m2.value[M2_D_STATE], 16);
    ck_assert_int_eq(m2.value[M2_DT_RANK], 4);
    ck_assert_int_eq(m2.value[M2_D_CONV], 4);
    asked.value[M2_D_STATE] = 32;
    ck_assert_int_eq(config_mixer_for(&m2, c, &asked), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--d-state 32 must divide the head size 16");
    asked.value[M2_D_STATE] = 8;
    asked.value[M2_DT_RANK] = 7;
    asked.value[M2_D_CONV] = 3;
    ck_assert_int_eq(config_mixer_for(&m2, c, &asked), STATUS_OK);
    ck_assert_int_eq(m2.value[M2_DT_RANK], 7);
    asked.value[M2_D_CONV] = 65;
    ck_assert_int_eq(config_mixer_for(&m2, c, &asked), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--d-conv 65 is outside 1 to 64");
    config_free(c);
}
END_TEST

CHECK_MAIN("config", llama_3_1, qwen_2_5_with_yarn, mistral_windows, qwen_windows, qwen_3,
           null_keys, other_spellings, llama_biases_and_defaults, hybrids, apriel2_blocks,
           what_changes_the_function_is_refused, broken_configs, rope_equals_transformers,
           sizes_of_a_replacement)
