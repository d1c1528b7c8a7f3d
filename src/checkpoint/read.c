/* Reading a tensor's elements: widening, checking that they are finite, made-up weights. */
#include <inttypes.h>
#include <string.h>

#include "checkpoint/checkpoint_internal.h"
#include "checkpoint/random_weights.h"
#include "checkpoint/safetensors.h"

/* Work is cut into blocks that fit the first cache level; enough of them are worth all cores. */
enum { BLOCK = 4096, PARALLEL_BLOCKS = 64 };

/* Index of the first NaN or infinity among `count` elements, or -1. Tested by bits, so that no
 * compiler option can make the test vanish. */
static int64_t first_bad(const void *values, enum dtype dtype, int64_t count) {
    const uint16_t *halves = values;
    const uint32_t *words = values;
    uint32_t mask = dtype == DTYPE_F32 ? 0x7f800000u : dtype == DTYPE_BF16 ? 0x7f80u : 0x7c00u;
    bool any = false;
    if (dtype == DTYPE_F32)
        for (int64_t i = 0; i < count; i++) any |= (words[i] & mask) == mask;
    else
        for (int64_t i = 0; i < count; i++) any |= (halves[i] & mask) == mask;
    if (!any) return -1;
    int64_t i = 0;
    while (((dtype == DTYPE_F32 ? words[i] : halves[i]) & mask) != mask) i++;
    return i;
}

/* One block in the tensor's dtype: straight from the mapping when it is aligned, else through
 * `buffer`. */
static const void *block_bytes(const struct checkpoint *checkpoint,
                               const struct checkpoint_tensor *tensor, int64_t first, int64_t count,
                               void *buffer) {
    size_t size = dtype_size(tensor->dtype);
    if (!tensor->data) {
        random_weights_fill(buffer, tensor, checkpoint->seed, checkpoint->quantiles, first, count);
        return buffer;
    }
    const char *bytes = (const char *)tensor->data + (size_t)first * size;
    if ((uintptr_t)bytes % size == 0) return bytes;
    return memcpy(buffer, bytes, (size_t)count * size);
}

static enum status not_finite(const struct checkpoint_tensor *tensor, int64_t element) {
    return status_fail("\"%s\": tensor \"%s\" is not finite (NaN or infinity) at element %" PRId64,
                       tensor->file, tensor->name, element);
}

/* Copies or widens (`widen`) elements to `out`, or only checks them (`out` NULL). */
static enum status read_elements(const struct checkpoint *checkpoint,
                                 const struct checkpoint_tensor *tensor, int64_t first,
                                 int64_t count, bool widen, void *out) {
    if (first < 0 || count < 0 || first > tensor->count || count > tensor->count - first)
        return status_fail("\"%s\": tensor \"%s\" has %" PRId64 " elements; %" PRId64
                           " from %" PRId64 " on were asked for",
                           tensor->file, tensor->name, tensor->count, count, first);
    int64_t blocks = (count + BLOCK - 1) / BLOCK, bad = INT64_MAX;
    size_t size = widen ? sizeof(float) : dtype_size(tensor->dtype);
#pragma omp parallel for schedule(static) reduction(min : bad) if (blocks >= PARALLEL_BLOCKS)
    for (int64_t b = 0; b < blocks; b++) {
        _Alignas(64) char buffer[BLOCK * sizeof(float)];
        int64_t start = b * BLOCK, n = count - start < BLOCK ? count - start : BLOCK;
        const void *bytes = block_bytes(checkpoint, tensor, first + start, n, buffer);
        int64_t found = first_bad(bytes, tensor->dtype, n);
        if (found >= 0 && first + start + found < bad) bad = first + start + found;
        char *target = out ? (char *)out + (size_t)start * size : NULL;
        if (target && widen)
            dtype_to_f32((float *)(void *)target, bytes, tensor->dtype, (size_t)n);
        else if (target)
            memcpy(target, bytes, (size_t)n * size);
    }
    return bad == INT64_MAX ? STATUS_OK : not_finite(tensor, bad);
}

enum status checkpoint_read_f32(const struct checkpoint *checkpoint,
                                const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count, float *out) {
    return read_elements(checkpoint, tensor, first, count, true, out);
}

enum status checkpoint_read_raw(const struct checkpoint *checkpoint,
                                const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count, void *out) {
    return read_elements(checkpoint, tensor, first, count, false, out);
}

enum status checkpoint_check_range(const struct checkpoint *checkpoint,
                                   const struct checkpoint_tensor *tensor, int64_t first,
                                   int64_t count) {
    if (!tensor->data) return STATUS_OK;
    return read_elements(checkpoint, tensor, first, count, false, NULL);
}

void checkpoint_prefetch(const struct checkpoint *checkpoint,
                         const struct checkpoint_tensor *tensor) {
    (void)checkpoint;
    if (tensor->data) mapping_prefetch(tensor->data, tensor->bytes);
}

void checkpoint_drop(const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor) {
    (void)checkpoint;
    if (tensor->data) mapping_drop(tensor->data, tensor->bytes);
}

void checkpoint_drop_elements(const struct checkpoint *checkpoint,
                              const struct checkpoint_tensor *tensor, int64_t first,
                              int64_t count) {
    (void)checkpoint;
    size_t size = dtype_size(tensor->dtype);
    if (tensor->data)
        mapping_drop((const char *)tensor->data + (size_t)first * size, (size_t)count * size);
}
