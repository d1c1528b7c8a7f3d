/* Speed of every op at a model's shapes, against ceilings measured in the same run:
 * `bench_ops [auto|cpu|cuda|cuda:N] [smollm2|apriel] [OP]` (apriel: default of a GPU). Arithmetic
 * counts products and sums of the formula, an exponential as one; bytes count every operand once.
 * The floor is the time that the nearer ceiling allows, the share is the floor over the time taken.
 * Attention and the scan depend on how the tokens are cut into sequences: they are repeated at
 * other lengths. `meson test --benchmark` runs it. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "kernels/backend.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/products.h"
#include "kernels/ops/scan.h"

struct shape {
    const char *name;
    int64_t d, h, g, e, f, v, x, n;       /* x: d_xb; I is h * e */
    int64_t sequences, length, head_rows; /* rows of logits at a time */
    int64_t peak;                         /* side of the peak's GEMM */
};

static const struct shape shapes[] = {
    {"smollm2", 576, 9, 3, 64, 1536, 49152, 192, 16, 2, 512, 256, 2048},
    {"apriel", 5120, 32, 8, 128, 14336, 131072, 1024, 16, 4, 4096, 2048, 8192},
};

/* Other cuts of a shape's operands for attention and the scan; the head's width and the scan's
 * states: 0 for its own. */
static const struct cut {
    const char *shape;
    int64_t sequences, length, head_dim, d_state;
} cuts[] = {
    {"smollm2", 1, 2048, 0, 0},  {"smollm2", 8, 128, 0, 0},  {"apriel", 1, 32768, 0, 0},
    {"apriel", 16, 1024, 0, 0},  {"apriel", 1, 4096, 0, 0},  {"apriel", 4, 4096, 64, 0},
    {"apriel", 4, 4096, 0, 8},   {"apriel", 4, 4096, 0, 32}, {"apriel", 4, 4096, 0, 64},
    {"apriel", 4, 4096, 0, 128},
};
enum { LONGEST = 2 };       /* tokens of a cut over those of its shape, at most */
enum { MOST_STATES = 128 }; /* of a cut */

/* All operands: token rows, vocabulary rows, parameters. */
struct bench {
    struct backend *b;
    struct shape s;
    int64_t tokens, inner;
    struct sequences sequences;
    struct attention_shape attention;
    struct mamba_shape mamba;
    struct acc *residual, *dresidual; /* [tokens, d] */
    struct act *wide[6];              /* [tokens, 2 f or 2 i + 2 x] */
    struct act *weight;               /* [v, d] */
    struct acc *dweight;              /* [v, d] */
    struct acc *vector[4], *rstd, *lse, *states;
    size_t states_bytes;
    struct acc *logits[2], *row_values[5]; /* [rows, v], [rows] */
    struct act *dlogits;                   /* [rows, v] */
    int32_t *ids;                          /* [tokens] below v */
    struct acc *parameter[4];              /* [parameters] */
    int64_t parameters;
    void *host; /* BF16 [host_count], for transfers */
    int64_t host_count;
    double peak, copy; /* ceilings: FLOP/s, bytes/s */
};

static void *make(struct bench *t, enum dtype type, int64_t count, double scale) {
    struct backend *b = t->b;
    struct random_stream random = random_stream_for(1, 0, "bench");
    enum { PERIOD = 10007 };
    size_t size = dtype_size(type);
    char *memory = b->alloc(b, (size_t)count * size, "a benchmark's operand");
    if (!memory) {
        fprintf(stderr, "bench_ops: %s\n", status_message());
        exit(EXIT_FAILURE);
    }
    float values[PERIOD];
    for (int64_t i = 0; i < PERIOD; i++)
        values[i] = (float)(scale * random_normal(&random, (uint64_t)i));
    b->upload(b, memory, type, values, DTYPE_F32, (size_t)(count < PERIOD ? count : PERIOD));
    for (int64_t done = PERIOD; done < count; done *= 2) { /* the period repeats */
        int64_t more = count - done < done ? count - done : done;
        b->copy(b, memory + (size_t)done * size, memory, (size_t)more * size);
    }
    return memory;
}

