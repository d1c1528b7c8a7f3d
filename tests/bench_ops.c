/* Every op against its floor: `bench_ops [DEVICE] [TOKENS]`. Sizes are Apriel-15B's. The floor is
 * the bytes that must move (each input read once, each output written once) at the rate of a large
 * device copy, or the arithmetic at the rate of an 8192-cube matrix product, both measured in the
 * same run. Prints one line an op; meson benchmark runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "kernels/backend.h"

enum {
    WIDTH = 5120,
    FFN = 14336,
    HEADS = 32,
    KV_HEADS = 8,
    HEAD_DIM = 128,
    INNER = HEADS * HEAD_DIM,
    SOURCE = KV_HEADS * HEAD_DIM,
    QKV = INNER + 2 * SOURCE,
    NOISE = 1 << 20,
    SHIFT = 101, /* between the noise of neighbouring operands */
    BUFFERS = 10,
    SAMPLES = 5,
};

struct bench {
    struct backend *backend;
    int64_t tokens, rows, vocabulary; /* rows: of logits */
    float *noise;                     /* host [NOISE + SHIFT * BUFFERS], standard normal */
    double bytes_rate, flop_rate;     /* the ceilings; 0 until measured */
    bool failed;
    void *host; /* of transfers */
    enum dtype host_type;
    /* The running op's operands. */
    void *at[BUFFERS];
    int used;
    int64_t m, n, k;
    bool wide, accumulate;
    enum loss_kind kind;
    struct sequences sequences;
    int32_t offsets[2];
    struct mamba_shape mamba;
};

static void *take(struct bench *bench, size_t bytes) {
    void *memory = bench->backend->alloc(bench->backend, bytes, "the benchmark");
    if (!memory) {
        bench->failed = true;
        return NULL;
    }
    return bench->at[bench->used++] = memory;
}

/* Random values: zeros would make the matrix units run faster than real data does. */
static void *fill(struct bench *bench, enum dtype type, int64_t count) {
    char *memory = take(bench, (size_t)count * dtype_size(type));
    for (int64_t start = 0; memory && start < count; start += NOISE) {
        int64_t part = count - start < NOISE ? count - start : NOISE;
        bench->backend->upload(bench->backend, memory + (size_t)start * dtype_size(type), type,
                               bench->noise + SHIFT * bench->used, DTYPE_F32, (size_t)part);
    }
    return memory;
}

static void fill_act(struct bench *bench, int64_t count) {
    (void)fill(bench, bench->backend->act, count);
}

static void fill_acc(struct bench *bench, int64_t count) {
    (void)fill(bench, bench->backend->acc, count);
}

/* Integers below `below`, `step` apart. */
static void fill_integers(struct bench *bench, int64_t count, int64_t step, int64_t below) {
    int32_t *values = memory_calloc((size_t)count, sizeof *values);
    void *memory = values ? take(bench, (size_t)count * sizeof *values) : NULL;
    if (memory) {
        for (int64_t i = 0; i < count; i++) values[i] = (int32_t)(i * step % below);
        bench->backend->upload_bytes(bench->backend, memory, values,
                                     (size_t)count * sizeof *values);
    } else
        bench->failed = true;
    free(values);
}

static void release(struct bench *bench) {
    while (bench->used) bench->backend->free(bench->backend, bench->at[--bench->used]);
}

