/* The frame of the op test: buffers with guard words on the device, values in double on the host,
 * comparison with a limit per op and element type, and gradients by central differences.
 *
 * A case (tests/ops/case_*.c) draws inputs, which are rounded to the backend's element type first,
 * so that only the op's own arithmetic differs from the double formula written in the case. */
#ifndef TESTS_OPS_OPS_H
#define TESTS_OPS_OPS_H

#include "kernels/backend.h"

/* Largest allowed error by output type: max |got - expected| / (|expected| + rms(expected)). */
struct limit {
    double f64, f32, bf16;
};

struct ops {
    struct backend *backend;
    struct limit limit;
    bool compare;        /* false in the second run, which only repeats the bits */
    uint64_t draws;      /* random numbers drawn so far */
    uint64_t digest;     /* of every output's bytes: two runs must agree */
    int faults;          /* failed expectations */
    char message[256];   /* the first of them */
    double worst[3];     /* largest error seen, by type, as struct limit */
    struct owned *owned; /* all memory of the case */
};

/* Start and end one case run; end releases everything the case allocated. */
void ops_begin(struct ops *ops, struct backend *backend, struct limit limit, bool compare);
void ops_end(struct ops *ops);

void ops_fail(struct ops *ops, const char *format, ...) STATUS_PRINTF(2, 3);

/* Host memory that lives until ops_end; zeroed. */
double *ops_doubles(struct ops *ops, int64_t count);
double ops_uniform(struct ops *ops, double low, double high);
int ops_integer(struct ops *ops, int low, int high); /* inclusive */

/* A [rows, width] array on the device, rows `stride` apart, between guard words. Gaps between rows
 * hold NaN and must keep it. */
struct buffer {
    enum dtype type;
    int64_t rows, width, stride, count; /* count = rows * width */
    void *device;
    double *values; /* [rows, width]: what was uploaded, exactly */
    double *got;    /* after ops_fetch */
    double floor;   /* errors are taken relative to at least this: the size of the terms of a sum
                       that may come to nothing */
};

/* N(0, scale^2) rounded to `type`; given values, rounded; outputs filled with NaN. */
struct buffer ops_random(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                         int64_t stride, double scale);
struct buffer ops_given(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                        int64_t stride, const double *values);
struct buffer ops_output(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                         int64_t stride);
/* int32; an output holds -99 before the call. */
struct buffer ops_integers(struct ops *ops, int64_t count, const int32_t *values);

/* Download, check guards and gaps, add to the digest. */
const double *ops_fetch(struct ops *ops, struct buffer *buffer, const char *what);
/* Fetch and compare with expected [rows, width]; non-finite values fail. With `step` > 1 only
 * every step-th element has an expected value. */
void ops_expect(struct ops *ops, struct buffer *buffer, const double *expected, const char *what);
void ops_expect_some(struct ops *ops, struct buffer *buffer, const double *expected, int64_t step,
                     const char *what);

/* Sequences of the given lengths, with their device arrays. */
struct sequences ops_sequences(struct ops *ops, const int *lengths, int count);

/* A scalar-valued view of a formula: out [out_count] of inputs, each [counts[i]]. */
struct formula {
    void (*evaluate)(const void *context, double *const inputs[], double *out);
    const void *context;
    double *inputs[12];
    int64_t out_count;
};

/* d <dout, out> / d inputs[which], by a five-point stencil, at elements 0, step, 2 step, … of its
 * `count`; the inputs are restored. Truncation and rounding stay near 1e-11 of the gradient. */
double *ops_differentiate(struct ops *ops, struct formula *formula, int which, int64_t count,
                          int64_t step, const double *dout);

/* The same at one element; formula->out_count must be 1. */
double ops_slope(struct formula *formula, int which, int64_t element, const double *dout);
/* A step (a prime, so that every column is met) that takes about `samples` of `count` elements. */
int64_t ops_step(int64_t count, int64_t samples);

/* start + gradient, for parameter gradients, which accumulate. */
double *ops_add(struct ops *ops, const double *start, const double *gradient, int64_t count);

/* The cases, one per op of struct backend (its memory functions share one, those of graphs
 * another). */
void case_memory(struct ops *ops);
void case_graph(struct ops *ops);
void case_embed(struct ops *ops);
void case_embed_backward(struct ops *ops);
void case_matmul(struct ops *ops);
void case_matmul_backward_input(struct ops *ops);
void case_matmul_backward_weight(struct ops *ops);
void case_matmul_backward_bias(struct ops *ops);
void case_rmsnorm(struct ops *ops);
void case_rmsnorm_backward(struct ops *ops);
void case_head_norm(struct ops *ops);
void case_head_norm_backward(struct ops *ops);
void case_rope(struct ops *ops);
void case_attention(struct ops *ops);
void case_attention_backward(struct ops *ops);
void case_swiglu(struct ops *ops);
void case_swiglu_backward(struct ops *ops);
void case_conv_silu(struct ops *ops);
void case_conv_silu_backward(struct ops *ops);
void case_scan_checkpoint_bytes(struct ops *ops);
void case_scan(struct ops *ops);
void case_scan_backward(struct ops *ops);
void case_ssd_checkpoint_bytes(struct ops *ops);
void case_ssd(struct ops *ops);
void case_ssd_backward(struct ops *ops);
void case_ssd_step(struct ops *ops);
void case_delta_checkpoint_bytes(struct ops *ops);
void case_delta(struct ops *ops);
void case_delta_backward(struct ops *ops);
void case_delta_step(struct ops *ops);
void case_gated_norm(struct ops *ops);
void case_gated_norm_backward(struct ops *ops);
void case_kv_store(struct ops *ops);
void case_attention_decode(struct ops *ops);
void case_conv_store(struct ops *ops);
void case_conv_step(struct ops *ops);
void case_scan_step(struct ops *ops);
void case_logit_summary(struct ops *ops);
void case_compare_logits(struct ops *ops);
void case_distill_loss(struct ops *ops);
void case_adamw(struct ops *ops);
void case_sum_squares(struct ops *ops);
void case_distance(struct ops *ops);
void case_add_difference(struct ops *ops);

/* Several ops in a row against a golden file. */
void case_golden_mixer(struct ops *ops);
void case_golden_mamba2(struct ops *ops);
void case_golden_gdn(struct ops *ops);

#endif
