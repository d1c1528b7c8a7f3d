#include "library/mixer_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/output.h"
#include "checkpoint/tensors.h"
#include "checkpoint/writer.h"
#include "mixers/sizes.h"

/* Types in which tensors may stand: what `backend` computes with, or F32 where a kind keeps it. */
static enum dtype type_of(const struct mixer_sizes *sizes, int tensor,
                          const struct backend *backend) {
    const struct tensor_row *row = &sizes->kind->tensors[tensor];
    bool act = sizes->kind->weights[row->weight].act;
    return act && !row->keeps_f32 && backend->discrete ? backend->act : DTYPE_F32;
}

static struct json *label_json(const struct mixer_label *label) {
    struct json *pairs = js_new_object();
    char text[MIXER_TEXT_SIZE], number[16];
    snprintf(number, sizeof number, "%d", label->layer);
    js_set_string(pairs, "model", label->fingerprint);
    js_set_string(pairs, "layer", number);
    js_set_string(pairs, "kind", mixer_text(text, label->sizes));
    return pairs;
}

/* ---- writing */

struct filling {
    const struct mixer *mixer;
    const struct model *model;
    int tensors[MIXER_MAX_TENSORS]; /* of the kind, those that are present */
    struct writer_tensor specs[MIXER_MAX_TENSORS];
    size_t count;
};

static void list_tensors(struct filling *filling) {
    const struct mixer_sizes *sizes = &filling->mixer->sizes;
    for (int t = 0; t < sizes->kind->n_tensors; t++) {
        struct tensor_shape shape = mixer_tensor_shape(sizes, &filling->model->host, t);
        if (!shape.present) continue;
        struct writer_tensor *spec = &filling->specs[filling->count];
        snprintf(spec->name, sizeof spec->name, "%s", sizes->kind->tensors[t].name);
        spec->dtype = type_of(sizes, t, filling->model->backend);
        for (; spec->rank < MIXER_MAX_RANK && shape.dims[spec->rank]; spec->rank++)
            spec->shape[spec->rank] = shape.dims[spec->rank];
        filling->tensors[filling->count++] = t;
    }
}

/* Elements of the weight before this tensor: those of one weight stand row on row. */
static int64_t elements_before(const struct mixer_sizes *sizes, const struct mixer_host *host,
                               int tensor) {
    int weight = sizes->kind->tensors[tensor].weight;
    int64_t before = 0;
    for (int t = 0; t < tensor; t++) {
        if (sizes->kind->tensors[t].weight != weight) continue;
        struct tensor_shape shape = mixer_tensor_shape(sizes, host, t);
        before += tensor_shape_count(&shape);
    }
    return before;
}

static enum status fill_tensor(void *context, size_t index, struct writer *writer) {
    const struct filling *filling = context;
    const struct mixer_sizes *sizes = &filling->mixer->sizes;
    struct backend *backend = filling->model->backend;
    int tensor = filling->tensors[index];
    const struct tensor_row *row = &sizes->kind->tensors[tensor];
    struct tensor_shape shape = mixer_tensor_shape(sizes, &filling->model->host, tensor);
    size_t count = (size_t)tensor_shape_count(&shape);
    enum dtype live = sizes->kind->weights[row->weight].act ? backend->act : backend->acc;
    const char *from =
        (const char *)filling->mixer->weights[row->weight] +
        (size_t)elements_before(sizes, &filling->model->host, tensor) * dtype_size(live);
    float *values = memory_calloc(count, sizeof *values);
    if (!values) return STATUS_FAILED;
    backend->download(backend, values, DTYPE_F32, from, live, count);
    enum status status = backend->sync(backend);
    for (size_t i = 0; i < count && !status; i++)
        if (!isfinite(values[i]))
            status = status_fail("\"%s\" of the mixer is not finite", row->name);
    for (size_t i = 0; i < count && row->stored != 0; i++) values[i] *= (float)row->stored;
    enum dtype type = filling->specs[index].dtype;
    void *stored = memory_calloc(count, dtype_size(type));
    if (!status && !stored) status = STATUS_FAILED;
    if (!status) dtype_from_f32(stored, type, values, count);
    if (!status) status = writer_put(writer, stored, count * dtype_size(type));
    free(stored);
    free(values);
    return status;
}

