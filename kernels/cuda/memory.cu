/* Memory and transfers. Host memory is pageable (a mapped checkpoint), so transfers go through a
 * ring of pinned slots: host threads copy into one slot while the copy engine empties others, and
 * a kernel converts the element type on the device, where it costs no host time. */
#include <stdlib.h>
#include <string.h>

#include <cuda_fp16.h>

extern "C" {
#include "base/memory.h"
}
#include "kernels/cuda/core.h"
#include "kernels/cuda/device.cuh"

enum { SLOTS = 16, SLOT_BYTES = 4 << 20, AHEAD = SLOTS / 2 };

/* One of the ring: pinned memory, and what is converted on its way. */
struct slot {
    char *host, *device; /* SLOT_BYTES each; device holds what is to be converted */
    cudaEvent_t done;    /* the device no longer uses the slot */
};

struct cuda_staging {
    struct slot slots[SLOTS];
    int next;
};

static void *cuda_alloc(struct backend *backend, size_t bytes, const char *what) {
    struct cuda_backend *cuda = cuda_of(backend);
    void *memory = NULL;
    if (cuda->failed) {
        (void)status_fail("\"%s\": %s", backend->name, cuda->fault);
        return NULL;
    }
    if (bytes == 0) bytes = 1;
    cudaError_t error = cudaMallocFromPoolAsync(&memory, bytes, cuda->pool, cuda->stream);
    if (error == cudaErrorMemoryAllocation) {
        /* Freed blocks may be too small each: give them back to the system and ask again. */
        (void)cudaGetLastError();
        (void)cudaStreamSynchronize(cuda->stream);
        (void)cudaMemPoolTrimTo(cuda->pool, 0);
        error = cudaMallocFromPoolAsync(&memory, bytes, cuda->pool, cuda->stream);
    }
    if (error == cudaSuccess) return memory;
    (void)cudaGetLastError(); /* not a fault of a later op */
    char wanted[32], left[32];
    (void)status_fail("out of device memory on \"%s\": %s for %s, %s free (%s)", backend->name,
                      memory_format(wanted, bytes), what,
                      memory_format(left, backend->memory_free(backend)),
                      cudaGetErrorString(error));
    return NULL;
}

static void cuda_free(struct backend *backend, void *memory) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (memory) (void)cuda_check(cuda, cudaFreeAsync(memory, cuda->stream), "free");
}

static uint64_t cuda_memory_free(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    size_t free_bytes = 0, total = 0;
    uint64_t reserved = 0, used = 0;
    if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess ||
        cudaMemPoolGetAttribute(cuda->pool, cudaMemPoolAttrReservedMemCurrent, &reserved) !=
            cudaSuccess ||
        cudaMemPoolGetAttribute(cuda->pool, cudaMemPoolAttrUsedMemCurrent, &used) != cudaSuccess) {
        (void)cuda_check(cuda, cudaGetLastError(), "reading the free memory");
        return 0;
    }
    return free_bytes + (reserved > used ? reserved - used : 0);
}

/* Scratch and staging stand beside the pool and are never given back. */
static uint64_t cuda_memory_peak(struct backend *backend) {
    struct cuda_backend *cuda = cuda_of(backend);
    uint64_t used = 0;
    (void)cuda_check(cuda, cudaMemPoolGetAttribute(cuda->pool, cudaMemPoolAttrUsedMemHigh, &used),
                     "reading the pool's use");
    return used + cuda->scratch_bytes + (cuda->staging ? (uint64_t)SLOTS * SLOT_BYTES : 0);
}

static bool open_staging(struct cuda_backend *cuda) {
    if (cuda->staging || cuda->failed) return !cuda->failed;
    cuda->staging = (struct cuda_staging *)memory_calloc(1, sizeof *cuda->staging);
    if (!cuda->staging) {
        cuda_fail(cuda, "%s", status_message());
        return false;
    }
    for (struct slot &slot : cuda->staging->slots) {
        if (!cuda_check(cuda, cudaMallocHost(&slot.host, SLOT_BYTES), "pinned host memory") ||
            !cuda_check(cuda, cudaMalloc(&slot.device, SLOT_BYTES), "staging memory") ||
            !cuda_check(cuda, cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming),
                        "staging event"))
            return false;
    }
    return true;
}

void cuda_memory_close(struct cuda_backend *cuda) {
    if (!cuda->staging) return;
    for (struct slot &slot : cuda->staging->slots) {
        if (slot.host) (void)cudaFreeHost(slot.host);
        if (slot.device) (void)cudaFree(slot.device);
        if (slot.done) (void)cudaEventDestroy(slot.done);
    }
    free(cuda->staging);
    cuda->staging = NULL;
}

