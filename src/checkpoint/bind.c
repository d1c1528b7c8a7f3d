/* The tensors that a model needs, found in its files; and what else the files have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "checkpoint/checkpoint_internal.h"
#include "checkpoint/random_weights.h"

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void set_from_spec(struct checkpoint_tensor *tensor, const struct tensor_spec *spec) {
    *tensor = (struct checkpoint_tensor){
        .name = spec->name, .spec = spec, .layer = spec->layer, .rank = spec->rank, .count = 1};
    for (int i = 0; i < spec->rank; i++) {
        tensor->shape[i] = spec->shape[i];
        tensor->count *= spec->shape[i];
    }
}

enum status checkpoint_list_tensors(struct checkpoint *checkpoint) {
    const struct model_config *config = checkpoint->config;
    enum status status = tensor_spec_list(&checkpoint->specs, &checkpoint->count, config);
    if (status) return status;
    size_t rows = (size_t)config->n_layers + 1;
    checkpoint->tensors = memory_calloc(checkpoint->count, sizeof *checkpoint->tensors);
    checkpoint->names =
        memory_calloc(checkpoint->count * TENSOR_MAX_PIECES, sizeof *checkpoint->names);
    checkpoint->by_role = memory_calloc(rows * TENSOR_ROLES, sizeof *checkpoint->by_role);
    if (!checkpoint->tensors || !checkpoint->names || !checkpoint->by_role) return STATUS_FAILED;
    for (size_t i = 0; i < checkpoint->count; i++) {
        struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        set_from_spec(tensor, &checkpoint->specs[i]);
        for (int p = 0; p < tensor->spec->n_pieces; p++)
            checkpoint->names[checkpoint->n_names++] = tensor->spec->pieces[p].name;
        checkpoint
            ->by_role[(size_t)(tensor->layer + 1) * TENSOR_ROLES + (size_t)tensor->spec->role] =
            tensor;
    }
    if (config->tie_word_embeddings)
        checkpoint->by_role[TENSOR_HEAD] = checkpoint->by_role[TENSOR_EMBEDDING];
    qsort(checkpoint->names, checkpoint->n_names, sizeof *checkpoint->names, compare_names);
    return STATUS_OK;
}

static const struct safetensors_entry *find_stored(const struct checkpoint *checkpoint,
                                                   const struct safetensors **file,
                                                   const char *name) {
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        const struct safetensors_entry *entry = safetensors_find(checkpoint->files[i], name);
        if (!entry) continue;
        *file = checkpoint->files[i];
        return entry;
    }
    return NULL;
}

/* safetensors' save_model writes one of the names that share a tensor, and under "__metadata__"
 * which name each of the others is a copy of. */
static const struct safetensors_entry *find_shared(const struct checkpoint *checkpoint,
                                                   const struct safetensors **file,
                                                   const char *name) {
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        const struct json *metadata = safetensors_metadata(checkpoint->files[i]);
        const char *kept = js_string_or(js_member(metadata, name), NULL);
        const struct safetensors_entry *entry = kept ? find_stored(checkpoint, file, kept) : NULL;
        if (entry) return entry;
    }
    return NULL;
}

/* The file's entry for a tensor. A tied embedding may stand there as the head alone. */
static enum status find_entry(const struct safetensors_entry **out, const struct safetensors **file,
                              const struct checkpoint *checkpoint, const struct tensor_spec *spec,
                              const char *name) {
    char *stored = checkpoint_stored_name(checkpoint, name);
    if (!stored) return STATUS_FAILED;
    *out = find_stored(checkpoint, file, stored);
    if (!*out) *out = find_shared(checkpoint, file, stored);
    if (!*out && spec->role == TENSOR_EMBEDDING && checkpoint->config->tie_word_embeddings)
        *out = find_stored(checkpoint, file, checkpoint->head);
    free(stored);
    if (*out) return STATUS_OK;
    return status_fail("\"%s\": tensor \"%s\" is missing", checkpoint->directory, name);
}

