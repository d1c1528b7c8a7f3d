#include "model/mil_mixer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/loading.h"

enum status mil_mixer_create(struct mixer *out, const struct model *model, int layer,
                             const struct mil_options *options) {
    struct mixer mixer = {.kind = MIXER_MAMBA};
    struct backend *backend = model->backend;
    enum status status = mil_mamba(&mixer.mamba, model->config, options);
    if (!status) status = mixer_alloc(&mixer, backend, model->config);
    for (enum weight weight = WEIGHT_FIRST_OF_MIXER; !status && weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape = weight_shape(model->config, &mixer, weight);
        if (!shape.count) continue;
        float *values = memory_calloc((size_t)shape.count, sizeof *values);
        if (!values) status = STATUS_FAILED;
        if (!status)
            status = mil_tensor(values, model->checkpoint, layer, &mixer.mamba, options,
                                weight_role(weight));
        if (!status) mixer_set(&mixer, backend, model->config, weight, values);
        free(values);
    }
    if (status)
        mixer_free(&mixer, backend);
    else
        *out = mixer;
    return status;
}
