#include "analysis/positions.h"

#include <stdlib.h>

#include "base/memory.h"

const char *metric_name(enum metric metric) {
    static const char *const names[METRIC_COUNT] = {"ce", "kl", "rkl", "top1"};
    return names[metric];
}

static void fill_row(struct positions *out, const struct tokenset *set, int64_t first, int row) {
    uint64_t base = set->row_offsets[first];
    uint64_t start = set->row_offsets[first + row], end = set->row_offsets[first + row + 1];
    int64_t *counts = out->counts + (int64_t)row * METRIC_COUNT;
    for (uint64_t t = start; t < end; t++) {
        uint64_t i = t - base;
        bool has_next = t + 1 < end;
        bool masked_in = set->loss_mask ? has_next && set->loss_mask[t + 1] : true;
        out->row[i] = row;
        out->counted[i] = masked_in;
        out->target[i] = masked_in && has_next ? (int32_t)set->ids[t + 1] : -1;
        counts[METRIC_CE] += out->target[i] >= 0;
        counts[METRIC_KL] += masked_in;
    }
    counts[METRIC_RKL] = counts[METRIC_TOP1] = counts[METRIC_KL];
}

enum status positions_create(struct positions *out, const struct tokenset *set, int64_t first,
                             int rows) {
    size_t tokens = (size_t)(set->row_offsets[first + rows] - set->row_offsets[first]);
    *out = (struct positions){.tokens = (int64_t)tokens, .rows = rows};
    out->row = memory_calloc(tokens, sizeof *out->row);
    out->target = memory_calloc(tokens, sizeof *out->target);
    out->counted = memory_calloc(tokens, sizeof *out->counted);
    out->counts = memory_calloc((size_t)rows * METRIC_COUNT, sizeof *out->counts);
    if (!out->row || !out->target || !out->counted || !out->counts) {
        positions_free(out);
        return STATUS_FAILED;
    }
    for (int row = 0; row < rows; row++) fill_row(out, set, first, row);
    return STATUS_OK;
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
