#include "measure/positions.h"

#include <stdlib.h>

#include "base/memory.h"

const char *metric_name(enum metric metric) {
    static const char *const names[METRIC_COUNT] = {"ce", "kl", "rkl", "top1"};
    return names[metric];
}

/* Row `from` of the set becomes row `row` of the batch, its tokens from `at` on. */
static void fill_row(struct positions *out, const struct tokenset *set, int64_t from, int row,
                     int64_t at) {
    uint64_t start = set->row_offsets[from], end = set->row_offsets[from + 1];
    int64_t *counts = out->counts + (int64_t)row * METRIC_COUNT;
    for (uint64_t t = start; t < end; t++, at++) {
        bool has_next = t + 1 < end;
        bool masked_in = set->loss_mask ? has_next && set->loss_mask[t + 1] : true;
        out->row[at] = row;
        out->counted[at] = masked_in;
        out->target[at] = masked_in && has_next ? (int32_t)set->ids[t + 1] : -1;
        counts[METRIC_CE] += out->target[at] >= 0;
        counts[METRIC_KL] += masked_in;
    }
    counts[METRIC_RKL] = counts[METRIC_TOP1] = counts[METRIC_KL];
}

enum status positions_create_rows(struct positions *out, const struct tokenset *set,
                                  const int64_t *rows, int count) {
    size_t tokens = 0;
    for (int i = 0; i < count; i++)
        tokens += (size_t)(set->row_offsets[rows[i] + 1] - set->row_offsets[rows[i]]);
    *out = (struct positions){.tokens = (int64_t)tokens, .rows = count};
    out->row = memory_calloc(tokens, sizeof *out->row);
    out->target = memory_calloc(tokens, sizeof *out->target);
    out->counted = memory_calloc(tokens, sizeof *out->counted);
    out->counts = memory_calloc((size_t)count * METRIC_COUNT, sizeof *out->counts);
    if (!out->row || !out->target || !out->counted || !out->counts) {
        positions_free(out);
        return STATUS_FAILED;
    }
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        fill_row(out, set, rows[i], i, at);
        at += (int64_t)(set->row_offsets[rows[i] + 1] - set->row_offsets[rows[i]]);
    }
    return STATUS_OK;
}

enum status positions_create(struct positions *out, const struct tokenset *set, int64_t first,
                             int rows) {
    int64_t *list = memory_calloc((size_t)rows, sizeof *list);
    if (!list) return STATUS_FAILED;
    for (int i = 0; i < rows; i++) list[i] = first + i;
    enum status status = positions_create_rows(out, set, list, rows);
    free(list);
    return status;
}

void positions_free(struct positions *positions) {
    free(positions->row);
    free(positions->target);
    free(positions->counted);
    free(positions->counts);
    *positions = (struct positions){0};
}

bool positions_any(const struct positions *positions, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++)
        if (positions->counted[t]) return true;
    return false;
}
