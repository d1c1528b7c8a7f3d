/* Speed of the Mamba-2 recurrence, the gated delta rule, their norms and steps, beside ceilings
 * measured in the same run: `bench_recurrent [auto|cpu|cuda|cuda:N] [HEADS WIDTH STATES]` (a GPU:
 * Apriel-15B's 40 heads of 128, 32 of the delta rule; the CPU: 9 of 64). Bytes count every operand
 * once, the state that a backward pass restarts from too; the floor is bytes over the speed of a
 * copy or arithmetic over that of a product, whichever is more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "kernels/backend.h"
#include "kernels/ops/delta.h"
#include "kernels/ops/gated_norm.h"
#include "kernels/ops/products.h"
#include "kernels/ops/ssd.h"

struct cut {
    int sequences, length;
};

enum { PARTS = 8, SLOTS = 64 };

struct bench {
    struct backend *b;
    int heads, delta_heads, width, states;
    int64_t tokens;
    struct sequences sequences;
    void *rows, *drows; /* act [tokens, PARTS * heads * width] */
    void *out, *dout;   /* act [tokens, heads * width] */
    void *vector[3], *dvector, *rstd, *checkpoints, *kept;
    int32_t *slots;
    double peak, copy; /* FLOP/s, bytes/s */
};

static void *take(struct bench *t, size_t bytes) {
    void *memory = t->b->alloc(t->b, bytes, "a benchmark's operand");
    if (!memory) {
        fprintf(stderr, "bench_recurrent: %s\n", status_message());
        exit(EXIT_FAILURE);
    }
    return memory;
}

static void *make(struct bench *t, enum dtype type, int64_t count, double scale) {
    struct random_stream random = random_stream_for(1, 0, "bench");
    enum { PERIOD = 10007 };
    size_t size = dtype_size(type);
    char *memory = take(t, (size_t)count * size);
    float values[PERIOD];
    for (int64_t i = 0; i < PERIOD; i++)
        values[i] = (float)(scale * random_normal(&random, (uint64_t)i));
    t->b->upload(t->b, memory, type, values, DTYPE_F32, (size_t)(count < PERIOD ? count : PERIOD));
    for (int64_t done = PERIOD; done < count; done *= 2) { /* the period repeats */
        int64_t more = count - done < done ? count - done : done;
        t->b->copy(t->b, memory + (size_t)done * size, memory, (size_t)more * size);
    }
    return memory;
}

static int32_t *make_integers(struct bench *t, const int32_t *values, int64_t count) {
    int32_t *memory = take(t, (size_t)count * sizeof *memory);
    t->b->upload_bytes(t->b, memory, values, (size_t)count * sizeof *memory);
    return memory;
}

static void cut_tokens(struct bench *t, const struct cut *cut) {
    int32_t *offsets = calloc((size_t)cut->sequences + 1, sizeof *offsets);
    if (!offsets) exit(EXIT_FAILURE);
    for (int s = 0; s <= cut->sequences; s++) offsets[s] = s * cut->length;
    t->tokens = (int64_t)cut->sequences * cut->length;
    t->sequences = (struct sequences){cut->sequences,
                                      cut->length,
                                      t->tokens,
                                      offsets,
                                      make_integers(t, offsets, cut->sequences + 1),
                                      NULL};
}

static int64_t inner(const struct bench *t) {
    return (int64_t)t->heads * t->width;
}

static void *at(const struct bench *t, const void *rows, int64_t column) {
    return act_at(t->b, rows, column);
}

static struct ssd_shape ssd_shape_of(const struct bench *t) {
    return (struct ssd_shape){t->heads, t->width, t->heads, t->states};
}

static struct delta_shape delta_shape_of(const struct bench *t) {
    return (struct delta_shape){t->delta_heads, t->delta_heads, t->width, t->width};
}

static struct ssd_inputs ssd_inputs_of(const struct bench *t) {
    int64_t i = inner(t), n = (int64_t)t->heads * t->states, stride = PARTS * i;
    return (struct ssd_inputs){t->rows,
                               at(t, t->rows, i),
                               at(t, t->rows, i + n),
                               at(t, t->rows, i + 2 * n),
                               stride,
                               stride,
                               stride,
                               stride,
                               t->vector[0],
                               t->vector[1],
                               t->vector[2]};
}

static struct delta_inputs delta_inputs_of(const struct bench *t) {
    int64_t i = inner(t), stride = PARTS * i;
    return (struct delta_inputs){t->rows,
                                 at(t, t->rows, i),
                                 at(t, t->rows, 2 * i),
                                 at(t, t->rows, 3 * i),
                                 at(t, t->rows, 4 * i),
                                 stride,
                                 stride,
                                 stride,
                                 stride,
                                 stride,
                                 t->vector[0],
                                 t->vector[1]};
}

static void run_ssd(struct bench *t) {
    struct ssd_inputs in = ssd_inputs_of(t);
    struct ssd_shape shape = ssd_shape_of(t);
    t->b->ssd->ssd(t->b, t->out, t->checkpoints, NULL, NULL, false, &in, &t->sequences, &shape);
}

