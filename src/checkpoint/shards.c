/* Which safetensors files a model directory consists of. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
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

static enum status open_one(struct checkpoint *checkpoint, const char *name, const char *index) {
    char *path = file_join(checkpoint->directory, name);
    if (!path) return STATUS_FAILED;
    enum status status;
    if (index && !file_exists(path))
        status = status_fail("\"%s\" is missing; \"%s\" lists it", path, index);
    else
        status = safetensors_open(&checkpoint->files[checkpoint->n_files], path);
    if (!status) checkpoint->n_files++;
    free(path);
    return status;
}

/* Every tensor must be in the shard the index names, and no shard may hold one the index places
 * elsewhere or does not know. */
static enum status cross_check(const struct checkpoint *checkpoint, const struct json *weight_map,
                               const char *index) {
    for (void *i = js_first(weight_map); i; i = js_next(weight_map, i)) {
        const char *name = js_string_or(js_value(i), "");
        struct safetensors **file = bsearch(name, checkpoint->files, checkpoint->n_files,
                                            sizeof *checkpoint->files, compare_with_file);
        if (!safetensors_find(*file, js_key(i)))
            return status_fail("\"%s\" places tensor \"%s\" in \"%s\", which does not have it",
                               index, js_key(i), name);
    }
    for (size_t f = 0; f < checkpoint->n_files; f++) {
        const struct safetensors *file = checkpoint->files[f];
        for (size_t i = 0; i < safetensors_count(file); i++) {
            const char *tensor = safetensors_at(file, i)->name;
            const char *placed = js_string_or(js_member(weight_map, tensor), NULL);
            if (!placed)
                return status_fail("\"%s\" has tensor \"%s\", which \"%s\" does not list",
                                   safetensors_path(file), tensor, index);
            if (strcmp(placed, file_name(safetensors_path(file))) != 0)
                return status_fail("\"%s\" has tensor \"%s\", which \"%s\" places in \"%s\"",
                                   safetensors_path(file), tensor, index, placed);
        }
    }
    return STATUS_OK;
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
    if (status) goto done;
    checkpoint->files = memory_calloc(count, sizeof *checkpoint->files);
    if (!checkpoint->files) {
        status = STATUS_FAILED;
        goto done;
    }
    for (size_t i = 0; i < count && !status; i++) status = open_one(checkpoint, names[i], index);
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
        status = open_one(checkpoint, "model.safetensors", NULL);
        if (!status && file_exists(index))
            status = checkpoint_warn(checkpoint,
                                     "\"%s\" has both model.safetensors and an index of shards; "
                                     "the shards are not used",
                                     checkpoint->directory);
    } else if (file_exists(index)) {
        status = open_index(checkpoint, index);
    } else {
        status = status_fail("\"%s\" has neither model.safetensors nor "
                             "model.safetensors.index.json (--random-weights SEED makes weights up "
                             "from config.json)",
                             checkpoint->directory);
    }
done:
    free(single);
    free(index);
    return status;
}