/* A tensor as the file has it against what config.json implies. */
static enum status check_entry(const struct checkpoint *checkpoint, const struct tensor_spec *spec,
                               const struct tensor_piece *piece,
                               const struct safetensors_entry *entry, const char *path) {
    enum dtype dtype = entry->dtype;
    if (dtype != DTYPE_BF16 && dtype != DTYPE_F16 && dtype != DTYPE_F32)
        return status_fail("\"%s\": tensor \"%s\" is %s; BF16, F16 or F32 is needed", path,
                           piece->name, entry->dtype_name);
    bool same = entry->rank == spec->rank;
    for (int i = 0; i < spec->rank && same; i++) same = entry->shape[i] == piece->shape[i];
    if (same) return STATUS_OK;
    char found[TENSOR_SHAPE_SIZE], wanted[TENSOR_SHAPE_SIZE];
    return status_fail("\"%s\": tensor \"%s\" has shape %s, but \"%s\" implies %s", path,
                       piece->name, tensor_shape_format(found, entry->rank, entry->shape),
                       checkpoint->config_path,
                       tensor_shape_format(wanted, spec->rank, piece->shape));
}

/* The output gate of a head stands behind its queries. One of zeros is a half, which the output
 * projection makes up for; another one would have to be computed. */
static enum status check_gates(const struct checkpoint_tensor *tensor) {
    const struct tensor_piece *piece = &tensor->spec->pieces[0];
    size_t row = dtype_size(tensor->stored) * (size_t)piece->shape[1];
    size_t run = (size_t)piece->run * row, stride = (size_t)piece->stride * row;
    const char *heads = tensor->pieces[0];
    bool zero = true;
    for (int64_t h = 0; h < piece->rows / piece->run && zero; h++)
        for (size_t i = run; i < stride && zero; i++) zero = !heads[(size_t)h * stride + i];
    mapping_drop(heads, (size_t)piece->shape[0] * row);
    if (zero) return STATUS_OK;
    return status_fail("\"%s\": tensor \"%s\" has an output gate that was trained, which is not "
                       "supported; keep the gate's rows zero (freeze them) while training",
                       tensor->file, piece->name);
}

static enum status bind_piece(struct checkpoint_tensor *tensor, const struct checkpoint *checkpoint,
                              int index) {
    const struct tensor_spec *spec = tensor->spec;
    const struct tensor_piece *piece = &spec->pieces[index];
    const struct safetensors *file = NULL;
    const struct safetensors_entry *entry = NULL;
    enum status status = find_entry(&entry, &file, checkpoint, spec, piece->name);
    if (!status) status = check_entry(checkpoint, spec, piece, entry, safetensors_path(file));
    if (status) return status;
    if (index && entry->dtype != tensor->stored)
        return status_fail("\"%s\": tensor \"%s\" is %s, but \"%s\" is %s", safetensors_path(file),
                           piece->name, entry->dtype_name, spec->pieces[0].name,
                           dtype_name(tensor->stored));
    size_t row = entry->bytes / (size_t)piece->shape[0];
    tensor->stored = entry->dtype;
    tensor->pieces[index] = (const char *)entry->data + (size_t)piece->at * row;
    if (!index) tensor->file = safetensors_path(file);
    return piece->run < piece->rows ? check_gates(tensor) : STATUS_OK;
}

/* Of a mixer that was placed: under the name that its kind has for it, as it is. */
static enum status bind_placed(struct checkpoint_tensor *tensor,
                               const struct checkpoint *checkpoint,
                               const struct checkpoint_placed *placed) {
    const struct tensor_spec *spec = tensor->spec;
    const struct safetensors_entry *entry = safetensors_find(placed->file, spec->row->name);
    struct tensor_piece whole = {.at = 0};
    tensor->file = safetensors_path(placed->file);
    if (!entry)
        return status_fail("\"%s\": tensor \"%s\" is missing", tensor->file, spec->row->name);
    memcpy(whole.name, spec->name, sizeof whole.name);
    memcpy(whole.shape, spec->shape, sizeof whole.shape);
    enum status status = check_entry(checkpoint, spec, &whole, entry, tensor->file);
    tensor->dtype = tensor->stored = entry->dtype;
    tensor->data = entry->data;
    return status;
}

