/* What the scan's passes share. States are spread over lanes: a channel's NP (N rounded up) states
 * lie in SG neighbouring lanes, TS in each, and a thread works on TC channels at once. Padding
 * costs time but changes nothing: absent tokens and channels have dt = 0 and no input, absent
 * states have no input and no output. */
#ifndef KERNELS_CUDA_SCAN_CUH
#define KERNELS_CUDA_SCAN_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/scan.h"

enum {
    SCAN_CHUNK = 64,    /* tokens between checkpoints */
    SCAN_BLOCK = 16,    /* tokens staged in shared memory at a time */
    SCAN_THREADS = 128, /* of every block */
    SCAN_MAX_STATES = 256,
    SCAN16_STATES = 16, /* the d_state that scan16*.cu are for */
};

#define SCAN_LOG2_E 1.4426950408889634f
#define SCAN_LN_2 0.6931471805599453f

struct scan_call {
    const bf16 *x, *dt, *z, *b, *c; /* [tokens, I], b [tokens, X] */
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    const float *dt_bias, *a_log, *d; /* [I], [I, N], [I] */
    const bf16 *dout;                 /* [tokens, I]; backward */
    bf16 *out;                        /* [tokens, I]; forward */
    const int32_t *offsets;           /* device [count + 1] */
    int64_t tokens;
    int count, longest;
    int inner, source_width, states, repeat; /* I, X, N, I/X */
    bool aligned;                            /* 8 neighbouring channels are one access */
    /* Sequences may be cut into segments that run side by side: what enters each is found first. */
    int segments, segment_tokens;         /* of the longest; a multiple of SCAN_CHUNK */
    float *segment_states, *segment_sums; /* [count, segments, I, N]; [count, segments, I] */
    float *checkpoints;   /* forward: see scan_checkpoint(), may be NULL; backward [chunks, I, N]:
                             what the last state of a chunk receives from later tokens */
    float *final;         /* [slots, I, N]: forward, the state after the last token, or NULL */
    const int32_t *slots; /* [count] */
};

/* [chunks] of the checkpoints: each sequence begins one of its own, some rows stay unused. */
__host__ __device__ inline int64_t scan_first_chunk(int64_t first_token, int sequence) {
    return first_token / SCAN_CHUNK + sequence;
}

/* Where the state before a sequence's token t lies among the forward pass's checkpoints [.., I, N];
 * t is a multiple of SCAN_CHUNK, or of SCAN_BLOCK where the kernels of scan16.cu keep more. */
__host__ __device__ inline int64_t scan_checkpoint(int64_t first_token, int sequence, int t,
                                                   int states) {
    int interval = states == SCAN16_STATES ? (int)SCAN_BLOCK : (int)SCAN_CHUNK;
    return first_token / interval + sequence + t / interval;
}

