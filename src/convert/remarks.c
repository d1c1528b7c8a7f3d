/* What a person should know of a hybrid in its format. */
#include "checkpoint/fast_llm.h"
#include "convert/convert_internal.h"
#include "mixers/mamba2/mamba2.h"

static bool is_stock(const struct model_config *config) {
    return config->family == FAMILY_GRANITE || config->family == FAMILY_QWEN35;
}

static bool mamba2_of(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++)
        if (config->layers[i].mixer.kind == &mamba2_kind) return true;
    return false;
}

/* Attention in every n-th layer, the last of each n, and nowhere else. */
static bool is_periodic(const struct model_config *config) {
    int first = 0;
    while (first < config->n_layers && !config_is_attention(config, first)) first++;
    for (int i = 0; i < config->n_layers; i++)
        if (config_is_attention(config, i) != ((i + 1) % (first + 1) == 0)) return false;
    return true;
}

const char *convert_remark(bool *warns, const struct convert_job *job, size_t index) {
    const struct model_config *config = job->config;
    const struct mixer_kind *kind = job->added.count ? job->mixer.kind : NULL;
    const struct mixer_host host = config_host(config);
    struct mixer_choices choices = job->options.choices;
    if (kind) mixer_choices_for(&choices, &job->options.choices, &job->mixer);
    const char *norms_dropped =
        kind && kind->drops ? kind->drops(DROPS_NORMS, &choices, &host) : NULL;
    const char *biases_dropped =
        kind && kind->drops ? kind->drops(DROPS_BIASES, &choices, &host) : NULL;
    bool attends = config_any_attends(config);
    bool apriel2 = config->family == FAMILY_APRIEL2, granite = config->family == FAMILY_GRANITE;
    bool native = job->options.format == FORMAT_NATIVE;
    const struct model_config *base = checkpoint_config(job->options.base);
    const struct {
        bool applies, warns;
        const char *text;
    } remarks[] = {
        {apriel2 && fast_llm_lacks(config), true,
         "neither the Apriel2 code published with Fast-LLM nor Fast-LLM itself knows this "
         "checkpoint's rope scaling: they refuse it, or compute another function"},
        {attends && apriel2 && config->rope.kind != ROPE_DEFAULT && !fast_llm_lacks(config), true,
         "the Apriel2 code published with Fast-LLM reads plain rope only; this checkpoint's rope "
         "scaling is written in Fast-LLM's terms"},
        {attends && apriel2 && config->qk_norm, true,
         "the published Apriel2 code does not apply query and key norms, and Fast-LLM's import of "
         "Apriel2 leaves them out: both compute another function from this checkpoint"},
        {apriel2 && config->mlp_bias, true,
         "the published Apriel2 code has no biases in its MLP: it leaves this checkpoint's out and "
         "computes another function (Fast-LLM reads them)"},
        {is_stock(config) && !attends, true,
         "no attention layer is left: transformers' class fails with its default cache, generate "
         "and call it with use_cache=False"},
        {granite && config->q_bias && mamba2_of(config), true,
         "prompts padded on the left leak through the convolution, whose inputs have biases: pad "
         "on "
         "the right, or serve without padding"},
        {granite && attends && (int64_t)config->n_heads * config->head_dim != config->hidden_size,
         true,
         "the attention's heads together are not as wide as the model: vLLM and SGLang, which do "
         "not read \"head_dim\" here, compute another function (transformers reads it)"},
        {granite && config->n_heads != base->n_heads, false,
         "heads of zeros stand behind those of the model, which the architecture needs"},
        {granite && mamba2_of(config), false,
         "transformers before 5.23 norms over all channels: it needs 5.23 or later"},
        {config->family == FAMILY_QWEN35 && attends && !is_periodic(config), false,
         "SGLang and llama.cpp's converter read only a fixed interval of attention layers: they "
         "need a layout with attention in every n-th layer"},
        {job->rounded_norms, true,
         "query and key norms below a half are stored in F32: programs that load them as BF16 "
         "round them, which changes what is computed a little"},
        {job->untied, false,
         "the head is stored beside the embedding, which it was tied to: the last norm needs "
         "factors in it"},
        {native && config->family == FAMILY_QWEN2, true,
         "vLLM's Qwen2 refuses windows in some layers only (transformers has them)"},
        {native && config->family == FAMILY_QWEN3, true,
         "vLLM's Qwen3 ignores windows in some releases and computes full attention (transformers "
         "has them)"},
        {norms_dropped, false, norms_dropped},
        {biases_dropped, false, biases_dropped},
    };
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (remarks[i].applies && index-- == 0) {
            *warns = remarks[i].warns;
            return remarks[i].text;
        }
    return NULL;
}
