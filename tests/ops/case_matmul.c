/* Embedding and matrix products. */
#include <string.h>

#include "kernels/ops/embedding.h"
#include "kernels/ops/products.h"
#include "tests/ops/ops.h"

enum { VOCABULARY = 23 };

static const struct {
    int64_t tokens, width;
} embed_shapes[] = {{1, 1}, {3, 7}, {50, 33}, {129, 576}};

static int32_t *draw_ids(struct ops *ops, int64_t count, int low, int high) {
    int32_t *ids = (int32_t *)ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) ids[i] = ops_integer(ops, low, high);
    return ids;
}

void case_embed(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (size_t k = 0; k < sizeof embed_shapes / sizeof *embed_shapes; k++) {
        int64_t tokens = embed_shapes[k].tokens, width = embed_shapes[k].width;
        int32_t *ids = draw_ids(ops, tokens, 0, VOCABULARY - 1);
        struct buffer device_ids = ops_integers(ops, tokens, ids);
        struct buffer table = ops_random(ops, backend->act, VOCABULARY, width, width, 1);
        struct buffer out = ops_output(ops, backend->acc, tokens, width, width);
        double *expected = ops_doubles(ops, out.count);
        for (int64_t t = 0; t < tokens; t++)
            memcpy(expected + t * width, table.values + ids[t] * width,
                   (size_t)width * sizeof(double));
        backend->embedding->embed(backend, out.device, device_ids.device, table.device, tokens,
                                  width);
        ops_expect(ops, &out, expected, "out");
    }
}

void case_embed_backward(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (size_t k = 0; k < sizeof embed_shapes / sizeof *embed_shapes; k++) {
        int64_t tokens = embed_shapes[k].tokens, width = embed_shapes[k].width;
        int32_t *ids = draw_ids(ops, tokens, 0, VOCABULARY - 1);
        struct buffer device_ids = ops_integers(ops, tokens, ids);
        struct buffer dout = ops_random(ops, backend->acc, tokens, width, width, 1);
        struct buffer dtable = ops_random(ops, backend->acc, VOCABULARY, width, width, 1);
        double *expected = ops_doubles(ops, dtable.count);
        memcpy(expected, dtable.values, (size_t)dtable.count * sizeof(double));
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t i = 0; i < width; i++)
                expected[ids[t] * width + i] += dout.values[t * width + i];
        backend->embedding->embed_backward(backend, dtable.device, device_ids.device, dout.device,
                                           tokens, width);
        ops_expect(ops, &dtable, expected, "dtable");
    }
}

struct problem {
    int64_t m, n, k, gap; /* gap: a_stride - k */
    bool bias, accumulate, acc;
};

/* Beyond one tile of the CPU (256 x 1024) and of CUDA in every direction, and aligned shapes. */
static const struct problem products[] = {
    {1, 1, 1, 0, false, false, false},
    {5, 7, 3, 2, true, false, true},
    {37, 19, 65, 0, true, true, false},
    {130, 70, 33, 7, false, true, true},
    {259, 1031, 40, 0, true, false, true},
    {64, 96, 128, 128, false, false, false},
    {1, 300, 72, 0, false, true, true},
    {100, 1, 17, 1, true, false, false},
    {192, 256, 512, 0, true, true, false},
    {192, 256, 512, 8, true, false, false},
    /* Few rows, which both devices treat apart. */
    {1, 513, 1032, 0, true, true, true},
    {2, 301, 264, 8, false, false, false},
    {3, 77, 2056, 16, true, true, false},
    {4, 130, 1024, 0, true, false, true},
    {2, 305, 1288, 0, true, true, true},
    {32, 67, 80, 0, false, true, true},
    {31, 3, 33, 5, true, false, false},
};
enum { PRODUCTS = sizeof products / sizeof *products };

/* out [m, n] += left [m, k] . right, element (j, p) of right at j * column + p * inner. */
static void add_product(double *out, const double *left, int64_t row, int64_t row_inner,
                        const double *right, int64_t column, int64_t inner, int64_t m, int64_t n,
                        int64_t k) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += left[i * row + p * row_inner] * right[j * column + p * inner];
            out[i * n + j] += sum;
        }
}