static void run_ssd_backward(struct bench *t) {
    struct ssd_inputs in = ssd_inputs_of(t);
    struct ssd_shape shape = ssd_shape_of(t);
    int64_t i = inner(t), n = (int64_t)t->heads * t->states, stride = PARTS * i;
    struct ssd_gradients to = {t->drows,
                               at(t, t->drows, i),
                               at(t, t->drows, i + n),
                               at(t, t->drows, i + 2 * n),
                               stride,
                               stride,
                               stride,
                               stride,
                               t->dvector,
                               t->dvector,
                               t->dvector};
    t->b->ssd->ssd_backward(t->b, &to, t->dout, t->checkpoints, &in, &t->sequences, &shape);
}

static void run_delta(struct bench *t) {
    struct delta_inputs in = delta_inputs_of(t);
    struct delta_shape shape = delta_shape_of(t);
    t->b->delta->delta(t->b, t->out, t->checkpoints, NULL, NULL, false, &in, &t->sequences, &shape);
}

static void run_delta_backward(struct bench *t) {
    struct delta_inputs in = delta_inputs_of(t);
    struct delta_shape shape = delta_shape_of(t);
    int64_t i = inner(t), stride = PARTS * i;
    struct delta_gradients to = {t->drows,
                                 at(t, t->drows, i),
                                 at(t, t->drows, 2 * i),
                                 at(t, t->drows, 3 * i),
                                 at(t, t->drows, 4 * i),
                                 stride,
                                 stride,
                                 stride,
                                 stride,
                                 stride,
                                 t->dvector,
                                 t->dvector};
    t->b->delta->delta_backward(t->b, &to, t->dout, t->checkpoints, &in, &t->sequences, &shape);
}

static void norm(struct bench *t, bool backward, bool first, int heads) {
    const struct gated_norm_ops *ops = t->b->gated_norm;
    struct gated_norm_shape shape = {heads, t->width, first, !first, 1e-5};
    int64_t stride = (int64_t)heads * t->width;
    if (backward)
        ops->gated_norm_backward(t->b, t->drows, at(t, t->drows, t->tokens * stride), stride,
                                 t->dvector, t->dout, t->out, t->rows, stride, t->vector[0],
                                 t->rstd, t->tokens, &shape);
    else
        ops->gated_norm(t->b, t->drows, t->rstd, t->out, t->rows, stride, t->vector[0], t->tokens,
                        &shape);
}

static void run_norm_first(struct bench *t) {
    norm(t, false, true, t->heads);
}
static void run_norm_first_backward(struct bench *t) {
    norm(t, true, true, t->heads);
}
static void run_norm_last(struct bench *t) {
    norm(t, false, false, t->delta_heads);
}
static void run_norm_last_backward(struct bench *t) {
    norm(t, true, false, t->delta_heads);
}

static void run_ssd_step(struct bench *t) {
    struct ssd_inputs in = ssd_inputs_of(t);
    struct ssd_shape shape = ssd_shape_of(t);
    t->b->ssd->ssd_step(t->b, t->out, t->kept, t->slots, &in, SLOTS, &shape);
}
static void run_delta_step(struct bench *t) {
    struct delta_inputs in = delta_inputs_of(t);
    struct delta_shape shape = delta_shape_of(t);
    t->b->delta->delta_step(t->b, t->out, t->kept, t->slots, &in, SLOTS, &shape);
}

/* Seconds of one call: the best of several batches. */
static double measure(struct bench *t, void (*run)(struct bench *)) {
    enum { BATCHES = 5 };
    double best = INFINITY;
    int calls = 1;
    run(t);
    if (t->b->sync(t->b)) {
        printf("%s\n", status_message());
        return NAN;
    }
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = log_seconds();
        for (int i = 0; i < calls; i++) run(t);
        if (t->b->sync(t->b)) return NAN;
        double seconds = (log_seconds() - start) / calls;
        if (seconds < best) best = seconds;
        calls = seconds * calls < 0.01 ? (int)(0.02 / (seconds + 1e-7)) + 1 : calls;
    }
    return best;
}

static void report(struct bench *t, const char *name, void (*run)(struct bench *), double flops,
                   double bytes) {
    double seconds = measure(t, run), floor = fmax(flops / t->peak, bytes / t->copy);
    printf("%-28s %10.4f %10.4f %6.0f%% %10.1f %8.1f\n", name, seconds * 1e3, floor * 1e3,
           100 * floor / seconds, flops / seconds / 1e9, bytes / seconds / 1e9);
    fflush(stdout);
}

static int64_t peak_side(const struct bench *t) {
    return t->b->discrete ? 8192 : 1024;
}

static void run_peak(struct bench *t) {
    int64_t side = peak_side(t);
    t->b->products->matmul(t->b, into_act(t->drows), t->rows, side, t->kept, NULL, side, side,
                           side);
}

enum { COPY_BYTES = 1 << 28 };

