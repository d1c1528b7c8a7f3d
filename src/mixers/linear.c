#include "mixers/linear.h"

#include "kernels/ops/products.h"

void linear_backward(struct backend *backend, struct act *da, struct acc *dw, struct acc *dbias,
                     const struct act *dout, const struct act *a, int64_t a_stride,
                     const struct act *w, int64_t m, int64_t n, int64_t k) {
    if (dw) backend->products->matmul_backward_weight(backend, dw, dout, a, a_stride, m, n, k);
    if (dbias) backend->products->matmul_backward_bias(backend, dbias, dout, m, n);
    if (da) backend->products->matmul_backward_input(backend, into_act(da), dout, w, m, n, k);
}
