/* What cuBLASLt's answers are worth: every matrix product of a step of decoding at Apriel-15B's
 * shape, for a few numbers of rows, by each of the library's first answers and by the backend
 * (replayed from a graph), as bytes of weights a second; then leave-one-out's products of many
 * rows, each answer for as long as the card's power limit takes to show.
 *
 *     bench_products [answers [seconds [rows...]]]
 *
 * by default 16 answers, 0.5 seconds an answer of many rows (0: none of them), 1 to 128 rows. */
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/random.h"
#include "kernels/backend.h"
#include "kernels/ops/products.h"

enum { MOST_ANSWERS = 64 };
static const size_t WORKSPACE = (size_t)32 << 20;
static const size_t CACHE = (size_t)200 << 20; /* weights are rotated among as much */

struct problem {
    const char *name;
    int64_t n, k;
    bool wide, added; /* out is float32; added to what it holds */
};

static const struct problem products[] = {
    {"qkv", 6144, 5120, false, false},      {"out", 5120, 4096, true, true},
    {"gate_up", 28672, 5120, false, false}, {"down", 5120, 14336, true, true},
    {"in_proj", 10240, 5120, false, false}, {"dt_in", 320, 5120, false, false},
    {"dt_proj", 4096, 320, false, false},   {"head", 131072, 5120, true, false},
};
enum { PRODUCTS = sizeof products / sizeof *products };
static const int64_t row_counts[] = {1, 4, 8, 16, 32, 48, 64, 80, 96, 128};
enum { ROW_COUNTS = sizeof row_counts / sizeof *row_counts };

struct survey {
    struct backend *backend;
    cublasLtHandle_t blas;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    void *workspace, *a, *w, *out;
    int answers;
    double seconds;
};

static void must(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "bench_products: %s: %s; %s\n", what, status_message(),
            cudaGetErrorString(cudaGetLastError()));
    exit(EXIT_FAILURE);
}

/* BF16 drawn from a normal distribution, a block repeated by doubling. */
static void *draw(struct backend *b, size_t bytes, const char *name) {
    enum { BLOCK = 1 << 20 };
    static float values[BLOCK];
    struct random_stream random = random_stream_for(0, -1, name);
    char *memory = b->alloc(b, bytes, name);
    must(memory != NULL, name);
    size_t done = bytes / 2 < BLOCK ? bytes / 2 : BLOCK;
    for (size_t i = 0; i < done; i++) values[i] = (float)random_normal(&random, i);
    b->upload(b, memory, DTYPE_BF16, values, DTYPE_F32, done);
    for (done *= 2; done < bytes;) {
        size_t part = done < bytes - done ? done : bytes - done;
        b->copy(b, memory + done, memory, part);
        done += part;
    }
    must(!b->sync(b), name);
    return memory;
}

/* Where the `turn`-th call finds its weights. */
static const void *weights(const struct survey *s, const struct problem *p, int turn) {
    size_t bytes = (size_t)(p->n * p->k) * 2, copies = CACHE / bytes + 1;
    return (const char *)s->w + (size_t)turn % copies * bytes;
}

struct described {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t left, right, out;
    cublasLtMatmulHeuristicResult_t answers[MOST_ANSWERS];
    int count;
};

/* As kernels/cuda/matmul.cu asks. */
static void describe(struct described *d, const struct survey *s, const struct problem *p,
                     int64_t m) {
    cublasOperation_t transposed = CUBLAS_OP_T;
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasLtMatmulPreference_t preference;
    cudaDataType_t type = p->wide ? CUDA_R_32F : CUDA_R_16BF;
    bool ok =
        !cublasLtMatmulDescCreate(&d->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) &&
        !cublasLtMatmulDescSetAttribute(d->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed) &&
        !cublasLtMatrixLayoutCreate(&d->left, CUDA_R_16BF, (uint64_t)p->k, (uint64_t)p->n, p->k) &&
        !cublasLtMatrixLayoutCreate(&d->right, CUDA_R_16BF, (uint64_t)p->k, (uint64_t)m, p->k) &&
        !cublasLtMatrixLayoutCreate(&d->out, type, (uint64_t)p->n, (uint64_t)m, p->n) &&
        !cublasLtMatmulPreferenceCreate(&preference) &&
        !cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &WORKSPACE, sizeof WORKSPACE) &&
        !cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction) &&
        !cublasLtMatmulAlgoGetHeuristic(s->blas, d->operation, d->left, d->right, d->out, d->out,
                                        preference, s->answers, d->answers, &d->count);
    must(ok && d->count > 0, "asking cuBLASLt");
    (void)cublasLtMatmulPreferenceDestroy(preference);
}