static int32_t *make_integers(struct bench *t, const int32_t *values, int64_t count) {
    int32_t *memory = t->b->alloc(t->b, (size_t)count * sizeof *memory, "a benchmark's integers");
    if (!memory) exit(EXIT_FAILURE);
    t->b->upload_bytes(t->b, memory, values, (size_t)count * sizeof *memory);
    return memory;
}

static void make_sequences(struct bench *t) {
    int32_t *offsets = calloc((size_t)t->s.sequences + 1, sizeof *offsets);
    int32_t *integers = calloc((size_t)t->tokens, sizeof *integers);
    if (!offsets || !integers) exit(EXIT_FAILURE);
    for (int64_t s = 0; s <= t->s.sequences; s++) offsets[s] = (int32_t)(s * t->s.length);
    for (int64_t i = 0; i < t->tokens; i++) integers[i] = (int32_t)(i % t->s.length);
    t->sequences = (struct sequences){(int32_t)t->s.sequences,
                                      (int32_t)t->s.length,
                                      t->tokens,
                                      offsets,
                                      make_integers(t, offsets, t->s.sequences + 1),
                                      make_integers(t, integers, t->tokens)};
    for (int64_t i = 0; i < t->tokens; i++) integers[i] = (int32_t)(i * 7919 % t->s.v);
    t->ids = make_integers(t, integers, t->tokens);
    free(integers);
}

static void prepare(struct bench *t) {
    const struct shape *s = &t->s;
    enum dtype act = t->b->act, acc = t->b->acc;
    t->tokens = s->sequences * s->length;
    t->inner = s->h * s->e;
    make_sequences(t);
    t->attention =
        (struct attention_shape){(int)s->h, (int)s->g, (int)s->e, 0, pow((double)s->e, -0.5)};
    t->mamba = (struct mamba_shape){(int)t->inner, (int)s->x, (int)s->n, 4};
    int64_t projected = 2 * t->inner + 2 * s->x, widest = 2 * s->f;
    if (projected > widest) widest = projected;
    t->residual = make(t, acc, t->tokens * s->d, 1);
    t->dresidual = make(t, acc, t->tokens * s->d, 1);
    for (int i = 0; i < 6; i++) t->wide[i] = make(t, act, t->tokens * widest, 1);
    t->parameters = s->d * widest;
    t->host_count = t->tokens * s->d;
    t->host = malloc((size_t)t->host_count * 2);
    if (!t->host) exit(EXIT_FAILURE);
    memset(t->host, 1, (size_t)t->host_count * 2); /* untouched pages would all be one page */
    t->weight = make(t, act, s->v * s->d, 0.05);
    t->dweight = make(t, acc, s->v * s->d, 0.05);
    for (int i = 0; i < 4; i++) t->vector[i] = make(t, acc, t->inner * MOST_STATES + widest, 0.5);
    t->rstd = make(t, acc, t->tokens * s->h, 1);
    t->lse = make(t, acc, LONGEST * t->tokens * s->h, 1);
    t->states_bytes =
        (LONGEST + 1) * t->b->scan->scan_checkpoint_bytes(t->b, &t->sequences, &t->mamba);
    t->states = t->b->alloc(t->b, t->states_bytes, "checkpoints");
    if (!t->states) exit(EXIT_FAILURE);
    for (int i = 0; i < 2; i++) t->logits[i] = make(t, acc, s->head_rows * s->v, 2);
    t->dlogits = make(t, act, s->head_rows * s->v, 1);
    for (int i = 0; i < 5; i++) t->row_values[i] = make(t, acc, s->head_rows, 1);
    for (int i = 0; i < 4; i++) t->parameter[i] = make(t, acc, t->parameters, 1e-3);
    t->b->zero(t->b, t->parameter[2], (size_t)t->parameters * dtype_size(acc));
}

