/* Which safetensors files a model directory consists of. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/locate.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "checkpoint/checkpoint_internal.h"

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_with_file(const void *key, const void *element) {
    return strcmp(key, file_name(safetensors_path(*(struct safetensors *const *)element)));
}

/* A shard's name must be a plain file name: an index is data from elsewhere and must not reach
 * outside its directory. */
static bool plain_name(const char *name) {
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

/* The distinct file names in the weight map, sorted; borrowed from the JSON. */
static enum status list_shards(const char ***out, size_t *count, const struct json *weight_map,
                               const char *index) {
    size_t used = 0, distinct = 0;
    const char **names = memory_calloc(js_count(weight_map), sizeof *names);
    if (!names) return STATUS_FAILED;
    for (void *i = js_first(weight_map); i; i = js_next(weight_map, i)) {
        const char *name = js_string_or(js_value(i), NULL);
        if (!name || !plain_name(name)) {
            enum status status = status_fail("\"%s\": tensor \"%s\": \"%s\" is not a file name in "
                                             "the same directory",
                                             index, js_key(i), name ? name : "null");
            free(names);
            return status;
        }
        names[used++] = name;
    }
    qsort(names, used, sizeof *names, compare_strings);
    for (size_t i = 0; i < used; i++)
        if (i == 0 || strcmp(names[i], names[distinct - 1]) != 0) names[distinct++] = names[i];
    *out = names;
    *count = distinct;
    return STATUS_OK;
}

/* Whether the model needs the tensor that an index or a file calls so. A tied model needs its head
 * only where the embedding is not stored. */
static enum status is_needed(bool *out, const struct checkpoint *checkpoint, const char *stored,
                             const struct json *weight_map) {
    char *name = checkpoint_own_name(checkpoint, stored);
    if (!name) return STATUS_FAILED;
    *out = checkpoint_has(checkpoint, name);
    if (strcmp(name, "lm_head.weight") == 0 && checkpoint->config->tie_word_embeddings) {
        char *embedding = checkpoint_stored_name(checkpoint, "model.embed_tokens.weight");
        *out = embedding && !js_has(weight_map, embedding);
        free(embedding);
    }
    free(name);
    return STATUS_OK;
}

/* Whether a file of the index holds anything that the model needs. */
static enum status is_needed_file(bool *out, const struct checkpoint *checkpoint, const char *name,
                                  const struct json *weight_map) {
    enum status status = STATUS_OK;
    *out = false;
    for (void *i = js_first(weight_map); i && !*out && !status; i = js_next(weight_map, i))
        if (strcmp(js_string_or(js_value(i), ""), name) == 0)
            status = is_needed(out, checkpoint, js_key(i), weight_map);
    return status;
}

static enum status open_one(struct checkpoint *checkpoint, const char *path) {
    enum status status = safetensors_open(&checkpoint->files[checkpoint->n_files], path);
    if (!status) checkpoint->n_files++;
    return status;
}

static enum status open_shard(struct checkpoint *checkpoint, const char *name,
                              const struct json *weight_map, const char *index) {
    char *path = file_join(checkpoint->directory, name);
    bool needed = true;
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    if (!status && file_exists(path)) {
        status = open_one(checkpoint, path);
    } else if (!status) {
        status = is_needed_file(&needed, checkpoint, name, weight_map);
        if (!status && needed && locate_is_link(path))
            status = path_fail(path, ENOENT);
        else if (!status && needed)
            status = status_fail("\"%s\" is missing; \"%s\" lists it", path, index);
        else if (!status)
            status = checkpoint_warn(checkpoint,
                                     "\"%s\", which \"%s\" lists, is missing; nothing "
                                     "in it is used",
                                     path, index);
    }
    free(path);
    return status;
}

/* Every tensor that the model needs must be in the shard the index names, and no shard may hold one
 * that the index places elsewhere or does not know. */
static enum status check_shard(const struct checkpoint *checkpoint, const struct safetensors *file,
                               const struct json *weight_map, const char *index) {
    const char *path = safetensors_path(file);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *tensor = safetensors_at(file, i)->name;
        const char *placed = js_string_or(js_member(weight_map, tensor), NULL);
        bool needed = false;
        if (placed && strcmp(placed, file_name(path)) == 0) continue;
        enum status status = is_needed(&needed, checkpoint, tensor, weight_map);
        if (status) return status;
        if (needed && !placed)
            return status_fail("\"%s\" has tensor \"%s\", which \"%s\" does not list", path, tensor,
                               index);
        if (needed)
            return status_fail("\"%s\" has tensor \"%s\", which \"%s\" places in \"%s\"", path,
                               tensor, index, placed);
    }
    return STATUS_OK;
}

