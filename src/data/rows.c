#include "data/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum status rows_begin(struct rows *rows, const struct dataset_options *options) {
    *rows = (struct rows){.seq_len = options->seq_len,
                          .limit = options->limit_tokens ? options->limit_tokens : UINT64_MAX,
                          .pack = options->seq_len && !options->separate};
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
