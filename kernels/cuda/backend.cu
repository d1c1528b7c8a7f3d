/* Opening and closing the CUDA backend, its faults and its scratch memory. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "base/memory.h"
#include "kernels/cuda/open.h"
}
#include "kernels/cuda/blas.h"
#include "kernels/cuda/core.h"

/* cuBLASLt's workspace on Hopper is 32 MiB by NVIDIA's advice; ops take theirs from the same. */
static const size_t FIRST_SCRATCH = (size_t)64 << 20;

struct cuda_backend *cuda_of(struct backend *backend) {
    return &cuda_device_of(backend)->cuda;
}

void cuda_fail(struct cuda_backend *cuda, const char *format, ...) {
    if (cuda->failing.exchange(true)) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cuda->fault, sizeof cuda->fault, format, arguments);
    va_end(arguments);
    cuda->failed = true;
}

bool cuda_check(struct cuda_backend *cuda, cudaError_t error, const char *what) {
    if (error != cudaSuccess) cuda_fail(cuda, "%s: %s", what, cudaGetErrorString(error));
    return !cuda->failed;
}

bool cuda_check_blas(struct cuda_backend *cuda, cublasStatus_t status, const char *what) {
    if (status != CUBLAS_STATUS_SUCCESS)
        cuda_fail(cuda, "%s: %s", what, cublasLtGetStatusString(status));
    return !cuda->failed;
}

void *cuda_scratch(struct cuda_backend *cuda, size_t bytes) {
    cuda_scratch_reserve(cuda, bytes);
    return cuda->failed ? NULL : cuda->scratch;
}

void cuda_scratch_reserve(struct cuda_backend *cuda, size_t bytes) {
    if (cuda->failed || bytes <= cuda->scratch_bytes) return;
    if (cuda->recording) {
        cuda_fail(cuda, "%zu bytes of scratch are wanted first while ops are recorded", bytes);
        return;
    }
    /* Queued ops still use the old block: cudaFree waits for them. */
    if (!cuda_check(cuda, cudaFree(cuda->scratch), "cudaFree of scratch")) return;
    cuda->scratch = NULL;
    cuda->scratch_bytes = 0;
    cudaError_t error = cudaMalloc(&cuda->scratch, bytes);
    if (error != cudaSuccess)
        cuda_fail(cuda, "out of device memory: %zu bytes of scratch (%s)", bytes,
                  cudaGetErrorString(error));
    else
        cuda->scratch_bytes = bytes;
}

static enum status cuda_sync(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    (void)cuda_check(cuda, cudaStreamSynchronize(cuda->stream), "waiting for the device");
    return cuda->failed ? status_fail("\"%s\": %s", backend->name, cuda->fault) : STATUS_OK;
}

/* Accepts what open left half-built. */
static void cuda_close(struct backend *backend) {
    struct cuda_device *device = cuda_device_of(backend);
    struct cuda_backend *cuda = &device->cuda;
    for (cudaStream_t stream : device->queues)
        if (stream) (void)cudaStreamSynchronize(stream);
    cuda_matmul_close(cuda);
    cuda_memory_close(cuda);
    if (cuda->scratch) (void)cudaFree(cuda->scratch);
    if (cuda->blas) (void)cublasLtDestroy(cuda->blas);
    if (cuda->pool) (void)cudaMemPoolDestroy(cuda->pool);
    for (cudaStream_t stream : device->queues)
        if (stream) (void)cudaStreamDestroy(stream);
    free(device);
}

static enum status check_device(int device) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver)
        return status_fail("no NVIDIA driver for CUDA %d.%d or later", CUDART_VERSION / 1000,
                           CUDART_VERSION % 1000 / 10);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return status_fail("no CUDA device");
    if (error != cudaSuccess) return status_fail("no CUDA device: %s", cudaGetErrorString(error));
    if (device >= count)
        return status_fail("this machine has %d CUDA device%s, counted from 0", count,
                           count == 1 ? "" : "s");
    return STATUS_OK;
}

