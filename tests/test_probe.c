#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/probe.h"
#include "base/json.h"
#include "base/memory.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "model/loading.h"

#define GOLDEN TEST_DATA "/golden/"

/* The golden training batches as rows, then the sixteen held-out sequences. */
static struct tokenset *golden_rows(const struct json *golden, struct safetensors *initial) {
    enum { STEPS = 100, BATCH = 8, T = 128, HELDOUT = 16, ROWS = STEPS * BATCH + HELDOUT };
    struct tokenset *set = memory_calloc(1, sizeof *set);
    set->rows = ROWS;
    set->tokens = (uint64_t)ROWS * T;
    set->ids = memory_calloc(set->tokens, sizeof *set->ids);
    set->row_offsets = memory_calloc(ROWS + 1, sizeof *set->row_offsets);
    for (uint64_t r = 0; r <= ROWS; r++) set->row_offsets[r] = r * T;
    struct safetensors_view tokens;
    ck_assert_int_eq(safetensors_find(&tokens, initial, "tokens"), STATUS_OK);
    for (size_t t = 0; t < (size_t)STEPS * BATCH * T; t++) {
        int32_t id;
        memcpy(&id, (const char *)tokens.data + 4 * t, 4);
        set->ids[t] = (uint32_t)id;
    }
    for (size_t row = 0; row < HELDOUT; row++)
        for (size_t t = 0; t < T; t++)
            set->ids[((size_t)STEPS * BATCH + row) * T + t] = (uint32_t)js_integer_or(
                js_element(js_element(js_member(golden, "tokens"), row), t), -1);
    return set;
}