static enum status bind_tensor(struct checkpoint *checkpoint, size_t index) {
    const struct tensor_spec *spec = &checkpoint->specs[index];
    struct checkpoint_tensor *tensor = &checkpoint->tensors[index];
    const struct checkpoint_placed *placed =
        spec->row ? checkpoint_find_placed(checkpoint, spec->layer) : NULL;
    if (placed) {
        enum status status = bind_placed(tensor, checkpoint, placed);
        if (status) return status;
    } else if (checkpoint->random_weights) {
        tensor->dtype = tensor->stored = random_weights_dtype(spec);
        tensor->file = checkpoint->config_path;
    } else {
        enum status status = STATUS_OK;
        for (int i = 0; i < spec->n_pieces && !status; i++)
            status = bind_piece(tensor, checkpoint, i);
        if (status) return status;
        bool whole = spec->n_pieces == 1 && spec->pieces[0].run == spec->pieces[0].rows &&
                     spec->scale == 1 && !spec->less_one;
        tensor->dtype = spec->less_one ? DTYPE_F32 : tensor->stored; /* the sum is exact there */
        if (whole) tensor->data = tensor->pieces[0];
    }
    tensor->bytes = (size_t)tensor->count * dtype_size(tensor->dtype);
    return STATUS_OK;
}

/* A head stored beside tied embeddings is a harmless copy, or else the config is wrong. */
static enum status check_tied_head(const struct checkpoint *checkpoint,
                                   const struct safetensors_entry *head, const char *path) {
    const struct checkpoint_tensor *embedding = checkpoint_find(checkpoint, -1, TENSOR_EMBEDDING);
    if (head->data == embedding->data) return STATUS_OK; /* the embedding is stored as the head */
    bool same = head->dtype == embedding->dtype && head->bytes == embedding->bytes &&
                memcmp(head->data, embedding->data, head->bytes) == 0;
    mapping_drop(head->data, head->bytes);
    checkpoint_drop(checkpoint, embedding);
    if (same) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" differs from the embedding, but \"tie_word_embeddings\" in "
                       "\"%s\" says they are one",
                       path, head->name, checkpoint->config_path);
}

/* A tensor of a module the model has would change what is computed if it were used, so leaving it
 * out silently would be wrong; others (extra heads, towers) are left out with a warning. */
static enum status check_unused(struct checkpoint *checkpoint,
                                const struct safetensors_entry *entry, const char *path) {
    static const char *const own[] = {"model.layers.", "model.decoder.", "model.embed_tokens.",
                                      "model.norm.", "lm_head."};
    if (checkpoint_is_buffer(entry->name)) return STATUS_OK;
    char *name = checkpoint_own_name(checkpoint, entry->name);
    if (!name) return STATUS_FAILED;
    bool used = checkpoint_has(checkpoint, name), refused = false;
    bool tied = checkpoint->config->tie_word_embeddings && strcmp(name, "lm_head.weight") == 0;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        refused = refused || strncmp(name, own[i], strlen(own[i])) == 0;
    int layer, read = 0;
    bool of_replaced = sscanf(name, "model.layers.%d.%n", &layer, &read) == 1 && read > 0 &&
                       checkpoint_find_placed(checkpoint, layer) != NULL;
    free(name);
    if (used || of_replaced) return STATUS_OK;
    if (tied) return check_tied_head(checkpoint, entry, path);
    if (refused)
        return status_fail("\"%s\": tensor \"%s\" has no place in the %s with %d layers that "
                           "\"%s\" describes",
                           path, entry->name, config_architecture(checkpoint->config),
                           checkpoint->config->n_layers, checkpoint->config_path);
    return checkpoint_warn(checkpoint, "\"%s\": tensor \"%s\" is not used", path, entry->name);
}

enum status checkpoint_bind_tensors(struct checkpoint *checkpoint) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < checkpoint->count && !status; i++) status = bind_tensor(checkpoint, i);
    for (size_t f = 0; f < checkpoint->n_files && !status; f++) {
        const struct safetensors *file = checkpoint->files[f];
        for (size_t i = 0; i < safetensors_count(file) && !status; i++)
            status = check_unused(checkpoint, safetensors_at(file, i), safetensors_path(file));
    }
    return status;
}
