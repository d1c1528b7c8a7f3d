/* What generation keeps of the tokens so far, for each sequence under way: keys and values of
 * attention layers, convolution inputs and scan states of Mamba layers. */
#ifndef MODEL_PAST_H
#define MODEL_PAST_H

#include "kernels/ops/attention.h"
#include "model/model.h"

struct layer_past { /* of one layer, for every slot; the members of its mixer's kind are set */
    struct kv_cache kv;
    void *conv; /* act [slots, K - 1, X] */
    void *scan; /* acc [slots, I, N] */
};

struct past_use {
    const struct layer_past *layer;
    const int32_t *slots; /* device [sequences]: where each sequence's past stands */
    bool step;            /* one more token a sequence; else sequences from their beginning */
    int64_t longest;      /* of a step: at least every sequence's tokens, the new one included */
};

/* Bytes that one sequence of up to `tokens` tokens needs in layer `layer` with mixer `mixer`. An
 * attention layer with a window keeps no more than the window. */
uint64_t past_bytes(const struct model_config *config, int layer, const struct mixer *mixer,
                    int64_t tokens, const struct backend *backend);

/* Room for `slots` sequences of up to `tokens` tokens. past_free accepts a zeroed struct. */
enum status past_alloc(struct layer_past *out, const struct model *model, int layer,
                       const struct mixer *mixer, int slots, int64_t tokens) STATUS_CHECKED;

/* Make up what is kept, for `slots` sequences of `tokens` tokens: random keys and values, zero
 * states. */
enum status past_fill(struct layer_past *past, const struct model *model, int layer,
                      const struct mixer *mixer, int slots, int64_t tokens) STATUS_CHECKED;
void past_free(struct layer_past *past, struct backend *backend);

#endif
