#define _GNU_SOURCE
#include "checkpoint/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/text.h"

struct writer {
    const char *directory;
    const struct writer_tensor *tensors;
    size_t count;
    int *shard_of; /* [count] */
    int n_shards;
    uint64_t total_bytes;
    const struct json *metadata; /* further pairs, or NULL */

    /* the file being written */
    FILE *file;
    char *path;
    uint64_t left; /* bytes that the current tensor still needs */
};

uint64_t writer_tensor_bytes(const struct writer_tensor *tensor) {
    uint64_t bytes = dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) bytes *= (uint64_t)tensor->shape[i];
    return bytes;
}

static enum status cannot_write(const struct writer *writer) {
    return status_fail("cannot write \"%s\": %s", writer->path, strerror(errno));
}

enum status writer_put(struct writer *writer, const void *bytes, size_t size) {
    if (size > writer->left)
        return status_fail("\"%s\": a tensor was given %zu bytes too many", writer->path,
                           (size_t)(size - writer->left));
    if (fwrite(bytes, 1, size, writer->file) != size) return cannot_write(writer);
    writer->left -= size;
    return STATUS_OK;
}

/* Consecutive tensors share a shard until it is full. */
static enum status plan_shards(struct writer *writer, uint64_t max_bytes) {
    uint64_t used = 0;
    writer->shard_of = memory_calloc(writer->count, sizeof *writer->shard_of);
    if (!writer->shard_of) return STATUS_FAILED;
    for (size_t i = 0; i < writer->count; i++) {
        uint64_t bytes = writer_tensor_bytes(&writer->tensors[i]);
        if (used > 0 && used + bytes > max_bytes) {
            writer->n_shards++;
            used = 0;
        }
        used += bytes;
        writer->total_bytes += bytes;
        writer->shard_of[i] = writer->n_shards;
    }
    writer->n_shards++;
    return STATUS_OK;
}

static char *shard_name(const struct writer *writer, int shard) {
    if (writer->n_shards == 1) return text_format("model.safetensors");
    return text_format("model-%05d-of-%05d.safetensors", shard + 1, writer->n_shards);
}

/* The shard's tensors as indices, wider types first. The caller frees. */
static enum status order_shard(size_t **out, size_t *count, const struct writer *writer,
                               int shard) {
    size_t *order = memory_calloc(writer->count, sizeof *order), used = 0;
    if (!order) return STATUS_FAILED;
    for (size_t size = 8; size > 0; size /= 2)
        for (size_t i = 0; i < writer->count; i++)
            if (writer->shard_of[i] == shard && dtype_size(writer->tensors[i].dtype) == size)
                order[used++] = i;
    *out = order;
    *count = used;
    return STATUS_OK;
}

static struct json *header_of(const struct writer *writer, const size_t *order, size_t count) {
    struct json *header = js_new_object(), *metadata = js_new_object();
    js_set_string(metadata, "format", "pt");
    for (void *i = js_first(writer->metadata); i; i = js_next(writer->metadata, i))
        js_set(metadata, js_key(i), js_copy(js_value(i)));
    js_set(header, "__metadata__", metadata);
    uint64_t offset = 0;
    for (size_t k = 0; k < count; k++) {
        const struct writer_tensor *tensor = &writer->tensors[order[k]];
        struct json *entry = js_new_object(), *shape = js_new_array(), *range = js_new_array();
        for (int i = 0; i < tensor->rank; i++) js_append(shape, js_new_integer(tensor->shape[i]));
        js_append(range, js_new_integer((int64_t)offset));
        offset += writer_tensor_bytes(tensor);
        js_append(range, js_new_integer((int64_t)offset));
        js_set_string(entry, "dtype", dtype_name(tensor->dtype));
        js_set(entry, "shape", shape);
        js_set(entry, "data_offsets", range);
        js_set(header, tensor->name, entry);
    }
    return header;
}

/* Header length, header, and blanks up to a multiple of 8 so that the data is aligned. */
static enum status write_header(struct writer *writer, const size_t *order, size_t count) {
    struct json *header = header_of(writer, order, count);
    char *text = js_print(header, 0);
    js_free(header);
    if (!text) return STATUS_FAILED;
    uint64_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(padded >> (8 * i));
    bool good = fwrite(prefix, 1, 8, writer->file) == 8 &&
                fwrite(text, 1, length, writer->file) == length &&
                fwrite("       ", 1, padded - length, writer->file) == padded - length;
    free(text);
    return good ? STATUS_OK : cannot_write(writer);
}

