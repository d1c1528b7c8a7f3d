/* What the cases of recurrences share: states that are kept in slots, and checkpoints. */
#ifndef TESTS_OPS_RECURRENT_H
#define TESTS_OPS_RECURRENT_H

#include "tests/ops/ops.h"

enum { MOST_SEQUENCES = 30 };

/* Slots are dealt out from the end, and one stays unused between every two: its state stays as it
 * was. */
struct kept {
    int sequences;
    int64_t size; /* of a sequence's states */
    int32_t slots[MOST_SEQUENCES];
    struct buffer device_slots, states;
    double *initial, *final, *expected; /* [sequences, size] twice; as the slots */
};
struct kept recurrent_keep(struct ops *ops, int sequences, int64_t size);

/* The states must be kept->final where a sequence has its slot, as they were elsewhere. */
void recurrent_expect(struct ops *ops, struct kept *kept);

/* Room for so many bytes of checkpoints; and a look at its guards: unused parts may keep their NaN.
 */
struct buffer recurrent_checkpoints(struct ops *ops, size_t bytes);
void recurrent_check_guards(struct ops *ops, struct buffer *checkpoints);

/* What a BF16 device keeps in float32 was computed from BF16. */
void recurrent_choose_limit(struct ops *ops);

#endif
