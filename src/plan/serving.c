#include "plan/serving.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/past.h"
#include "model/device.h"

struct serving_device serving_defaults(void) {
    return (struct serving_device){
        .memory = device_h100.memory, .speed = device_h100.peak, .prompt = 1, .output = 16384};
}

/* Whether the plan says enough of its model for an estimate. Sizes that do not divide have none:
 * convert and --format say what is wrong. */
static bool open_hybrid(struct plan_hybrid *out, const struct plan *plan,
                        const struct plan_stage *stage, const struct plan_mixers *mixers) {
    if (plan_hybrid_open(out, plan, stage, mixers, "plan")) return false;
    bool enough = out->base->vocab_size > 0 && out->base->intermediate_size > 0;
    if (!enough) plan_hybrid_close(out);
    return enough;
}

static enum status estimate(struct serving_estimate *out, const struct plan_hybrid *stage,
                            const struct serving_device *device, int replaced) {
    struct cost_model cost = {.config = stage->hybrid.config, .act_bytes = 2, .acc_bytes = 4};
    int64_t tokens = device->prompt + device->output;
    struct cost_parts parts;
    cost_measure(&parts, &cost);
    *out = (struct serving_estimate){.replaced = replaced,
                                     .kv_per_token = parts.kv_per_token,
                                     .state = parts.state,
                                     .ratio = NAN};
    enum status status =
        hybrid_weight_bytes(&out->weights, stage->hybrid.config, stage->base, &stage->weights);
    if (status) return status;
    out->batch = cost_batch(&cost, device->memory, out->weights, tokens);
    if (out->batch)
        out->tokens_per_second =
            (double)out->batch * (double)device->output /
            cost_decode_seconds(&cost, &device->speed, out->batch, device->prompt, device->output);
    return STATUS_OK;
}

enum status serving_predict(struct serving_estimate *out, bool *complete, const struct plan *plan,
                            const struct serving_device *device, const struct plan_mixers *mixers) {
    enum status status = STATUS_OK;
    *complete = true;
    for (size_t i = 0; *complete && !status && i <= plan->n_stages; i++) {
        const struct plan_stage *stage = i ? &plan->stages[i - 1] : NULL;
        struct plan_hybrid hybrid;
        *complete = open_hybrid(&hybrid, plan, stage, mixers);
        if (!*complete) break;
        status = estimate(&out[i], &hybrid, device, stage ? (int)stage->layers.count : 0);
        if (!status && out[0].batch && out[i].batch)
            out[i].ratio = out[i].tokens_per_second / out[0].tokens_per_second;
        plan_hybrid_close(&hybrid);
    }
    return status;
}

/* Attention layers left in the busier half, when it holds more than two thirds of them. */
static int crowded_half(const struct plan_stage *stage, int layers, int left) {
    int first = layers / 2;
    for (size_t i = 0; i < stage->layers.count; i++) first -= stage->layers.values[i] < layers / 2;
    int most = first > left - first ? first : left - first;
    return left > 2 && 3 * most > 2 * left ? most : 0;
}

/* vLLM's allocator gives attention and state layers pages of one size, in groups of as many layers
 * as the rarer kind has (or, when they differ by less than a quarter, as the other has): the last
 * group of the other kind is padded. */
static int padding_of(int attention, int others) {
    int few = attention < others ? attention : others, many = attention + others - few;
    if (few == 0 || many * 4 < few * 5) return 0;
    return (few - many % few) % few;
}

/* What the replaced layers of a stage are: "Mamba", or of several kinds "replaced". */
static const char *adjective_of(const struct plan *plan, const struct plan_stage *stage) {
    char *layout = plan_stage_layout(plan, stage);
    const struct mixer_kind *kind = NULL;
    bool several = !layout;
    for (size_t i = 0; i < stage->layers.count && layout; i++) {
        const struct mixer_kind *here = mixer_kind_of_letter(layout[stage->layers.values[i]]);
        several = several || !here || (kind && kind != here);
        kind = here;
    }
    free(layout);
    return several || !kind ? "replaced" : kind->adjective;
}

static void append_warnings(struct text *text, const struct plan *plan,
                            const struct plan_stage *stage) {
    int layers = plan->layers, others = (int)stage->layers.count, left = layers - others;
    int crowded = crowded_half(stage, layers, left), padding = padding_of(left, others);
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
                    "%d attention and %d %s layers do not make equal groups: engines that page "
                    "both alike (vLLM) pad %d layers of caches\n",
                    left, others, adjective_of(plan, stage), padding);
}

/* The largest state of a layer in tokens of an attention layer's cache. */
static void append_page_warning(struct text *text, const struct model_config *config) {
    const struct mixer_host host = config_host(config);
    int attention = config_attention_layers(config);
    uint64_t row = 4 * (uint64_t)config->n_kv_heads * (uint64_t)config->head_dim, state = 0;
    if (attention == 0 || attention == config->n_layers) return;
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        uint64_t bytes = mixer->kind->past_rows ? 0 : past_bytes(mixer, &host, 1, 2, 4);
        if (bytes > state) state = bytes;
    }
    uint64_t page = (state + row - 1) / row;
    if (page > 256)
        text_append(text,
                    "a layer's state is as large as %llu tokens of its cache: engines that page "
                    "both alike (vLLM) hand out cache in steps of that many\n",
                    (unsigned long long)page);
}

enum status serving_warnings(char **out, const struct plan *plan, const struct plan_stage *stage,
                             const struct plan_mixers *mixers) {
    struct plan_hybrid hybrid;
    struct text text = {0};
    append_warnings(&text, plan, stage);
    if (open_hybrid(&hybrid, plan, stage, mixers)) {
        append_page_warning(&text, hybrid.hybrid.config);
        plan_hybrid_close(&hybrid);
    }
    *out = text.length || text.failed ? text_finish(&text) : memory_copy_string("");
    return *out ? STATUS_OK : STATUS_FAILED;
}