static void *shift(const struct bench *t, void *base, int64_t elements) {
    return (char *)base + (size_t)elements * dtype_size(t->b->act);
}

static struct attention_inputs attention_of(const struct bench *t) {
    int64_t stride = (t->s.h + 2 * t->s.g) * t->s.e;
    return (struct attention_inputs){t->wide[0],
                                     shift(t, t->wide[0], t->inner),
                                     shift(t, t->wide[0], t->inner + t->s.g * t->s.e),
                                     stride,
                                     stride,
                                     stride};
}

static struct scan_inputs scan_of(const struct bench *t) {
    int64_t stride = 2 * t->inner + 2 * t->s.x, i = t->inner, x = t->s.x;
    void *p = t->wide[0];
    return (struct scan_inputs){
        t->wide[1], t->wide[2], p,      shift(t, p, i + x), shift(t, p, i + 2 * x), i,           i,
        stride,     stride,     stride, t->vector[0],       t->vector[1],           t->vector[2]};
}

static void run_matmul(struct bench *t) {
    t->b->products->matmul(t->b, into_act(t->wide[1]), t->wide[0], t->s.d, t->weight, NULL,
                           t->tokens, 2 * t->s.f, t->s.d);
}
static void run_matmul_down(struct bench *t) {
    t->b->products->matmul(t->b, onto_acc(t->residual), t->wide[0], t->s.f, t->weight, NULL,
                           t->tokens, t->s.d, t->s.f);
}
static void run_matmul_head(struct bench *t) {
    t->b->products->matmul(t->b, into_acc(t->logits[0]), t->wide[0], t->s.d, t->weight, NULL,
                           t->s.head_rows, t->s.v, t->s.d);
}
static void run_matmul_backward_input(struct bench *t) {
    t->b->products->matmul_backward_input(t->b, into_act(t->wide[1]), t->wide[0], t->weight,
                                          t->tokens, 2 * t->s.f, t->s.d);
}
static void run_matmul_backward_input_head(struct bench *t) {
    t->b->products->matmul_backward_input(t->b, into_act(t->wide[1]), t->dlogits, t->weight,
                                          t->s.head_rows, t->s.v, t->s.d);
}
static void run_matmul_backward_weight(struct bench *t) {
    t->b->products->matmul_backward_weight(t->b, t->dweight, t->wide[0], t->wide[1], t->s.d,
                                           t->tokens, 2 * t->s.f, t->s.d);
}
static void run_matmul_backward_bias(struct bench *t) {
    t->b->products->matmul_backward_bias(t->b, t->vector[3], t->wide[0], t->tokens, t->inner);
}
static void run_embed(struct bench *t) {
    t->b->embedding->embed(t->b, t->residual, t->ids, t->weight, t->tokens, t->s.d);
}
static void run_embed_backward(struct bench *t) {
    t->b->embedding->embed_backward(t->b, t->dweight, t->ids, t->dresidual, t->tokens, t->s.d);
}
static void run_rmsnorm(struct bench *t) {
    t->b->norm->rmsnorm(t->b, t->wide[1], t->rstd, t->residual, t->vector[0], 1e-5, t->tokens,
                        t->s.d);
}
static void run_rmsnorm_backward(struct bench *t) {
    t->b->norm->rmsnorm_backward(t->b, t->dresidual, NULL, t->wide[0], t->residual, t->vector[0],
                                 t->rstd, t->tokens, t->s.d);
}
static void run_rmsnorm_backward_dw(struct bench *t) {
    t->b->norm->rmsnorm_backward(t->b, t->dresidual, t->vector[3], t->wide[0], t->residual,
                                 t->vector[0], t->rstd, t->tokens, t->s.d);
}
static struct head_norm_inputs heads_of(const struct bench *t) {
    return (struct head_norm_inputs){t->wide[0],   t->inner,    t->tokens,
                                     t->vector[0], (int)t->s.h, (int)t->s.e};
}
static void run_head_norm(struct bench *t) {
    const struct head_norm_inputs in = heads_of(t);
    t->b->norm->head_norm(t->b, t->wide[1], t->inner, t->rstd, &in, 1e-5);
}
static void run_head_norm_backward(struct bench *t) {
    const struct head_norm_inputs in = heads_of(t);
    t->b->norm->head_norm_backward(t->b, t->wide[2], t->inner, t->vector[3], t->wide[1], t->inner,
                                   &in, t->rstd);
}
static void run_rope(struct bench *t) {
    t->b->attention->rope(t->b, t->wide[1], t->inner, t->lse, t->sequences.positions, false,
                          t->tokens, (int)t->s.h, (int)t->s.e);
}
static void run_attention(struct bench *t) {
    struct attention_inputs in = attention_of(t);
    t->b->attention->attention(t->b, t->wide[1], t->lse, &in, &t->sequences, &t->attention);
}
static void run_attention_backward(struct bench *t) {
    struct attention_inputs in = attention_of(t);
    int64_t kv = t->s.g * t->s.e;
    struct attention_gradients to = {t->wide[3], t->wide[4], t->wide[5], t->inner, kv, kv};
    t->b->attention->attention_backward(t->b, &to, t->wide[2], t->wide[1], t->lse, &in,
                                        &t->sequences, &t->attention);
}
static void run_swiglu(struct bench *t) {
    t->b->mlp->swiglu(t->b, t->wide[1], t->wide[0], t->tokens, t->s.f);
}
static void run_swiglu_backward(struct bench *t) {
    t->b->mlp->swiglu_backward(t->b, t->wide[2], t->wide[1], t->wide[0], t->tokens, t->s.f);
}
static void run_conv_silu(struct bench *t) {
    t->b->conv->conv_silu(t->b, t->wide[1], shift(t, t->wide[0], t->inner),
                          2 * t->inner + 2 * t->s.x, t->vector[0], t->vector[1], &t->sequences,
                          &t->mamba);
}
static void run_conv_silu_backward(struct bench *t) {
    int64_t stride = 2 * t->inner + 2 * t->s.x;
    t->b->conv->conv_silu_backward(t->b, t->wide[2], t->s.x, t->vector[2], t->vector[3], t->wide[1],
                                   shift(t, t->wide[0], t->inner), stride, t->vector[0],
                                   t->vector[1], &t->sequences, &t->mamba);
}
static void run_scan(struct bench *t) {
    struct scan_inputs in = scan_of(t);
    t->b->scan->scan(t->b, t->wide[3], t->states, NULL, NULL, &in, &t->sequences, &t->mamba);
}
static void run_scan_backward(struct bench *t) {
    struct scan_inputs in = scan_of(t);
    int64_t i = t->inner, x = t->s.x, stride = 2 * i + 2 * x;
    void *p = t->wide[3];
    struct scan_gradients to = {t->wide[4],
                                t->wide[5],
                                p,
                                shift(t, p, i + x),
                                shift(t, p, i + 2 * x),
                                i,
                                i,
                                stride,
                                stride,
                                stride,
                                t->vector[3],
                                t->dweight,
                                NULL};
    t->b->scan->scan_backward(t->b, &to, t->wide[2], t->states, &in, &t->sequences, &t->mamba);
}
static void run_logit_summary(struct bench *t) {
    t->b->loss->logit_summary(t->b, t->row_values[0], (int32_t *)t->row_values[4], t->logits[0], 1,
                              t->s.head_rows, t->s.v);
}
static void run_compare_logits(struct bench *t) {
    t->b->loss->compare_logits(t->b, t->row_values[1], t->row_values[2], t->row_values[3], t->rstd,
                               t->logits[0], t->row_values[0], t->ids, t->logits[1], t->ids,
                               t->s.head_rows, t->s.v);
}
static void distill(struct bench *t, enum loss_kind kind) {
    t->b->loss->distill_loss(t->b, t->row_values[1], t->dlogits, kind, 1, t->logits[1],
                             t->logits[0], t->row_values[0], t->ids, t->row_values[2],
                             t->s.head_rows, t->s.v);
}
static void run_distill_reverse(struct bench *t) {
    distill(t, LOSS_REVERSE_KL);
}
static void run_distill_forward(struct bench *t) {
    distill(t, LOSS_FORWARD_KL);
}
static void run_distill_cross_entropy(struct bench *t) {
    distill(t, LOSS_CROSS_ENTROPY);
}
static void run_adamw(struct bench *t) {
    struct adamw_settings settings = {1e-3, 0.9, 0.95, 1e-8, 0, 10, 1};
    t->b->optimizer->adamw(t->b, t->parameter[0], t->weight, t->parameter[1], t->parameter[2],
                           t->parameter[3], &settings, t->parameters);
}
static void run_sum_squares(struct bench *t) {
    t->b->optimizer->sum_squares(t->b, (double *)t->row_values[1], t->parameter[3], t->parameters);
}

