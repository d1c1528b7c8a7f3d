/* Rows of the residual stream: distances and sums. */
#include <stdlib.h>

#include "kernels/ops/rows.h"
#include "tests/ops/ops.h"

static const struct {
    int64_t rows, width;
} shapes[] = {{1, 1}, {1, 576}, {5, 7}, {67, 132}, {3, 2049}, {40, 5120}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

void case_distance(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int i = 0; i < 2 * SHAPES; i++) {
        int64_t rows = shapes[i / 2].rows, width = shapes[i / 2].width;
        struct buffer x = ops_random(ops, backend->acc, rows, width, width, 1);
        struct buffer y = ops_random(ops, backend->acc, rows, width, width, 1);
        struct buffer out = ops_output(ops, backend->acc, 1, rows, rows);
        double *expected = ops_doubles(ops, rows);
        bool with_y = i % 2;
        for (int64_t k = 0; k < x.count; k++) {
            double difference = x.values[k] - (with_y ? y.values[k] : 0);
            expected[k / width] += difference * difference;
        }
        backend->rows->distance(backend, out.device, x.device, with_y ? y.device : NULL, rows,
                                width);
        ops_expect(ops, &out, expected, "out");
    }
}

void case_add_difference(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int i = 0; i < 4 * SHAPES; i++) {
        int64_t rows = shapes[i / 4].rows, width = shapes[i / 4].width;
        bool with_y = i % 2, scaled = i / 2 % 2;
        struct buffer x = ops_random(ops, backend->acc, rows, width, width, 1);
        struct buffer y = ops_random(ops, backend->acc, rows, width, width, 1);
        struct buffer scale = ops_random(ops, backend->acc, 1, rows, rows, 3);
        struct buffer into = ops_random(ops, backend->acc, rows, width, width, 1);
        double *expected = ops_doubles(ops, into.count);
        for (int64_t k = 0; k < x.count; k++)
            expected[k] = into.values[k] + (scaled ? scale.values[k / width] : 1) *
                                               (x.values[k] - (with_y ? y.values[k] : 0));
        backend->rows->add_difference(backend, into.device, scaled ? scale.device : NULL, x.device,
                                      with_y ? y.device : NULL, rows, width);
        ops_expect(ops, &into, expected, "into");
    }
}