/* The device's facts into `cuda`, and a refusal of what is too old. */
static void read_properties(struct cuda_device *device) {
    struct cuda_backend *cuda = &device->cuda;
    const struct {
        enum cudaDeviceAttr which;
        int *to;
    } facts[] = {
        {cudaDevAttrMultiProcessorCount, &cuda->multiprocessors},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, &cuda->shared_limit},
        {cudaDevAttrComputeCapabilityMajor, &cuda->major},
        {cudaDevAttrComputeCapabilityMinor, &cuda->minor},
    };
    for (const auto &fact : facts)
        (void)cuda_check(cuda, cudaDeviceGetAttribute(fact.to, fact.which, cuda->device),
                         "reading the device's properties");
    struct cudaDeviceProp properties = {};
    (void)cuda_check(cuda, cudaGetDeviceProperties(&properties, cuda->device),
                     "reading the device's name");
    snprintf(device->kind, sizeof device->kind, "%s, %d multiprocessors, cuBLASLt %zu",
             properties.name, cuda->multiprocessors, cublasLtGetVersion());
    if (!cuda->failed && cuda->major < 8)
        cuda_fail(cuda, "compute capability is %d.%d, 8.0 or later is needed", cuda->major,
                  cuda->minor);
}

static void open_pool(struct cuda_backend *cuda) {
    cudaMemPoolProps properties = {};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = cuda->device;
    if (!cuda_check(cuda, cudaMemPoolCreate(&cuda->pool, &properties), "creating the memory pool"))
        return;
    uint64_t keep = UINT64_MAX; /* freed memory stays in the pool: no call to the system a layer */
    (void)cuda_check(cuda,
                     cudaMemPoolSetAttribute(cuda->pool, cudaMemPoolAttrReleaseThreshold, &keep),
                     "setting up the memory pool");
}

static void open_queues(struct cuda_device *device) {
    for (cudaStream_t &stream : device->queues)
        if (!device->cuda.failed)
            (void)cuda_check(&device->cuda,
                             cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                             "creating a stream");
    device->cuda.stream = device->queues[QUEUE_COMPUTE];
}

static void fill_tables(struct backend *backend) {
    backend->sync = cuda_sync;
    backend->close = cuda_close;
    cuda_table_memory(backend);
    cuda_table_queues(backend);
    cuda_table_graphs(backend);
    backend->embedding = &cuda_embedding_ops;
    backend->products = &cuda_product_ops;
    backend->norm = &cuda_norm_ops;
    backend->attention = &cuda_attention_ops;
    backend->mlp = &cuda_mlp_ops;
    backend->conv = &cuda_conv_ops;
    backend->scan = &cuda_scan_ops;
    backend->ssd = &cuda_ssd_ops;
    backend->delta = &cuda_delta_ops;
    backend->gated_norm = &cuda_gated_norm_ops;
    backend->loss = &cuda_loss_ops;
    backend->optimizer = &cuda_optimizer_ops;
    backend->rows = &cuda_row_ops;
}

enum status backend_open_cuda(struct backend **out, int device) {
    if (check_device(device)) return STATUS_FAILED;
    struct cuda_device *opened = (struct cuda_device *)memory_calloc(1, sizeof *opened);
    if (!opened) return STATUS_FAILED;
    struct backend *backend = &opened->base;
    struct cuda_backend *cuda = &opened->cuda;
    snprintf(opened->name, sizeof opened->name, "cuda:%d", device);
    cuda->device = device;
    backend->name = opened->name;
    backend->kind = opened->kind;
    backend->discrete = true;
    backend->act = DTYPE_BF16;
    backend->acc = DTYPE_F32;
    (void)cuda_check(cuda, cudaSetDevice(device), "opening the device");
    read_properties(opened);
    open_queues(opened);
    if (!cuda->failed) (void)cuda_check_blas(cuda, cublasLtCreate(&cuda->blas), "opening cuBLASLt");
    if (!cuda->failed) open_pool(cuda);
    cuda_scratch_reserve(cuda, FIRST_SCRATCH);
    fill_tables(backend);
    if (cuda->failed) {
        enum status status = status_fail("%s", cuda->fault);
        cuda_close(backend);
        return status;
    }
    *out = backend;
    return STATUS_OK;
}

bool cuda_versions(int out[3]) {
    out[0] = out[1] = 0;
    (void)cudaRuntimeGetVersion(&out[0]);
    if (cudaDriverGetVersion(&out[1]) != cudaSuccess) out[1] = 0;
    out[2] = (int)cublasLtGetVersion();
    return true;
}