enum status mixer_file_write(const char *path, const struct mixer *mixer, const struct model *model,
                             const struct mixer_label *label) {
    struct filling filling = {.mixer = mixer, .model = model};
    struct json *pairs = label_json(label);
    char *bytes = NULL;
    size_t size = 0;
    list_tensors(&filling);
    enum status status = js_complete();
    if (!status)
        status =
            writer_make(&bytes, &size, filling.specs, filling.count, pairs, fill_tensor, &filling);
    if (!status) status = output_write(path, bytes, size, OUTPUT_REPLACE);
    js_free(pairs);
    free(bytes);
    return status;
}

/* ---- reading */

static enum status check_label(const struct safetensors *file, const struct mixer_label *label) {
    struct json *wanted = label_json(label);
    const struct json *there = safetensors_metadata(file);
    enum status status = STATUS_OK;
    for (void *i = js_first(wanted); !status && i; i = js_next(wanted, i)) {
        const char *right = js_string_or(js_value(i), "");
        const char *found = js_string_or(js_member(there, js_key(i)), NULL);
        if (!found || strcmp(found, right) != 0)
            status =
                status_fail("\"%s\": \"%s\" in its header is %s%s%s, and the library has it as "
                            "%s",
                            safetensors_path(file), js_key(i), found ? "\"" : "",
                            found ? found : "missing", found ? "\"" : "", right);
    }
    js_free(wanted);
    return status;
}

static enum status check_tensor(const struct safetensors *file, const struct mixer_sizes *sizes,
                                const struct mixer_host *host, int tensor) {
    const char *name = sizes->kind->tensors[tensor].name, *path = safetensors_path(file);
    struct tensor_shape shape = mixer_tensor_shape(sizes, host, tensor);
    const struct safetensors_entry *entry = safetensors_find(file, name);
    if (!entry) return status_fail("\"%s\": tensor \"%s\" is missing", path, name);
    if (entry->dtype != DTYPE_BF16 && entry->dtype != DTYPE_F16 && entry->dtype != DTYPE_F32)
        return status_fail("\"%s\": tensor \"%s\" is %s; BF16, F16 or F32 is needed", path, name,
                           entry->dtype_name);
    int rank = 0;
    while (rank < MIXER_MAX_RANK && shape.dims[rank]) rank++;
    bool same = entry->rank == rank;
    for (int i = 0; same && i < rank; i++) same = entry->shape[i] == shape.dims[i];
    if (same) return STATUS_OK;
    char found[TENSOR_SHAPE_SIZE], wanted[TENSOR_SHAPE_SIZE];
    return status_fail("\"%s\": tensor \"%s\" has shape %s, and a mixer of these sizes %s", path,
                       name, tensor_shape_format(found, entry->rank, entry->shape),
                       tensor_shape_format(wanted, rank, shape.dims));
}

enum status mixer_file_open(struct safetensors **out, const char *path,
                            const struct mixer_label *label, const struct mixer_host *host) {
    const struct mixer_sizes *sizes = label->sizes;
    struct safetensors *file = NULL;
    size_t present = 0;
    enum status status = safetensors_open(&file, path);
    if (!status) status = check_label(file, label);
    for (int t = 0; !status && t < sizes->kind->n_tensors; t++) {
        struct tensor_shape shape = mixer_tensor_shape(sizes, host, t);
        if (!shape.present) continue;
        present++;
        status = check_tensor(file, sizes, host, t);
    }
    if (!status && safetensors_count(file) != present)
        status = status_fail("\"%s\" has %zu tensors, and a mixer of its kind %zu", path,
                             safetensors_count(file), present);
    if (status)
        safetensors_close(file);
    else
        *out = file;
    return status;
}

enum status mixer_file_read(float *out, const struct safetensors *file,
                            const struct mixer_sizes *sizes, int tensor) {
    const struct tensor_row *row = &sizes->kind->tensors[tensor];
    const struct safetensors_entry *entry = safetensors_find(file, row->name);
    dtype_to_f32(out, entry->data, entry->dtype, (size_t)entry->count);
    for (int64_t i = 0; i < entry->count; i++)
        if (!isfinite(out[i]))
            return status_fail("\"%s\": tensor \"%s\" has a value that is not finite",
                               safetensors_path(file), row->name);
    for (int64_t i = 0; i < entry->count && row->stored != 0; i++)
        out[i] *= (float)(1 / row->stored);
    return STATUS_OK;
}