static double time_calls(struct bench *bench, void (*call)(struct bench *), int calls) {
    double start = log_seconds();
    for (int i = 0; i < calls; i++) call(bench);
    if (bench->backend->sync(bench->backend)) bench->failed = true;
    return (log_seconds() - start) / calls;
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Median seconds of a call, over samples of at least 20 ms each; 0 after a failure. */
static double measure(struct bench *bench, void (*call)(struct bench *)) {
    double samples[SAMPLES];
    if (bench->failed) return 0;
    (void)time_calls(bench, call, 2);
    double once = time_calls(bench, call, 1);
    int calls = once > 0.02 ? 1 : (int)(0.02 / (once + 1e-7)) + 1;
    if (calls > 500) calls = 500;
    for (int i = 0; i < SAMPLES; i++) samples[i] = time_calls(bench, call, calls);
    qsort(samples, SAMPLES, sizeof *samples, by_value);
    return bench->failed ? 0 : samples[SAMPLES / 2];
}

/* One line of the table; the operands are released. */
static void report(struct bench *bench, const char *name, double bytes, double flops,
                   void (*call)(struct bench *)) {
    double seconds = measure(bench, call);
    if (bench->failed)
        printf("%-32s failed: %s\n", name, status_message());
    else if (flops > 0)
        printf("%-32s %9.3f ms %8.1f TFLOP/s %5.1f %%\n", name, 1e3 * seconds,
               1e-12 * flops / seconds, 100 * flops / seconds / bench->flop_rate);
    else
        printf("%-32s %9.3f ms %8.1f GB/s    %5.1f %%\n", name, 1e3 * seconds,
               1e-9 * bytes / seconds, 100 * bytes / seconds / bench->bytes_rate);
    fflush(stdout);
    release(bench);
}

static double act_bytes(const struct bench *bench, double count) {
    return count * (double)dtype_size(bench->backend->act);
}

static double acc_bytes(const struct bench *bench, double count) {
    return count * (double)dtype_size(bench->backend->acc);
}

static void call_copy(struct bench *bench) {
    bench->backend->copy(bench->backend, bench->at[1], bench->at[0], (size_t)bench->n);
}

static void bench_copy(struct bench *bench) {
    bench->n = bench->tokens * WIDTH * 8;
    fill_acc(bench, bench->n / (int64_t)dtype_size(bench->backend->acc));
    (void)take(bench, (size_t)bench->n);
    bench->bytes_rate = 2 * (double)bench->n / measure(bench, call_copy);
    report(bench, "copy (ceiling)", 2 * (double)bench->n, 0, call_copy);
}

static void call_upload(struct bench *bench) {
    bench->backend->upload(bench->backend, bench->at[0], bench->backend->act, bench->host,
                           bench->host_type, (size_t)bench->n);
}

static void call_download(struct bench *bench) {
    bench->backend->download(bench->backend, bench->host, bench->host_type, bench->at[0],
                             bench->backend->act, (size_t)bench->n);
}

/* The bus has no ceiling here: the host's rate in bytes of its own type is shown. */
static void bench_transfer(struct bench *bench, const char *name, enum dtype host_type,
                           void (*call)(struct bench *)) {
    bench->n = bench->tokens * WIDTH;
    bench->host_type = host_type;
    size_t bytes = (size_t)bench->n * dtype_size(host_type);
    bench->host = memory_aligned(bytes);
    if (bench->host)
        memset(bench->host, 1, bytes); /* untouched pages would all be the one of zeros */
    else
        bench->failed = true;
    fill_act(bench, bench->n);
    double seconds = measure(bench, call);
    if (!bench->failed)
        printf("%-32s %9.3f ms %8.1f GB/s\n", name, 1e3 * seconds, 1e-9 * (double)bytes / seconds);
    release(bench);
    free(bench->host);
}

static void bench_transfers(struct bench *bench) {
    bench_transfer(bench, "upload BF16", DTYPE_BF16, call_upload);
    bench_transfer(bench, "upload F32", DTYPE_F32, call_upload);
    bench_transfer(bench, "download BF16", DTYPE_BF16, call_download);
    bench_transfer(bench, "download F32", DTYPE_F32, call_download);
}

static void call_matmul(struct bench *bench) {
    enum dtype out = bench->wide ? bench->backend->acc : bench->backend->act;
    bench->backend->matmul(bench->backend, bench->at[2], out, bench->at[0], bench->k, bench->at[1],
                           NULL, bench->accumulate, bench->m, bench->n, bench->k);
}

static void call_backward_input(struct bench *bench) {
    bench->backend->matmul_backward_input(bench->backend, bench->at[0], bench->backend->act,
                                          bench->at[2], bench->at[1], false, bench->m, bench->n,
                                          bench->k);
}

static void call_backward_weight(struct bench *bench) {
    bench->backend->matmul_backward_weight(bench->backend, bench->at[3], bench->at[2], bench->at[0],
                                           bench->k, bench->m, bench->n, bench->k);
}

static void set_matmul(struct bench *bench, int64_t m, int64_t n, int64_t k, bool wide,
                       bool accumulate) {
    bench->m = m;
    bench->n = n;
    bench->k = k;
    bench->wide = wide;
    bench->accumulate = accumulate;
    fill_act(bench, m * k);
    fill_act(bench, n * k);
    (void)fill(bench, wide ? bench->backend->acc : bench->backend->act, m * n);
}

static void bench_matmul(struct bench *bench, const char *name, int64_t m, int64_t n, int64_t k,
                         bool wide, bool accumulate) {
    double flops = 2 * (double)m * (double)n * (double)k;
    set_matmul(bench, m, n, k, wide, accumulate);
    report(bench, name, 0, flops, call_matmul);
}

static void bench_matmuls(struct bench *bench) {
    int64_t side = bench->tokens < 8192 ? 1024 : 8192, t = bench->tokens;
    set_matmul(bench, side, side, side, false, false);
    bench->flop_rate = 2 * (double)side * (double)side * (double)side / measure(bench, call_matmul);
    release(bench);
    bench_matmul(bench, "matmul cube (ceiling)", side, side, side, false, false);
    bench_matmul(bench, "matmul qkv", t, QKV, WIDTH, false, false);
    bench_matmul(bench, "matmul attention out, += acc", t, WIDTH, INNER, true, true);
    bench_matmul(bench, "matmul gate_up", t, 2 * FFN, WIDTH, false, false);
    bench_matmul(bench, "matmul down, += acc", t, WIDTH, FFN, true, true);
    bench_matmul(bench, "matmul head, acc", bench->rows, bench->vocabulary, WIDTH, true, false);
    double flops = 2 * (double)t * (2 * FFN) * WIDTH;
    set_matmul(bench, t, 2 * FFN, WIDTH, false, false);
    report(bench, "matmul_backward_input gate_up", 0, flops, call_backward_input);
    flops = 2 * (double)bench->rows * (double)bench->vocabulary * WIDTH;
    set_matmul(bench, bench->rows, bench->vocabulary, WIDTH, false, false);
    report(bench, "matmul_backward_input head", 0, flops, call_backward_input);
    flops = 2 * (double)t * QKV * WIDTH;
    set_matmul(bench, t, QKV, WIDTH, false, false);
    fill_acc(bench, (int64_t)QKV * WIDTH);
    report(bench, "matmul_backward_weight qkv", 0, flops, call_backward_weight);
}

static void call_backward_bias(struct bench *bench) {
    bench->backend->matmul_backward_bias(bench->backend, bench->at[1], bench->at[0], bench->tokens,
                                         INNER);
}

static void call_embed(struct bench *bench) {
    bench->backend->embed(bench->backend, bench->at[2], bench->at[1], bench->at[0], bench->tokens,
                          WIDTH);
}

static void call_embed_backward(struct bench *bench) {
    bench->backend->embed_backward(bench->backend, bench->at[0], bench->at[1], bench->at[2],
                                   bench->tokens, WIDTH);
}

static void bench_embed(struct bench *bench) {
    double cells = (double)bench->tokens * WIDTH;
    fill_act(bench, bench->vocabulary * WIDTH);
    fill_integers(bench, bench->tokens, 7919, bench->vocabulary);
    fill_acc(bench, bench->tokens * WIDTH);
    report(bench, "embed", act_bytes(bench, cells) + acc_bytes(bench, cells), 0, call_embed);
    fill_acc(bench, bench->vocabulary * WIDTH);
    fill_integers(bench, bench->tokens, 7919, bench->vocabulary);
    fill_acc(bench, bench->tokens * WIDTH);
    report(bench, "embed_backward", acc_bytes(bench, 3 * cells), 0, call_embed_backward);
    cells = (double)bench->tokens * INNER;
    fill_act(bench, bench->tokens * INNER);
    fill_acc(bench, INNER);
    report(bench, "matmul_backward_bias", act_bytes(bench, cells), 0, call_backward_bias);
}

static void call_rmsnorm(struct bench *bench) {
    bench->backend->rmsnorm(bench->backend, bench->at[3], bench->at[2], bench->at[0], bench->at[1],
                            1e-5, bench->tokens, WIDTH);
}

/* at: dx, w, rstd, dout, x, dw */
static void call_rmsnorm_backward(struct bench *bench) {
    bench->backend->rmsnorm_backward(bench->backend, bench->at[0], bench->n ? bench->at[5] : NULL,
                                     bench->at[3], bench->at[4], bench->at[1], bench->at[2],
                                     bench->tokens, WIDTH);
}

static void bench_rmsnorm(struct bench *bench) {
    double cells = (double)bench->tokens * WIDTH;
    fill_acc(bench, bench->tokens * WIDTH);
    fill_acc(bench, WIDTH);
    fill_acc(bench, bench->tokens);
    fill_act(bench, bench->tokens * WIDTH);
    report(bench, "rmsnorm", act_bytes(bench, cells) + acc_bytes(bench, cells), 0, call_rmsnorm);
    for (bench->n = 0; bench->n < 2; bench->n++) {
        fill_acc(bench, bench->tokens * WIDTH);
        fill_acc(bench, WIDTH);
        fill_acc(bench, bench->tokens);
        fill_act(bench, bench->tokens * WIDTH);
        fill_acc(bench, bench->tokens * WIDTH);
        fill_acc(bench, WIDTH);
        report(bench, bench->n ? "rmsnorm_backward with dw" : "rmsnorm_backward",
               act_bytes(bench, cells) + acc_bytes(bench, 3 * cells), 0, call_rmsnorm_backward);
    }
}

static void call_head_norm(struct bench *bench) {
    bench->backend->head_norm(bench->backend, bench->at[0], INNER, bench->at[2], bench->at[3], QKV,
                              bench->at[1], 1e-6, bench->tokens, HEADS, HEAD_DIM);
}

static void call_head_norm_backward(struct bench *bench) {
    bench->backend->head_norm_backward(bench->backend, bench->at[4], INNER, bench->at[5],
                                       bench->at[0], INNER, bench->at[3], QKV, bench->at[1],
                                       bench->at[2], bench->tokens, HEADS, HEAD_DIM);
}

static void call_rope(struct bench *bench) {
    bench->backend->rope(bench->backend, bench->at[0], QKV, bench->at[1], bench->at[2], false,
                         bench->tokens, HEADS, HEAD_DIM);
}

static void bench_heads(struct bench *bench) {
    double cells = (double)bench->tokens * INNER;
    fill_act(bench, bench->tokens * INNER);
    fill_acc(bench, HEAD_DIM);
    fill_acc(bench, bench->tokens * HEADS);
    fill_act(bench, bench->tokens * QKV);
    report(bench, "head_norm", act_bytes(bench, 2 * cells), 0, call_head_norm);
    fill_act(bench, bench->tokens * INNER);
    fill_acc(bench, HEAD_DIM);
    fill_acc(bench, bench->tokens * HEADS);
    fill_act(bench, bench->tokens * QKV);
    fill_act(bench, bench->tokens * INNER);
    fill_acc(bench, HEAD_DIM);
    report(bench, "head_norm_backward with dw", act_bytes(bench, 3 * cells), 0,
           call_head_norm_backward);
    fill_act(bench, bench->tokens * QKV);
    fill_acc(bench, 4096 * HEAD_DIM);
    fill_integers(bench, bench->tokens, 1, 4096);
    report(bench, "rope", act_bytes(bench, 2 * cells), 0, call_rope);
}

static void call_swiglu(struct bench *bench) {
    bench->backend->swiglu(bench->backend, bench->at[1], bench->at[0], bench->tokens, FFN);
}

static void call_swiglu_backward(struct bench *bench) {
    bench->backend->swiglu_backward(bench->backend, bench->at[2], bench->at[1], bench->at[0],
                                    bench->tokens, FFN);
}

static void bench_swiglu(struct bench *bench) {
    double cells = (double)bench->tokens * FFN;
    fill_act(bench, 2 * bench->tokens * FFN);
    fill_act(bench, bench->tokens * FFN);
    report(bench, "swiglu", act_bytes(bench, 3 * cells), 0, call_swiglu);
    fill_act(bench, 2 * bench->tokens * FFN);
    fill_act(bench, bench->tokens * FFN);
    fill_act(bench, 2 * bench->tokens * FFN);
    report(bench, "swiglu_backward", act_bytes(bench, 5 * cells), 0, call_swiglu_backward);
}

/* at: x, positions, w, bias, out or dout, dx, dw, dbias */
static void set_conv(struct bench *bench) {
    fill_act(bench, bench->tokens * SOURCE);
    fill_integers(bench, bench->tokens, 1, 4096);
    fill_acc(bench, INNER * 4);
    fill_acc(bench, INNER);
    fill_act(bench, bench->tokens * INNER);
    fill_act(bench, bench->tokens * SOURCE);
    fill_acc(bench, INNER * 4);
    fill_acc(bench, INNER);
    bench->mamba = (struct mamba_shape){INNER, SOURCE, 16, 4};
    bench->offsets[1] = (int32_t)bench->tokens;
    bench->sequences = (struct sequences){.count = 1,
                                          .longest = (int32_t)bench->tokens,
                                          .tokens = bench->tokens,
                                          .offsets = bench->offsets,
                                          .positions = bench->at[1]};
}

static void call_conv(struct bench *bench) {
    bench->backend->conv_silu(bench->backend, bench->at[4], bench->at[0], SOURCE, bench->at[2],
                              bench->at[3], &bench->sequences, &bench->mamba);
}

static void call_conv_backward(struct bench *bench) {
    bench->backend->conv_silu_backward(
        bench->backend, bench->at[5], SOURCE, bench->at[6], bench->at[7], bench->at[4],
        bench->at[0], SOURCE, bench->at[2], bench->at[3], &bench->sequences, &bench->mamba);
}

static void bench_conv(struct bench *bench) {
    double t = (double)bench->tokens;
    set_conv(bench);
    report(bench, "conv_silu", act_bytes(bench, t * (INNER + SOURCE)), 0, call_conv);
    set_conv(bench);
    report(bench, "conv_silu_backward with dw", act_bytes(bench, t * (INNER + 2 * SOURCE)), 0,
           call_conv_backward);
}

/* at: teacher, branch, lse, argmax, target, dlogits, weight, four outputs in one */
static void set_logits(struct bench *bench) {
    int64_t rows = bench->rows, v = bench->vocabulary;
    fill_acc(bench, rows * v);
    fill_acc(bench, rows * v);
    fill_acc(bench, rows);
    fill_integers(bench, rows, 7919, v);
    fill_integers(bench, rows, 7919, v);
    fill_act(bench, rows * v);
    fill_acc(bench, rows);
    fill_acc(bench, 4 * rows);
}

static void *output(struct bench *bench, int which) {
    return (char *)bench->at[7] + (size_t)(which * bench->rows) * dtype_size(bench->backend->acc);
}

static void call_summary(struct bench *bench) {
    bench->backend->logit_summary(bench->backend, bench->at[2], bench->at[3], bench->at[0], 1,
                                  bench->rows, bench->vocabulary);
}

static void call_compare(struct bench *bench) {
    bench->backend->compare_logits(bench->backend, output(bench, 0), output(bench, 1),
                                   output(bench, 2), output(bench, 3), bench->at[0], bench->at[2],
                                   bench->at[3], bench->at[1], bench->at[4], bench->rows,
                                   bench->vocabulary);
}

static void call_distill(struct bench *bench) {
    bench->backend->distill_loss(bench->backend, output(bench, 0), bench->at[5], bench->kind, 1,
                                 bench->at[1], bench->at[0], bench->at[2], bench->at[4],
                                 bench->at[6], bench->rows, bench->vocabulary);
}

static void bench_loss(struct bench *bench) {
    double cells = (double)bench->rows * (double)bench->vocabulary;
    set_logits(bench);
    report(bench, "logit_summary", acc_bytes(bench, cells), 0, call_summary);
    set_logits(bench);
    report(bench, "compare_logits", acc_bytes(bench, 2 * cells), 0, call_compare);
    const char *names[] = {"distill_loss reverse kl", "distill_loss forward kl",
                           "distill_loss cross entropy"};
    for (bench->kind = LOSS_REVERSE_KL; bench->kind <= LOSS_CROSS_ENTROPY; bench->kind++) {
        set_logits(bench);
        int inputs = bench->kind == LOSS_CROSS_ENTROPY ? 1 : 2;
        report(bench, names[bench->kind],
               acc_bytes(bench, inputs * cells) + act_bytes(bench, cells), 0, call_distill);
    }
}

static void call_adamw(struct bench *bench) {
    struct adamw_settings settings = {1e-4, 0.9, 0.95, 1e-8, 0.1, 10, 1};
    bench->backend->adamw(bench->backend, bench->at[0], bench->at[4], bench->at[1], bench->at[2],
                          bench->at[3], &settings, bench->n);
}

static void call_sum_squares(struct bench *bench) {
    double sum;
    bench->backend->sum_squares(bench->backend, &sum, bench->at[0], bench->n);
}

static void bench_optimizer(struct bench *bench) {
    bench->n = bench->tokens * WIDTH;
    double cells = (double)bench->n;
    for (int i = 0; i < 4; i++) fill_acc(bench, bench->n);
    bench->backend->zero(bench->backend, bench->at[2], (size_t)acc_bytes(bench, cells));
    fill_act(bench, bench->n);
    report(bench, "adamw with copy", acc_bytes(bench, 7 * cells) + act_bytes(bench, cells), 0,
           call_adamw);
    fill_acc(bench, bench->n);
    report(bench, "sum_squares", acc_bytes(bench, cells), 0, call_sum_squares);
}

int main(int count, char **arguments) {
    struct bench bench = {0};
    if (backend_open(&bench.backend, count > 1 ? arguments[1] : "auto")) {
        fprintf(stderr, "bench_ops: %s\n", status_message());
        return EXIT_FAILURE;
    }
    bool cpu = strcmp(bench.backend->name, "cpu") == 0;
    bench.tokens = count > 2 ? atoll(arguments[2]) : cpu ? 128 : 16384;
    if (bench.tokens < 16) bench.tokens = 16;
    bench.rows = bench.tokens / 8;
    bench.vocabulary = 131072;
    bench.noise = memory_calloc(NOISE + SHIFT * BUFFERS, sizeof *bench.noise);
    if (!bench.noise) bench.failed = true;
    struct random_stream stream = random_stream_for(1, -1, "bench");
    for (int64_t i = 0; i < NOISE + SHIFT * BUFFERS && !bench.failed; i++)
        bench.noise[i] = (float)random_normal(&stream, (uint64_t)i);
    printf("%s, %lld tokens, %lld rows of %lld logits\n", bench.backend->name,
           (long long)bench.tokens, (long long)bench.rows, (long long)bench.vocabulary);
    bench_copy(&bench);
    bench_transfers(&bench);
    bench_matmuls(&bench);
    bench_embed(&bench);
    bench_rmsnorm(&bench);
    bench_heads(&bench);
    bench_swiglu(&bench);
    bench_conv(&bench);
    bench_loss(&bench);
    bench_optimizer(&bench);
    free(bench.noise);
    bench.backend->close(bench.backend);
    return bench.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