static void run_cast(struct bench *t) {
    t->b->cast(t->b, t->dlogits, t->logits[0], (size_t)(t->s.head_rows * t->s.v));
}
static void run_copy(struct bench *t) {
    t->b->copy(t->b, t->logits[1], t->logits[0],
               (size_t)(t->s.head_rows * t->s.v) * dtype_size(t->b->acc));
}
static void run_upload(struct bench *t) {
    t->b->upload(t->b, t->wide[5], t->b->act, t->host, DTYPE_BF16, (size_t)t->host_count);
}
static void run_download(struct bench *t) {
    t->b->download(t->b, t->host, DTYPE_BF16, t->wide[5], t->b->act, (size_t)t->host_count);
}

/* One line of the table: arithmetic and bytes of one call. */
struct line {
    const char *name;
    void (*run)(struct bench *t);
    double flops, bytes;
};

/* Seconds of one call: the best of several batches. */
static double measure(struct bench *t, void (*run)(struct bench *)) {
    enum { BATCHES = 7 };
    double best = INFINITY, start;
    int calls = 1;
    run(t);
    if (t->b->sync(t->b)) return NAN;
    for (int batch = 0; batch < BATCHES; batch++) {
        start = log_seconds();
        for (int i = 0; i < calls; i++) run(t);
        if (t->b->sync(t->b)) return NAN;
        double seconds = (log_seconds() - start) / calls;
        if (seconds < best) best = seconds;
        calls = seconds * calls < 0.01 ? (int)(0.02 / (seconds + 1e-7)) + 1 : calls;
    }
    return best;
}

