/* The golden runs of single layers of the demo model: the rows that they take and where they begin.
 */
#ifndef TESTS_GOLDEN_ROWS_H
#define TESTS_GOLDEN_ROWS_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "checkpoint/safetensors.h"
#include "data/tokenset.h"
#include "golden_names.h"

/* The first `steps` golden training batches as rows, then the sixteen held-out sequences. */
static struct tokenset *golden_rows(const struct json *golden, struct safetensors *initial,
                                    size_t steps) {
    enum { BATCH = 8, T = 128, HELDOUT = 16 };
    size_t rows = steps * BATCH + HELDOUT;
    struct tokenset *set = memory_calloc(1, sizeof *set);
    set->rows = rows;
    set->tokens = (uint64_t)rows * T;
    set->ids = memory_calloc(set->tokens, sizeof *set->ids);
    set->row_offsets = memory_calloc(rows + 1, sizeof *set->row_offsets);
    for (uint64_t r = 0; r <= rows; r++) set->row_offsets[r] = r * T;
    const struct safetensors_entry *tokens = safetensors_find(initial, "tokens");
    ck_assert_ptr_nonnull(tokens);
    for (size_t t = 0; t < steps * BATCH * T; t++) {
        int32_t id;
        memcpy(&id, (const char *)tokens->data + 4 * t, 4);
        set->ids[t] = (uint32_t)id;
    }
    for (size_t row = 0; row < HELDOUT; row++)
        for (size_t t = 0; t < T; t++)
            set->ids[(steps * BATCH + row) * T + t] = (uint32_t)js_integer_or(
                js_element(js_element(js_member(golden, "tokens"), row), t), -1);
    return set;
}

/* The golden values of a weight. The caller frees. */
static float *golden_weight(const struct safetensors *initial, int layer,
                            const struct mixer_kind *kind, int weight, int64_t count) {
    float *values = memory_calloc((size_t)count, sizeof *values);
    int64_t read = 0;
    for (int t = 0; t < kind->n_tensors; t++) {
        const char *parts[GOLDEN_PARTS];
        if (kind->tensors[t].weight != weight) continue;
        golden_parts(parts, kind, t);
        for (int i = 0; parts[i]; i++) {
            char name[96];
            snprintf(name, sizeof name, "layer.%d.%s", layer, parts[i]);
            const struct safetensors_entry *entry = safetensors_find(initial, name);
            ck_assert_msg(entry != NULL, "%s is missing", name);
            ck_assert_int_le(read + entry->count, count);
            dtype_to_f32(values + read, entry->data, entry->dtype, (size_t)entry->count);
            read += entry->count;
        }
    }
    ck_assert_int_eq(read, count);
    return values;
}

#endif