/* One instruction each: denormals count as zero. */
__device__ inline float scan_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ inline float scan_log2(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ inline float scan_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ inline float scan_sigmoid(float x) {
    return scan_reciprocal(1.0f + scan_exp2(-SCAN_LOG2_E * x));
}

/* value < limit ? less : other, without the branch that the compiler would make of it. */
__device__ inline float scan_select(float value, float limit, float less, float other) {
    float y;
    asm("{ .reg .pred p; setp.lt.f32 p, %1, %2; selp.f32 %0, %3, %4, p; }"
        : "=f"(y)
        : "f"(value), "f"(limit), "f"(less), "f"(other));
    return y;
}

/* Of x, given exp(x). */
__device__ inline float scan_softplus(float x, float e) {
    float small = e * (1.0f - e * (0.5f - e * (1.0f / 3))); /* 1 + e would lose what e holds */
    float log = scan_select(x, 20, SCAN_LN_2 * scan_log2(1.0f + e), x);
    return scan_select(e, 0.01f, small, log);
}

__device__ inline float scan_softplus(float x) {
    return scan_softplus(x, scan_exp2(SCAN_LOG2_E * x));
}

/* The index of a lane's i-th state: lanes interleave by 4, so that their reads touch all banks. */
template <int TS, int SG> __device__ inline int scan_state(int lane, int i) {
    return TS < 4 ? lane * TS + i : i / 4 * 4 * SG + lane * 4 + i % 4;
}

/* A lane's TS values of a row of NP in shared memory. */
template <int TS, int SG>
__device__ inline void load_states(float (&to)[TS], const float *row, int lane) {
    if constexpr (TS < 4) {
        load(to, row + lane * TS);
    } else {
#pragma unroll
        for (int i = 0; i < TS; i += 4) {
            float part[4];
            load(part, row + i * SG + lane * 4);
#pragma unroll
            for (int j = 0; j < 4; j++) to[i + j] = part[j];
        }
    }
}

template <int WIDTH>
__device__ inline void store_some(bf16 *to, const float (&from)[WIDTH], int valid, bool aligned) {
    if (aligned) {
        if (valid > 0) store(to, from);
        return;
    }
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        if (i < valid) to[i] = __float2bfloat16(from[i]);
}

/* Sums over groups of SG neighbouring lanes of COUNT values a lane, 4 or 8. A lane keeps the sums
 * from number scan_kept() on: one of them, or two when 4 lanes share 8. */
template <int COUNT, int SG> __device__ inline int scan_kept(int lane) {
    int kept = (lane & 1) * (COUNT / 2) + (lane >> 1 & 1) * (COUNT / 4);
    return COUNT == 8 && SG >= 8 ? kept + (lane >> 2 & 1) : kept;
}

template <int COUNT, int SG> __device__ inline void scatter_sums(float (&value)[COUNT], int lane) {
    static_assert((COUNT == 4 || COUNT == 8) && SG >= 4, "two halvings at least");
#pragma unroll
    for (int step = 1; step < SG; step *= 2) {
        int size = COUNT / (2 * step); /* kept after this step; 0: one value is summed by all */
        bool upper = lane & step;
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++)
            if (i < size) {
                float give = upper ? value[i] : value[i + size];
                float keep = upper ? value[i + size] : value[i];
                value[i] = keep + __shfl_xor_sync(~0u, give, step);
            }
        if (size == 0) value[0] += __shfl_xor_sync(~0u, value[0], step);
    }
}

/* scan.cu. The states' pass over all segments: forward it also writes `out`; backward it only
 * fills the checkpoints. Decides the segments; `scratch` is scan_scratch_bytes() of it. */
size_t cuda_scan_scratch_bytes(const struct cuda_backend *cuda, const struct scan_call *call);
void cuda_scan_pass(struct cuda_backend *cuda, struct scan_call *call, char *scratch,
                    bool backward);

/* scan16.cu. The forward pass for d_state 16 where sequences and channels fill the chip; false,
 * with nothing done, for other calls. scan16_fits() tells which, from the inputs alone. */
bool cuda_scan16_fits(const struct cuda_backend *cuda, const struct scan_call *call);
bool cuda_scan16(struct cuda_backend *cuda, const struct scan_call *call);

/* scan16_backward.cu, for Hopper: whether it can, given that scan16_fits() the inputs, and the pass
 * itself. It decides the segments. */
bool cuda_scan16_backward_fits(const struct cuda_backend *cuda, const struct scan_call *call,
                               const struct scan_gradients *to, const void *dout);
void cuda_scan16_backward(struct cuda_backend *cuda, struct scan_call *call,
                          const struct scan_gradients *to, const float *checkpoints);

/* scan.cu. What enters each of the call's segments from the others, to its segment_states, for
 * d_state 16. */
void cuda_scan_enter(struct cuda_backend *cuda, const struct scan_call *call, bool backward);

/* False, with a fault of the backend, for shapes out of range. */
bool cuda_scan_call(struct cuda_backend *cuda, struct scan_call *call, const struct scan_inputs *in,
                    const struct sequences *sequences, const struct mamba_shape *shape);
int64_t cuda_scan_chunks(const struct sequences *sequences);

#endif