static void forget(struct described *d) {
    (void)cublasLtMatmulDescDestroy(d->operation);
    (void)cublasLtMatrixLayoutDestroy(d->left);
    (void)cublasLtMatrixLayoutDestroy(d->right);
    (void)cublasLtMatrixLayoutDestroy(d->out);
}

/* Seconds of a call of one answer, from `calls` of them; NAN where it does not run. */
static double time_answer(const struct survey *s, const struct described *d,
                          const struct problem *p, int answer, int calls) {
    float alpha = 1, beta = p->added, milliseconds = 0;
    bool ok = true;
    for (int turn = -2; ok && turn < calls; turn++) {
        if (turn == 0) ok = !cudaEventRecord(s->begin, s->stream);
        ok = ok && !cublasLtMatmul(s->blas, d->operation, &alpha, weights(s, p, turn + 2), d->left,
                                   s->a, d->right, &beta, s->out, d->out, s->out, d->out,
                                   &d->answers[answer].algo, s->workspace, WORKSPACE, s->stream);
    }
    ok = ok && !cudaEventRecord(s->end, s->stream) && !cudaEventSynchronize(s->end) &&
         !cudaEventElapsedTime(&milliseconds, s->begin, s->end);
    if (!ok) (void)cudaGetLastError();
    return ok ? milliseconds / 1e3 / calls : (double)NAN;
}

static struct product product_of(const struct survey *s, const struct problem *p) {
    struct product to = p->wide ? into_acc(s->out) : into_act(s->out);
    to.add = p->added;
    return to;
}

/* By the backend: `calls` calls in one graph, the best of three replays. */
static double time_backend(const struct survey *s, const struct problem *p, int64_t m, int calls) {
    struct backend *b = s->backend;
    struct graph *graph = NULL;
    double best = INFINITY;
    for (int round = 0; round < 2; round++) {
        if (round == 1) must(b->record(b), "recording");
        for (int turn = 0; turn < calls; turn++)
            b->products->matmul(b, product_of(s, p), s->a, p->k, weights(s, p, turn), NULL, m, p->n,
                                p->k);
        if (round == 1) graph = b->record_end(b);
    }
    must(graph != NULL, "recording");
    for (int round = 0; round < 4; round++) {
        must(!b->sync(b), "the backend");
        double start = log_seconds();
        must(b->replay(b, graph) && !b->sync(b), "replaying");
        if (round) best = fmin(best, log_seconds() - start);
    }
    b->graph_free(b, graph);
    return best / calls;
}

static int attribute(const cublasLtMatmulAlgo_t *algorithm,
                     cublasLtMatmulAlgoConfigAttributes_t which, size_t size) {
    union {
        uint16_t narrow;
        uint32_t wide;
    } value = {0};
    size_t written;
    (void)cublasLtMatmulAlgoConfigGetAttribute(algorithm, which, &value, size, &written);
    return size == sizeof value.narrow ? value.narrow : (int)value.wide;
}

static void print_answer(const struct described *d, int answer, double rate) {
    const cublasLtMatmulAlgo_t *algorithm = &d->answers[answer].algo;
    printf("  %2d: %7.1f (id %d tile %d stages %d split %d cluster %d swizzle %d custom %d)",
           answer, rate, attribute(algorithm, CUBLASLT_ALGO_CONFIG_ID, 4),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, 4),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, 4),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4),
           attribute(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4));
}

/* `amount` of a call over its seconds, of every answer; the index of the best. They take turns from
 * the first to the last and back, so that a card that grows warm favours none. */
