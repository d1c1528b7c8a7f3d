/* What a probe's step loads where layers are not kept, against what it computes. */
#include <stdio.h>

#include "analysis/mmr/mmr_work.h"
#include "base/memory.h"
#include "model/loading.h"

/* Bytes of layers that one step of probes loads of which the first is at layer `first`: up and
 * back, where the layers at either turn are still there. */
static double bytes_of_step(const struct model *model, int first) {
    int layers = model->config->n_layers, there = model->backend->discrete ? 2 : 1;
    double bytes = 0;
    for (int l = first; l < layers; l++) {
        int times = (l - first >= there) + (layers - 1 - l >= there);
        bytes += times * (double)layer_bytes(model, l);
    }
    return bytes;
}

/* Operations of a probe's step in matrix products: each layer forward, again, and back to its
 * input; the head for teacher and student, and back. */
static double operations_of_step(const struct mmr_work *work, int layer) {
    const struct model_config *config = work->student->config;
    double weights = (double)config->vocab_size * (double)config->hidden_size;
    double width = (double)dtype_size(work->backend->act);
    for (int l = layer; l < config->n_layers; l++)
        weights += (double)layer_bytes(work->student, l) / width;
    return 3 * 2 * weights * (double)work->memory.tokens;
}

void mmr_traffic(char *text, size_t size, const struct mmr_work *work) {
    int seeds = work->settings->seeds, probes = (int)work->layers.count * seeds;
    double shared = 0, apart = 0, operations = 0;
    for (int i = 0; i < probes; i++) {
        int layer = work->layers.values[i / seeds];
        double bytes = bytes_of_step(work->student, layer);
        if (i % work->arrangement.together == 0) shared += bytes;
        apart += bytes;
        operations += operations_of_step(work, layer);
    }
    char each[32], alone[32], also[64] = "";
    if (work->arrangement.together > 1)
        snprintf(also, sizeof also, " (alone %s)",
                 memory_format(alone, (uint64_t)(apart / probes)));
    snprintf(text, size, "a step of a probe loads %s of weights%s for %.3g TFLOP",
             memory_format(each, (uint64_t)(shared / probes)), also, operations / probes * 1e-12);
}
