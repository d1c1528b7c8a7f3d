#define _POSIX_C_SOURCE 200809L
#include "distill/weights.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "checkpoint/writer.h"
#include "model/loading.h"

enum { BLOCK = 1 << 20 }; /* elements on their way at a time */

struct filling {
    const struct model *student;
    const struct parameters *parameters;
    float *values; /* [BLOCK] */
    void *block;   /* [BLOCK] in a tensor's type */
};

/* Where a tensor's values are that train: in the optimizer's precision, and what they are divided
 * by in the checkpoint. */
struct origin {
    const char *values; /* device acc; NULL: the tensor does not train */
    double factor;
};

/* The parameter that holds what a part of the model's weights lives in. */
static const char *find_master(const struct filling *filling, const struct weight_part *part) {
    const struct parameters *parameters = filling->parameters;
    const char *to = part->to;
    size_t size = dtype_size(part->to_type), acc = dtype_size(filling->student->backend->acc);
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        const char *live = parameter->live;
        if (to < live || to >= live + (size_t)parameter->count * size) continue;
        return (const char *)parameter->master + (size_t)(to - live) / size * acc;
    }
    return NULL;
}

static struct weight_part outside_part(const struct model *model,
                                       const struct checkpoint_tensor *tensor) {
    const struct backend *backend = model->backend;
    int role = tensor->spec->role;
    return (struct weight_part){.tensor = tensor,
                                .to = role == TENSOR_EMBEDDING ? (void *)model->embedding
                                      : role == TENSOR_HEAD    ? (void *)model->head
                                                               : (void *)model->final_norm,
                                .to_type = role == TENSOR_FINAL_NORM ? backend->acc : backend->act,
                                .count = tensor->count,
                                .factor = 1};
}

static struct origin find_origin(const struct filling *filling,
                                 const struct checkpoint_tensor *tensor) {
    const struct model *model = filling->student;
    struct weight_part parts[LAYER_PARTS];
    int count = 1;
    parts[0] = outside_part(model, tensor);
    if (tensor->layer >= 0) {
        const struct layer *layer = &model->resident[tensor->layer];
        count = layer->index == tensor->layer ? layer_parts(parts, layer, model, tensor->layer) : 0;
    }
    for (int i = 0; i < count; i++)
        if (parts[i].tensor == tensor)
            return (struct origin){find_master(filling, &parts[i]), parts[i].factor};
    return (struct origin){0};
}

static enum status put_trained(struct filling *filling, const struct checkpoint_tensor *tensor,
                               const struct origin *origin, struct writer *writer) {
    struct backend *backend = filling->student->backend;
    size_t acc = dtype_size(backend->acc);
    enum status status = STATUS_OK;
    for (int64_t first = 0; !status && first < tensor->count; first += BLOCK) {
        int64_t left = tensor->count - first;
        size_t count = (size_t)(left < BLOCK ? left : BLOCK);
        backend->download(backend, filling->values, DTYPE_F32, origin->values + (size_t)first * acc,
                          backend->acc, count);
        for (size_t i = 0; origin->factor != 1 && i < count; i++)
            filling->values[i] = (float)((double)filling->values[i] / origin->factor);
        dtype_from_f32(filling->block, tensor->dtype, filling->values, count);
        status = writer_put(writer, filling->block, count * dtype_size(tensor->dtype));
    }
    return status;
}

static enum status put_as_it_was(struct filling *filling, const struct checkpoint_tensor *tensor,
                                 struct writer *writer) {
    const struct checkpoint *checkpoint = filling->student->checkpoint;
    enum status status = STATUS_OK;
    for (int64_t first = 0; !status && first < tensor->count; first += BLOCK) {
        int64_t count = tensor->count - first < BLOCK ? tensor->count - first : BLOCK;
        status = checkpoint_read_raw(checkpoint, tensor, first, count, filling->block);
        if (!status)
            status = writer_put(writer, filling->block, (size_t)count * dtype_size(tensor->dtype));
        checkpoint_drop_elements(checkpoint, tensor, first, count);
    }
    return status;
}

static enum status fill_tensor(void *context, size_t index, struct writer *writer) {
    struct filling *filling = context;
    const struct checkpoint_tensor *tensor = checkpoint_at(filling->student->checkpoint, index);
    const struct origin origin = find_origin(filling, tensor);
    return origin.values ? put_trained(filling, tensor, &origin, writer)
                         : put_as_it_was(filling, tensor, writer);
}

static enum status write_weights(const char *directory, const struct model *student,
                                 const struct parameters *parameters) {
    const struct checkpoint *checkpoint = student->checkpoint;
    size_t count = checkpoint_count(checkpoint);
    struct filling filling = {student, parameters, memory_aligned(BLOCK * sizeof(float)),
                              memory_aligned(BLOCK * sizeof(float))};
    struct writer_tensor *tensors = memory_calloc(count, sizeof *tensors);
    enum status status = filling.values && filling.block && tensors ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < count; i++) {
        const struct checkpoint_tensor *tensor = checkpoint_at(checkpoint, i);
        strncpy(tensors[i].name, tensor->name, sizeof tensors[i].name - 1);
        memcpy(tensors[i].shape, tensor->shape, sizeof tensors[i].shape);
        tensors[i].rank = tensor->rank;
        tensors[i].dtype = tensor->dtype;
    }
    if (!status) status = writer_write(directory, tensors, count, 0, fill_tensor, &filling);
    free(tensors);
    free(filling.values);
    free(filling.block);
    return status;
}

/* What belongs to a model besides its weights, and is not written here. */
static bool is_companion(const char *name) {
    static const char *const endings[] = {".json", ".jinja", ".model", ".txt", ".py", ".tiktoken"};
    static const char *const own[] = {"apriel-tool.json", "model.safetensors.index.json",
                                      "config.json", "state.json", "distill.json"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (length > strlen(endings[i]) &&
            strcmp(name + length - strlen(endings[i]), endings[i]) == 0)
            return *name != '.';
    return false;
}

static enum status copy_file(const char *to, const char *from, const char *name) {
    char *source = file_join(from, name), *target = file_join(to, name);
    struct stat about;
    enum status status = source && target ? STATUS_OK : STATUS_FAILED;
    if (!status && stat(source, &about) == 0 && S_ISREG(about.st_mode))
        status = file_copy(target, source);
    free(source);
    free(target);
    return status;
}

static enum status copy_companions(const char *to, const char *from) {
    enum status status = STATUS_OK;
    DIR *directory = opendir(from);
    if (!directory) return status_fail("cannot read \"%s\": %s", from, strerror(errno));
    for (struct dirent *entry; !status && (entry = readdir(directory));)
        if (is_companion(entry->d_name)) status = copy_file(to, from, entry->d_name);
    closedir(directory);
    return status;
}

enum status distill_weights_write(const char *directory, const struct model *student,
                                  const struct parameters *parameters) {
    const char *from = checkpoint_directory(student->checkpoint);
    enum status status = write_weights(directory, student, parameters);
    if (!status) status = copy_companions(directory, from);
    /* last: without it nothing takes the directory for a model */
    return status ? status : copy_file(directory, from, "config.json");
}
