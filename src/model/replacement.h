/* New mixers in the place of a layer's attention, over a checkpoint: their sizes, their values and
 * what those are made from. */
#ifndef MODEL_REPLACEMENT_H
#define MODEL_REPLACEMENT_H

#include "mixers/fit.h"
#include "model/block.h"

/* Sizes of the new mixers of a model; STATUS_USAGE when they do not divide (see config_mixer_for).
 */
enum status replacement_sizes(struct mixer_sizes *out, const struct model_config *config,
                              const struct mixer_choices *choices) STATUS_CHECKED;

/* The attention of a layer as mixers start from it. */
struct replacement_source {
    const struct checkpoint *checkpoint;
    struct mixer_host host;
    struct attention_source attention; /* over the two above: the struct must not move */
};
enum status replacement_source_open(struct replacement_source *out,
                                    const struct checkpoint *checkpoint, int layer) STATUS_CHECKED;
/* Heads behind those that there are, of zeros: as many for each key/value head. */
void replacement_source_pad(struct replacement_source *source, int heads, int kv_heads);

/* What data say of a new mixer in the place of `layer`'s attention, where `trace` is that of the
 * block_mix of this attention over `sequences`: as far as `choices` ask for it. The caller frees
 * with mixer_fit_free, and lends it to the choices (`fit`) that replacement_create takes. */
enum status replacement_fit(struct mixer_fit **out, const struct model *model,
                            const struct layer *layer, const struct mixer_choices *choices,
                            const struct trace *trace,
                            const struct sequences *sequences) STATUS_CHECKED;

/* The mixer that takes the place of layer `layer`'s attention, on the model's backend. The caller
 * frees with mixer_free. */
enum status replacement_create(struct mixer *out, const struct model *model, int layer,
                               const struct mixer_choices *choices) STATUS_CHECKED;

#endif
