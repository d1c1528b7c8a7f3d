/* Recorded ops: what steps of decoding and of training are made of, carried out and replayed, to
 * the same bits. */
#include <stdlib.h>
#include <string.h>

#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "tests/ops/ops.h"

enum { WIDTH = 264, INNER = 640, MOST_ROWS = 20 };

/* out = x + down . swiglu(gate_up . rmsnorm(x)), of `rows` rows, and then out is taken for the
 * gradient of itself: dx, and that of gate_up. */
struct chain {
    struct backend *backend;
    int64_t rows;
    void *x, *rstd, *normed, *gate_up, *inner, *out;
    void *dout, *dinner, *dgate_up, *dnormed, *dx, *dwide;
    const void *norm, *wide, *narrow;
};

static size_t rows_bytes(const struct chain *c) {
    return (size_t)(c->rows * WIDTH) * dtype_size(c->backend->acc);
}

static size_t wide_bytes(const struct chain *c) {
    return (size_t)(2 * INNER * WIDTH) * dtype_size(c->backend->acc);
}

static void run(const struct chain *c) {
    struct backend *b = c->backend;
    b->norm->rmsnorm(b, c->normed, c->rstd, c->x, c->norm, 1e-5, c->rows, WIDTH);
    b->products->matmul(b, into_act(c->gate_up), c->normed, WIDTH, c->wide, NULL, c->rows,
                        2 * INNER, WIDTH);
    b->mlp->swiglu(b, c->inner, c->gate_up, c->rows, INNER);
    b->copy(b, c->out, c->x, (size_t)(c->rows * WIDTH) * dtype_size(b->acc));
    b->products->matmul(b, onto_acc(c->out), c->inner, INNER, c->narrow, NULL, c->rows, WIDTH,
                        INNER);
    b->cast(b, c->dout, c->out, (size_t)(c->rows * WIDTH));
    b->products->matmul_backward_input(b, into_act(c->dinner), c->dout, c->narrow, c->rows, WIDTH,
                                       INNER);
    b->mlp->swiglu_backward(b, c->dgate_up, c->dinner, c->gate_up, c->rows, INNER);
    b->zero(b, c->dwide, wide_bytes(c));
    b->products->matmul_backward_weight(b, c->dwide, c->dgate_up, c->normed, WIDTH, c->rows,
                                        2 * INNER, WIDTH);
    b->products->matmul_backward_input(b, into_act(c->dnormed), c->dgate_up, c->wide, c->rows,
                                       2 * INNER, WIDTH);
    b->copy(b, c->dx, c->out, rows_bytes(c));
    b->norm->rmsnorm_backward(b, c->dx, NULL, c->dnormed, c->x, c->norm, c->rstd, c->rows, WIDTH);
}

enum { RESULT_BYTES = (MOST_ROWS * WIDTH * 2 + 2 * INNER * WIDTH) * 8 };

static void fetch(const struct chain *c, unsigned char *to) {
    struct backend *b = c->backend;
    b->download_bytes(b, to, c->out, rows_bytes(c));
    b->download_bytes(b, to + rows_bytes(c), c->dx, rows_bytes(c));
    b->download_bytes(b, to + 2 * rows_bytes(c), c->dwide, wide_bytes(c));
}

static void clear(const struct chain *c) {
    struct backend *b = c->backend;
    b->zero(b, c->out, rows_bytes(c));
    b->zero(b, c->dx, rows_bytes(c));
    b->zero(b, c->dwide, wide_bytes(c));
}

/* A recording of the chain, which must not have been carried out; NULL where there is none. */
static struct graph *record(struct ops *ops, const struct chain *c) {
    static unsigned char before[RESULT_BYTES], after[sizeof before];
    struct backend *b = c->backend;
    fetch(c, before);
    if (!b->record(b)) return NULL;
    run(c);
    struct graph *graph = b->record_end(b);
    if (!graph) ops_fail(ops, "the recording was not kept");
    fetch(c, after);
    if (memcmp(before, after, sizeof before) != 0) ops_fail(ops, "recorded ops were carried out");
    return graph;
}

/* Once more by the graph, which is recorded again where memory has moved. */
static void repeat(struct ops *ops, const struct chain *c, struct graph **graph) {
    struct backend *b = c->backend;
    if (*graph && b->replay(b, *graph)) return;
    if (*graph) {
        b->graph_free(b, *graph);
        *graph = record(ops, c);
        if (*graph && !b->replay(b, *graph)) ops_fail(ops, "a new graph cannot be replayed");
    }
    if (!*graph) run(c);
}

