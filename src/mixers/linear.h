/* Projections, as mixers and blocks use them. */
#ifndef MIXERS_LINEAR_H
#define MIXERS_LINEAR_H

#include "kernels/backend.h"

/* da = dout . w and dw += dout^T . a, db += sum(dout) where they are wanted (NULL: not). w [n, k],
 * dout act [m, n], a act [m, k] with a_stride. */
void linear_backward(struct backend *backend, struct act *da, struct acc *dw, struct acc *dbias,
                     const struct act *dout, const struct act *a, int64_t a_stride,
                     const struct act *w, int64_t m, int64_t n, int64_t k);

#endif
