#include "data/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum status rows_begin(struct rows *rows, uint64_t seq_len, uint64_t limit, bool pack) {
    *rows = (struct rows){.seq_len = seq_len, .limit = limit, .pack = pack};
    rows->full = rows->pack && rows->seq_len > rows->limit;
    rows->offset_capacity = 1024;
    rows->offsets = memory_calloc(rows->offset_capacity, sizeof *rows->offsets);
    return rows->offsets ? STATUS_OK : STATUS_FAILED;
}

void rows_free(struct rows *rows) {
    free(rows->ids);
    free(rows->mask);
    free(rows->offsets);
    *rows = (struct rows){0};
}

static enum status reserve(struct rows *rows, uint64_t more) {
    uint64_t needed = rows->tokens + rows->pending + more;
    if (needed <= rows->capacity) return STATUS_OK;
    uint64_t capacity = rows->capacity ? rows->capacity : 1 << 16;
    while (capacity < needed) capacity *= 2;
    uint32_t *ids = memory_resize(rows->ids, capacity, sizeof *ids);
    if (!ids) return STATUS_FAILED;
    rows->ids = ids;
    uint8_t *mask = memory_resize(rows->mask, capacity, 1);
    if (!mask) return STATUS_FAILED;
    rows->mask = mask;
    rows->capacity = capacity;
    return STATUS_OK;
}

/* Writes tokens at `at`, where there is room for them. */
static void put(struct rows *rows, uint64_t at, const struct record *record, uint64_t from,
                uint64_t count) {
    if (!count) return;
    memcpy(rows->ids + at, record->ids + from, count * sizeof *rows->ids);
    if (record->mask)
        memcpy(rows->mask + at, record->mask + from, count);
    else
        memset(rows->mask + at, 1, count);
}

static enum status end_row(struct rows *rows, uint64_t length) {
    if (rows->count + 2 > rows->offset_capacity) {
        uint64_t *grown =
            memory_resize(rows->offsets, 2 * rows->offset_capacity, sizeof *rows->offsets);
        if (!grown) return STATUS_FAILED;
        rows->offsets = grown;
        rows->offset_capacity *= 2;
    }
    rows->tokens += length;
    rows->offsets[++rows->count] = rows->tokens;
    return STATUS_OK;
}

/* A row of its own goes in front of the row that is being packed. */
static enum status add_row(struct rows *rows, const struct record *record) {
    uint64_t length = record->count;
    bool cut = rows->seq_len && !record->as_is && length > rows->seq_len;
    if (cut) length = rows->seq_len;
    if (length > rows->limit - rows->tokens) {
        rows->full = true;
        return STATUS_OK;
    }
    enum status status = reserve(rows, length);
    if (status) return status;
    uint64_t at = rows->tokens;
    if (rows->pending) {
        memmove(rows->ids + at + length, rows->ids + at, rows->pending * sizeof *rows->ids);
        memmove(rows->mask + at + length, rows->mask + at, rows->pending);
    }
    put(rows, at, record, 0, length);
    rows->cut += cut;
    rows->has_mask = rows->has_mask || record->mask;
    return end_row(rows, length);
}

static enum status pack(struct rows *rows, const struct record *record) {
    enum status status = reserve(rows, record->count);
    for (uint64_t done = 0; !status && !rows->full && done < record->count;) {
        uint64_t take = rows->seq_len - rows->pending;
        if (take > record->count - done) take = record->count - done;
        put(rows, rows->tokens + rows->pending, record, done, take);
        done += take;
        rows->pending += take;
        if (rows->pending < rows->seq_len) break;
        rows->full = rows->seq_len > rows->limit - rows->tokens;
        if (rows->full) break;
        rows->pending = 0;
        status = end_row(rows, rows->seq_len);
        rows->full = rows->seq_len > rows->limit - rows->tokens; /* the next would not fit */
    }
    rows->has_mask = rows->has_mask || record->mask;
    return status;
}

enum status rows_add(struct rows *rows, const struct record *record) {
    if (rows->full || record->count == 0) return STATUS_OK;
    return rows->pack && !record->as_is ? pack(rows, record) : add_row(rows, record);
}

/* A number below `below`, the same on every machine. */
static uint64_t draw(const struct random_stream *stream, uint64_t index, uint64_t below) {
    uint32_t bits[4];
    random_block(bits, stream, index);
    return (((uint64_t)bits[0] << 32) | bits[1]) % below;
}

static enum status draw_order(uint64_t **out, uint64_t count, uint64_t seed) {
    struct random_stream stream = random_stream_for(seed, -1, "data/shuffle");
    uint64_t *order = memory_calloc(count, sizeof *order);
    if (!order) return STATUS_FAILED;
    for (uint64_t i = 0; i < count; i++) order[i] = i;
    for (uint64_t i = count; i > 1; i--) { /* Fisher and Yates */
        uint64_t other = draw(&stream, i, i), last = order[i - 1];
        order[i - 1] = order[other];
        order[other] = last;
    }
    *out = order;
    return STATUS_OK;
}

/* Row `from` of `old` behind the rows of `rows`. */
static void copy_row(struct rows *rows, const struct rows *old, uint64_t from) {
    uint64_t start = old->offsets[from], length = old->offsets[from + 1] - start;
    memcpy(rows->ids + rows->tokens, old->ids + start, length * sizeof *rows->ids);
    memcpy(rows->mask + rows->tokens, old->mask + start, length);
    rows->tokens += length;
    rows->offsets[++rows->count] = rows->tokens;
}

enum status rows_shuffle(struct rows *rows, uint64_t seed, uint64_t limit_tokens) {
    uint64_t *order = NULL;
    struct rows out = *rows;
    out.limit = limit_tokens ? limit_tokens : UINT64_MAX;
    out.full = false;
    out.tokens = out.count = 0;
    out.capacity = rows->tokens;
    out.offset_capacity = rows->count + 1;
    out.ids = memory_calloc(out.capacity, sizeof *out.ids);
    out.mask = memory_calloc(out.capacity, 1);
    out.offsets = memory_calloc(out.offset_capacity, sizeof *out.offsets);
    enum status status = out.ids && out.mask && out.offsets ? STATUS_OK : STATUS_FAILED;
    if (!status) status = draw_order(&order, rows->count, seed);
    for (uint64_t i = 0; !status && i < rows->count && !out.full; i++) {
        uint64_t length = rows->offsets[order[i] + 1] - rows->offsets[order[i]];
        out.full = length > out.limit - out.tokens;
        if (!out.full) copy_row(&out, rows, order[i]);
    }
    free(order);
    rows_free(status ? &out : rows);
    if (!status) *rows = out;
    return status;
}
