/* Writing a checkpoint's weights: safetensors shards with an index, in bounded memory. */
#ifndef CHECKPOINT_WRITER_H
#define CHECKPOINT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/json.h"
#include "base/status.h"
#include "checkpoint/tensors.h"

struct writer_tensor {
    char name[TENSOR_NAME_SIZE];
    enum dtype dtype;
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
};

struct writer;

/* Called once for each tensor, in the order of the file: gives the tensor's bytes to writer_put, in
 * as many pieces as it likes, and returns a failure to stop. */
typedef enum status writer_fill(void *context, size_t index, struct writer *writer);

enum status writer_put(struct writer *writer, const void *bytes, size_t size) STATUS_CHECKED;

/* Write `tensors` [count] into `directory`, which must exist: model.safetensors, or, when the
 * weights exceed `max_shard_bytes` (0: 5 GB), model-0000i-of-0000n.safetensors with
 * model.safetensors.index.json. A shard takes tensors in the given order; inside a file the wider
 * types come first, so that every tensor is aligned. Everything is on the disk (fsync) when this
 * returns; after a failure the directory holds partial files for the caller to remove. */
enum status writer_write(const char *directory, const struct writer_tensor *tensors, size_t count,
                         uint64_t max_shard_bytes, writer_fill *fill, void *context) STATUS_CHECKED;

/* One file's bytes in memory, with these pairs in its header beside "format" (an object of strings,
 * or NULL). The caller frees `*out`. */
enum status writer_make(char **out, size_t *size, const struct writer_tensor *tensors, size_t count,
                        const struct json *metadata, writer_fill *fill,
                        void *context) STATUS_CHECKED;

/* Bytes of one tensor. */
uint64_t writer_tensor_bytes(const struct writer_tensor *tensor);

#endif
