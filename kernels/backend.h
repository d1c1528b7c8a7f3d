/* The op table: what a device must be able to do, stated once. Memory, transfers and recordings
 * stand here, every family of ops in a header of its own (kernels/ops/), behind a pointer to its
 * table: a file includes the families that it calls, and an edit of one compiles what uses it.
 *
 * Element types: struct act and struct acc, kernels/ops/types.h; `void *` below is memory of
 * either. Every pointer is device memory unless it says host. [m, n] arrays are row-major; a
 * `stride` is the distance between rows in elements and may exceed the row's width, so that fused
 * projections are read in place.
 *
 * Gradient rule. Parameter gradients (acc) accumulate: `+=`. Activation gradients are written:
 * `=`. The one exception is rmsnorm_backward, which adds to dx, because its input is the residual
 * stream, whose gradient already holds what flows past the norm. A gradient pointer that may be
 * NULL says so; NULL costs nothing. Backward ops take the forward op's inputs as they were.
 *
 * Ops are queued in order and do not fail one by one; sync() waits and reports the first fault.
 * Reductions have a fixed order: the same call on the same device gives the same bits.
 *
 * To add an op: declare it in its family's header with shapes, layout and formula; write it in
 * kernels/cpu/ and kernels/cuda/ and put both in the family's tables there; add its case to
 * tests/test_ops.c, which fails for an op without one. To add a family: kernels/ops/NAME.h, a
 * pointer to its table below, cpu_NAME_ops (kernels/cpu/ops.h) and cuda_NAME_ops
 * (kernels/cuda/cuda.h), which the two backend files put in place, and its row in tests/test_ops.c.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "base/dtype.h"
#include "base/status.h"
#include "kernels/ops/types.h"

/* Work is queued in several places: ops, copies and plain transfers in the first, transfers that go
 * beside them in the others. Each keeps its own order; events order one behind another. */
enum queue {
    QUEUE_COMPUTE,
    QUEUE_WEIGHTS, /* in: weights */
    QUEUE_IN,      /* in and out: activations that do not fit */
    QUEUE_OUT,
    QUEUE_COUNT,
};

struct event; /* a point in a queue; before its first record it lies behind nothing */
struct graph; /* ops noted down, to be queued as one */

struct backend {
    const char *name; /* "cpu", "cuda:0" */
    const char *kind; /* hardware and libraries, as far as bits depend on them: "NVIDIA H100 …" */
    enum dtype act, acc;
    bool discrete; /* its memory is not the host's: transfers can go beside the arithmetic. False is
                      how to ask for the CPU, whatever the types are */

    /* Memory. alloc's bytes are not initialised; NULL with a message (naming `what`) when they
     * cannot be had. upload and download convert between the host's and the device's element type
     * and return when the host buffer may be reused. */
    void *(*alloc)(struct backend *, size_t bytes, const char *what);
    void (*free)(struct backend *, void *memory); /* accepts NULL */
    void (*upload)(struct backend *, void *to, enum dtype to_type, const void *host,
                   enum dtype host_type, size_t count);
    void (*download)(struct backend *, void *host, enum dtype host_type, const void *from,
                     enum dtype from_type, size_t count);
    void (*upload_bytes)(struct backend *, void *to, const void *host, size_t bytes);
    void (*download_bytes)(struct backend *, void *host, const void *from, size_t bytes);
    void (*copy)(struct backend *, void *to, const void *from, size_t bytes);
    void (*zero)(struct backend *, void *to, size_t bytes);
    /* out [count] = in [count]: a residual-stream gradient as a matrix input. */
    void (*cast)(struct backend *, struct act *out, const struct acc *in, size_t count);
    enum status (*sync)(struct backend *);
    uint64_t (*memory_free)(struct backend *); /* bytes that alloc can still give */
    uint64_t (*memory_peak)(struct backend *); /* the most bytes in use so far; 0: not counted */
    void (*close)(struct backend *);

