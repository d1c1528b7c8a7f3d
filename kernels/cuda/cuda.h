/* What the CUDA ops share: the backend's own state, fault keeping, scratch memory, launches.
 *
 * An op gets the state of its `struct backend *` by cuda_of(), takes scratch if it needs some, and
 * launches on the one stream. Nothing in an op waits for the device or returns a status: the first
 * fault is kept, later launches are skipped, and sync() reports it.
 *
 * This header knows no op and no member of struct backend, so that an edit of a family compiles
 * that family's files only. To add one: kernels/cuda/NAME.cu with cuda_NAME_ops, declared here, put
 * in place by backend.cu, listed in kernels/cuda/meson.build. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <atomic>
#include <cuda_runtime.h>

#include "kernels/ops/types.h"

extern "C" {
#include "base/status.h"
}

struct cublasLtContext;
struct cuda_matmul_cache; /* cuBLASLt's plans by shape, matmul.cu */
struct cuda_staging;      /* pinned buffers of the transfers, memory.cu */

struct cuda_backend {
    int device;
    int multiprocessors;
    int shared_limit;    /* bytes of shared memory that a block may ask for */
    int major, minor;    /* compute capability */
    cudaStream_t stream; /* every op and plain transfer, in order */
    cudaMemPool_t pool;  /* of the device memory that alloc gives */
    struct cublasLtContext *blas;
    struct cuda_matmul_cache *matmuls;
    struct cuda_staging *staging;
    void *scratch;
    size_t scratch_bytes;
    bool recording;   /* launches become nodes of a graph (graphs.cu) */
    bool hopper_code; /* the device code in use is for Hopper or later (graphs.cu) */
    std::atomic<bool> failing, failed; /* threads that queue transfers can fail too */
    char fault[256];                   /* the first one; complete once `failed` is set */
};

struct cuda_backend *cuda_of(struct backend *backend);

/* Keep the first fault: true when `error` is none and nothing failed before. `what` names the op or
 * the call. */
bool cuda_check(struct cuda_backend *cuda, cudaError_t error, const char *what);

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

/* The tables of the op families, kernels/ops/NAME.h; as in kernels/cpu/ops.h. */
extern const struct embedding_ops cuda_embedding_ops; /* embed.cu */
extern const struct product_ops cuda_product_ops;     /* matmul*.cu */
extern const struct norm_ops cuda_norm_ops;           /* norm.cu, head_norm.cu */
extern const struct attention_ops
    cuda_attention_ops;                       /* attention*.cu, rope.cu, decode_attention.cu */
extern const struct mlp_ops cuda_mlp_ops;     /* mlp.cu */
extern const struct conv_ops cuda_conv_ops;   /* conv.cu, decode.cu */
extern const struct scan_ops cuda_scan_ops;   /* scan*.cu, decode.cu */
extern const struct ssd_ops cuda_ssd_ops;     /* ssd*.cu, recurrent_step.cu */
extern const struct delta_ops cuda_delta_ops; /* delta*.cu, recurrent_step.cu */
extern const struct gated_norm_ops cuda_gated_norm_ops; /* gated_norm.cu */
extern const struct loss_ops cuda_loss_ops;             /* loss.cu */
extern const struct optimizer_ops cuda_optimizer_ops;   /* optimizer.cu */
extern const struct row_ops cuda_row_ops;               /* rows.cu */

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

/* The same for kernels of a decoding step, which call wait_for_previous (device.cuh): in a graph
 * they start while the kernel before them ends (programmatic dependent launch). */
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
            (void)cuda_check((cuda), cudaLaunchKernelEx(&launch_, (kernel), __VA_ARGS__),          \
                             #kernel);                                                             \
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
