#include "analysis/hidden.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"

enum status hidden_create(struct hidden *out, const struct tokenset *set, struct backend *backend,
                          int64_t width, const int64_t *rows, int64_t count,
                          const struct hidden_place *place) {
    const struct states_key *key = place ? place->key : NULL;
    *out = (struct hidden){
        .set = set, .backend = backend, .count = count, .width = width, .layer = STATES_NOTHING};
    enum status status = STATUS_OK;
    out->rows = memory_calloc((size_t)count, sizeof *out->rows);
    out->offsets = memory_calloc((size_t)count + 1, sizeof *out->offsets);
    if (!out->rows || !out->offsets) {
        hidden_free(out);
        return STATUS_FAILED;
    }
    for (int64_t i = 0; i < count; i++) {
        out->rows[i] = rows[i];
        out->offsets[i + 1] =
            out->offsets[i] + (int64_t)(set->row_offsets[rows[i] + 1] - set->row_offsets[rows[i]]);
    }
    out->bytes = (size_t)(out->offsets[count] * width) * dtype_size(backend->acc);
    if (key) {
        struct states_key whole = *key;
        whole.shape =
            (struct states_shape){(uint64_t)out->offsets[count], (uint64_t)width, backend->acc};
        status = states_cache_open(&out->cache, &whole);
        if (!status) out->values = states_cache_values(out->cache);
        if (!status) out->layer = states_cache_layer(out->cache);
    } else if (place && place->on_device) {
        out->on_device = true;
        out->values = backend->alloc(backend, out->bytes, "shared inputs");
        status = out->values ? STATUS_OK : STATUS_FAILED;
    } else {
        out->values = backend->host_alloc(backend, out->bytes, "shared inputs");
        status = out->values ? STATUS_OK : STATUS_FAILED;
    }
    if (status) hidden_free(out);
    return status;
}

void hidden_free(struct hidden *hidden) {
    if (hidden->on_device)
        hidden->backend->free(hidden->backend, hidden->values);
    else if (hidden->values && !hidden->cache)
        hidden->backend->host_free(hidden->backend, hidden->values);
    states_cache_close(hidden->cache);
    free(hidden->rows);
    free(hidden->offsets);
    *hidden = (struct hidden){0};
}

static size_t token_bytes(const struct hidden *hidden) {
    return (size_t)hidden->width * dtype_size(hidden->backend->acc);
}

int hidden_group(const struct hidden *hidden, int64_t from, int64_t end, int64_t tokens) {
    if (from < hidden->in_units) return hidden->unit;
    int64_t to = from + 1;
    while (to < end && hidden->offsets[to + 1] - hidden->offsets[from] <= tokens) to++;
    return (int)(to - from);
}

enum status hidden_batch(struct token_batch *out, const struct hidden *hidden, int64_t from,
                         int count, int64_t wrap) {
    const struct tokenset *set = hidden->set;
    uint64_t *offsets = memory_calloc((size_t)count + 1, sizeof *offsets);
    if (!offsets) return STATUS_FAILED;
    for (int i = 0; i < count; i++) {
        int64_t place = (from + i) % wrap;
        offsets[i + 1] =
            offsets[i] + (uint64_t)(hidden->offsets[place + 1] - hidden->offsets[place]);
    }
    uint32_t *ids = memory_calloc(offsets[count], sizeof *ids);
    enum status status = ids ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; !status && i < count; i++) {
        int64_t row = hidden->rows[(from + i) % wrap];
        memcpy(ids + offsets[i], set->ids + set->row_offsets[row],
               (offsets[i + 1] - offsets[i]) * sizeof *ids);
    }
    if (!status) status = token_batch_create(out, hidden->backend, ids, offsets, count);
    free(ids);
    free(offsets);
    return status;
}

enum status hidden_positions(struct positions *out, const struct hidden *hidden, int64_t from,
                             int count, int64_t wrap) {
    int64_t *rows = memory_calloc((size_t)count, sizeof *rows);
    if (!rows) return STATUS_FAILED;
    for (int i = 0; i < count; i++) rows[i] = hidden->rows[(from + i) % wrap];
    enum status status = positions_create_rows(out, hidden->set, rows, count);
    free(rows);
    return status;
}

bool hidden_has_lengths(const struct hidden *hidden, const struct sequences *sequences,
                        int64_t from, int count, int64_t wrap) {
    bool same = sequences->count == count;
    for (int i = 0; same && i < count; i++) {
        int64_t place = (from + i) % wrap;
        same = sequences->offsets[i + 1] - sequences->offsets[i] ==
               hidden->offsets[place + 1] - hidden->offsets[place];
    }
    return same;
}

/* Copy rows between the values and a device array. Values in memory are pinned there; what is
 * queued out of them or into them is over when the backend has been waited for, and close waits. */
static void transfer(const struct hidden *hidden, char *device, int64_t from, int count,
                     int64_t wrap, bool up) {
    struct backend *backend = hidden->backend;
    size_t size = token_bytes(hidden);
    for (int i = 0; i < count; i++) {
        int64_t place = (from + i) % wrap;
        char *host = hidden->values + (size_t)hidden->offsets[place] * size;
        size_t bytes = (size_t)(hidden->offsets[place + 1] - hidden->offsets[place]) * size;
        if (hidden->on_device)
            backend->copy(backend, up ? device : host, up ? host : device, bytes);
        else if (hidden->cache && up)
            backend->upload_bytes(backend, device, host, bytes);
        else if (hidden->cache)
            backend->download_bytes(backend, host, device, bytes);
        else if (up) /* in the order of the ops, and nobody waits */
            backend->queue_upload(backend, QUEUE_COMPUTE, device, DTYPE_U8, host, DTYPE_U8, bytes);
        else
            backend->queue_download(backend, QUEUE_COMPUTE, host, device, bytes);
        device += bytes;
    }
}

