/* What the CUDA ops share: the backend's own state, fault keeping, scratch memory, launches.
 *
 * An op casts its `struct backend *` with cuda_of(), takes scratch if it needs some, and launches
 * on the one stream. Nothing in an op waits for the device or returns a status: the first fault is
 * kept, later launches are skipped, and sync() reports it. To add an op family:
 * kernels/cuda/NAME.cu with cuda_table_NAME(), declared here, called in backend.cu, listed in
 * kernels/meson.build. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <atomic>
#include <cublasLt.h>
#include <cuda_runtime.h>

extern "C" {
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/backend.h"
}

struct cuda_matmul_cache; /* cuBLASLt's plans by shape, matmul.cu */
struct cuda_staging;      /* pinned buffers of the transfers, memory.cu */

struct cuda_backend {
    struct backend base; /* first: cuda_of() casts */
    char name[16];       /* "cuda:0" */
    char kind[320];
    int device;
    int multiprocessors;
    int shared_limit;    /* bytes of shared memory that a block may ask for */
    int major, minor;    /* compute capability */
    cudaStream_t stream; /* every op and plain transfer, in order */
    cudaStream_t queues[QUEUE_COUNT]; /* the same, and the streams of transfers beside it */
    cudaMemPool_t pool;  /* of the device memory that alloc gives */
    cublasLtHandle_t blas;
    struct cuda_matmul_cache *matmuls;
    struct cuda_staging *staging;
    void *scratch;
    size_t scratch_bytes;
    bool recording;    /* launches become nodes of a graph (graphs.cu) */
    bool hopper_code;  /* the device code in use is for Hopper or later (graphs.cu) */
    std::atomic<bool> failing, failed; /* threads that queue transfers can fail too */
    char fault[256];                   /* the first one; complete once `failed` is set */
};

static inline struct cuda_backend *cuda_of(struct backend *backend) {
    return (struct cuda_backend *)backend;
}

/* Keep the first fault: true when `error` is none and nothing failed before. `what` names the op or
 * the call. */
bool cuda_check(struct cuda_backend *cuda, cudaError_t error, const char *what);
bool cuda_check_blas(struct cuda_backend *cuda, cublasStatus_t status, const char *what);

/* A fault that is no CUDA error, printf-style; only the first is kept. */
void cuda_fail(struct cuda_backend *cuda, const char *format, ...) STATUS_PRINTF(2, 3);

/* Device memory for one op, 256-byte aligned, valid until the next op asks: the stream's order
 * makes the reuse safe, so an op asks once for all it needs. It grows (which waits for the device)
 * and never shrinks. NULL after a fault: return. */
void *cuda_scratch(struct cuda_backend *cuda, size_t bytes);

/* Make sure that scratch of that size exists, so that nothing waits later. */
void cuda_scratch_reserve(struct cuda_backend *cuda, size_t bytes);

/* to [columns] += the sum of partial [parts, columns] in a fixed order (reduce.cu). */
void cuda_add_partials(struct cuda_backend *cuda, float *to, const float *partial, int64_t parts,
                       int64_t columns);

/* to BF16 [count] = from, or += from, rounded once (memory.cu). */
void cuda_narrow(struct cuda_backend *cuda, void *to, const float *from, bool add, int64_t count);

/* The same between any two float types, on `stream`; `from` may be pinned host memory. */
void cuda_convert(struct cuda_backend *cuda, cudaStream_t stream, void *to, enum dtype to_type,
                  const void *from, enum dtype from_type, int64_t count);

/* A product of at most CUDA_FEW_ROWS rows, bound by reading w (matmul_few.cu), as backend->matmul has
 * it. False, and nothing done, for other shapes and for rows that are not aligned to 16 bytes. */
enum { CUDA_FEW_ROWS = 4 };
bool cuda_matmul_few(struct cuda_backend *cuda, void *out, enum dtype out_type, const void *a,
                     int64_t a_stride, const void *w, const void *bias, bool accumulate, int64_t m,
                     int64_t n, int64_t k);

/* The ends of what the tables began; accept a half-opened backend. */
void cuda_memory_close(struct cuda_backend *cuda);
void cuda_matmul_close(struct cuda_backend *cuda);

