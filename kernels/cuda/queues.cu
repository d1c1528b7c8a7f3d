/* Transfers beside the arithmetic: pinned host memory, a stream each way, events between streams.
 * Other threads call these, so each call names its device. */
#include "kernels/cuda/core.h"

static bool on_device(struct cuda_backend *cuda) {
    return !cuda->failed &&
           cuda_check(cuda, cudaSetDevice(cuda->device), "choosing the thread's device");
}

static void *cuda_host_alloc(struct backend *backend, size_t bytes, const char *what) {
    struct cuda_backend *cuda = cuda_of(backend);
    void *memory = NULL;
    cudaError_t error = cudaSetDevice(cuda->device);
    if (error == cudaSuccess) error = cudaMallocHost(&memory, bytes ? bytes : 1);
    if (error == cudaSuccess) return memory;
    (void)cudaGetLastError(); /* not a fault of a later op */
    (void)status_fail("out of pinned host memory: %zu bytes for %s (%s)", bytes, what,
                      cudaGetErrorString(error));
    return NULL;
}

/* cudaFreeHost waits for what still uses the memory. */
static void cuda_host_free(struct backend *backend, void *memory) {
    if (memory) (void)cuda_check(cuda_of(backend), cudaFreeHost(memory), "freeing pinned memory");
}

/* A conversion reads the pinned memory over the bus, without a stop on the way. */
static void cuda_queue_upload(struct backend *backend, enum queue queue, void *to,
                              enum dtype to_type, const void *host, enum dtype host_type,
                              size_t count) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (count == 0 || !on_device(cuda)) return;
    cudaStream_t stream = cuda_device_of(backend)->queues[queue];
    if (to_type == host_type)
        (void)cuda_check(cuda,
                         cudaMemcpyAsync(to, host, count * dtype_size(host_type),
                                         cudaMemcpyHostToDevice, stream),
                         "upload");
    else
        cuda_convert(cuda, stream, to, to_type, host, host_type, (int64_t)count);
}

static void cuda_queue_download(struct backend *backend, enum queue queue, void *host,
                                const void *from, size_t bytes) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (bytes && on_device(cuda))
        (void)cuda_check(cuda,
                         cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost,
                                         cuda_device_of(backend)->queues[queue]),
                         "download");
}

static struct event *cuda_event_open(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    cudaEvent_t event = NULL;
    cudaError_t error = cudaSetDevice(cuda->device);
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        (void)status_fail("\"%s\": no event: %s", backend->name, cudaGetErrorString(error));
    }
    return (struct event *)event;
}

static void cuda_event_close(struct backend *backend, struct event *event) {
    if (event)
        (void)cuda_check(cuda_of(backend), cudaEventDestroy((cudaEvent_t)event),
                         "closing an event");
}

static void cuda_event_record(struct backend *backend, struct event *event, enum queue queue) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (on_device(cuda))
        (void)cuda_check(
            cuda, cudaEventRecord((cudaEvent_t)event, cuda_device_of(backend)->queues[queue]),
            "marking a queue");
}

static void cuda_event_wait(struct backend *backend, struct event *event, enum queue queue) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (on_device(cuda))
        (void)cuda_check(
            cuda,
            cudaStreamWaitEvent(cuda_device_of(backend)->queues[queue], (cudaEvent_t)event, 0),
            "ordering two queues");
}

static void cuda_event_sync(struct backend *backend, struct event *event) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (on_device(cuda))
        (void)cuda_check(cuda, cudaEventSynchronize((cudaEvent_t)event), "waiting for a transfer");
}

void cuda_table_queues(struct backend *backend) {
    backend->host_alloc = cuda_host_alloc;
    backend->host_free = cuda_host_free;
    backend->queue_upload = cuda_queue_upload;
    backend->queue_download = cuda_queue_download;
    backend->event_open = cuda_event_open;
    backend->event_close = cuda_event_close;
    backend->event_record = cuda_event_record;
    backend->event_wait = cuda_event_wait;
    backend->event_sync = cuda_event_sync;
}
