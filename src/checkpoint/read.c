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

/* ---- from pieces */

/* Elements of a row of the pieces, which have equally many. */
static int64_t columns_of(const struct checkpoint_tensor *tensor) {
    return tensor->count / tensor->shape[0];
}

/* Where element `index` stands, and how many behind it stand behind it there too. */
static const char *locate(int64_t *together, const struct checkpoint_tensor *tensor,
                          int64_t index) {
    const struct tensor_spec *spec = tensor->spec;
    int64_t columns = columns_of(tensor), p = 0;
    while (p + 1 < spec->n_pieces && index >= spec->pieces[p + 1].first * columns) p++;
    const struct tensor_piece *piece = &spec->pieces[p];
    int64_t at = index - piece->first * columns, run = piece->run * columns;
    *together = run - at % run;
    return (const char *)tensor->pieces[p] +
           (size_t)(at / run * piece->stride * columns + at % run) * dtype_size(tensor->stored);
}

/* At most BLOCK elements, in the tensor's type: what the files have, undone. */
static const void *put_together(void *buffer, const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count) {
    const struct tensor_spec *spec = tensor->spec;
    size_t size = dtype_size(tensor->stored);
    bool plain = spec->scale == 1 && !spec->less_one;
    char raw[BLOCK * sizeof(float)];
    float values[BLOCK];
    char *to = plain ? buffer : raw;
    for (int64_t done = 0, together; done < count; done += together) {
        const char *from = locate(&together, tensor, first + done);
        if (together > count - done) together = count - done;
        memcpy(to + (size_t)done * size, from, (size_t)together * size);
    }
    if (plain) return buffer;
    dtype_to_f32(values, raw, tensor->stored, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        values[i] = values[i] / (float)spec->scale + (float)spec->less_one;
    dtype_from_f32(buffer, tensor->dtype, values, (size_t)count);
    return buffer;
}

/* Tell the kernel of elements [first, first + count): `hint` is one of safetensors.h. */
static void hint_pieces(const struct checkpoint_tensor *tensor, int64_t first, int64_t count,
                        void (*hint)(const void *, size_t)) {
    size_t size = dtype_size(tensor->stored);
    if (tensor->data) hint((const char *)tensor->data + (size_t)first * size, (size_t)count * size);
    bool pieces = !tensor->data && tensor->pieces[0];
    for (int64_t done = 0, together; pieces && done < count; done += together) {
        const char *from = locate(&together, tensor, first + done);
        if (together > count - done) together = count - done;
        hint(from, (size_t)together * size);
    }
}

/* One block in the tensor's dtype: straight from the mapping when it is aligned, else through
 * `buffer`. */
static const void *block_bytes(const struct checkpoint *checkpoint,
                               const struct checkpoint_tensor *tensor, int64_t first, int64_t count,
                               void *buffer) {
    size_t size = dtype_size(tensor->dtype);
    if (tensor->pieces[0] && !tensor->data) return put_together(buffer, tensor, first, count);
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

enum status checkpoint_read_padded(const struct checkpoint *checkpoint,
                                   const struct checkpoint_tensor *tensor, int64_t rows,
                                   int64_t columns, int64_t first, int64_t count, float *out) {
    int64_t own = columns_of(tensor);
    enum status status = STATUS_OK;
    if (rows == tensor->shape[0] && columns == own)
        return checkpoint_read_f32(checkpoint, tensor, first, count, out);
    for (int64_t done = 0, n; done < count && !status; done += n) {
        int64_t row = (first + done) / columns, column = (first + done) % columns;
        bool inside = row < tensor->shape[0] && column < own;
        n = (inside ? own : columns) - column;
        if (n > count - done) n = count - done;
        if (inside)
            status = checkpoint_read_f32(checkpoint, tensor, row * own + column, n, out + done);
        else
            memset(out + done, 0, (size_t)n * sizeof *out);
    }
    return status;
}

enum status checkpoint_read_raw(const struct checkpoint *checkpoint,
                                const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count, void *out) {
    return read_elements(checkpoint, tensor, first, count, false, out);
}

enum status checkpoint_check_range(const struct checkpoint *checkpoint,
                                   const struct checkpoint_tensor *tensor, int64_t first,
                                   int64_t count) {
    if (!tensor->data && !tensor->pieces[0]) return STATUS_OK;
    return read_elements(checkpoint, tensor, first, count, false, NULL);
}

void checkpoint_prefetch(const struct checkpoint *checkpoint,
                         const struct checkpoint_tensor *tensor) {
    (void)checkpoint;
    hint_pieces(tensor, 0, tensor->count, mapping_prefetch);
}

void checkpoint_drop(const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor) {
    (void)checkpoint;
    hint_pieces(tensor, 0, tensor->count, mapping_drop);
}

void checkpoint_drop_elements(const struct checkpoint *checkpoint,
                              const struct checkpoint_tensor *tensor, int64_t first,
                              int64_t count) {
    (void)checkpoint;
    hint_pieces(tensor, first, count, mapping_drop);
}
