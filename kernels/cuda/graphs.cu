/* Recording ops as a CUDA graph. Inside one, kernels that wait for their predecessor themselves
 * (device.cuh) start while it ends; see CUDA_LAUNCH_EARLY. */
#include <stdlib.h>

extern "C" {
#include "base/memory.h"
}
#include "kernels/cuda/core.h"

struct graph {
    cudaGraphExec_t executable;
    const void *scratch; /* where the ops found it */
};

static bool cuda_record(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    /* Other threads may go on with transfers: only this one's calls are watched. */
    cuda->recording =
        !cuda->failed &&
        cuda_check(cuda, cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal),
                   "recording");
    return cuda->recording;
}

static struct graph *cuda_record_end(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    cudaGraph_t recorded = NULL;
    struct graph *graph = (struct graph *)memory_calloc(1, sizeof *graph);
    cuda->recording = false;
    bool complete = cuda_check(cuda, cudaStreamEndCapture(cuda->stream, &recorded), "recording");
    /* What lacks the memory for a graph goes on without. */
    bool kept =
        graph && complete && cudaGraphInstantiate(&graph->executable, recorded, 0) == cudaSuccess;
    if (complete && !kept) (void)cudaGetLastError();
    if (recorded) (void)cudaGraphDestroy(recorded);
    if (kept) {
        graph->scratch = cuda->scratch;
        return graph;
    }
    free(graph);
    return NULL;
}

static bool cuda_replay(struct backend *backend, struct graph *graph) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (graph->scratch != cuda->scratch) return false;
    if (!cuda->failed)
        (void)cuda_check(cuda, cudaGraphLaunch(graph->executable, cuda->stream), "replaying");
    return true;
}

/* A graph that still runs is released by the driver when it ends. */
static void cuda_graph_free(struct backend *backend, struct graph *graph) {
    if (!graph) return;
    (void)cuda_check(cuda_of(backend), cudaGraphExecDestroy(graph->executable), "freeing a graph");
    free(graph);
}

/* The device code in use is as new as this one's: PTX for older chips knows no early start and no
 * clusters, even where the driver compiles it for new ones. */
__global__ void sample_kernel() {
}

void cuda_table_graphs(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    cudaFuncAttributes attributes = {};
    cuda->hopper_code =
        !cuda->failed &&
        cuda_check(cuda, cudaFuncGetAttributes(&attributes, sample_kernel), "reading a kernel") &&
        attributes.ptxVersion >= 90;
    backend->record = cuda_record;
    backend->record_end = cuda_record_end;
    backend->replay = cuda_replay;
    backend->graph_free = cuda_graph_free;
}
