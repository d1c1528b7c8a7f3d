/* A MIL-initialised mixer on a backend. */
#ifndef MODEL_MIL_MIXER_H
#define MODEL_MIL_MIXER_H

#include "model/mil.h"
#include "model/model.h"

/* The Mamba mixer that takes the place of attention layer `layer`: what mil_tensor gives, loaded.
 * Free with mixer_free. */
enum status mil_mixer_create(struct mixer *out, const struct model *model, int layer,
                             const struct mil_options *options) STATUS_CHECKED;

#endif
