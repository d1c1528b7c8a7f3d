/* The gated delta rule (Yang, Kautz and Hatamizadeh 2024): a linear memory that is corrected. */
#ifndef KERNELS_OPS_DELTA_H
#define KERNELS_OPS_DELTA_H

#include <stdint.h>

/* HK key heads of DK channels, HV value heads of DV; value head j reads key head j / (HV / HK). The
 * GPU has kernels for widths up to 128. */
struct delta_shape {
    int key_heads, value_heads, key_dim, value_dim;
};

struct delta_inputs {
    const void *q; /* act [tokens, HK*DK], after convolution and SiLU, not normalised */
    const void *k; /* act [tokens, HK*DK] */
    const void *v; /* act [tokens, HV*DV] */
    const void *b; /* act [tokens, HV], before the sigmoid */
    const void *a; /* act [tokens, HV], before bias and softplus */
    int64_t q_stride, k_stride, v_stride, b_stride, a_stride;
    const void *dt_bias; /* acc [HV] */
    const void *a_log;   /* acc [HV] */
};

struct delta_gradients {
    void *dq, *dk, *dv, *db, *da; /* act, written; layouts as the inputs, strides of their own */
    int64_t q_stride, k_stride, v_stride, b_stride, a_stride;
    void *ddt_bias, *da_log; /* acc, accumulated; each may be NULL */
};

#endif
