/* The formats that hybrids are written in: what each can hold, and what a hybrid becomes in it.
 *
 * To add one: its row here, its config.json in src/convert/output_config.c and in src/checkpoint,
 * the kinds' types and keys in their tables. */
#ifndef MODEL_FORMATS_H
#define MODEL_FORMATS_H

#include "model/hybrid.h"

/* In the order in which one is chosen: those that engines serve without custom code come first. */
enum hybrid_format {
    FORMAT_GRANITE_HYBRID, /* GraniteMoeHybridForCausalLM without experts */
    FORMAT_QWEN35,         /* Qwen3_5ForCausalLM */
    FORMAT_NATIVE,         /* the teacher's own architecture, with windows */
    FORMAT_APRIEL_H1,      /* AprielHybridSSMForCausalLM */
    FORMAT_APRIEL2,        /* Apriel2ForCausalLM */
    FORMAT_COUNT,
};

/* "granite-hybrid", …; and back, STATUS_USAGE for others. */
const char *format_name(enum hybrid_format format);
enum status format_from_name(enum hybrid_format *out, const char *name) STATUS_CHECKED;
/* "granite-hybrid, qwen3.5, …" */
enum { FORMAT_LIST_SIZE = 96 };
const char *format_list(char out[FORMAT_LIST_SIZE]);

/* What a format cannot hold of a hybrid, or of a model that hybrids shall be made of; NULL: all of
 * it. Static text: "attention biases". */
const char *format_lacks(enum hybrid_format format, const struct model_config *hybrid);

/* The kinds that a format has for attention's place: "m2, gdn, window:N". */
enum { FORMAT_KINDS_SIZE = 128 };
const char *format_kinds(char out[FORMAT_KINDS_SIZE], enum hybrid_format format);

/* The first format that can: a hybrid's own, then in their order. FORMAT_COUNT: none can. */
enum hybrid_format format_for(const struct model_config *hybrid);

/* The format that a checkpoint is in; FORMAT_COUNT: a transformer's own. */
enum hybrid_format format_of(const struct model_config *config);

/* The kind that takes attention's place in a model when nothing is said: that of its own format's
 * hybrids where one is asked for (else FORMAT_COUNT), what a hybrid has already, what a stock
 * architecture holds beside the model's attention, else the first. */
const struct mixer_kind *format_usual_kind(const struct model_config *model,
                                           enum hybrid_format format);

/* hybrid_make of what is written in a format: of its family, with the heads, biases and sizes that
 * its architecture needs. What it cannot hold fails, naming the format that can. */
enum status format_hybrid(struct hybrid *out, enum hybrid_format format,
                          const struct model_config *base, const struct int_list *layers,
                          const struct mixer_choices *choices,
                          const struct mixer_sizes *const *kinds, const char *name) STATUS_CHECKED;

/* The heads of the attention from which new mixers start in a format: those of the model, and
 * behind them such as only have zeros, where the architecture needs more. */
void format_heads(int *heads, int *kv_heads, enum hybrid_format format,
                  const struct model_config *base);

#endif
