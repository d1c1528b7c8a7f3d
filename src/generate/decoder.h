/* Decoding: a model with the past of several sequences, each in a slot. A slot is filled by
 * decoder_prefill (the parallel form of every mixer over the whole prompt) and moved on token by
 * token by decoder_step; sequences in slots need not be equally long. */
#ifndef GENERATE_DECODER_H
#define GENERATE_DECODER_H

#include "model/model.h"

struct decoder_options {
    int slots;                         /* sequences at a time */
    int64_t tokens;                    /* of the longest sequence, prompt and output together */
    int64_t prefill_tokens;            /* of all prompts of one decoder_prefill; 0: `tokens` */
    const struct mixer *const *mixers; /* [L] mixers in the place of layers' own, borrowed, NULL
                                          entries keep them; or NULL */
    const bool *ablated;               /* [L] layers whose mixer is left out, borrowed; or NULL */
};

struct decoder;

/* Keeps every layer of the model loaded (model_keep_layers). The model must outlive the decoder. */
enum status decoder_open(struct decoder **out, struct model *model,
                         const struct decoder_options *options) STATUS_CHECKED;
void decoder_close(struct decoder *decoder); /* accepts NULL */

/* Bytes on the backend besides the model's weights; `past` (may be NULL) of them for caches and
 * states. */
uint64_t decoder_bytes(const struct model *model, const struct decoder_options *options,
                       uint64_t *past);

/* Begin `count` sequences in `slots` [count] (all different; what was there is forgotten): sequence
 * i has ids[offsets[i]] to ids[offsets[i + 1] - 1], one at least. Afterwards row i of the logits
 * belongs to its last token. Prompts that exceed the options' bounds are a failure. */
enum status decoder_prefill(struct decoder *decoder, const int *slots, const uint32_t *ids,
                            const uint64_t *offsets, int count) STATUS_CHECKED;

/* One more token ids[i] for the sequence in slots[i] (all different); row i of the logits belongs
 * to it. On the CPU a row does not depend on the other rows, for up to 32 of them. */
enum status decoder_step(struct decoder *decoder, const int *slots, const uint32_t *ids,
                         int count) STATUS_CHECKED;

/* Of the last call: the most likely next tokens [count]; rows [first, first + count) of the logits
 * as float32 [count, V] in host memory. A logit that is not finite is a failure. */
enum status decoder_argmax(struct decoder *decoder, uint32_t *ids, int count) STATUS_CHECKED;
enum status decoder_logits(struct decoder *decoder, float *logits, int first,
                           int count) STATUS_CHECKED;

/* For measuring the speed at a context length without computing what leads to it: decoder_fill
 * makes up keys and values of every slot (standard normal) and clears the states, decoder_pretend
 * sets a slot's tokens. */
enum status decoder_fill(struct decoder *decoder) STATUS_CHECKED;
void decoder_pretend(struct decoder *decoder, int slot, int64_t length);

#endif