/* The ceilings: a square GEMM, and a cast of an array too large for any cache. */
static void run_peak(struct bench *t) {
    int64_t side = t->s.peak;
    t->b->products->matmul(t->b, into_act((struct act *)t->logits[0]), t->weight, side,
                           (struct act *)t->dweight, NULL, side, side, side);
}
static void report_line(struct bench *t, const struct line *line) {
    double seconds = measure(t, line->run);
    double floor = fmax(line->flops / t->peak, line->bytes / t->copy);
    printf("%-36s %10.4f", line->name, seconds * 1e3);
    if (line->run != run_upload && line->run != run_download) /* the bus has no ceiling here */
        printf(" %10.4f %6.0f%%", floor * 1e3, 100 * floor / seconds);
    else
        printf(" %10s %7s", "", "");
    printf(" %10.1f %8.1f\n", line->flops / seconds / 1e9, line->bytes / seconds / 1e9);
    fflush(stdout);
}

static void report_lines(struct bench *t, const struct line *lines, size_t count,
                         const char *only) {
    const struct shape *s = &t->s;
    printf("%s, %s, %d x %d tokens, heads of %d, %d host threads: GEMM %.0f GFLOP/s, copy %.1f "
           "GB/s\n",
           t->b->name, s->name, (int)t->sequences.count, (int)t->sequences.longest,
           t->attention.head_dim, omp_get_max_threads(), t->peak / 1e9, t->copy / 1e9);
    printf("%-36s %10s %10s %7s %10s %8s\n", "op", "ms", "floor ms", "share", "GFLOP/s", "GB/s");
    for (size_t k = 0; k < count; k++)
        if (!only || strncmp(lines[k].name, only, strlen(only)) == 0) report_line(t, &lines[k]);
}

