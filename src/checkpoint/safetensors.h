/* One safetensors file, mapped read-only. Layout: 8 bytes little-endian header length, a JSON
 * header {name: {dtype, shape, data_offsets}}, then the tensors' bytes without gaps. */
#ifndef CHECKPOINT_SAFETENSORS_H
#define CHECKPOINT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/hash_cache.h"
#include "base/json.h"
#include "base/status.h"

enum { SAFETENSORS_MAX_RANK = 8 };

struct safetensors_entry {
    const char *name;
    const char *dtype_name; /* as the file says; may be a type we cannot read (F8_E4M3, …) */
    enum dtype dtype;       /* DTYPE_COUNT for those */
    int rank;
    int64_t shape[SAFETENSORS_MAX_RANK];
    int64_t count; /* elements */
    size_t bytes;
    const void *data; /* in the mapping; any alignment */
};

struct safetensors;

/* Map the file and check all of it that can be checked without reading the weights: header length
 * (at most 100 MB, within the file), JSON without duplicate names, sizes equal to shape times
 * dtype, byte ranges inside the file, none overlapping, none unused. The caller closes. */
enum status safetensors_open(struct safetensors **out, const char *path) STATUS_CHECKED;
void safetensors_close(struct safetensors *file);

const char *safetensors_path(const struct safetensors *file);
/* The file that is mapped, as it was when it was opened. */
const struct file_identity *safetensors_identity(const struct safetensors *file);
size_t safetensors_count(const struct safetensors *file);
/* In the order of their bytes. */
const struct safetensors_entry *safetensors_at(const struct safetensors *file, size_t index);
/* NULL when absent. */
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);
/* The "__metadata__" object of strings, or NULL. */
const struct json *safetensors_metadata(const struct safetensors *file);

/* Hints to the kernel about a byte range of a mapping: needed soon, no longer needed. */
void mapping_prefetch(const void *data, size_t bytes);
void mapping_drop(const void *data, size_t bytes);

#endif