static int time_answers(double *rates, const struct survey *s, const struct described *d,
                        const struct problem *p, double amount, double seconds) {
    double taken[MOST_ANSWERS] = {0};
    int best = 0;
    for (int turn = 0; turn < 2 * d->count; turn++) {
        int answer = turn < d->count ? turn : 2 * d->count - 1 - turn;
        double once = time_answer(s, d, p, answer, 3);
        int calls = isfinite(once) ? (int)(seconds / 2 / once) + 1 : 1;
        taken[answer] += time_answer(s, d, p, answer, calls) / 2;
    }
    for (int answer = 0; answer < d->count; answer++) {
        rates[answer] = isfinite(taken[answer]) ? amount / taken[answer] : 0;
        if (rates[answer] > rates[best]) best = answer;
    }
    return best;
}

static void survey_few_rows(const struct survey *s, const int64_t *rows, size_t count) {
    printf("GB/s of weights: the backend, cuBLASLt's first answer, its best, all\n");
    for (size_t i = 0; i < PRODUCTS; i++)
        for (size_t r = 0; r < count; r++) {
            const struct problem *p = &products[i];
            struct described d = {0};
            double rates[MOST_ANSWERS], gigabytes = (double)(p->n * p->k) * 2e-9;
            describe(&d, s, p, rows[r]);
            double own = gigabytes / time_backend(s, p, rows[r], 40);
            int best = time_answers(rates, s, &d, p, gigabytes, 0.002);
            printf("%-8s %4d rows: %7.1f", p->name, (int)rows[r], own);
            print_answer(&d, 0, rates[0]);
            print_answer(&d, best, rates[best]);
            printf("  all");
            for (int answer = 0; answer < d.count; answer++) printf(" %.0f", rates[answer]);
            printf("\n");
            fflush(stdout);
            forget(&d);
        }
}

static void survey_many_rows(const struct survey *s) {
    printf("TFLOP/s of 16384 rows (head: 2048), %.1f s an answer\n", s->seconds);
    for (size_t i = 0; i < PRODUCTS; i++) {
        const struct problem *p = &products[i];
        int64_t m = p->n > 100000 ? 2048 : 16384;
        struct described d = {0};
        double rates[MOST_ANSWERS];
        if (p->n * p->k < 10000000) continue;
        describe(&d, s, p, m);
        int best =
            time_answers(rates, s, &d, p, 2e-12 * (double)(m * p->n) * (double)p->k, s->seconds);
        printf("%-8s first %.1f, best %d: %.1f\n", p->name, rates[0], best, rates[best]);
        for (int answer = 0; answer < d.count; answer++) {
            print_answer(&d, answer, rates[answer]);
            printf("\n");
        }
        fflush(stdout);
        forget(&d);
    }
}

int main(int count, char **arguments) {
    struct survey s = {.answers = count > 1 ? atoi(arguments[1]) : 16,
                       .seconds = count > 2 ? atof(arguments[2]) : 0.5};
    if (s.answers < 1 || s.answers > MOST_ANSWERS) s.answers = MOST_ANSWERS;
    must(!backend_open(&s.backend, "cuda"), "opening the device");
    must(!cublasLtCreate(&s.blas) && !cudaStreamCreate(&s.stream) && !cudaEventCreate(&s.begin) &&
             !cudaEventCreate(&s.end),
         "opening cuBLASLt");
    struct backend *b = s.backend;
    s.workspace = b->alloc(b, WORKSPACE, "the workspace");
    s.a = draw(b, (size_t)16384 * 14336 * 2, "rows");
    s.w = draw(b, (size_t)131072 * 5120 * 2 + CACHE, "weights");
    s.out = b->alloc(b, (size_t)2048 * 131072 * 4, "products");
    must(s.workspace && s.out, "memory");
    b->zero(b, s.out, (size_t)2048 * 131072 * 4);
    must(!b->sync(b), "memory");
    int64_t rows[ROW_COUNTS] = {0};
    size_t given = 0;
    for (int i = 3; i < count && given < ROW_COUNTS; i++) rows[given++] = atoi(arguments[i]);
    survey_few_rows(&s, given ? rows : row_counts, given ? given : ROW_COUNTS);
    if (s.seconds > 0) survey_many_rows(&s);
    return EXIT_SUCCESS; /* everything goes with the process */
}