static enum status close_shard(struct writer *writer, enum status status) {
    if (!writer->file) return status;
    int descriptor = fileno(writer->file);
    if (!status && (fflush(writer->file) != 0 || fsync(descriptor) != 0))
        status = cannot_write(writer);
    /* gigabytes that will not be read soon need not push other files out of memory */
    if (!status) (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    if (fclose(writer->file) != 0 && !status) status = cannot_write(writer);
    writer->file = NULL;
    return status;
}

/* Header and tensors of a shard into the open file. */
static enum status fill_shard(struct writer *writer, const size_t *order, size_t count,
                              writer_fill *fill, void *context) {
    enum status status = write_header(writer, order, count);
    for (size_t k = 0; k < count && !status; k++) {
        const struct writer_tensor *tensor = &writer->tensors[order[k]];
        writer->left = writer_tensor_bytes(tensor);
        status = fill(context, order[k], writer);
        if (!status && writer->left)
            status = status_fail("\"%s\": tensor \"%s\" is %" PRIu64 " bytes short", writer->path,
                                 tensor->name, writer->left);
    }
    return status;
}

static enum status write_shard(struct writer *writer, int shard, writer_fill *fill, void *context) {
    size_t *order = NULL, count = 0;
    enum status status = order_shard(&order, &count, writer, shard);
    char *name = shard_name(writer, shard);
    writer->path = name ? file_join(writer->directory, name) : NULL;
    if (!status && !writer->path) status = STATUS_FAILED;
    if (status) goto done;
    writer->file = fopen(writer->path, "wb");
    if (!writer->file) {
        status = cannot_write(writer);
        goto done;
    }
    status = fill_shard(writer, order, count, fill, context);
    status = close_shard(writer, status);
done:
    free(writer->path);
    writer->path = NULL;
    free(name);
    free(order);
    return status;
}

static enum status write_index(const struct writer *writer) {
    enum status status = STATUS_FAILED;
    struct json *index = js_new_object(), *metadata = js_new_object(), *map = js_new_object();
    js_set_integer(metadata, "total_size", (int64_t)writer->total_bytes);
    js_set(index, "metadata", metadata);
    for (size_t i = 0; i < writer->count; i++) {
        char *name = shard_name(writer, writer->shard_of[i]);
        js_set_string(map, writer->tensors[i].name, name);
        free(name);
    }
    js_set(index, "weight_map", map);
    char *text = js_print(index, 2);
    char *path = file_join(writer->directory, "model.safetensors.index.json");
    if (text && path) status = output_write(path, text, strlen(text), OUTPUT_REPLACE);
    js_free(index);
    free(text);
    free(path);
    return status;
}

enum status writer_write(const char *directory, const struct writer_tensor *tensors, size_t count,
                         uint64_t max_shard_bytes, writer_fill *fill, void *context) {
    struct writer writer = {.directory = directory, .tensors = tensors, .count = count};
    enum status status =
        plan_shards(&writer, max_shard_bytes ? max_shard_bytes : UINT64_C(5000000000));
    for (int shard = 0; shard < writer.n_shards && !status; shard++)
        status = write_shard(&writer, shard, fill, context);
    if (!status && writer.n_shards > 1) status = write_index(&writer);
    if (!status) status = file_sync_directory(directory);
    free(writer.shard_of);
    return status;
}

enum status writer_make(char **out, size_t *size, const struct writer_tensor *tensors, size_t count,
                        const struct json *metadata, writer_fill *fill, void *context) {
    struct writer writer = {.tensors = tensors,
                            .count = count,
                            .metadata = metadata,
                            .path = (char *)"a file in memory"};
    size_t *order = NULL, used = 0;
    *out = NULL;
    enum status status = plan_shards(&writer, UINT64_MAX);
    if (!status) status = order_shard(&order, &used, &writer, 0);
    if (!status) writer.file = open_memstream(out, size);
    if (!status && !writer.file) status = cannot_write(&writer);
    if (!status) status = fill_shard(&writer, order, used, fill, context);
    if (writer.file && fclose(writer.file) != 0 && !status) status = cannot_write(&writer);
    if (status) {
        free(*out);
        *out = NULL;
    }
    free(order);
    free(writer.shard_of);
    return status;
}
