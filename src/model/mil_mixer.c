#include "model/mil_mixer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "mixers/m2/m2.h"
#include "model/loading.h"

/* One weight, from the tensors that it consists of. */
static enum status make_weight(struct mixer *mixer, const struct model *model, int layer,
                               const struct mil_options *options, int weight) {
    const struct mixer_kind *kind = mixer->sizes.kind;
    struct weight_shape shape = mixer_weight_shape(&mixer->sizes, &model->host, weight);
    if (!shape.count) return STATUS_OK;
    float *values = memory_calloc((size_t)shape.count, sizeof *values), *to = values;
    enum status status = values ? STATUS_OK : STATUS_FAILED;
    for (int t = 0; !status && t < kind->n_tensors; t++) {
        if (kind->tensors[t].weight != weight) continue;
        struct tensor_shape part = mixer_tensor_shape(&mixer->sizes, &model->host, t);
        int64_t count = 1;
        for (int i = 0; i < MIXER_MAX_RANK && part.dims[i]; i++) count *= part.dims[i];
        if (part.present)
            status = mil_tensor(to, model->checkpoint, layer, &mixer->sizes, options, t);
        to += count;
    }
    if (!status) mixer_set(mixer, model->backend, &model->host, weight, values);
    free(values);
    return status;
}

enum status mil_mixer_create(struct mixer *out, const struct model *model, int layer,
                             const struct mil_options *options) {
    struct mixer mixer = {0};
    struct backend *backend = model->backend;
    enum status status = mil_mamba(&mixer.sizes, model->config, options);
    if (!status) status = mixer_alloc(&mixer, backend, &model->host);
    for (int w = 0; !status && w < mixer.sizes.kind->n_weights; w++)
        status = make_weight(&mixer, model, layer, options, w);
    if (status)
        mixer_free(&mixer, backend);
    else
        *out = mixer;
    return status;
}
