#include "distill/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

static bool has_target(const struct tokenset *set, int64_t row) {
    uint64_t first = set->row_offsets[row] + 1, end = set->row_offsets[row + 1];
    for (uint64_t t = first; t < end; t++)
        if (!set->loss_mask || set->loss_mask[t]) return true;
    return false;
}

enum status distill_rows_open(struct distill_rows *out, const struct tokenset *set, int64_t heldout,
                              bool in_order, uint64_t seed, const char *path) {
    int64_t rows = (int64_t)set->rows, training = rows - heldout;
    *out = (struct distill_rows){.set = set, .epoch = -1, .seed = seed, .in_order = in_order};
    if (training < 1)
        return status_set(STATUS_USAGE,
                          "--heldout %lld: \"%s\" has %lld row%s, which leaves none to train on",
                          (long long)heldout, path, (long long)rows, rows == 1 ? "" : "s");
    out->usable = memory_calloc((size_t)training, sizeof *out->usable);
    out->order = memory_calloc((size_t)training, sizeof *out->order);
    if (!out->usable || !out->order) return STATUS_FAILED;
    for (int64_t row = 0; row < training; row++)
        if (has_target(set, row)) out->usable[out->count++] = row;
    out->left_out = training - out->count;
    bool measurable = heldout == 0;
    for (int64_t row = training; row < rows; row++) measurable |= has_target(set, row);
    if (!out->count || !measurable)
        return status_fail("\"%s\": no token to predict in the rows %s%s", path,
                           out->count ? "that are held out" : "to train on",
                           set->loss_mask ? ": see its loss mask" : "");
    return STATUS_OK;
}

void distill_rows_close(struct distill_rows *rows) {
    free(rows->usable);
    free(rows->order);
    *rows = (struct distill_rows){0};
}

/* Fisher and Yates, with a stream of its own for every epoch. */
static void arrange(struct distill_rows *rows, int64_t epoch) {
    struct random_stream stream = random_stream_for(rows->seed, (int)(epoch % INT32_MAX), "rows");
    memcpy(rows->order, rows->usable, (size_t)rows->count * sizeof *rows->order);
    for (int64_t i = rows->count - 1; !rows->in_order && i > 0; i--) {
        int64_t j = (int64_t)(random_uniform(&stream, (uint64_t)i) * (double)(i + 1));
        int64_t row = rows->order[i];
        rows->order[i] = rows->order[j];
        rows->order[j] = row;
    }
    rows->epoch = epoch;
}

void distill_rows_at(struct distill_rows *rows, int64_t place, int64_t *out, int count) {
    for (int i = 0; i < count; i++) {
        int64_t epoch = (place + i) / rows->count;
        if (epoch != rows->epoch) arrange(rows, epoch);
        out[i] = rows->order[(place + i) % rows->count];
    }
}

static int longer_first(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left > right ? -1 : left < right;
}

int64_t distill_rows_largest(struct distill_rows *rows, int count) {
    const uint64_t *offsets = rows->set->row_offsets;
    int64_t *lengths = rows->order, largest = 0;
    rows->epoch = -1; /* the order is made again */
    for (int64_t i = 0; i < rows->count; i++)
        lengths[i] = (int64_t)(offsets[rows->usable[i] + 1] - offsets[rows->usable[i]]);
    qsort(lengths, (size_t)rows->count, sizeof *lengths, longer_first);
    /* A batch can have a row twice where two epochs meet. */
    for (int i = 0; i < count; i++) largest += lengths[i / 2 < rows->count ? i / 2 : 0];
    return largest;
}

enum status distill_micro_open(struct distill_micro *out, const struct tokenset *set,
                               struct backend *backend, const int64_t *rows, int count) {
    *out = (struct distill_micro){0};
    uint64_t *offsets = memory_calloc((size_t)count + 1, sizeof *offsets);
    if (!offsets) return STATUS_FAILED;
    for (int i = 0; i < count; i++)
        offsets[i + 1] = offsets[i] + set->row_offsets[rows[i] + 1] - set->row_offsets[rows[i]];
    uint32_t *ids = memory_calloc(offsets[count], sizeof *ids);
    for (int i = 0; ids && i < count; i++)
        memcpy(ids + offsets[i], set->ids + set->row_offsets[rows[i]],
               (offsets[i + 1] - offsets[i]) * sizeof *ids);
    enum status status = ids ? STATUS_OK : STATUS_FAILED;
    if (!status) status = positions_create_rows(&out->positions, set, rows, count);
    if (!status) status = token_batch_create(&out->tokens, backend, ids, offsets, count);
    free(ids);
    free(offsets);
    return status;
}

void distill_micro_close(struct distill_micro *micro) {
    token_batch_free(&micro->tokens);
    positions_free(&micro->positions);
    *micro = (struct distill_micro){0};
}
