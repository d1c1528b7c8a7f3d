/* What of the CUDA backend is no family of ops: struct backend with its own functions around the
 * state that the ops share. */
#ifndef KERNELS_CUDA_CORE_H
#define KERNELS_CUDA_CORE_H

#include "kernels/cuda/cuda.h"

extern "C" {
#include "base/dtype.h"
#include "kernels/backend.h"
}

struct cuda_device {
    struct backend base;
    struct cuda_backend cuda;
    cudaStream_t queues[QUEUE_COUNT]; /* the ops' stream, and those of transfers beside it */
    char name[16];                    /* "cuda:0" */
    char kind[320];
};

static inline struct cuda_device *cuda_device_of(struct backend *backend) {
    return (struct cuda_device *)backend;
}

/* Each puts its own functions into the backend. */
void cuda_table_memory(struct backend *backend); /* memory.cu: alloc .. cast */
void cuda_table_queues(struct backend *backend); /* queues.cu: host_alloc .. event_sync */
void cuda_table_graphs(struct backend *backend); /* graphs.cu: record .. graph_free */

/* The staging buffers' end; accepts a half-opened backend. */
void cuda_memory_close(struct cuda_backend *cuda);

/* to [count] = from between any two float types (memory.cu), on `stream`; `from` may be pinned host
 * memory. */
void cuda_convert(struct cuda_backend *cuda, cudaStream_t stream, void *to, enum dtype to_type,
                  const void *from, enum dtype from_type, int64_t count);

#endif
