#define _POSIX_C_SOURCE 200809L
#include "distill/weights.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "checkpoint/writer.h"
#include "convert/card.h"
#include "model/loading.h"

enum { BLOCK = 1 << 20 }; /* elements on their way at a time */

/* A tensor of the files: its pieces, one behind another. */
struct stored {
    const char *name; /* borrowed */
    enum dtype dtype;
    int rank, count;
    int64_t shape[TENSOR_MAX_RANK];
    struct {
        const struct checkpoint_tensor *tensor;
        int index;
    } pieces[TENSOR_MAX_PIECES];
};

struct filling {
    const struct model *student;
    const struct parameters *parameters;
    struct stored *list; /* [count] */
    size_t count;
    float *values;         /* [BLOCK] */
    char *block;           /* [BLOCK] in a tensor's type */
    struct writer *writer; /* of the present tensor */
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

/* Elements [first, first + count) of a tensor that trains, as the files have them. */
static enum status put_trained(struct filling *filling, const struct checkpoint_tensor *tensor,
                               const struct origin *origin, int64_t first, int64_t count) {
    struct backend *backend = filling->student->backend;
    const struct tensor_spec *spec = tensor->spec;
    size_t acc = dtype_size(backend->acc);
    enum status status = STATUS_OK;
    for (int64_t n; !status && count; first += n, count -= n) {
        n = count < BLOCK ? count : BLOCK;
        backend->download(backend, filling->values, DTYPE_F32, origin->values + (size_t)first * acc,
                          backend->acc, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            double value = (double)filling->values[i] / origin->factor - spec->less_one;
            filling->values[i] = (float)(value * spec->scale);
        }
        dtype_from_f32(filling->block, tensor->stored, filling->values, (size_t)n);
        status =
            writer_put(filling->writer, filling->block, (size_t)n * dtype_size(tensor->stored));
    }
    return status;
}

static enum status put_zeros(struct filling *filling, size_t bytes) {
    enum status status = STATUS_OK;
    memset(filling->block, 0, BLOCK);
    for (size_t n; !status && bytes; bytes -= n) {
        n = bytes < BLOCK ? bytes : BLOCK;
        status = writer_put(filling->writer, filling->block, n);
    }
    return status;
}

/* A piece of a tensor, with zeros in the gaps between its runs where it trains, else every byte as
 * it was. */
static enum status put_piece(struct filling *filling, const struct checkpoint_tensor *tensor,
                             int index) {
    const struct tensor_piece *piece = &tensor->spec->pieces[index];
    const struct origin origin = find_origin(filling, tensor);
    int64_t columns = tensor->count / tensor->shape[0], runs = piece->rows / piece->run;
    size_t size = dtype_size(tensor->stored);
    size_t gap = (size_t)((piece->stride - piece->run) * columns) * size;
    if (!origin.values)
        return writer_put(filling->writer, tensor->pieces[index],
                          (size_t)(runs * piece->stride * columns) * size);
    enum status status = STATUS_OK;
    for (int64_t row = 0; !status && row < piece->rows; row += piece->run) {
        status = put_trained(filling, tensor, &origin, (piece->first + row) * columns,
                             piece->run * columns);
        if (!status && gap) status = put_zeros(filling, gap);
    }
    return status;
}

static enum status fill_tensor(void *context, size_t index, struct writer *writer) {
    struct filling *filling = context;
    const struct stored *stored = &filling->list[index];
    enum status status = STATUS_OK;
    filling->writer = writer;
    for (int i = 0; !status && i < stored->count; i++) {
        status = put_piece(filling, stored->pieces[i].tensor, stored->pieces[i].index);
        checkpoint_drop(filling->student->checkpoint, stored->pieces[i].tensor);
    }
    (void)interrupt_requested(); /* it is noticed: what is begun is finished first */
    return status;
}

/* The tensors of the files, in the order of those that the model has. */
static enum status list_stored(struct filling *filling) {
    const struct checkpoint *checkpoint = filling->student->checkpoint;
    size_t count = checkpoint_count(checkpoint);
    filling->list = memory_calloc(count * TENSOR_MAX_PIECES, sizeof *filling->list);
    if (!filling->list) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) {
        const struct checkpoint_tensor *tensor = checkpoint_at(checkpoint, i);
        for (int p = 0; p < tensor->spec->n_pieces; p++) {
            const struct tensor_piece *piece = &tensor->spec->pieces[p];
            struct stored *stored = filling->count ? &filling->list[filling->count - 1] : NULL;
            if (!stored || strcmp(stored->name, piece->name) != 0)
                stored = &filling->list[filling->count++];
            stored->name = piece->name;
            stored->dtype = tensor->stored;
            stored->rank = tensor->spec->rank;
            memcpy(stored->shape, piece->shape, sizeof stored->shape);
            stored->pieces[stored->count].tensor = tensor;
            stored->pieces[stored->count++].index = p;
        }
    }
    return STATUS_OK;
}

static enum status write_weights(const char *directory, const struct model *student,
                                 const struct parameters *parameters) {
    struct filling filling = {.student = student,
                              .parameters = parameters,
                              .values = memory_aligned(BLOCK * sizeof(float)),
                              .block = memory_aligned(BLOCK * sizeof(float))};
    struct writer_tensor *tensors = NULL;
    enum status status = filling.values && filling.block ? list_stored(&filling) : STATUS_FAILED;
    if (!status) tensors = memory_calloc(filling.count, sizeof *tensors);
    if (!status && !tensors) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < filling.count; i++) {
        const struct stored *stored = &filling.list[i];
        strncpy(tensors[i].name, stored->name, sizeof tensors[i].name - 1);
        memcpy(tensors[i].shape, stored->shape, sizeof tensors[i].shape);
        tensors[i].rank = stored->rank;
        tensors[i].dtype = stored->dtype;
    }
    if (!status) status = writer_write(directory, tensors, filling.count, 0, fill_tensor, &filling);
    free(tensors);
    free(filling.list);
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
    if (!status) status = card_pass_on(directory, from);
    /* last: without it nothing takes the directory for a model */
    return status ? status : copy_file(directory, from, "config.json");
}
