/* Which layers student and teacher have alike, by every value: one pass serves both there. */
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "distill/engine.h"

/* Reading in blocks of this many elements. */
enum { BLOCK = 1 << 20 };

/* By value: formats have types of their own. */
static enum status same_values(bool *same, const struct checkpoint *a, const struct checkpoint *b,
                               const struct checkpoint_tensor *left,
                               const struct checkpoint_tensor *right, float *room) {
    enum status status = STATUS_OK;
    *same = left->count == right->count;
    for (int64_t first = 0; !status && *same && first < left->count; first += BLOCK) {
        int64_t count = left->count - first < BLOCK ? left->count - first : BLOCK;
        float *other = room + BLOCK;
        status = interrupt_check();
        if (!status) status = checkpoint_read_f32(a, left, first, count, room);
        if (!status) status = checkpoint_read_f32(b, right, first, count, other);
        if (!status) *same = memcmp(room, other, (size_t)count * sizeof *room) == 0;
        checkpoint_drop_elements(a, left, first, count);
        checkpoint_drop_elements(b, right, first, count);
    }
    return status;
}

/* All tensors of a layer (-1: the embedding). */
static enum status same_layer(bool *same, const struct model *student, const struct model *teacher,
                              int layer, float *room) {
    const struct checkpoint *a = student->checkpoint, *b = teacher->checkpoint;
    enum status status = STATUS_OK;
    *same = true;
    for (size_t i = 0; !status && *same && i < checkpoint_count(a); i++) {
        const struct checkpoint_tensor *left = checkpoint_at(a, i);
        if (left->layer != layer || (layer < 0 && left->spec->role != TENSOR_EMBEDDING)) continue;
        const struct checkpoint_tensor *right = checkpoint_find(b, layer, left->spec->role);
        *same = right != NULL;
        if (*same) status = same_values(same, a, b, left, right, room);
    }
    return status;
}

enum status distill_count_alike(int *out, const struct model *student,
                                const struct model *teacher) {
    const struct model_config *config = student->config;
    bool same = true;
    float *room = memory_aligned(2 * BLOCK * sizeof(float));
    enum status status = room ? same_layer(&same, student, teacher, -1, room) : STATUS_FAILED;
    int layer = 0;
    *out = -1;
    if (status || !same) goto done;
    for (; !status && layer < config->n_layers; layer++) {
        if (!mixer_same(&config->layers[layer].mixer, &teacher->config->layers[layer].mixer)) break;
        status = same_layer(&same, student, teacher, layer, room);
        if (status || !same) break;
    }
    *out = layer;
done:
    free(room);
    return status;
}
