#include "checkpoint/checkpoint.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/checkpoint_internal.h"
#include "checkpoint/random_weights.h"

enum status checkpoint_warn(struct checkpoint *checkpoint, const char *format, ...) {
    va_list arguments;
    char text[1024];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char **more = memory_resize(checkpoint->warnings, checkpoint->n_warnings + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    checkpoint->warnings = more;
    more[checkpoint->n_warnings] = memory_copy_string(text);
    if (!more[checkpoint->n_warnings]) return STATUS_FAILED;
    checkpoint->n_warnings++;
    log_warn("%s", text);
    return STATUS_OK;
}

static int compare_tensor_names(const void *a, const void *b) {
    const struct checkpoint_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static const struct safetensors_entry *
find_entry(const struct checkpoint *checkpoint, const struct safetensors **file, const char *name) {
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        const struct safetensors_entry *entry = safetensors_find(checkpoint->files[i], name);
        if (!entry) continue;
        *file = checkpoint->files[i];
        return entry;
    }
    return NULL;
}

/* A tensor as the file has it against what config.json implies. */
static enum status check_entry(const struct checkpoint *checkpoint, const struct tensor_spec *spec,
                               const struct safetensors_entry *entry, const char *path) {
    enum dtype dtype = entry->dtype;
    if (dtype != DTYPE_BF16 && dtype != DTYPE_F16 && dtype != DTYPE_F32)
        return status_fail("\"%s\": tensor \"%s\" is %s; BF16, F16 or F32 is needed", path,
                           spec->name, entry->dtype_name);
    bool same = entry->rank == spec->rank;
    for (int i = 0; i < spec->rank && same; i++) same = entry->shape[i] == spec->shape[i];
    if (same) return STATUS_OK;
    char found[TENSOR_SHAPE_SIZE], wanted[TENSOR_SHAPE_SIZE];
    return status_fail("\"%s\": tensor \"%s\" has shape %s, but \"%s\" implies %s", path,
                       spec->name, tensor_shape_format(found, entry->rank, entry->shape),
                       checkpoint->config_path,
                       tensor_shape_format(wanted, spec->rank, spec->shape));
}

static enum status bind_tensor(struct checkpoint *checkpoint, size_t index) {
    const struct tensor_spec *spec = &checkpoint->specs[index];
    struct checkpoint_tensor *tensor = &checkpoint->tensors[index];
    tensor->name = spec->name;
    tensor->role = spec->role;
    tensor->layer = spec->layer;
    tensor->rank = spec->rank;
    tensor->count = 1;
    for (int i = 0; i < spec->rank; i++) {
        tensor->shape[i] = spec->shape[i];
        tensor->count *= spec->shape[i];
    }
    if (checkpoint->random_weights) {
        tensor->dtype = random_weights_dtype(spec->role);
        tensor->file = checkpoint->config_path;
    } else {
        const struct safetensors *file = NULL;
        const struct safetensors_entry *entry = find_entry(checkpoint, &file, spec->name);
        if (!entry)
            return status_fail("\"%s\": tensor \"%s\" is missing", checkpoint->directory,
                               spec->name);
        enum status status = check_entry(checkpoint, spec, entry, safetensors_path(file));
        if (status) return status;
        tensor->dtype = entry->dtype;
        tensor->data = entry->data;
        tensor->file = safetensors_path(file);
    }
    tensor->bytes = (size_t)tensor->count * dtype_size(tensor->dtype);
    return STATUS_OK;
}

static enum status bind_tensors(struct checkpoint *checkpoint) {
    const struct model_config *config = checkpoint->config;
    enum status status = tensor_spec_list(&checkpoint->specs, &checkpoint->count, config);
    if (status) return status;
    size_t rows = (size_t)config->n_layers + 1;
    checkpoint->tensors = memory_calloc(checkpoint->count, sizeof *checkpoint->tensors);
    checkpoint->by_name = memory_calloc(checkpoint->count, sizeof *checkpoint->by_name);
    checkpoint->by_role = memory_calloc(rows * TENSOR_ROLES, sizeof *checkpoint->by_role);
    if (!checkpoint->tensors || !checkpoint->by_name || !checkpoint->by_role) return STATUS_FAILED;
    for (size_t i = 0; i < checkpoint->count; i++) {
        status = bind_tensor(checkpoint, i);
        if (status) return status;
        struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        checkpoint->by_name[i] = tensor;
        checkpoint->by_role[(size_t)(tensor->layer + 1) * TENSOR_ROLES + tensor->role] = tensor;
    }
    if (config->tie_word_embeddings)
        checkpoint->by_role[TENSOR_HEAD] = checkpoint->by_role[TENSOR_EMBEDDING];
    qsort(checkpoint->by_name, checkpoint->count, sizeof *checkpoint->by_name,
          compare_tensor_names);
    return STATUS_OK;
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* A head stored beside tied embeddings is a harmless copy, or else the config is wrong. */
static enum status check_tied_head(const struct checkpoint *checkpoint,
                                   const struct safetensors_entry *head, const char *path) {
    const struct checkpoint_tensor *embedding = checkpoint_find(checkpoint, -1, TENSOR_EMBEDDING);
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
    if (checkpoint_has(checkpoint, entry->name)) return STATUS_OK;
    if (ends_with(entry->name, "rotary_emb.inv_freq")) return STATUS_OK; /* old exports; derived */
    if (checkpoint->config->tie_word_embeddings && strcmp(entry->name, "lm_head.weight") == 0)
        return check_tied_head(checkpoint, entry, path);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (starts_with(entry->name, own[i]))
            return status_fail("\"%s\": tensor \"%s\" has no place in the %s with %d layers that "
                               "\"%s\" describes",
                               path, entry->name, config_architecture(checkpoint->config),
                               checkpoint->config->n_layers, checkpoint->config_path);
    return checkpoint_warn(checkpoint, "\"%s\": tensor \"%s\" is not used", path, entry->name);
}

static enum status check_all_used(struct checkpoint *checkpoint) {
    for (size_t f = 0; f < checkpoint->n_files; f++) {
        const struct safetensors *file = checkpoint->files[f];
        for (size_t i = 0; i < safetensors_count(file); i++) {
            enum status status =
                check_unused(checkpoint, safetensors_at(file, i), safetensors_path(file));
            if (status) return status;
        }
    }
    return STATUS_OK;
}

enum status checkpoint_open(struct checkpoint **out, const char *directory,
                            const struct checkpoint_options *options) {
    enum status status = STATUS_FAILED;
    struct checkpoint *checkpoint = memory_calloc(1, sizeof *checkpoint);
    if (!checkpoint) return STATUS_FAILED;
    if (options) {
        checkpoint->random_weights = options->random_weights;
        checkpoint->seed = options->seed;
    }
    checkpoint->directory = memory_copy_string(directory);
    checkpoint->config_path = file_join(directory, "config.json");
    if (!checkpoint->directory || !checkpoint->config_path) goto done;
    if (!file_is_directory(directory)) {
        status = status_fail(file_exists(directory) ? "\"%s\" is not a directory with a model in it"
                                                    : "\"%s\" does not exist",
                             directory);
        goto done;
    }
    status = config_read(&checkpoint->config, checkpoint->config_path);
    if (!status && checkpoint->random_weights)
        status = random_weights_quantiles(&checkpoint->quantiles);
    else if (!status)
        status = checkpoint_open_files(checkpoint);
    if (!status) status = bind_tensors(checkpoint);
    if (!status) status = check_all_used(checkpoint);
done:
    if (status)
        checkpoint_close(checkpoint);
    else
        *out = checkpoint;
    return status;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (!checkpoint) return;
    for (size_t i = 0; i < checkpoint->n_files; i++) safetensors_close(checkpoint->files[i]);
    for (size_t i = 0; i < checkpoint->n_warnings; i++) free(checkpoint->warnings[i]);
    free(checkpoint->files);
    free(checkpoint->warnings);
    free(checkpoint->quantiles);
    free(checkpoint->specs);
    free(checkpoint->tensors);
    free(checkpoint->by_role);
    free(checkpoint->by_name);
    free(checkpoint->directory);
    free(checkpoint->config_path);
    config_free(checkpoint->config);
    free(checkpoint);
}

const char *checkpoint_directory(const struct checkpoint *checkpoint) {
    return checkpoint->directory;
}

const struct model_config *checkpoint_config(const struct checkpoint *checkpoint) {
    return checkpoint->config;
}

bool checkpoint_is_random(const struct checkpoint *checkpoint) {
    return checkpoint->random_weights;
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, int layer,
                                                enum tensor_role role) {
    if (layer < -1 || layer >= checkpoint->config->n_layers) return NULL;
    return checkpoint->by_role[(size_t)(layer + 1) * TENSOR_ROLES + role];
}

size_t checkpoint_count(const struct checkpoint *checkpoint) {
    return checkpoint->count;
}

const struct checkpoint_tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index) {
    return &checkpoint->tensors[index];
}

static const struct checkpoint_tensor *find_by_name(const struct checkpoint *checkpoint,
                                                    const char *name) {
    const struct checkpoint_tensor key = {.name = name}, *key_address = &key;
    struct checkpoint_tensor **found = bsearch(&key_address, checkpoint->by_name, checkpoint->count,
                                               sizeof *checkpoint->by_name, compare_tensor_names);
    return found ? *found : NULL;
}

bool checkpoint_has(const struct checkpoint *checkpoint, const char *name) {
    return find_by_name(checkpoint, name) != NULL;
}

enum status checkpoint_get(const struct checkpoint *checkpoint,
                           const struct checkpoint_tensor **out, const char *name, int rank, ...) {
    const struct checkpoint_tensor *tensor = find_by_name(checkpoint, name);
    if (!tensor)
        return status_fail("\"%s\": tensor \"%s\" is missing", checkpoint->directory, name);
    int64_t shape[TENSOR_MAX_RANK] = {0};
    bool same = rank == tensor->rank && rank <= TENSOR_MAX_RANK;
    va_list arguments;
    va_start(arguments, rank);
    for (int i = 0; i < rank && i < TENSOR_MAX_RANK; i++) {
        shape[i] = va_arg(arguments, int64_t);
        if (same) same = shape[i] == tensor->shape[i];
    }
    va_end(arguments);
    if (!same) {
        char found[TENSOR_SHAPE_SIZE], wanted[TENSOR_SHAPE_SIZE];
        return status_fail(
            "\"%s\": tensor \"%s\" has shape %s, expected %s", tensor->file, name,
            tensor_shape_format(found, tensor->rank, tensor->shape),
            tensor_shape_format(wanted, rank < TENSOR_MAX_RANK ? rank : TENSOR_MAX_RANK, shape));
    }
    *out = tensor;
    return STATUS_OK;
}

size_t checkpoint_warning_count(const struct checkpoint *checkpoint) {
    return checkpoint->n_warnings;
}

const char *checkpoint_warning(const struct checkpoint *checkpoint, size_t index) {
    return checkpoint->warnings[index];
}

static bool same_shape(const struct model_config *a, const struct model_config *b) {
    bool same = a->n_layers == b->n_layers && a->hidden_size == b->hidden_size &&
                a->intermediate_size == b->intermediate_size && a->vocab_size == b->vocab_size;
    /* A hybrid without attention need not say what heads it had. */
    return same && (!config_attention_layers(b) ||
                    (a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
                     a->head_dim == b->head_dim));
}

enum status checkpoint_check_hybrid(const struct checkpoint *hybrid,
                                    const struct checkpoint *transformer) {
    if (same_shape(checkpoint_config(transformer), checkpoint_config(hybrid))) return STATUS_OK;
    return status_fail("\"%s\" is not a hybrid of \"%s\": their shapes differ",
                       checkpoint_directory(hybrid), checkpoint_directory(transformer));
}