static enum status cross_check(const struct checkpoint *checkpoint, const struct json *weight_map,
                               const char *index) {
    enum status status = STATUS_OK;
    for (void *i = js_first(weight_map); i; i = js_next(weight_map, i)) {
        const char *name = js_string_or(js_value(i), "");
        struct safetensors **file = bsearch(name, checkpoint->files, checkpoint->n_files,
                                            sizeof *checkpoint->files, compare_with_file);
        bool needed = false;
        if (!file || safetensors_find(*file, js_key(i))) continue;
        status = is_needed(&needed, checkpoint, js_key(i), weight_map);
        if (status) return status;
        if (needed)
            return status_fail("\"%s\" places tensor \"%s\" in \"%s\", which does not have it",
                               index, js_key(i), name);
    }
    for (size_t f = 0; f < checkpoint->n_files && !status; f++)
        status = check_shard(checkpoint, checkpoint->files[f], weight_map, index);
    return status;
}

/* From the index: a shard that is not there still has its names in it. */
static enum status find_names_in_index(struct checkpoint *checkpoint,
                                       const struct json *weight_map) {
    struct tensor_names names = {.names = memory_calloc(js_count(weight_map), sizeof *names.names)};
    if (!names.names) return STATUS_FAILED;
    for (void *i = js_first(weight_map); i; i = js_next(weight_map, i))
        names.names[names.count++] = js_key(i);
    enum status status = checkpoint_find_names(checkpoint, &names);
    free(names.names);
    return status;
}

static enum status find_names_in_file(struct checkpoint *checkpoint) {
    const struct safetensors *file = checkpoint->files[0];
    struct tensor_names names = {.names =
                                     memory_calloc(safetensors_count(file), sizeof *names.names)};
    if (!names.names) return STATUS_FAILED;
    for (; names.count < safetensors_count(file); names.count++)
        names.names[names.count] = safetensors_at(file, names.count)->name;
    enum status status = checkpoint_find_names(checkpoint, &names);
    free(names.names);
    return status;
}

static enum status open_index(struct checkpoint *checkpoint, const char *index) {
    struct json *json = NULL;
    const char **names = NULL;
    size_t count = 0;
    enum status status = js_read(&json, index);
    if (status) return status;
    const struct json *weight_map = js_member(json, "weight_map");
    if (!js_is_object(weight_map) || !js_count(weight_map)) {
        status = status_fail("\"%s\": \"weight_map\" is missing or empty", index);
        goto done;
    }
    status = list_shards(&names, &count, weight_map, index);
    if (!status) status = find_names_in_index(checkpoint, weight_map);
    if (status) goto done;
    checkpoint->files = memory_calloc(count, sizeof *checkpoint->files);
    if (!checkpoint->files) {
        status = STATUS_FAILED;
        goto done;
    }
    for (size_t i = 0; i < count && !status; i++)
        status = open_shard(checkpoint, names[i], weight_map, index);
    if (!status) status = cross_check(checkpoint, weight_map, index);
done:
    free(names);
    js_free(json);
    return status;
}

enum status checkpoint_open_files(struct checkpoint *checkpoint) {
    enum status status = STATUS_FAILED;
    char *single = file_join(checkpoint->directory, "model.safetensors");
    char *index = file_join(checkpoint->directory, "model.safetensors.index.json");
    if (!single || !index) goto done;
    if (file_exists(single)) {
        checkpoint->files = memory_calloc(1, sizeof *checkpoint->files);
        if (!checkpoint->files) goto done;
        status = open_one(checkpoint, single);
        if (!status) status = find_names_in_file(checkpoint);
        if (!status && file_exists(index))
            status = checkpoint_warn(checkpoint,
                                     "\"%s\" has both model.safetensors and an index of shards; "
                                     "the shards are not used",
                                     checkpoint->directory);
    } else if (file_exists(index)) {
        status = open_index(checkpoint, index);
    } else {
        status = locate_explain_weights(checkpoint->directory);
    }
done:
    free(single);
    free(index);
    return status;
}
