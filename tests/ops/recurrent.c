#include "tests/ops/recurrent.h"

#include <string.h>

struct kept recurrent_keep(struct ops *ops, int sequences, int64_t size) {
    struct kept kept = {.sequences = sequences, .size = size};
    int64_t total = (2 * sequences - 1) * size;
    for (int s = 0; s < sequences; s++) kept.slots[s] = 2 * (sequences - 1 - s);
    kept.device_slots = ops_integers(ops, sequences, kept.slots);
    kept.states = ops_random(ops, ops->backend->acc, 1, total, total, 1);
    kept.initial = ops_doubles(ops, sequences * size);
    kept.final = ops_doubles(ops, sequences * size);
    kept.expected = ops_doubles(ops, total);
    for (int s = 0; s < sequences; s++)
        memcpy(kept.initial + s * size, kept.states.values + kept.slots[s] * size,
               (size_t)size * sizeof *kept.initial);
    return kept;
}

void recurrent_expect(struct ops *ops, struct kept *kept) {
    memcpy(kept->expected, kept->states.values,
           (size_t)kept->states.count * sizeof *kept->expected);
    for (int s = 0; s < kept->sequences; s++)
        memcpy(kept->expected + kept->slots[s] * kept->size, kept->final + s * kept->size,
               (size_t)kept->size * sizeof *kept->expected);
    ops_expect(ops, &kept->states, kept->expected, "states");
}

struct buffer recurrent_checkpoints(struct ops *ops, size_t bytes) {
    size_t size = dtype_size(ops->backend->acc);
    int64_t count = (int64_t)((bytes + size - 1) / size);
    return ops_output(ops, ops->backend->acc, 1, count, count);
}

void recurrent_check_guards(struct ops *ops, struct buffer *checkpoints) {
    uint64_t digest = ops->digest;
    ops_fetch(ops, checkpoints, "checkpoints");
    ops->digest = digest;
}

void recurrent_choose_limit(struct ops *ops) {
    if (ops->backend->act == DTYPE_BF16) ops->limit.f32 = ops->limit.bf16;
}