/* The tables of the op families, as in kernels/cpu/ops.h. */
void cuda_table_memory(struct cuda_backend *cuda);    /* memory.cu: alloc .. cast */
void cuda_table_queues(struct cuda_backend *cuda);    /* queues.cu: host_alloc .. event_sync */
void cuda_table_graphs(struct cuda_backend *cuda);    /* graphs.cu: record .. graph_free */
void cuda_table_matmul(struct cuda_backend *cuda);    /* matmul.cu */
void cuda_table_embed(struct cuda_backend *cuda);     /* embed.cu */
void cuda_table_norm(struct cuda_backend *cuda);      /* norm.cu: rmsnorm */
void cuda_table_head_norm(struct cuda_backend *cuda); /* head_norm.cu */
void cuda_table_rope(struct cuda_backend *cuda);      /* rope.cu */
void cuda_table_attention(struct cuda_backend *cuda); /* attention*.cu */
void cuda_table_mlp(struct cuda_backend *cuda);       /* mlp.cu: swiglu */
void cuda_table_conv(struct cuda_backend *cuda);      /* conv.cu: conv_silu */
void cuda_table_scan(struct cuda_backend *cuda);      /* scan*.cu */
void cuda_table_decode(struct cuda_backend *cuda);    /* decode*.cu: caches and steps */
void cuda_table_decode_attention(struct cuda_backend *cuda); /* decode_attention.cu */
void cuda_table_loss(struct cuda_backend *cuda);      /* loss.cu */
void cuda_table_optimizer(struct cuda_backend *cuda); /* optimizer.cu */

/* kernel<<<grid, block, shared bytes>>>(arguments) on the stream, checked; an empty grid or an
 * earlier fault skips it. A kernel template with several arguments goes in parentheses. */
#define CUDA_LAUNCH(cuda, kernel, grid, block, shared, ...)                                        \
    do {                                                                                           \
        dim3 launch_grid_ = (grid);                                                                \
        if (!(cuda)->failed && launch_grid_.x && launch_grid_.y && launch_grid_.z) {               \
            (kernel)<<<launch_grid_, (block), (shared), (cuda)->stream>>>(__VA_ARGS__);            \
            (void)cuda_check((cuda), cudaGetLastError(), #kernel);                                 \
        }                                                                                          \
    } while (0)

/* The same for kernels of a decoding step, which call wait_for_previous (device.cuh): in a graph they
 * start while the kernel before them ends (programmatic dependent launch). */
#define CUDA_LAUNCH_EARLY(cuda, kernel, grid, block, shared, ...)                                  \
    do {                                                                                           \
        cudaLaunchAttribute launch_early_ = {};                                                    \
        cudaLaunchConfig_t launch_ = {};                                                           \
        launch_early_.id = cudaLaunchAttributeProgrammaticStreamSerialization;                     \
        launch_early_.val.programmaticStreamSerializationAllowed = 1;                              \
        launch_.gridDim = (grid);                                                                  \
        launch_.blockDim = (block);                                                                \
        launch_.dynamicSmemBytes = (shared);                                                       \
        launch_.stream = (cuda)->stream;                                                           \
        launch_.attrs = &launch_early_;                                                            \
        launch_.numAttrs = (cuda)->recording && (cuda)->hopper_code;                               \
        if (!(cuda)->failed && launch_.gridDim.x && launch_.gridDim.y && launch_.gridDim.z)        \
            (void)cuda_check((cuda), cudaLaunchKernelEx(&launch_, (kernel), __VA_ARGS__), #kernel);\
    } while (0)

/* More than 48 KB of shared memory must be asked for, once per kernel and device. */
#define CUDA_ALLOW_SHARED(cuda, kernel, bytes)                                                     \
    (void)cuda_check((cuda),                                                                       \
                     cudaFuncSetAttribute((const void *)(kernel),                                  \
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, (bytes)),   \
                     #kernel)

/* Wide accesses need aligned rows: the pointer here, the stride by the caller. */
static inline bool aligned_to(const void *address, size_t bytes) {
    return (uintptr_t)address % bytes == 0;
}

static inline int64_t ceil_div(int64_t count, int64_t size) {
    return (count + size - 1) / size;
}

#endif