/* The ops whose speed depends on the sequences. */
enum { SEQUENCE_LINES = 4 };

static void describe_sequence_lines(struct bench *t, struct line lines[SEQUENCE_LINES]) {
    double act = (double)dtype_size(t->b->act), acc = (double)dtype_size(t->b->acc);
    double tokens = (double)t->tokens, i = (double)t->inner, x = (double)t->s.x;
    double n = (double)t->s.n, kv = (double)(t->attention.kv_heads * t->attention.head_dim);
    double pairs = tokens * ((double)t->sequences.longest + 1) / 2 * i; /* of one causal product */
    double states = tokens / 64 * i * n * acc;                          /* checkpoints */
    lines[0] =
        (struct line){"attention", run_attention, 4 * pairs, tokens * (2 * i + 2 * kv) * act};
    lines[1] = (struct line){"attention_backward", run_attention_backward, 10 * pairs,
                             tokens * (4 * i + 4 * kv) * act};
    lines[2] =
        (struct line){"scan", run_scan, 7 * tokens * i * n, tokens * (5 * i + x) * act + states};
    lines[3] = (struct line){"scan_backward", run_scan_backward, 23 * tokens * i * n,
                             tokens * (9 * i + 2 * x) * act + states};
}

static void report_cut(struct bench *t, const struct cut *cut, const char *only) {
    t->s.sequences = cut->sequences;
    t->s.length = cut->length;
    if (cut->head_dim) {
        t->s.h = t->inner / cut->head_dim;
        t->s.g = t->s.x / cut->head_dim;
        t->s.e = cut->head_dim;
    }
    if (cut->d_state) t->s.n = cut->d_state;
    t->mamba.d_state = (int)t->s.n;
    t->tokens = cut->sequences * cut->length;
    make_sequences(t);
    t->attention = (struct attention_shape){(int)t->s.h, (int)t->s.g, (int)t->s.e, 0,
                                            pow((double)t->s.e, -0.5)};
    struct line lines[SEQUENCE_LINES];
    describe_sequence_lines(t, lines);
    int first = cut->d_state ? 2 : 0, end = cut->head_dim ? 2 : SEQUENCE_LINES;
    if (t->b->scan->scan_checkpoint_bytes(t->b, &t->sequences, &t->mamba) <= t->states_bytes)
        report_lines(t, lines + first, end - first, only);
}

static void measure_ceilings(struct bench *t) {
    double act = (double)dtype_size(t->b->act), acc = (double)dtype_size(t->b->acc);
    double side = (double)t->s.peak, cells = (double)t->s.head_rows * (double)t->s.v;
    t->peak = 2 * side * side * side / measure(t, run_peak);
    t->copy =
        fmax(cells * (act + acc) / measure(t, run_cast), 2 * cells * acc / measure(t, run_copy));
}

