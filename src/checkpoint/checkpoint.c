#include "checkpoint/checkpoint.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/locate.h"
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

const struct checkpoint_placed *checkpoint_find_placed(const struct checkpoint *checkpoint,
                                                       int layer) {
    for (size_t i = 0; i < checkpoint->n_placed; i++)
        if (checkpoint->placed[i].layer == layer) return &checkpoint->placed[i];
    return NULL;
}

/* Mixers from other files take the place of the layers' own. */
static enum status place_mixers(struct checkpoint *checkpoint,
                                const struct checkpoint_options *options) {
    if (!options || !options->n_placed) return STATUS_OK;
    struct model_config *config = checkpoint->config;
    checkpoint->placed = memory_calloc(options->n_placed, sizeof *checkpoint->placed);
    if (!checkpoint->placed) return STATUS_FAILED;
    memcpy(checkpoint->placed, options->placed, options->n_placed * sizeof *checkpoint->placed);
    checkpoint->n_placed = options->n_placed;
    for (size_t i = 0; i < checkpoint->n_placed; i++) {
        const struct checkpoint_placed *placed = &checkpoint->placed[i];
        if (placed->layer < 0 || placed->layer >= config->n_layers)
            return status_fail("\"%s\" has %d layers; there is no layer %d to put a mixer into",
                               checkpoint->directory, config->n_layers, placed->layer);
        config->layers[placed->layer].mixer = placed->sizes;
    }
    return STATUS_OK;
}

enum status checkpoint_open(struct checkpoint **out, const char *directory,
                            const struct checkpoint_options *options) {
    enum status status;
    struct checkpoint *checkpoint = memory_calloc(1, sizeof *checkpoint);
    if (!checkpoint) return STATUS_FAILED;
    if (options) {
        checkpoint->random_weights = options->random_weights;
        checkpoint->seed = options->seed;
    }
    status = locate_directory(&checkpoint->directory, directory);
    if (!status) status = locate_config(&checkpoint->config_path, checkpoint->directory);
    if (!status) status = config_read(&checkpoint->config, checkpoint->config_path);
    if (!status) status = place_mixers(checkpoint, options);
    if (!status) status = checkpoint_list_tensors(checkpoint);
    if (!status && checkpoint->random_weights)
        status = random_weights_quantiles(&checkpoint->quantiles);
    else if (!status)
        status = checkpoint_open_files(checkpoint);
    if (!status) status = checkpoint_bind_tensors(checkpoint);
    if (status)
        checkpoint_close(checkpoint);
    else
        *out = checkpoint;
    return status;
}

enum status checkpoint_read_config(struct model_config **out, const char *directory) {
    char *located = NULL, *path = NULL;
    enum status status = locate_directory(&located, directory);
    if (!status) status = locate_config(&path, located);
    if (!status) status = config_read(out, path);
    free(located);
    free(path);
    return status;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (!checkpoint) return;
    for (size_t i = 0; i < checkpoint->n_files; i++) safetensors_close(checkpoint->files[i]);
    for (size_t i = 0; i < checkpoint->n_warnings; i++) free(checkpoint->warnings[i]);
    free(checkpoint->files);
    free(checkpoint->placed);
    free(checkpoint->warnings);
    free(checkpoint->quantiles);
    free(checkpoint->specs);
    free(checkpoint->tensors);
    free(checkpoint->by_role);
    free(checkpoint->names);
    free(checkpoint->root);
    free(checkpoint->head);
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

const struct checkpoint_tensor *checkpoint_find_mixer(const struct checkpoint *checkpoint,
                                                      int layer, const struct mixer_kind *kind,
                                                      int tensor) {
    if (layer < 0 || layer >= checkpoint->config->n_layers) return NULL;
    /* Kinds may share their tensors. */
    if (checkpoint->config->layers[layer].mixer.kind->tensors != kind->tensors) return NULL;
    return checkpoint_find(checkpoint, layer, (enum tensor_role)(TENSOR_OF_MIXER + tensor));
}

size_t checkpoint_count(const struct checkpoint *checkpoint) {
    return checkpoint->count;
}

const struct checkpoint_tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index) {
    return &checkpoint->tensors[index];
}

static int compare_name(const void *key, const void *element) {
    return strcmp(key, *(const char *const *)element);
}

bool checkpoint_has(const struct checkpoint *checkpoint, const char *name) {
    return bsearch(name, checkpoint->names, checkpoint->n_names, sizeof *checkpoint->names,
                   compare_name) != NULL;
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
    return same &&
           (!config_any_attends(b) || (a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
                                       a->head_dim == b->head_dim));
}

enum status checkpoint_check_hybrid(const struct checkpoint *hybrid,
                                    const struct checkpoint *transformer) {
    if (same_shape(checkpoint_config(transformer), checkpoint_config(hybrid))) return STATUS_OK;
    return status_fail("\"%s\" is not a hybrid of \"%s\": their shapes differ",
                       checkpoint_directory(hybrid), checkpoint_directory(transformer));
}
