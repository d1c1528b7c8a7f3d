#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"

struct cpu_backend {
    struct backend base;
    bool failed; /* an op could not do its work */
    char fault[128];
    char kind[64];
};

static void *cpu_alloc(struct backend *backend, size_t bytes, const char *what) {
    (void)backend;
    void *memory = memory_aligned(bytes);
    if (!memory) (void)status_fail("out of memory: %zu bytes for %s", bytes, what);
    return memory;
}

static void cpu_free(struct backend *backend, void *memory) {
    (void)backend;
    free(memory);
}

/* Any float type to any float type; large arrays by all threads in fixed blocks. */
static void convert(void *to, enum dtype to_type, const void *from, enum dtype from_type,
                    size_t count) {
    enum { BLOCK = 1 << 14 };
#pragma omp parallel for schedule(static) if (count > 4 * BLOCK)
    for (size_t start = 0; start < count; start += BLOCK) {
        size_t length = count - start < BLOCK ? count - start : BLOCK;
        const char *in = (const char *)from + start * dtype_size(from_type);
        char *out = (char *)to + start * dtype_size(to_type);
        if (to_type == from_type)
            memcpy(out, in, length * dtype_size(to_type));
        else if (to_type == DTYPE_F32)
            dtype_to_f32((float *)out, in, from_type, length);
        else if (to_type == DTYPE_F64)
            dtype_to_f64((double *)out, in, from_type, length);
        else {
            float wide[256];
            for (size_t i = 0; i < length; i += 256) {
                size_t part = length - i < 256 ? length - i : 256;
                dtype_to_f32(wide, in + i * dtype_size(from_type), from_type, part);
                dtype_from_f32(out + i * dtype_size(to_type), to_type, wide, part);
            }
        }
    }
}

static void cpu_upload(struct backend *backend, void *to, enum dtype to_type, const void *host,
                       enum dtype host_type, size_t count) {
    (void)backend;
    convert(to, to_type, host, host_type, count);
}

static void cpu_download(struct backend *backend, void *host, enum dtype host_type,
                         const void *from, enum dtype from_type, size_t count) {
    (void)backend;
    convert(host, host_type, from, from_type, count);
}

static void cpu_copy(struct backend *backend, void *to, const void *from, size_t bytes) {
    (void)backend;
    const size_t block = (size_t)1 << 20;
#pragma omp parallel for schedule(static) if (bytes > 4 * block)
    for (size_t start = 0; start < bytes; start += block)
        memcpy((char *)to + start, (const char *)from + start,
               bytes - start < block ? bytes - start : block);
}

static void cpu_zero(struct backend *backend, void *to, size_t bytes) {
    (void)backend;
    memset(to, 0, bytes);
}

void cpu_fail(struct backend *backend, const char *format, ...) {
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
#pragma omp critical(cpu_fault)
    if (!cpu->failed) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(cpu->fault, sizeof cpu->fault, format, arguments);
        va_end(arguments);
        cpu->failed = true;
    }
}

void *cpu_scratch(struct backend *backend, size_t bytes, const char *what) {
    void *memory = memory_aligned(bytes);
    if (!memory) cpu_fail(backend, "out of memory: %zu bytes for %s", bytes, what);
    return memory;
}

static void cpu_cast(struct backend *backend, struct act *out, const struct acc *in, size_t count) {
    convert(out, backend->act, in, backend->acc, count);
}

static enum status cpu_sync(struct backend *backend) {
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    if (!cpu->failed) return STATUS_OK;
    cpu->failed = false;
    return status_fail("%s", cpu->fault);
}

static uint64_t cpu_memory_free(struct backend *backend) {
    (void)backend;
    return memory_available(NULL);
}

static uint64_t cpu_memory_peak(struct backend *backend) {
    (void)backend;
    return 0;
}

/* Nothing is ever waited for: any address but NULL serves as an event. */
static struct event *cpu_event_open(struct backend *backend) {
    return (struct event *)backend;
}

static void cpu_event_close(struct backend *backend, struct event *event) {
    (void)backend;
    (void)event;
}

static void cpu_event_queue(struct backend *backend, struct event *event, enum queue queue) {
    (void)backend;
    (void)event;
    (void)queue;
}

static void cpu_queue_upload(struct backend *backend, enum queue queue, void *to,
                             enum dtype to_type, const void *host, enum dtype host_type,
                             size_t count) {
    (void)queue;
    cpu_upload(backend, to, to_type, host, host_type, count);
}

static void cpu_queue_download(struct backend *backend, enum queue queue, void *host,
                               const void *from, size_t bytes) {
    (void)queue;
    cpu_copy(backend, host, from, bytes);
}

/* Queueing an op costs nothing here: there is nothing to record. */
static bool cpu_record(struct backend *backend) {
    (void)backend;
    return false;
}

static struct graph *cpu_record_end(struct backend *backend) {
    (void)backend;
    return NULL;
}

static bool cpu_replay(struct backend *backend, struct graph *graph) {
    (void)backend;
    (void)graph;
    return false;
}

static void cpu_graph_free(struct backend *backend, struct graph *graph) {
    (void)backend;
    (void)graph;
}

static void cpu_close(struct backend *backend) {
    free(backend);
}

/* What oneDNN takes for the code that it makes and for the panels of products: where it gets none
 * it jumps to code that is not there. */
enum { CPU_ROOM = 32 << 20 };

enum status backend_open_cpu(struct backend **out) {
    struct cpu_backend *cpu = memory_calloc(1, sizeof *cpu);
    if (!cpu) return STATUS_FAILED;
    struct backend *backend = &cpu->base;
    *backend = (struct backend){
        .name = "cpu",
        .act = REAL_DTYPE,
        .acc = REAL_DTYPE,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .upload = cpu_upload,
        .download = cpu_download,
        .upload_bytes = cpu_copy,
        .download_bytes = cpu_copy,
        .copy = cpu_copy,
        .zero = cpu_zero,
        .cast = cpu_cast,
        .sync = cpu_sync,
        .memory_free = cpu_memory_free,
        .memory_peak = cpu_memory_peak,
        .host_alloc = cpu_alloc,
        .host_free = cpu_free,
        .queue_upload = cpu_queue_upload,
        .queue_download = cpu_queue_download,
        .event_open = cpu_event_open,
        .event_close = cpu_event_close,
        .event_record = cpu_event_queue,
        .event_wait = cpu_event_queue,
        .event_sync = cpu_event_close,
        .record = cpu_record,
        .record_end = cpu_record_end,
        .replay = cpu_replay,
        .graph_free = cpu_graph_free,
        .close = cpu_close,
        .embedding = &cpu_embedding_ops,
        .products = &cpu_product_ops,
        .norm = &cpu_norm_ops,
        .attention = &cpu_attention_ops,
        .mlp = &cpu_mlp_ops,
        .conv = &cpu_conv_ops,
        .scan = &cpu_scan_ops,
        .ssd = &cpu_ssd_ops,
        .delta = &cpu_delta_ops,
        .gated_norm = &cpu_gated_norm_ops,
        .loss = &cpu_loss_ops,
        .optimizer = &cpu_optimizer_ops,
        .rows = &cpu_row_ops,
    };
    threads_settle();
    enum status status = memory_check_room(CPU_ROOM, "matrix products");
    if (status) {
        cpu_close(backend);
        return status;
    }
    cpu_gemm_kind(cpu->kind, sizeof cpu->kind);
    backend->kind = cpu->kind;
    status = cpu_check_products(backend);
    if (status)
        cpu_close(backend);
    else
        *out = backend;
    return status;
}