static void report(struct bench *t, const char *only) {
    const struct shape *s = &t->s;
    double act = (double)dtype_size(t->b->act), acc = (double)dtype_size(t->b->acc);
    double tokens = (double)t->tokens, d = (double)s->d, f = (double)s->f, v = (double)s->v;
    double i = (double)t->inner, x = (double)s->x, rows = (double)s->head_rows;
    double parameters = (double)t->parameters, cells = rows * v, host = (double)t->host_count;
    double mlp = 2 * tokens * 2 * f * d, mlp_bytes = (tokens * (d + 2 * f) + 2 * f * d) * act;
    struct line some[SEQUENCE_LINES];
    describe_sequence_lines(t, some);
    const struct line lines[] = {
        {"copy", run_copy, 0, 2 * cells * acc},
        {"cast", run_cast, 0, cells * (act + acc)},
        {"upload, BF16", run_upload, 0, 2 * host},
        {"download, BF16", run_download, 0, 2 * host},
        {"embed", run_embed, 0, tokens * d * (act + acc)},
        {"embed_backward", run_embed_backward, tokens * d, 3 * tokens * d * acc},
        {"matmul, gate_up", run_matmul, mlp, mlp_bytes},
        {"matmul, down, added to acc", run_matmul_down, mlp / 2,
         (tokens * f + f * d) * act + 2 * tokens * d * acc},
        {"matmul, head", run_matmul_head, 2 * cells * d, (rows * d + v * d) * act + cells * acc},
        {"matmul_backward_input, gate_up", run_matmul_backward_input, mlp, mlp_bytes},
        {"matmul_backward_input, head", run_matmul_backward_input_head, 2 * cells * d,
         (rows * d + v * d + cells) * act},
        {"matmul_backward_weight, gate_up", run_matmul_backward_weight, mlp,
         tokens * (d + 2 * f) * act + 4 * f * d * acc},
        {"matmul_backward_bias", run_matmul_backward_bias, tokens * i, tokens * i * act},
        {"rmsnorm", run_rmsnorm, 4 * tokens * d, tokens * d * (acc + act)},
        {"rmsnorm_backward", run_rmsnorm_backward, 8 * tokens * d, tokens * d * (3 * acc + act)},
        {"rmsnorm_backward, dw", run_rmsnorm_backward_dw, 11 * tokens * d,
         tokens * d * (3 * acc + act)},
        {"head_norm", run_head_norm, 4 * tokens * i, 2 * tokens * i * act},
        {"head_norm_backward, dw", run_head_norm_backward, 11 * tokens * i, 3 * tokens * i * act},
        {"rope", run_rope, 3 * tokens * i, 2 * tokens * i * act},
        some[0],
        some[1],
        {"swiglu", run_swiglu, 4 * tokens * f, 3 * tokens * f * act},
        {"swiglu_backward", run_swiglu_backward, 10 * tokens * f, 5 * tokens * f * act},
        {"conv_silu", run_conv_silu, 11 * tokens * i, tokens * (i + x) * act},
        {"conv_silu_backward, dw", run_conv_silu_backward, 30 * tokens * i,
         tokens * (i + 2 * x) * act},
        some[2],
        some[3],
        {"logit_summary", run_logit_summary, 3 * cells, cells * acc},
        {"compare_logits", run_compare_logits, 9 * cells, 2 * cells * acc},
        {"distill_loss, reverse kl", run_distill_reverse, 10 * cells, cells * (2 * acc + act)},
        {"distill_loss, forward kl", run_distill_forward, 10 * cells, cells * (2 * acc + act)},
        {"distill_loss, cross entropy", run_distill_cross_entropy, 5 * cells, cells * (acc + act)},
        {"adamw, copy", run_adamw, 14 * parameters, parameters * (7 * acc + act)},
        {"sum_squares", run_sum_squares, 2 * parameters, parameters * acc},
    };
    measure_ceilings(t);
    report_lines(t, lines, sizeof lines / sizeof *lines, only);
    const char *name = s->name;
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++)
        if (strcmp(cuts[k].shape, name) == 0 &&
            (!only || strncmp(only, "attention", 9) == 0 || strncmp(only, "scan", 4) == 0)) {
            printf("\n");
            report_cut(t, &cuts[k], only);
        }
}

int main(int count, char **arguments) {
    struct bench bench = {0};
    if (backend_open(&bench.b, count > 1 ? arguments[1] : "auto")) {
        fprintf(stderr, "bench_ops: %s\n", status_message());
        return EXIT_FAILURE;
    }
    bench.s = shapes[!bench.b->discrete ? 0 : 1];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (count > 2 && strcmp(arguments[2], shapes[i].name) == 0) bench.s = shapes[i];
    prepare(&bench);
    report(&bench, count > 3 ? arguments[3] : NULL);
    bench.b->close(bench.b); /* the operands go with the process */
    return EXIT_SUCCESS;
}