static void run_copy(struct bench *t) {
    t->b->copy(t->b, t->drows, t->rows, t->b->discrete ? COPY_BYTES : COPY_BYTES / 8);
}

/* Chunks of 64 tokens, of which each sees half on average. */
static void report_cut(struct bench *t, const struct cut *cut) {
    cut_tokens(t, cut);
    double act = (double)dtype_size(t->b->act), acc = (double)dtype_size(t->b->acc);
    double tokens = (double)t->tokens, h = t->heads, p = t->width, n = t->states;
    double delta = t->delta_heads, states = tokens / 64 * act;
    printf("%d x %d tokens, %d and %d heads of %d, %d states: GEMM %.0f GFLOP/s, copy %.0f GB/s\n",
           cut->sequences, cut->length, t->heads, t->delta_heads, t->width, t->states,
           t->peak / 1e9, t->copy / 1e9);
    printf("%-28s %10s %10s %7s %10s %8s\n", "op", "ms", "floor ms", "share", "GFLOP/s", "GB/s");
    report(t, "ssd", run_ssd, tokens * h * (64 * (n + p) + 4 * n * p),
           tokens * h * (2 * p + 2 * n) * act + states * h * p * n);
    report(t, "ssd_backward", run_ssd_backward, tokens * h * (64 * 3 * (n + p) + 10 * n * p),
           tokens * h * (3 * p + 4 * n) * act + states * h * p * n);
    report(t, "delta", run_delta, tokens * delta * (64 * 5 * p + 6 * p * p),
           tokens * delta * 4 * p * act + states * delta * p * p);
    report(t, "delta_backward", run_delta_backward, tokens * delta * (64 * 13 * p + 16 * p * p),
           tokens * delta * 7 * p * act + states * delta * p * p);
    report(t, "gated_norm, gate first", run_norm_first, 0, tokens * h * (3 * p * act + acc));
    report(t, "gated_norm_backward", run_norm_first_backward, 0, tokens * h * (5 * p * act + acc));
    report(t, "gated_norm, gate last", run_norm_last, 0, tokens * delta * (3 * p * act + acc));
    report(t, "gated_norm_backward", run_norm_last_backward, 0,
           tokens * delta * (5 * p * act + acc));
}

static void prepare(struct bench *t, int64_t most) {
    int64_t i = inner(t), states = i * (t->states > t->width ? t->states : t->width);
    int32_t slots[SLOTS];
    for (int s = 0; s < SLOTS; s++) slots[s] = s;
    t->rows = make(t, t->b->act, most * PARTS * i, 1);
    t->drows = make(t, t->b->act, most * PARTS * i, 1);
    t->out = make(t, t->b->act, most * i, 1);
    t->dout = make(t, t->b->act, most * i, 1);
    for (int k = 0; k < 3; k++) t->vector[k] = make(t, t->b->acc, i, 0.5);
    t->dvector = make(t, t->b->acc, i, 0.5);
    t->rstd = make(t, t->b->acc, most * t->heads, 1);
    t->checkpoints = take(t, (size_t)((most / 64 + 64) * states) * dtype_size(t->b->acc));
    t->kept = make(t, t->b->acc, SLOTS * states, 1e-2);
    t->slots = make_integers(t, slots, SLOTS);
    int64_t side = peak_side(t);
    t->peak = 2 * pow((double)side, 3) / measure(t, run_peak);
    t->copy = 2.0 * (t->b->discrete ? COPY_BYTES : COPY_BYTES / 8) / measure(t, run_copy);
}

int main(int count, char **arguments) {
    static const struct cut gpu[] = {{4, 4096}, {1, 32768}, {16, 1024}};
    static const struct cut cpu[] = {{2, 512}, {1, 2048}, {8, 128}};
    struct bench t = {0};
    if (backend_open(&t.b, count > 1 ? arguments[1] : "auto")) {
        fprintf(stderr, "bench_recurrent: %s\n", status_message());
        return EXIT_FAILURE;
    }
    const struct cut *cuts = t.b->discrete ? gpu : cpu;
    t.heads = count > 2 ? atoi(arguments[2]) : t.b->discrete ? 40 : 9;
    t.width = count > 3 ? atoi(arguments[3]) : t.b->discrete ? 128 : 64;
    t.states = count > 4 ? atoi(arguments[4]) : t.width;
    t.delta_heads = t.b->discrete ? t.heads * 4 / 5 : t.heads;
    prepare(&t, t.b->discrete ? 32768 : 2048);
    for (int k = 0; k < 3; k++) report_cut(&t, &cuts[k]);
    double acc = (double)dtype_size(t.b->acc), h = t.heads, p = t.width;
    report(&t, "ssd_step, 64 sequences", run_ssd_step, 0, SLOTS * h * p * t.states * 2 * acc);
    report(&t, "delta_step, 64 sequences", run_delta_step, 0,
           SLOTS * t.delta_heads * p * p * 2 * acc);
    t.b->close(t.b);
    return EXIT_SUCCESS;
}
