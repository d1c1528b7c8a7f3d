/* The op table: what a device must be able to do, stated once.
 *
 * Element types. `act` is the type of matrix inputs (float32 on the CPU, BF16 on CUDA), `acc` the
 * type of the residual stream, of norm weights and statistics, losses, parameter gradients and
 * optimizer state (float32; both are float64 in the test build of the CPU reference). Every
 * pointer below is device memory unless it says host. [m, n] arrays are row-major; a `stride` is
 * the distance between rows in elements and may exceed the row's width, so that fused projections
 * are read in place.
 *
 * Gradient rule. Parameter gradients (acc) accumulate: `+=`. Activation gradients are written:
 * `=`. The one exception is rmsnorm_backward, which adds to dx, because its input is the residual
 * stream, whose gradient already holds what flows past the norm. A gradient pointer that may be
 * NULL says so; NULL costs nothing. Backward ops take the forward op's inputs as they were.
 *
 * Ops are queued in order and do not fail one by one; sync() waits and reports the first fault.
 * Reductions have a fixed order: the same call on the same device gives the same bits.
 *
 * To add an op: declare it here with shapes, layout and formula; write kernels/cpu/<family>.c and
 * kernels/cuda/<family>.cu; put both in their tables; add its case to tests/test_ops.c, which fails
 * for an op without one. */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "kernels/ops/delta.h"
#include "kernels/ops/gated_norm.h"
#include "kernels/ops/ssd.h"

/* Independent sequences laid end to end without padding: sequence s holds tokens offsets[s] to
 * offsets[s + 1] - 1. */
struct sequences {
    int32_t count;
    int32_t longest;               /* the longest sequence's tokens */
    int64_t tokens;                /* offsets[count] */
    const int32_t *offsets;        /* host [count + 1] */
    const int32_t *device_offsets; /* [count + 1] */
    const int32_t *positions;      /* [tokens]: each token's index in its sequence */
};

struct attention_shape {
    int heads, kv_heads, head_dim; /* H, G, E; query head h reads kv head h / (H/G) */
    int window;                    /* position t sees t - window + 1 .. t; 0: all before it */
    double scale;                  /* of q.k, usually E^-1/2 */
};

struct attention_inputs {
    const void *q; /* act [tokens, H*E] */
    const void *k; /* act [tokens, G*E] */
    const void *v; /* act [tokens, G*E] */
    int64_t q_stride, k_stride, v_stride;
};

struct attention_gradients { /* written; layouts as the inputs, strides of their own */
    void *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride;
};

/* The Mamba mixer's sizes: d_inner I, d_xb X, d_state N, d_conv K (1 to 64); I = repeat * X.
 * Channel c of I lies in sub-head c / N; x and B have X / N sub-heads, each serving `repeat`
 * sub-heads in place: channel c reads source channel (c / N / repeat) * N + c % N. */
struct mamba_shape {
    int d_inner, d_xb, d_state, d_conv;
};

struct scan_inputs {
    const void *x;  /* act [tokens, I], after convolution and SiLU */
    const void *dt; /* act [tokens, I], before bias and softplus */
    const void *z;  /* act [tokens, I], gate before SiLU */
    const void *b;  /* act [tokens, X] */
    const void *c;  /* act [tokens, I] */
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    const void *dt_bias; /* acc [I]: the effective bias, added once */
    const void *a_log;   /* acc [I, N] */
    const void *d;       /* acc [I] */
};

struct scan_gradients {
    void *dx, *ddt, *dz, *db, *dc; /* act, written; layouts as the inputs, strides of their own */
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    void *ddt_bias, *da_log, *dd; /* acc, accumulated; each may be NULL */
};

/* What decoding keeps of sequences under way, a slot for each. */
struct kv_cache {
    void *k, *v;  /* act [slots, G, rows, E] */
    int64_t rows; /* position p stands in row p % rows; of a layer with a window, at most that */
};

enum loss_kind {
    LOSS_REVERSE_KL, /* D_KL(p_student || p_teacher) */
    LOSS_FORWARD_KL, /* D_KL(p_teacher || p_student) */
    LOSS_CROSS_ENTROPY,
};

