/* What the op families share: the two element types and the sequences of a batch.
 *
 * `act` is the type of matrix inputs (float32 on the CPU, BF16 on CUDA), `acc` the type of the
 * residual stream, of norm weights and statistics, losses, parameter gradients and optimizer state
 * (float32; both are float64 in the test build of the CPU kernels). Neither struct is ever
 * completed: a pointer to one is memory of a device that holds such elements, and the compiler
 * refuses one where the other belongs. Only a backend knows what lies there. */
#ifndef KERNELS_OPS_TYPES_H
#define KERNELS_OPS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct act;
struct acc;
struct backend;

/* Independent sequences laid end to end without padding: sequence s holds tokens offsets[s] to
 * offsets[s + 1] - 1. */
struct sequences {
    int32_t count;
    int32_t longest;               /* the longest sequence's tokens */
    int64_t tokens;                /* offsets[count] */
    const int32_t *offsets;        /* host [count + 1] */
    const int32_t *device_offsets; /* [count + 1] */
    const int32_t *positions;      /* [tokens]: each token's index in its sequence */
};

#endif
