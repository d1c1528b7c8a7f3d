/* Matrix products through cuBLASLt: BF16 in, float32 accumulation, the bias in the epilogue. Plans
 * (descriptors and the chosen algorithm) are kept by shape. The algorithm is the library's first
 * choice among those that add their partial sums in a fixed order, never a measured one: the same
 * call gives the same bits in every run. */
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/memory.h"
}
#include "kernels/cuda/blas.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/matmul.h"
#include "kernels/ops/products.h"

/* What tells plans apart. In cuBLASLt's column-major terms: out [rows, columns] = left . right. */
struct matmul_shape {
    int64_t rows, columns, depth;
    int64_t left_stride, right_stride;
    int32_t left_transposed, right_transposed;
    int32_t wide;                                           /* out is float32, else BF16 */
    int32_t added;                                          /* to what out holds */
    int32_t left_alignment, right_alignment, out_alignment; /* bytes */
    int32_t bias_alignment;                                 /* 0: no bias */
    int32_t unused;                                         /* the bytes are compared: no gap */
};

struct matmul_plan {
    struct matmul_shape shape;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t left, right, out;
    cublasLtMatmulAlgo_t algorithm;
    struct matmul_plan *next; /* of the same bucket */
};

enum { BUCKETS = 1024 };

static const size_t WORKSPACE = (size_t)32 << 20;
static const int64_t ROUNDED_BYTES = (int64_t)32 << 20;

struct cuda_matmul_cache {
    struct matmul_plan *buckets[BUCKETS];
};

static void free_plan(struct matmul_plan *plan) {
    if (plan->operation) (void)cublasLtMatmulDescDestroy(plan->operation);
    if (plan->left) (void)cublasLtMatrixLayoutDestroy(plan->left);
    if (plan->right) (void)cublasLtMatrixLayoutDestroy(plan->right);
    if (plan->out) (void)cublasLtMatrixLayoutDestroy(plan->out);
    free(plan);
}

void cuda_matmul_close(struct cuda_backend *cuda) {
    if (!cuda->matmuls) return;
    for (struct matmul_plan *plan : cuda->matmuls->buckets) {
        while (plan) {
            struct matmul_plan *next = plan->next;
            free_plan(plan);
            plan = next;
        }
    }
    free(cuda->matmuls);
    cuda->matmuls = NULL;
}

/* The largest power of two up to 256 that divides an address. */
static int32_t alignment_of(const void *address) {
    uintptr_t bits = (uintptr_t)address | 256;
    return (int32_t)(bits & -bits);
}

/* FNV-1a. */
static unsigned bucket_of(const struct matmul_shape *shape) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *shape; i++)
        hash = (hash ^ ((const unsigned char *)shape)[i]) * 1099511628211u;
    return (unsigned)((hash ^ hash >> 32) % BUCKETS);
}

static void set_attribute(struct cuda_backend *cuda, cublasLtMatmulDesc_t operation,
                          cublasLtMatmulDescAttributes_t which, const void *value, size_t size) {
    (void)cuda_check_blas(cuda, cublasLtMatmulDescSetAttribute(operation, which, value, size),
                          "describing a matrix product");
}

static void describe(struct cuda_backend *cuda, struct matmul_plan *plan, const void *bias) {
    const struct matmul_shape *s = &plan->shape;
    cudaDataType_t out_type = s->wide ? CUDA_R_32F : CUDA_R_16BF;
    const char *what = "describing a matrix product";
    if (!cuda_check_blas(
            cuda, cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), what))
        return;
    cublasOperation_t left = s->left_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t right = s->right_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left);
    set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right);
    if (bias) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                      sizeof epilogue);
        set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &out_type,
                      sizeof out_type);
        /* The choice of an algorithm looks at its alignment. */
        set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    }
    (void)cuda_check_blas(cuda,
                          cublasLtMatrixLayoutCreate(
                              &plan->left, CUDA_R_16BF,
                              (uint64_t)(s->left_transposed ? s->depth : s->rows),
                              (uint64_t)(s->left_transposed ? s->rows : s->depth), s->left_stride),
                          what);
    (void)cuda_check_blas(
        cuda,
        cublasLtMatrixLayoutCreate(
            &plan->right, CUDA_R_16BF, (uint64_t)(s->right_transposed ? s->columns : s->depth),
            (uint64_t)(s->right_transposed ? s->depth : s->columns), s->right_stride),
        what);
    (void)cuda_check_blas(cuda,
                          cublasLtMatrixLayoutCreate(&plan->out, out_type, (uint64_t)s->rows,
                                                     (uint64_t)s->columns, s->rows),
                          what);
}