/* A product whose rounding needs more scratch than the backend begins with. */
static void use_scratch(struct ops *ops) {
    enum { ROWS = 130, COLUMNS = 131072, DEPTH = 8 };
    struct backend *b = ops->backend;
    void *memory[] = {b->alloc(b, ROWS * DEPTH * dtype_size(b->act), "rows"),
                      b->alloc(b, COLUMNS * DEPTH * dtype_size(b->act), "weights"),
                      b->alloc(b, (size_t)ROWS * COLUMNS * dtype_size(b->act), "a product")};
    for (int i = 0; i < 3; i++)
        if (!memory[i]) ops_fail(ops, "%s", status_message());
    if (memory[0] && memory[1] && memory[2]) {
        b->zero(b, memory[0], ROWS * DEPTH * dtype_size(b->act));
        b->zero(b, memory[1], COLUMNS * DEPTH * dtype_size(b->act));
        b->zero(b, memory[2], (size_t)ROWS * COLUMNS * dtype_size(b->act));
        b->products->matmul(b, onto_act(memory[2]), memory[0], DEPTH, memory[1], NULL, ROWS,
                            COLUMNS, DEPTH);
    }
    for (int i = 0; i < 3; i++) b->free(b, memory[i]);
}

void case_graph(struct ops *ops) {
    struct backend *b = ops->backend;
    static unsigned char expected[RESULT_BYTES], got[sizeof expected];
    for (int rows = 1; rows <= MOST_ROWS; rows += rows < 4 ? 3 : 16) {
        struct buffer wide = ops_random(ops, b->act, 2 * INNER, WIDTH, WIDTH, 0.1);
        struct buffer narrow = ops_random(ops, b->act, WIDTH, INNER, INNER, 0.1);
        struct buffer norm = ops_random(ops, b->acc, 1, WIDTH, WIDTH, 1);
        struct buffer x = ops_random(ops, b->acc, rows, WIDTH, WIDTH, 1);
        struct buffer other = ops_random(ops, b->acc, rows, WIDTH, WIDTH, 1);
        struct chain chain = {.backend = b,
                              .rows = rows,
                              .x = x.device,
                              .rstd = ops_output(ops, b->acc, 1, rows, rows).device,
                              .normed = ops_output(ops, b->act, rows, WIDTH, WIDTH).device,
                              .gate_up = ops_output(ops, b->act, rows, 2 * INNER, 2 * INNER).device,
                              .inner = ops_output(ops, b->act, rows, INNER, INNER).device,
                              .out = ops_output(ops, b->acc, rows, WIDTH, WIDTH).device,
                              .dout = ops_output(ops, b->act, rows, WIDTH, WIDTH).device,
                              .dinner = ops_output(ops, b->act, rows, INNER, INNER).device,
                              .dgate_up =
                                  ops_output(ops, b->act, rows, 2 * INNER, 2 * INNER).device,
                              .dnormed = ops_output(ops, b->act, rows, WIDTH, WIDTH).device,
                              .dx = ops_output(ops, b->acc, rows, WIDTH, WIDTH).device,
                              .dwide = ops_output(ops, b->acc, 2 * INNER, WIDTH, WIDTH).device,
                              .norm = norm.device,
                              .wide = wide.device,
                              .narrow = narrow.device};
        size_t bytes = rows_bytes(&chain);
        struct graph *graph = NULL;
        for (int turn = 0; turn < 4; turn++) {
            if (turn == 2) b->copy(b, x.device, other.device, bytes);
            run(&chain);
            fetch(&chain, expected);
            if (turn == 0) graph = record(ops, &chain);
            if (turn == 3) use_scratch(ops);
            clear(&chain);
            repeat(ops, &chain, &graph);
            fetch(&chain, got);
            if (memcmp(got, expected, 2 * bytes + wide_bytes(&chain)) != 0)
                ops_fail(ops, "%d rows, turn %d: a replay gives other bits", rows, turn);
        }
        if (b->sync(b)) ops_fail(ops, "%s", status_message());
        b->graph_free(b, graph);
    }
    b->graph_free(b, NULL);
}