    /* Transfers beside the arithmetic. host_alloc gives host memory that the device reads and
     * writes itself (NULL with a message when it cannot be had); queue_upload and queue_download
     * (without conversion) only queue: the memory must stay as it is until an event recorded behind
     * them has come. event_record marks the end of what a queue holds now, event_wait lets what is
     * queued there later wait for the mark, event_sync lets the calling thread wait. Other threads
     * may call these seven while one thread queues ops. On the CPU everything happens at once. */
    void *(*host_alloc)(struct backend *, size_t bytes, const char *what);
    void (*host_free)(struct backend *, void *memory); /* accepts NULL */
    void (*queue_upload)(struct backend *, enum queue, void *to, enum dtype to_type,
                         const void *host, enum dtype host_type, size_t count);
    void (*queue_download)(struct backend *, enum queue, void *host, const void *from,
                           size_t bytes);
    struct event *(*event_open)(struct backend *);         /* NULL with a message on failure */
    void (*event_close)(struct backend *, struct event *); /* accepts NULL */
    void (*event_record)(struct backend *, struct event *, enum queue);
    void (*event_wait)(struct backend *, struct event *, enum queue);
    void (*event_sync)(struct backend *, struct event *);

    /* Between record and record_end ops are noted down instead of carried out; replay queues them
     * as one, for less than they cost one by one and with the same results: the pointers and
     * numbers of the calls, whatever the memory holds by then. Ops of the forward and the backward
     * pass, copy and zero may be recorded, each after it was carried out once with the same sizes,
     * so that nothing is allocated on the way; none may write what another takes as weights. record
     * is false, and ops are carried out as ever, where nothing would be gained (the CPU).
     * record_end gives NULL where the recording cannot be kept. replay is false, and nothing was
     * queued, once memory that ops share has moved: free the graph and record again. */
    bool (*record)(struct backend *);
    struct graph *(*record_end)(struct backend *);
    bool (*replay)(struct backend *, struct graph *);
    void (*graph_free)(struct backend *, struct graph *); /* accepts NULL */

    /* The families of ops, kernels/ops/NAME.h. */
    const struct embedding_ops *embedding;
    const struct product_ops *products;
    const struct norm_ops *norm;
    const struct attention_ops *attention;
    const struct mlp_ops *mlp;
    const struct conv_ops *conv;
    const struct scan_ops *scan;
    const struct ssd_ops *ssd;
    const struct delta_ops *delta;
    const struct gated_norm_ops *gated_norm;
    const struct loss_ops *loss;
    const struct optimizer_ops *optimizer;
    const struct row_ops *rows;
};

/* The element `elements` after `base`, for either constness of it. */
static inline struct act *act_at(const struct backend *backend, const struct act *base,
                                 int64_t elements) {
    return (struct act *)((uintptr_t)base + (size_t)elements * dtype_size(backend->act));
}

static inline struct acc *acc_at(const struct backend *backend, const struct acc *base,
                                 int64_t elements) {
    return (struct acc *)((uintptr_t)base + (size_t)elements * dtype_size(backend->acc));
}

/* The CPU backend always exists. close() frees it. */
enum status backend_open_cpu(struct backend **out) STATUS_CHECKED;

/* "auto", "cpu", "cuda" or "cuda:N". `auto` falls back to the CPU with a note when work begins;
 * `cuda` fails with the reason when the build or the machine has none. */
enum status backend_open(struct backend **out, const char *device) STATUS_CHECKED;

/* "3.0.1", of oneDNN. */
const char *backend_library_version(void);
/* "12.4 (driver 12.8, cuBLASLt 12.4.5)", of the CUDA backend; "" in a build without it. `out` is
 * returned. */
enum { BACKEND_CUDA_VERSION_SIZE = 96 };
const char *backend_cuda_version(char out[BACKEND_CUDA_VERSION_SIZE]);

#endif