struct adamw_settings {
    double lr, beta1, beta2, epsilon, weight_decay;
    int64_t step;      /* from 1 */
    double grad_scale; /* multiplies the gradient first (clipping) */
};

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
    /* out act [count] = in acc [count]: a residual-stream gradient as a matrix input. */
    void (*cast)(struct backend *, void *out, const void *in, size_t count);
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
     * as one, for less than they cost one by one and with the same results: the pointers and numbers
     * of the calls, whatever the memory holds by then. Ops of the forward and the backward pass,
     * copy and zero may be recorded, each after it was carried out once with the same sizes, so that
     * nothing is allocated on the way; none may write what another takes as weights. record is
     * false, and ops are carried out as ever, where nothing would be gained (the CPU). record_end
     * gives NULL where the recording cannot be kept. replay is false, and nothing was queued, once
     * memory that ops share has moved: free the graph and record again. */
    bool (*record)(struct backend *);
    struct graph *(*record_end)(struct backend *);
    bool (*replay)(struct backend *, struct graph *);
    void (*graph_free)(struct backend *, struct graph *); /* accepts NULL */

    /* out acc [tokens, D] = table act [V, D] at ids int32 [tokens].
     * Backward: dtable acc [V, D] += dout acc. */
    void (*embed)(struct backend *, void *out, const int32_t *ids, const void *table,
                  int64_t tokens, int64_t width);
    void (*embed_backward)(struct backend *, void *dtable, const int32_t *ids, const void *dout,
                           int64_t tokens, int64_t width);

    /* out [m, n] = a act [m, k] . w act [n, k]^T + bias acc [n] (may be NULL); added to out when
     * `accumulate`. out has type out_type (act or acc). a's rows are a_stride apart.
     * Backward: da [m, k] of da_type = or += dout . w; dw acc [n, k] += dout^T . a; dbias acc [n]
     * += the sum of dout's rows. dout act [m, n]. */
    void (*matmul)(struct backend *, void *out, enum dtype out_type, const void *a,
                   int64_t a_stride, const void *w, const void *bias, bool accumulate, int64_t m,
                   int64_t n, int64_t k);
    void (*matmul_backward_input)(struct backend *, void *da, enum dtype da_type, const void *dout,
                                  const void *w, bool accumulate, int64_t m, int64_t n, int64_t k);
    void (*matmul_backward_weight)(struct backend *, void *dw, const void *dout, const void *a,
                                   int64_t a_stride, int64_t m, int64_t n, int64_t k);
    void (*matmul_backward_bias)(struct backend *, void *dbias, const void *dout, int64_t m,
                                 int64_t n);

    /* out act [rows, D] = x acc * rstd * w acc [D], rstd acc [rows] = (mean(x^2) + eps)^-1/2.
     * Backward: dx acc += (see the gradient rule); dw acc += (may be NULL); dout act. */
    void (*rmsnorm)(struct backend *, void *out, void *rstd, const void *x, const void *w,
                    double epsilon, int64_t rows, int64_t width);
    void (*rmsnorm_backward)(struct backend *, void *dx, void *dw, const void *dout, const void *x,
                             const void *w, const void *rstd, int64_t rows, int64_t width);

    /* The same over each head: out act [tokens, heads*E] (out_stride), x act (x_stride), w acc [E],
     * rstd acc [tokens, heads]. dx act is written; dw acc += (may be NULL). */
    void (*head_norm)(struct backend *, void *out, int64_t out_stride, void *rstd, const void *x,
                      int64_t x_stride, const void *w, double epsilon, int64_t tokens, int heads,
                      int head_dim);
    void (*head_norm_backward)(struct backend *, void *dx, int64_t dx_stride, void *dw,
                               const void *dout, int64_t dout_stride, const void *x,
                               int64_t x_stride, const void *w, const void *rstd, int64_t tokens,
                               int heads, int head_dim);

    /* Rotate x act [tokens, heads*E] (stride) in place: for i < E/2, the pair (x_i, x_{i+E/2}) by
     * the angle whose cosine and sine stand in table acc [positions, 2, E/2] (cosines, then sines,
     * both times the attention factor). `inverse` applies the transpose: the gradient. */
    void (*rope)(struct backend *, void *x, int64_t stride, const void *table,
                 const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim);

    /* Causal attention within each sequence, online softmax: out act [tokens, H*E], lse acc
     * [H, tokens] (log of the sum of exponentials of scaled scores; may be NULL when no backward
     * follows). Memory is linear in the tokens. */
    void (*attention)(struct backend *, void *out, void *lse, const struct attention_inputs *,
                      const struct sequences *, const struct attention_shape *);
    void (*attention_backward)(struct backend *, const struct attention_gradients *,
                               const void *dout, const void *out, const void *lse,
                               const struct attention_inputs *, const struct sequences *,
                               const struct attention_shape *);

    /* out act [rows, F] = silu(gate) * up of gate_up act [rows, 2F] (gates first). */
    void (*swiglu)(struct backend *, void *out, const void *gate_up, int64_t rows, int64_t width);
    void (*swiglu_backward)(struct backend *, void *dgate_up, const void *dout, const void *gate_up,
                            int64_t rows, int64_t width);

    /* out act [tokens, I] = silu(causal depthwise convolution of x act [tokens, X] (stride) after
     * repetition, w acc [I, K] (last tap: the present token), bias acc [I], NULL for none). Each
     * sequence starts from zeros. Backward: dx act written, summed over the repeats; dw, dbias may
     * be NULL. */
    void (*conv_silu)(struct backend *, void *out, const void *x, int64_t x_stride, const void *w,
                      const void *bias, const struct sequences *, const struct mamba_shape *);
    void (*conv_silu_backward)(struct backend *, void *dx, int64_t dx_stride, void *dw, void *dbias,
                               const void *dout, const void *x, int64_t x_stride, const void *w,
                               const void *bias, const struct sequences *,
                               const struct mamba_shape *);

    /* The selective scan with its gate, DESIGN section 3: dt' = softplus(dt + dt_bias),
     * state <- exp(dt' A) state + dt' x B, A = -exp(a_log), y = <state, C> + D x,
     * out act [tokens, I] = y * silu(z). State in acc, zero at the start of each sequence.
     * checkpoints (scan_checkpoint_bytes of them, or NULL when no backward follows) receive the
     * states that the backward pass restarts from: about tokens * I * N / 64 elements, or
     * / 16 on CUDA where N is 16.
     * states acc [slots, I, N] (or NULL) receive the state after the last token of each sequence s
     * at slots[s], for scan_step. */
    size_t (*scan_checkpoint_bytes)(struct backend *, const struct sequences *,
                                    const struct mamba_shape *);
    void (*scan)(struct backend *, void *out, void *checkpoints, void *states, const int32_t *slots,
                 const struct scan_inputs *, const struct sequences *, const struct mamba_shape *);
    void (*scan_backward)(struct backend *, const struct scan_gradients *, const void *dout,
                          const void *checkpoints, const struct scan_inputs *,
                          const struct sequences *, const struct mamba_shape *);

    /* The Mamba-2 recurrence: dt' = softplus(dt + dt_bias), A = -exp(a_log), a head's state [P, N]
     * <- exp(dt' A) state + dt' x B^T, y = state C + D x; out act [tokens, H*P] = y, without gate
     * or norm. State in acc. checkpoints as scan has them, here opaque: about tokens * H*P*N / 64
     * elements. states acc [slots, H, P, N] (or NULL) receive the last state of each sequence s at
     * slots[s]; with `resume` sequences also begin from them, else from zeros. Backward: the
     * states that sequences began from receive no gradient. ssd_step: one more token a sequence,
     * `count` rows of inputs; out act [count, H*P], states advance. */
    size_t (*ssd_checkpoint_bytes)(struct backend *, const struct sequences *,
                                   const struct ssd_shape *);
    void (*ssd)(struct backend *, void *out, void *checkpoints, void *states, const int32_t *slots,
                bool resume, const struct ssd_inputs *, const struct sequences *,
                const struct ssd_shape *);
    void (*ssd_backward)(struct backend *, const struct ssd_gradients *, const void *dout,
                         const void *checkpoints, const struct ssd_inputs *,
                         const struct sequences *, const struct ssd_shape *);
    void (*ssd_step)(struct backend *, void *out, void *states, const int32_t *slots,
                     const struct ssd_inputs *, int count, const struct ssd_shape *);

    /* The gated delta rule: q' = q / sqrt(sum q^2 + 1e-6) * DK^-1/2, k' = k / sqrt(sum k^2 + 1e-6),
     * beta = sigmoid(b), g = -exp(a_log) softplus(a + dt_bias); a value head's state S [DK, DV] <-
     * exp(g) S, then S <- S + k' (beta (v - S^T k'))^T, out act [tokens, HV*DV] = S^T q'. The rest
     * as ssd has it, states acc [slots, HV, DK, DV]. */
    size_t (*delta_checkpoint_bytes)(struct backend *, const struct sequences *,
                                     const struct delta_shape *);
    void (*delta)(struct backend *, void *out, void *checkpoints, void *states,
                  const int32_t *slots, bool resume, const struct delta_inputs *,
                  const struct sequences *, const struct delta_shape *);
    void (*delta_backward)(struct backend *, const struct delta_gradients *, const void *dout,
                           const void *checkpoints, const struct delta_inputs *,
                           const struct sequences *, const struct delta_shape *);
    void (*delta_step)(struct backend *, void *out, void *states, const int32_t *slots,
                       const struct delta_inputs *, int count, const struct delta_shape *);

    /* out act [rows, W] of x act [rows, W] and z act [rows, W] (z_stride), W = groups * width; the
     * norm's epsilon, weights and place beside the gate are the shape's. rstd acc [rows, groups].
     * Backward: dx act and dz act (dz_stride) are written; dw acc += (may be NULL). */
    void (*gated_norm)(struct backend *, void *out, void *rstd, const void *x, const void *z,
                       int64_t z_stride, const void *w, int64_t rows,
                       const struct gated_norm_shape *);
    void (*gated_norm_backward)(struct backend *, void *dx, void *dz, int64_t dz_stride, void *dw,
                                const void *dout, const void *x, const void *z, int64_t z_stride,
                                const void *w, const void *rstd, int64_t rows,
                                const struct gated_norm_shape *);

    /* Decoding: sequences whose past is kept in slots. `slots` int32 [sequences] says where; no two
     * are equal.
     *
     * kv_store: keys and values of new tokens (in->k, in->v) into the cache, each at the row of
     * its position; of tokens of one sequence that share a row the last is kept.
     * attention_decode: one query a sequence, q act [count, H*E] (q_stride), over the cache's keys
     * of positions 0 .. positions[i] (the last `rows` of them), its own stored before; out act
     * [count, H*E]. `longest` is at least 1 more than the largest position. */
    void (*kv_store)(struct backend *, const struct kv_cache *, const int32_t *slots,
                     const struct attention_inputs *in, const struct sequences *,
                     const struct attention_shape *);
    void (*attention_decode)(struct backend *, void *out, const void *q, int64_t q_stride,
                             const struct kv_cache *, const int32_t *slots,
                             const int32_t *positions, int64_t longest, int count,
                             const struct attention_shape *);

    /* states act [slots, K - 1, X]: the last inputs of the convolution, oldest first, zeros before
     * the beginning. conv_store keeps them of whole sequences, conv_step convolves one more token a
     * sequence, x act [count, X] (x_stride) to out act [count, I], and moves on. */
    void (*conv_store)(struct backend *, void *states, const int32_t *slots, const void *x,
                       int64_t x_stride, const struct sequences *, const struct mamba_shape *);
    void (*conv_step)(struct backend *, void *out, void *states, const int32_t *slots,
                      const void *x, int64_t x_stride, const void *w, const void *bias, int count,
                      const struct mamba_shape *);

    /* The scan of one more token a sequence, `count` rows of inputs, from states acc [slots, I, N],
     * which advance; out act [count, I]. */
    void (*scan_step)(struct backend *, void *out, void *states, const int32_t *slots,
                      const struct scan_inputs *, int count, const struct mamba_shape *);

    /* Of logits acc [rows, V]: lse acc [rows], the log of the sum of exponentials of
     * logits / temperature, and the index of the largest, the first of equals, int32 [rows]. */
    void (*logit_summary)(struct backend *, void *lse, int32_t *argmax, const void *logits,
                          double temperature, int64_t rows, int64_t vocabulary);

    /* A branch's logits against the teacher's, both acc [rows, V]; teacher_lse (temperature 1) and
     * teacher_argmax from logit_summary. Written, acc [rows] each: kl = D_KL(teacher || branch),
     * rkl the other way, ce = -log p_branch(target) (0 where target int32 [rows] is negative), top1
     * = 1 where the largest logits agree, else 0. A non-finite logit makes kl and rkl NaN. */
    void (*compare_logits)(struct backend *, void *kl, void *rkl, void *ce, void *top1,
                           const void *teacher, const void *teacher_lse,
                           const int32_t *teacher_argmax, const void *branch, const int32_t *target,
                           int64_t rows, int64_t vocabulary);

    /* loss acc [rows] (unweighted) and dlogits act [rows, V] = weight acc [rows] * d loss /
     * d student. With p = softmax(logits / temperature), both divergences are divided by the
     * temperature. teacher and teacher_lse (at this temperature) may be NULL for
     * LOSS_CROSS_ENTROPY (temperature 1; a negative target gives loss 0 and no gradient), target
     * int32 [rows] for the others. */
    void (*distill_loss)(struct backend *, void *loss, void *dlogits, enum loss_kind kind,
                         double temperature, const void *student, const void *teacher,
                         const void *teacher_lse, const int32_t *target, const void *weight,
                         int64_t rows, int64_t vocabulary);

    /* Optimizer (Loshchilov and Hutter 2019): all acc [count]; copy (act, may be NULL) receives the
     * new parameters for the next forward pass. sum_squares: *out = sum of x^2, a double on the
     * device. */
    void (*adamw)(struct backend *, void *parameter, void *copy, void *moment1, void *moment2,
                  const void *gradient, const struct adamw_settings *, int64_t count);
    void (*sum_squares)(struct backend *, double *out, const void *x, int64_t count);
};

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