void hidden_upload(const struct hidden *hidden, void *device, int64_t from, int count,
                   int64_t wrap) {
    transfer(hidden, device, from, count, wrap, true);
}

/* The largest group there is: its rows and tokens. */
static void measure(const struct hidden *hidden, int64_t tokens, int *rows, int64_t *largest,
                    int *longest) {
    *rows = *longest = 0;
    *largest = 0;
    for (int64_t from = 0; from < hidden->count;) {
        int count = hidden_group(hidden, from, hidden->count, tokens);
        int64_t size = hidden->offsets[from + count] - hidden->offsets[from];
        if (count > *rows) *rows = count;
        if (size > *largest) *largest = size;
        from += count;
    }
    for (int64_t i = 0; i < hidden->count; i++)
        if (hidden->offsets[i + 1] - hidden->offsets[i] > *longest)
            *longest = (int)(hidden->offsets[i + 1] - hidden->offsets[i]);
}

struct pass {
    struct hidden *hidden;
    struct model *model;
    struct trace trace;
    struct acc *device; /* [largest, D] */
    int64_t tokens;
    int longest;
};

static enum status open_pass(struct pass *pass, struct hidden *hidden, struct model *model,
                             int64_t tokens, bool blocks) {
    int rows;
    int64_t largest;
    struct backend *backend = hidden->backend;
    *pass = (struct pass){.hidden = hidden, .model = model, .tokens = tokens};
    measure(hidden, tokens, &rows, &largest, &pass->longest);
    struct trace_needs needs = trace_needs_of(model, rows, largest, pass->longest);
    enum status status = model_prepare(model, pass->longest);
    if (!status && blocks) status = trace_alloc(&pass->trace, model, &needs);
    if (!status) {
        pass->device =
            backend->alloc(backend, (size_t)largest * token_bytes(hidden), "hidden states");
        if (!pass->device) status = STATUS_FAILED;
    }
    return status;
}

static void close_pass(struct pass *pass) {
    struct backend *backend = pass->hidden->backend;
    trace_free(&pass->trace, backend);
    backend->free(backend, pass->device);
}

enum { EMBED_TOKENS = 1 << 14 };

uint64_t hidden_embed_bytes(const struct model *model, int64_t tokens) {
    if (tokens > EMBED_TOKENS) tokens = EMBED_TOKENS;
    return (uint64_t)tokens * (uint64_t)model->config->hidden_size *
           dtype_size(model->backend->acc);
}

/* Every row becomes its embedding: the input of layer 0. */
static enum status embed(struct hidden *hidden, struct model *model) {
    struct pass pass;
    struct backend *backend = hidden->backend;
    enum status status = open_pass(&pass, hidden, model, EMBED_TOKENS, false);
    for (int64_t from = 0; !status && from < hidden->count;) {
        struct token_batch batch;
        int count = hidden_group(hidden, from, hidden->count, pass.tokens);
        status = hidden_batch(&batch, hidden, from, count, hidden->count);
        if (status) break;
        backend->embedding->embed(backend, pass.device, batch.ids, model->embedding,
                                  batch.sequences.tokens, hidden->width);
        transfer(hidden, (char *)pass.device, from, count, hidden->count, false);
        token_batch_free(&batch);
        from += count;
    }
    close_pass(&pass);
    return status ? status : backend->sync(backend);
}

/* One group through layer `index`. */
static enum status advance_group(struct pass *pass, int64_t from, int count, int index) {
    struct hidden *hidden = pass->hidden;
    struct model *model = pass->model;
    struct token_batch batch;
    const struct layer *layer;
    enum status status = model_layer(&layer, model, index);
    if (!status) status = hidden_batch(&batch, hidden, from, count, hidden->count);
    if (status) return status;
    transfer(hidden, (char *)pass->device, from, count, hidden->count, true);
    block_mix(model, layer, &layer->mixer, &pass->trace, pass->device, pass->device,
              &batch.sequences);
    block_mlp(model, layer, &pass->trace, pass->device, pass->device, batch.sequences.tokens);
    transfer(hidden, (char *)pass->device, from, count, hidden->count, false);
    token_batch_free(&batch);
    return STATUS_OK;
}

/* Layer by layer, so that a layer that is not kept is loaded once. */
static enum status run_layers(struct hidden *hidden, struct model *model, int first, int end,
                              int64_t tokens) {
    struct pass pass;
    enum status status = open_pass(&pass, hidden, model, tokens, true);
    for (int l = first; !status && l < end; l++)
        for (int64_t from = 0; !status && from < hidden->count;) {
            int count = hidden_group(hidden, from, hidden->count, tokens);
            status = advance_group(&pass, from, count, l);
            if (!status) status = interrupt_check();
            progress_within(0, "inputs of layer %d", l + 1);
            from += count;
        }
    close_pass(&pass);
    if (!status) status = hidden->backend->sync(hidden->backend);
    return status;
}

enum status hidden_advance(struct hidden *hidden, struct model *model, int layer, int64_t tokens) {
    enum status status = STATUS_OK;
    int from = hidden->layer;
    if (from == layer) return STATUS_OK;
    if (hidden->cache) states_cache_change(hidden->cache);
    hidden->layer = STATES_NOTHING;
    if (from < 0 || from > layer) {
        status = embed(hidden, model);
        from = 0;
    }
    if (!status && from < layer) status = run_layers(hidden, model, from, layer, tokens);
    if (status) return status;
    hidden->layer = layer;
    if (hidden->cache) states_cache_settle(hidden->cache, layer);
    return STATUS_OK;
}
