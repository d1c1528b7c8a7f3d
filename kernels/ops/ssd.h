/* The Mamba-2 recurrence (state space duality, Dao and Gu 2024): one decay a head and token. */
#ifndef KERNELS_OPS_SSD_H
#define KERNELS_OPS_SSD_H

#include <stdint.h>

/* H heads of P channels, G groups of N states; head h reads B and C of group h / (H / G). The GPU
 * has kernels for P up to 128 and N up to 256. */
struct ssd_shape {
    int heads, head_dim, groups, d_state;
};

struct ssd_inputs {
    const void *x;  /* act [tokens, H*P], after convolution and its activation */
    const void *b;  /* act [tokens, G*N] */
    const void *c;  /* act [tokens, G*N] */
    const void *dt; /* act [tokens, H], before bias and softplus */
    int64_t x_stride, b_stride, c_stride, dt_stride;
    const void *dt_bias; /* acc [H] */
    const void *a_log;   /* acc [H] */
    const void *d;       /* acc [H] */
};

struct ssd_gradients {
    void *dx, *db, *dc, *ddt; /* act, written; layouts as the inputs, strides of their own */
    int64_t x_stride, b_stride, c_stride, dt_stride;
    void *ddt_bias, *da_log, *dd; /* acc, accumulated; each may be NULL */
};

#endif