static struct buffer output_or_start(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                                     bool accumulate) {
    return accumulate ? ops_random(ops, type, rows, width, width, 1)
                      : ops_output(ops, type, rows, width, width);
}

static double *start_of(struct ops *ops, const struct buffer *buffer) {
    double *values = ops_doubles(ops, buffer->count);
    if (buffer->values) memcpy(values, buffer->values, (size_t)buffer->count * sizeof(double));
    return values;
}

static struct product product_into(const struct buffer *out, const struct problem *p) {
    struct product to = p->acc ? into_acc(out->device) : into_act(out->device);
    to.add = p->accumulate;
    return to;
}

void case_matmul(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int c = 0; c < PRODUCTS; c++) {
        const struct problem *p = &products[c];
        enum dtype type = p->acc ? backend->acc : backend->act;
        struct buffer a = ops_random(ops, backend->act, p->m, p->k, p->k + p->gap, 1);
        struct buffer w = ops_random(ops, backend->act, p->n, p->k, p->k, 1);
        struct buffer bias = ops_random(ops, backend->acc, 1, p->n, p->n, 1);
        struct buffer out = output_or_start(ops, type, p->m, p->n, p->accumulate);
        double *expected = start_of(ops, &out);
        add_product(expected, a.values, p->k, 1, w.values, p->k, 1, p->m, p->n, p->k);
        for (int64_t i = 0; i < out.count && p->bias; i++) expected[i] += bias.values[i % p->n];
        backend->products->matmul(backend, product_into(&out, p), a.device, a.stride, w.device,
                                  p->bias ? bias.device : NULL, p->m, p->n, p->k);
        ops_expect(ops, &out, expected, "out");
    }
}

void case_matmul_backward_input(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int c = 0; c < PRODUCTS; c++) {
        const struct problem *p = &products[c];
        enum dtype type = p->acc ? backend->acc : backend->act;
        struct buffer dout = ops_random(ops, backend->act, p->m, p->n, p->n, 1);
        struct buffer w = ops_random(ops, backend->act, p->n, p->k, p->k, 1);
        struct buffer da = output_or_start(ops, type, p->m, p->k, p->accumulate);
        double *expected = start_of(ops, &da);
        add_product(expected, dout.values, p->n, 1, w.values, 1, p->k, p->m, p->k, p->n);
        backend->products->matmul_backward_input(backend, product_into(&da, p), dout.device,
                                                 w.device, p->m, p->n, p->k);
        ops_expect(ops, &da, expected, "da");
    }
}

void case_matmul_backward_weight(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int c = 0; c < PRODUCTS; c++) {
        const struct problem *p = &products[c];
        struct buffer dout = ops_random(ops, backend->act, p->m, p->n, p->n, 1);
        struct buffer a = ops_random(ops, backend->act, p->m, p->k, p->k + p->gap, 1);
        struct buffer dw = ops_random(ops, backend->acc, p->n, p->k, p->k, 1);
        double *expected = start_of(ops, &dw);
        add_product(expected, dout.values, 1, p->n, a.values, 1, p->k, p->n, p->k, p->m);
        backend->products->matmul_backward_weight(backend, dw.device, dout.device, a.device,
                                                  a.stride, p->m, p->n, p->k);
        ops_expect(ops, &dw, expected, "dw");
    }
}

void case_matmul_backward_bias(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int c = 0; c < PRODUCTS; c++) {
        const struct problem *p = &products[c];
        struct buffer dout = ops_random(ops, backend->act, p->m, p->n, p->n, 1);
        struct buffer dbias = ops_random(ops, backend->acc, 1, p->n, p->n, 1);
        double *expected = start_of(ops, &dbias);
        for (int64_t i = 0; i < dout.count; i++) expected[i % p->n] += dout.values[i];
        backend->products->matmul_backward_bias(backend, dbias.device, dout.device, p->m, p->n);
        ops_expect(ops, &dbias, expected, "dbias");
    }
}