static void choose_algorithm(struct cuda_backend *cuda, struct matmul_plan *plan) {
    const struct matmul_shape *s = &plan->shape;
    /* Partial sums of a cut depth: in float32, in the workspace, in order. */
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t left = (uint32_t)s->left_alignment, right = (uint32_t)s->right_alignment,
             out = (uint32_t)s->out_alignment;
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof WORKSPACE},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &left, sizeof left},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &right, sizeof right},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out, sizeof out},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out, sizeof out},
    };
    cublasLtMatmulPreference_t preference = NULL;
    if (!cuda_check_blas(cuda, cublasLtMatmulPreferenceCreate(&preference), "matmul preference"))
        return;
    for (const auto &wish : wishes)
        (void)cuda_check_blas(
            cuda,
            cublasLtMatmulPreferenceSetAttribute(preference, wish.which, wish.value, wish.size),
            "matmul preference");
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!cuda->failed)
        status =
            cublasLtMatmulAlgoGetHeuristic(cuda->blas, plan->operation, plan->left, plan->right,
                                           plan->out, plan->out, preference, 1, &result, &found);
    (void)cublasLtMatmulPreferenceDestroy(preference);
    if (status != CUBLAS_STATUS_SUCCESS || found == 0)
        cuda_fail(cuda, "cuBLASLt has no algorithm for a %lld x %lld x %lld matrix product: %s",
                  (long long)s->columns, (long long)s->rows, (long long)s->depth,
                  cublasLtGetStatusString(status));
    else
        plan->algorithm = result.algo;
}

static struct matmul_plan *find_plan(struct cuda_backend *cuda, const struct matmul_shape *shape,
                                     const void *bias) {
    if (!cuda->matmuls)
        cuda->matmuls = (struct cuda_matmul_cache *)memory_calloc(1, sizeof *cuda->matmuls);
    struct matmul_plan **place = cuda->matmuls ? &cuda->matmuls->buckets[bucket_of(shape)] : NULL;
    for (struct matmul_plan *plan = place ? *place : NULL; plan; plan = plan->next)
        if (memcmp(&plan->shape, shape, sizeof *shape) == 0) return plan;
    struct matmul_plan *plan = place ? (struct matmul_plan *)memory_calloc(1, sizeof *plan) : NULL;
    if (!plan) {
        cuda_fail(cuda, "%s", status_message());
        return NULL;
    }
    plan->shape = *shape;
    describe(cuda, plan, bias);
    if (!cuda->failed) choose_algorithm(cuda, plan);
    if (cuda->failed) {
        free_plan(plan);
        return NULL;
    }
    plan->next = *place;
    *place = plan;
    return plan;
}

