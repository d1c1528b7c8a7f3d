/* What a model becomes when Mamba mixers take the place of some of its attention mixers. `convert`
 * writes it, `inspect` and `plan` count and describe it: all of them ask here. */
#ifndef MODEL_HYBRID_H
#define MODEL_HYBRID_H

#include "base/list.h"
#include "checkpoint/shape.h"
#include "model/replacement.h"

struct hybrid {
    struct model_config *config; /* with the layers that are to be Mamba; of the base's family */
    struct mixer_sizes mixer;    /* of the first new mixer; zero when there are none */
    struct int_list added;       /* the layers whose mixer is new; ascending */
};

/* `kinds` [layers] (or NULL) say of what kind a new mixer is where it is not of that of `choices`;
 * NULL entries do not. `layers` (ascending) are the Mamba layers of the result, those that `base`
 * has already included. `name` is the base's, for messages. STATUS_USAGE when sizes do not divide.
 * The caller frees with hybrid_free, which accepts a zeroed one. */
enum status hybrid_make(struct hybrid *out, const struct model_config *base,
                        const struct int_list *layers, const struct mixer_choices *choices,
                        const struct mixer_sizes *const *kinds, const char *name) STATUS_CHECKED;
void hybrid_free(struct hybrid *hybrid);

/* The type of a new mixer's tensor beside attention weights of type `attention`. */
enum dtype hybrid_dtype(const struct tensor_spec *spec, enum dtype attention);

/* Bytes of the weights of a hybrid of the model that `base` and `weights` describe, as convert
 * writes them. */
enum status hybrid_weight_bytes(uint64_t *out, const struct model_config *hybrid,
                                const struct model_config *base,
                                const struct shape_weights *weights) STATUS_CHECKED;

#endif
