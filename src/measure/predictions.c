#include "measure/predictions.h"

#include <stdlib.h>

#include "base/memory.h"

static enum status allocate(struct predictions *out, int64_t count, int slots) {
    *out = (struct predictions){.slots = slots};
    out->token = memory_calloc((size_t)count, sizeof *out->token);
    out->slot = memory_calloc((size_t)count, sizeof *out->slot);
    out->target = memory_calloc((size_t)count, sizeof *out->target);
    out->counted = memory_calloc((size_t)count, sizeof *out->counted);
    if (out->token && out->slot && out->target && out->counted) return STATUS_OK;
    predictions_free(out);
    return STATUS_FAILED;
}

static void add(struct predictions *out, int64_t token, int32_t slot, int32_t target,
                bool counted) {
    out->token[out->count] = token;
    out->slot[out->count] = slot;
    out->target[out->count] = target;
    out->counted[out->count++] = counted;
}

enum status predictions_of_positions(struct predictions *out, const struct positions *positions) {
    enum status status = allocate(out, positions->tokens, positions->rows);
    if (status) return status;
    for (int64_t t = 0; t < positions->tokens; t++)
        if (positions->counted[t] || positions->target[t] >= 0)
            add(out, t, positions->row[t], positions->target[t], positions->counted[t]);
    return STATUS_OK;
}

enum status predictions_of_choices(struct predictions *out, const struct choice_set *set,
                                   size_t first, size_t end) {
    const struct choice_item *last = &set->items[end - 1];
    size_t first_choice = set->items[first].first;
    size_t choices = last->first + (size_t)last->choices - first_choice;
    int64_t start = (int64_t)set->set.row_offsets[set->items[first].first_row], count = 0;
    if (choices > INT32_MAX) return status_fail("a batch of %zu choices is too large", choices);
    for (size_t c = 0; c < choices; c++) count += set->choices[first_choice + c].count;
    enum status status = allocate(out, count, (int)choices);
    if (status) return status;
    for (size_t c = 0; c < choices; c++) {
        const struct choice *choice = &set->choices[first_choice + c];
        for (int64_t i = 0; i < choice->count; i++)
            add(out, choice->token + i - start, (int32_t)c,
                (int32_t)set->targets[choice->targets + (size_t)i], true);
    }
    return STATUS_OK;
}

void predictions_free(struct predictions *predictions) {
    free(predictions->token);
    free(predictions->slot);
    free(predictions->target);
    free(predictions->counted);
    *predictions = (struct predictions){0};
}