/* The next slot of the ring, once the device is done with it. */
static struct slot *take_slot(struct cuda_backend *cuda) {
    struct slot *slot = &cuda->staging->slots[cuda->staging->next];
    cuda->staging->next = (cuda->staging->next + 1) % SLOTS;
    return cuda_check(cuda, cudaEventSynchronize(slot->done), "waiting for a transfer") ? slot
                                                                                        : NULL;
}

/* One thread does not fill the bus. */
static void copy_host(char *to, const char *from, size_t bytes) {
    const size_t part = (size_t)256 << 10;
    int64_t parts = ceil_div((int64_t)bytes, (int64_t)part);
#pragma omp parallel for schedule(static) if (parts > 1) num_threads(8)
    for (int64_t i = 0; i < parts; i++) {
        size_t start = (size_t)i * part, left = bytes - start;
        memcpy(to + start, from + start, left < part ? left : part);
    }
}

__device__ inline float widen(double x) {
    return (float)x;
}
__device__ inline float widen(float x) {
    return x;
}
__device__ inline float widen(__half x) {
    return __half2float(x);
}
__device__ inline float widen(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
__device__ inline void narrow(double *to, float x) {
    *to = x;
}
__device__ inline void narrow(float *to, float x) {
    *to = x;
}
__device__ inline void narrow(__half *to, float x) {
    *to = __float2half_rn(x);
}
__device__ inline void narrow(__nv_bfloat16 *to, float x) {
    *to = __float2bfloat16_rn(x);
}

/* to = from in another type, through float32; as many blocks as fill the chip, in turns. */
template <typename To, typename From>
__global__ void convert(To *to, const From *from, int64_t count) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        narrow(to + i, widen(from[i]));
}

template <typename To, typename From>
static void launch_convert(struct cuda_backend *cuda, cudaStream_t stream, void *to,
                           const void *from, int64_t count) {
    int64_t blocks = ceil_div(count, 256), most = 8 * (int64_t)cuda->multiprocessors;
    if (cuda->failed || count == 0) return;
    convert<To, From><<<(unsigned)(blocks < most ? blocks : most), 256, 0, stream>>>(
        (To *)to, (const From *)from, count);
    (void)cuda_check(cuda, cudaGetLastError(), "conversion");
}

template <typename To>
static void convert_to(struct cuda_backend *cuda, cudaStream_t stream, void *to, const void *from,
                       enum dtype from_type, int64_t count) {
    switch (from_type) {
    case DTYPE_F64:
        launch_convert<To, double>(cuda, stream, to, from, count);
        break;
    case DTYPE_F32:
        launch_convert<To, float>(cuda, stream, to, from, count);
        break;
    case DTYPE_F16:
        launch_convert<To, __half>(cuda, stream, to, from, count);
        break;
    case DTYPE_BF16:
        launch_convert<To, __nv_bfloat16>(cuda, stream, to, from, count);
        break;
    default:
        cuda_fail(cuda, "cannot convert from %s", dtype_name(from_type));
    }
}

void cuda_convert(struct cuda_backend *cuda, cudaStream_t stream, void *to, enum dtype to_type,
                  const void *from, enum dtype from_type, int64_t count) {
    switch (to_type) {
    case DTYPE_F64:
        convert_to<double>(cuda, stream, to, from, from_type, count);
        break;
    case DTYPE_F32:
        convert_to<float>(cuda, stream, to, from, from_type, count);
        break;
    case DTYPE_F16:
        convert_to<__half>(cuda, stream, to, from, from_type, count);
        break;
    case DTYPE_BF16:
        convert_to<__nv_bfloat16>(cuda, stream, to, from, from_type, count);
        break;
    default:
        cuda_fail(cuda, "cannot convert to %s", dtype_name(to_type));
    }
}

static size_t elements_in_slot(enum dtype left, enum dtype right) {
    size_t widest = dtype_size(left) > dtype_size(right) ? dtype_size(left) : dtype_size(right);
    return SLOT_BYTES / widest;
}

static void cuda_upload(struct backend *backend, void *to, enum dtype to_type, const void *host,
                        enum dtype host_type, size_t count) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (count == 0 || !open_staging(cuda)) return;
    size_t most = elements_in_slot(to_type, host_type), size = dtype_size(host_type);
    for (size_t start = 0; start < count; start += most) {
        size_t part = count - start < most ? count - start : most;
        char *target = (char *)to + start * dtype_size(to_type);
        struct slot *slot = take_slot(cuda);
        if (!slot) return;
        copy_host(slot->host, (const char *)host + start * size, part * size);
        (void)cuda_check(cuda,
                         cudaMemcpyAsync(to_type == host_type ? target : slot->device, slot->host,
                                         part * size, cudaMemcpyHostToDevice, cuda->stream),
                         "upload");
        if (to_type != host_type)
            cuda_convert(cuda, cuda->stream, target, to_type, slot->device, host_type,
                         (int64_t)part);
        if (!cuda_check(cuda, cudaEventRecord(slot->done, cuda->stream), "upload")) return;
    }
}

