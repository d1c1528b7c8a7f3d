#include "model/sequences.h"

#include <stdlib.h>

#include "base/memory.h"

static enum status fill(struct token_batch *batch, const uint32_t *ids, const uint64_t *offsets,
                        int32_t *host_offsets, int32_t *host_ids, int32_t *host_positions) {
    struct backend *backend = batch->backend;
    struct sequences *sequences = &batch->sequences;
    for (int row = 0; row < sequences->count; row++) {
        int32_t start = (int32_t)(offsets[row] - offsets[0]);
        int32_t end = (int32_t)(offsets[row + 1] - offsets[0]);
        host_offsets[row + 1] = end;
        if (end - start > sequences->longest) sequences->longest = end - start;
        for (int32_t t = start; t < end; t++) {
            host_ids[t] = (int32_t)ids[offsets[0] + (uint64_t)t];
            host_positions[t] = t - start;
        }
    }
    size_t tokens = (size_t)sequences->tokens;
    batch->ids = backend->alloc(backend, tokens * sizeof *batch->ids, "token ids");
    int32_t *positions = backend->alloc(backend, tokens * sizeof *positions, "positions");
    sequences->positions = positions;
    size_t offset_bytes = ((size_t)sequences->count + 1) * sizeof *host_offsets;
    int32_t *device_offsets = backend->alloc(backend, offset_bytes, "row offsets");
    sequences->device_offsets = device_offsets;
    if (!batch->ids || !positions || !device_offsets) return STATUS_FAILED;
    backend->upload_bytes(backend, batch->ids, host_ids, tokens * sizeof *host_ids);
    backend->upload_bytes(backend, positions, host_positions, tokens * sizeof *host_positions);
    backend->upload_bytes(backend, device_offsets, host_offsets, offset_bytes);
    return STATUS_OK;
}

enum status token_batch_create(struct token_batch *out, struct backend *backend,
                               const uint32_t *ids, const uint64_t *offsets, int count) {
    uint64_t tokens = offsets[count] - offsets[0];
    if (tokens > INT32_MAX) return status_fail("a batch of %lu tokens is too large", tokens);
    *out = (struct token_batch){.backend = backend};
    out->sequences.count = count;
    out->sequences.tokens = (int64_t)tokens;
    int32_t *host_offsets = memory_calloc((size_t)count + 1, sizeof *host_offsets);
    int32_t *host_ids = memory_calloc(tokens, sizeof *host_ids);
    int32_t *host_positions = memory_calloc(tokens, sizeof *host_positions);
    out->sequences.offsets = host_offsets;
    enum status status = host_offsets && host_ids && host_positions ? STATUS_OK : STATUS_FAILED;
    if (!status) status = fill(out, ids, offsets, host_offsets, host_ids, host_positions);
    free(host_ids);
    free(host_positions);
    if (status) token_batch_free(out);
    return status;
}

void token_batch_free(struct token_batch *batch) {
    struct backend *backend = batch->backend;
    if (!backend) return;
    backend->free(backend, batch->ids);
    backend->free(backend, (void *)(uintptr_t)batch->sequences.positions);
    backend->free(backend, (void *)(uintptr_t)batch->sequences.device_offsets);
    free((void *)(uintptr_t)batch->sequences.offsets);
    *batch = (struct token_batch){0};
}
