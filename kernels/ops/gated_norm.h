/* RMSNorm over groups of channels with a SiLU gate before or after it. */
#ifndef KERNELS_OPS_GATED_NORM_H
#define KERNELS_OPS_GATED_NORM_H

#include <stdbool.h>

/* Mamba-2: gate_first, a weight for each channel. Gated DeltaNet: the gate last, one group's
 * weights for all. */
struct gated_norm_shape {
    int groups, width; /* of a row: groups * width channels */
    bool gate_first;   /* norm(x silu(z)) w, else norm(x) w silu(z) */
    bool shared;       /* w acc [width], else [groups * width] */
    double epsilon;
};

#endif
