#include "plan/serving.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"

struct serving_device serving_defaults(void) {
    return (struct serving_device){.memory = 80000000000,
                                   .speed = {.bandwidth = 3e12, .operations = 7e14},
                                   .prompt = 1,
                                   .output = 16384};
}

/* As much of a config as costs depend on; the layers are the caller's array. False: incomplete. */
static bool read_shape(struct model_config *out, struct layer_config *layers,
                       const struct plan *plan) {
    *out = (struct model_config){.n_layers = plan->layers, .layers = layers};
    const struct {
        const char *key;
        int *to;
    } sizes[] = {
        {"hidden_size", &out->hidden_size},        {"intermediate_size", &out->intermediate_size},
        {"vocab_size", &out->vocab_size},          {"num_attention_heads", &out->n_heads},
        {"num_key_value_heads", &out->n_kv_heads}, {"head_dim", &out->head_dim}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t value = js_integer_or(js_member(plan->shape, sizes[i].key), 0);
        if (value < 1 || value > 1 << 24) return false;
        *sizes[i].to = (int)value;
    }
    return out->n_heads % out->n_kv_heads == 0;
}

/* The model of a plan, and the mixer that replaces. */
struct subject {
    struct model_config config;
    struct layer_config *layers; /* [plan->layers], all attention */
    struct mamba_config mamba;
    bool *replaced; /* [plan->layers] */
    bool complete;
};

static enum status open_subject(struct subject *out, const struct plan *plan,
                                const struct plan_mixer *mixer) {
    size_t count = (size_t)plan->layers;
    *out = (struct subject){.layers = memory_calloc(count, sizeof *out->layers),
                            .replaced = memory_calloc(count, sizeof *out->replaced)};
    if (!out->layers || !out->replaced) return STATUS_FAILED;
    out->complete = read_shape(&out->config, out->layers, plan);
    /* Sizes that do not divide have no estimate: convert and --format say what is wrong. */
    if (out->complete &&
        config_mamba_for(&out->mamba, &out->config, mixer->d_state, mixer->dt_rank, mixer->d_conv))
        out->complete = false;
    return STATUS_OK;
}

static void close_subject(struct subject *subject) {
    free(subject->layers);
    free(subject->replaced);
}

static void set_stage(struct subject *subject, const struct plan *plan,
                      const struct plan_stage *stage) {
    for (int l = 0; l < plan->layers; l++) subject->replaced[l] = false;
    for (size_t i = 0; stage && i < stage->layers.count; i++)
        subject->replaced[stage->layers.values[i]] = true;
}

static struct serving_estimate estimate(const struct subject *subject,
                                        const struct serving_device *device, int replaced) {
    struct cost_model cost = {.config = &subject->config,
                              .replaced = subject->replaced,
                              .mamba = subject->mamba,
                              .act_bytes = 2,
                              .acc_bytes = 4};
    struct cost_parts parts;
    cost_measure(&parts, &cost);
    struct serving_estimate out = {
        .replaced = replaced,
        .weights = parts.weights,
        .kv_per_token = parts.kv_per_token,
        .state = parts.state,
        .batch = cost_batch(&cost, device->memory, device->prompt + device->output),
        .ratio = NAN};
    if (out.batch)
        out.tokens_per_second =
            (double)out.batch * (double)device->output /
            cost_decode_seconds(&cost, &device->speed, out.batch, device->prompt, device->output);
    return out;
}

enum status serving_predict(struct serving_estimate *out, bool *complete, const struct plan *plan,
                            const struct serving_device *device, const struct plan_mixer *mixer) {
    struct subject subject;
    enum status status = open_subject(&subject, plan, mixer);
    *complete = !status && subject.complete;
    for (size_t i = 0; *complete && i <= plan->n_stages; i++) {
        const struct plan_stage *stage = i ? &plan->stages[i - 1] : NULL;
        set_stage(&subject, plan, stage);
        out[i] = estimate(&subject, device, stage ? (int)stage->layers.count : 0);
        if (out[0].batch && out[i].batch)
            out[i].ratio = out[i].tokens_per_second / out[0].tokens_per_second;
    }
    close_subject(&subject);
    return status;
}

/* Attention layers left in the busier half, when it holds more than two thirds of them. */
static int crowded_half(const struct subject *subject, int layers, int left) {
    int first = 0;
    for (int l = 0; l < layers / 2; l++) first += !subject->replaced[l];
    int most = first > left - first ? first : left - first;
    return left > 2 && 3 * most > 2 * left ? most : 0;
}

/* vLLM's allocator gives attention and state layers pages of one size, in groups of as many layers
 * as the rarer kind has (or, when they differ by less than a quarter, as the other has): the last
 * group of the other kind is padded. */
static int padding_of(int attention, int mamba) {
    int few = attention < mamba ? attention : mamba, many = attention + mamba - few;
    if (few == 0 || many * 4 < few * 5) return 0;
    return (few - many % few) % few;
}

static void append_warnings(struct text *text, const struct subject *subject, int layers,
                            int mamba) {
    int left = layers - mamba, crowded = crowded_half(subject, layers, left);
    int padding = padding_of(left, mamba);
    if (left == 0)
        text_append(text, "no attention layer is left: engines that page key/value caches may "
                          "refuse it, and exact recall has nothing to rest on\n");
    if (crowded)
        text_append(text,
                    "%d of %d attention layers left stand in one half of the model: in a pipeline "
                    "of two devices that half's cache limits the batch\n",
                    crowded, left);
    if (padding * 5 > layers)
        text_append(text,
                    "%d attention and %d Mamba layers do not make equal groups: engines that page "
                    "both alike (vLLM) pad %d layers of caches\n",
                    left, mamba, padding);
    if (!subject->complete || left == 0 || mamba == 0) return;
    uint64_t row = 4 * (uint64_t)subject->config.n_kv_heads * (uint64_t)subject->config.head_dim;
    uint64_t page = (cost_state_bytes(&subject->mamba, 2, 4) + row - 1) / row;
    if (page > 256)
        text_append(text,
                    "a layer's state is as large as %llu tokens of its cache: engines that page "
                    "both alike (vLLM) hand out cache in steps of that many\n",
                    (unsigned long long)page);
}

enum status serving_warnings(char **out, const struct plan *plan, const struct plan_stage *stage,
                             const struct plan_mixer *mixer) {
    struct subject subject;
    struct text text = {0};
    enum status status = open_subject(&subject, plan, mixer);
    if (!status) {
        set_stage(&subject, plan, stage);
        append_warnings(&text, &subject, plan->layers, (int)stage->layers.count);
    }
    close_subject(&subject);
    if (status) return status;
    *out = text.length || text.failed ? text_finish(&text) : memory_copy_string("");
    return *out ? STATUS_OK : STATUS_FAILED;
}