/* shape's alignments are filled in here; bias (of out's type, or NULL) must outlive the call. */
static void multiply(struct cuda_backend *cuda, struct matmul_shape *shape, void *out,
                     const void *left, const void *right, const void *bias, void *workspace) {
    if (cuda->failed || shape->rows == 0 || shape->columns == 0) return;
    shape->left_alignment = alignment_of(left);
    shape->right_alignment = alignment_of(right);
    shape->out_alignment = alignment_of(out);
    shape->bias_alignment = bias ? alignment_of(bias) : 0;
    struct matmul_plan *plan = find_plan(cuda, shape, bias);
    if (!plan) return;
    if (bias)
        set_attribute(cuda, plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    float alpha = 1, beta = shape->added ? 1 : 0;
    (void)cuda_check_blas(cuda,
                          cublasLtMatmul(cuda->blas, plan->operation, &alpha, left, plan->left,
                                         right, plan->right, &beta, out, plan->out, out, plan->out,
                                         &plan->algorithm, workspace, WORKSPACE, cuda->stream),
                          "matrix product");
}

/* A BF16 output to which a bias or its old value is added. cuBLASLt may round the product to BF16
 * before it adds those (seen with 13.0 on an H100), so float32 sums are made in scratch and rounded
 * here, as many rows of `out` at a time as stay in the L2 cache. shape is a float32 product's. */
static void multiply_rounding_once(struct cuda_backend *cuda, struct matmul_shape *shape, bf16 *out,
                                   const void *left, const bf16 *right, const void *bias,
                                   bool accumulate) {
    int64_t width = shape->rows, rows = shape->columns, part = ROUNDED_BYTES / 4 / (width + 1);
    part = part < 128 ? 128 : part / 128 * 128;
    if (part > rows) part = rows;
    char *workspace = (char *)cuda_scratch(cuda, WORKSPACE + (size_t)(part * width) * 4);
    if (!workspace) return;
    float *sums = (float *)(workspace + WORKSPACE);
    for (int64_t row = 0; row < rows; row += part) {
        shape->columns = rows - row < part ? rows - row : part;
        multiply(cuda, shape, sums, left, right + row * shape->right_stride, bias, workspace);
        cuda_narrow(cuda, out + row * width, sums, accumulate, shape->columns * width);
    }
}

static void *memory_of(struct product to) {
    return to.narrow ? (void *)to.narrow : (void *)to.wide;
}

static void cuda_matmul(struct backend *backend, struct product to, const struct act *a,
                        int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                        int64_t n, int64_t k) {
    struct cuda_backend *cuda = cuda_of(backend);
    bool once = to.narrow && (bias || to.add);
    if (cuda_matmul_few(cuda, to, a, a_stride, w, bias, m, n, k)) return;
    /* out^T [n, m] = w [n, k] . a^T [k, m] in column-major terms. */
    struct matmul_shape shape = {};
    shape.rows = n;
    shape.columns = m;
    shape.depth = k;
    shape.left_stride = k;
    shape.right_stride = a_stride;
    shape.left_transposed = 1;
    shape.wide = once || to.wide;
    shape.added = to.add && !once;
    if (once)
        multiply_rounding_once(cuda, &shape, (bf16 *)to.narrow, w, (const bf16 *)a, bias, to.add);
    else
        multiply(cuda, &shape, memory_of(to), w, a, bias, cuda_scratch(cuda, WORKSPACE));
}

static void cuda_matmul_backward_input(struct backend *backend, struct product to,
                                       const struct act *dout, const struct act *w, int64_t m,
                                       int64_t n, int64_t k) {
    struct cuda_backend *cuda = cuda_of(backend);
    bool once = to.narrow && to.add;
    /* da^T [k, m] = w^T [k, n] . dout^T [n, m] in column-major terms. */
    struct matmul_shape shape = {};
    shape.rows = k;
    shape.columns = m;
    shape.depth = n;
    shape.left_stride = k;
    shape.right_stride = n;
    shape.wide = once || to.wide;
    shape.added = to.add && !once;
    if (once)
        multiply_rounding_once(cuda, &shape, (bf16 *)to.narrow, w, (const bf16 *)dout, NULL, true);
    else
        multiply(cuda, &shape, memory_of(to), w, dout, NULL, cuda_scratch(cuda, WORKSPACE));
}

static void cuda_matmul_backward_weight(struct backend *backend, struct acc *dw,
                                        const struct act *dout, const struct act *a,
                                        int64_t a_stride, int64_t m, int64_t n, int64_t k) {
    struct cuda_backend *cuda = cuda_of(backend);
    /* dw^T [k, n] += a^T [k, m] . dout [m, n] in column-major terms. */
    struct matmul_shape shape = {};
    shape.rows = k;
    shape.columns = n;
    shape.depth = m;
    shape.left_stride = a_stride;
    shape.right_stride = n;
    shape.right_transposed = 1;
    shape.wide = 1;
    shape.added = 1;
    multiply(cuda, &shape, dw, a, dout, NULL, cuda_scratch(cuda, WORKSPACE));
}

/* Sums of WIDTH columns a thread over a strip of rows, partial [strips, n]. */
template <int WIDTH>
__global__ void sum_strips(float *partial, const bf16 *x, int64_t rows, int64_t columns,
                           int64_t strip) {
    int64_t column = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (column >= columns) return;
    int64_t first = blockIdx.y * strip, end = first + strip < rows ? first + strip : rows;
    float sums[WIDTH] = {};
#pragma unroll 8
    for (int64_t row = first; row < end; row++) {
        float values[WIDTH];
        load(values, x + row * columns + column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) sums[i] += values[i];
    }
    store(partial + blockIdx.y * columns + column, sums);
}

static void cuda_matmul_backward_bias(struct backend *backend, struct acc *dbias,
                                      const struct act *dout, int64_t m, int64_t n) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (m == 0 || n == 0) return;
    const int64_t strip = ceil_div(m, 128) < 16 ? 16 : ceil_div(m, 128);
    int strips = (int)ceil_div(m, strip);
    float *partial = (float *)cuda_scratch(cuda, (size_t)(strips * n) * sizeof(float));
    if (!partial) return;
    if (n % 4 == 0 && aligned_to(dout, 8))
        CUDA_LAUNCH(cuda, sum_strips<4>, dim3((unsigned)ceil_div(n, 128 * 4), (unsigned)strips),
                    128, 0, partial, (const bf16 *)dout, m, n, strip);
    else
        CUDA_LAUNCH(cuda, sum_strips<1>, dim3((unsigned)ceil_div(n, 128), (unsigned)strips), 128, 0,
                    partial, (const bf16 *)dout, m, n, strip);
    cuda_add_partials(cuda, (float *)dbias, partial, strips, n);
}

const struct product_ops cuda_product_ops = {
    .matmul = cuda_matmul,
    .matmul_backward_input = cuda_matmul_backward_input,
    .matmul_backward_weight = cuda_matmul_backward_weight,
    .matmul_backward_bias = cuda_matmul_backward_bias,
};