/* Queue the way of `part` elements into a slot's host side. */
static struct slot *begin_download(struct cuda_backend *cuda, enum dtype host_type,
                                   const char *from, enum dtype from_type, size_t part) {
    struct slot *slot = take_slot(cuda);
    if (!slot) return NULL;
    if (host_type != from_type)
        cuda_convert(cuda, cuda->stream, slot->device, host_type, from, from_type, (int64_t)part);
    (void)cuda_check(cuda,
                     cudaMemcpyAsync(slot->host, host_type == from_type ? from : slot->device,
                                     part * dtype_size(host_type), cudaMemcpyDeviceToHost,
                                     cuda->stream),
                     "download");
    return cuda_check(cuda, cudaEventRecord(slot->done, cuda->stream), "download") ? slot : NULL;
}

static void cuda_download(struct backend *backend, void *host, enum dtype host_type,
                          const void *from, enum dtype from_type, size_t count) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (count == 0 || !open_staging(cuda)) return;
    size_t most = elements_in_slot(host_type, from_type), size = dtype_size(host_type);
    size_t pieces = (count + most - 1) / most;
    struct slot *waiting[AHEAD] = {0};
    for (size_t piece = 0; piece < pieces + AHEAD; piece++) {
        struct slot **place = &waiting[piece % AHEAD];
        if (piece >= AHEAD) {
            size_t start = (piece - AHEAD) * most;
            if (!cuda_check(cuda, cudaEventSynchronize((*place)->done), "download")) return;
            copy_host((char *)host + start * size, (*place)->host,
                      (count - start < most ? count - start : most) * size);
        }
        if (piece >= pieces) continue;
        size_t start = piece * most;
        *place = begin_download(cuda, host_type, (const char *)from + start * dtype_size(from_type),
                                from_type, count - start < most ? count - start : most);
        if (!*place) return;
    }
}

static void cuda_upload_bytes(struct backend *backend, void *to, const void *host, size_t bytes) {
    cuda_upload(backend, to, DTYPE_U8, host, DTYPE_U8, bytes);
}

static void cuda_download_bytes(struct backend *backend, void *host, const void *from,
                                size_t bytes) {
    cuda_download(backend, host, DTYPE_U8, from, DTYPE_U8, bytes);
}

static void cuda_copy(struct backend *backend, void *to, const void *from, size_t bytes) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (!cuda->failed)
        (void)cuda_check(
            cuda, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream), "copy");
}

static void cuda_zero(struct backend *backend, void *to, size_t bytes) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (!cuda->failed) (void)cuda_check(cuda, cudaMemsetAsync(to, 0, bytes, cuda->stream), "zero");
}

/* to = from, or to + from, rounded to BF16 once: WIDTH elements a thread. */
template <int WIDTH>
__global__ void narrow_sums(bf16 *to, const float *from, bool add, int64_t count) {
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (i >= count) return;
    float values[WIDTH], old[WIDTH] = {};
    load(values, from + i);
    if (add) load(old, to + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) values[j] += old[j];
    store(to + i, values);
}

void cuda_narrow(struct cuda_backend *cuda, void *to, const float *from, bool add, int64_t count) {
    const int width = 4;
    if (count % width == 0 && aligned_to(to, 8) && aligned_to(from, 16))
        CUDA_LAUNCH(cuda, narrow_sums<width>, (unsigned)ceil_div(count, 256 * width), 256, 0,
                    (bf16 *)to, from, add, count);
    else
        CUDA_LAUNCH(cuda, narrow_sums<1>, (unsigned)ceil_div(count, 256), 256, 0, (bf16 *)to, from,
                    add, count);
}

static void cuda_cast(struct backend *backend, struct act *out, const struct acc *in,
                      size_t count) {
    cuda_narrow(cuda_of(backend), out, (const float *)in, false, (int64_t)count);
}

void cuda_table_memory(struct backend *backend) {
    backend->alloc = cuda_alloc;
    backend->free = cuda_free;
    backend->upload = cuda_upload;
    backend->download = cuda_download;
    backend->upload_bytes = cuda_upload_bytes;
    backend->download_bytes = cuda_download_bytes;
    backend->copy = cuda_copy;
    backend->zero = cuda_zero;
    backend->cast = cuda_cast;
    backend->memory_free = cuda_memory_free;
    backend->memory_peak = cuda_memory_peak;
}
