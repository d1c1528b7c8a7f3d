/* What the attention kernels share: the call, how blocks find their tile, and the pieces of a
 * tensor-core kernel of the mma.sync kind. Inputs BF16, everything else float32.
 *
 * The backward pass is two kernels that both recompute the probabilities from lse: one owns a tile
 * of queries and sums dq over keys, one owns a tile of keys and sums dk and dv over queries and the
 * group's heads. Seven matrix products instead of five, but no sum crosses blocks: the order is
 * fixed without atomics, semaphores or a float32 dq in memory. */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/attention.h"

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

struct attention_call {
    const bf16 *q, *k, *v; /* [tokens, H*E], [tokens, G*E] twice */
    int64_t q_stride, k_stride, v_stride;
    const int32_t *offsets; /* device [count + 1] */
    int64_t tokens;
    int count, longest;
    int heads, kv_heads, group; /* H, G, H/G */
    int window;                 /* 0: none */
    int width;                  /* E */
    float scale;
};

/* For the backward pass: of each head and query, lse in base 2 and the sum of dout * out. Each
 * sequence's rows start at a multiple of STATISTIC_ROWS and are padded to one with (inf, 0), which
 * makes the probabilities there zero. */
enum { STATISTIC_ROWS = 128 };

struct attention_statistics {
    float2 *at; /* [H, rows] */
    int64_t rows;
};

struct attention_backward_call {
    struct attention_call forward;
    const bf16 *out, *dout; /* [tokens, H*E] */
    const float *lse;       /* [H, tokens] */
    bf16 *dq, *dk, *dv;
    int64_t dq_stride, dk_stride, dv_stride;
    struct attention_statistics statistics;
};

/* The Hopper kernels, attention_hopper*.cu. True when they can run this call; then they have. */
bool cuda_attention_hopper(struct cuda_backend *cuda, bf16 *out, float *lse,
                           const struct attention_call *call, int head_dim);
bool cuda_attention_backward_hopper(struct cuda_backend *cuda,
                                    const struct attention_backward_call *call, int head_dim);

enum { ATTENTION_MAX_WIDTH = 256 };

/* False, with a fault of the backend, for what no kernel can do. `exact` is set when head_dim is
 * one that has a kernel of its own and all rows start at multiples of 16 bytes. */
bool cuda_attention_call(struct cuda_backend *cuda, struct attention_call *call, bool *exact,
                         const struct attention_inputs *in, const struct sequences *sequences,
                         const struct attention_shape *shape);

/* A block's work: rows [start, start + ROWS) of one sequence, for one head. */
struct attention_tile {
    int sequence, head, start;
    int first, length; /* the sequence's first token and its tokens */
};

/* Blocks are numbered so that heads vary fastest and, for queries, late tiles (which see the most
 * keys) come first; keys go the other way. False for a tile past its sequence's end. */
template <int ROWS, bool LATE_FIRST>
__device__ inline bool find_tile(struct attention_tile *tile, const struct attention_call &call,
                                 int heads, int64_t block) {
    int tiles = (call.longest + ROWS - 1) / ROWS;
    int64_t rest = block / heads;
    tile->head = (int)(block % heads);
    tile->sequence = (int)(rest % call.count);
    int index = (int)(rest / call.count);
    tile->start = (LATE_FIRST ? tiles - 1 - index : index) * ROWS;
    tile->first = call.offsets[tile->sequence];
    tile->length = call.offsets[tile->sequence + 1] - tile->first;
    return tile->start < tile->length;
}

static inline int64_t count_tiles(const struct attention_call *call, int heads, int rows) {
    return ceil_div(call->longest, rows) * call->count * heads;
}

__host__ __device__ inline int64_t statistic_row(int64_t first, int sequence) {
    return ((first + STATISTIC_ROWS - 1) / STATISTIC_ROWS + sequence) * STATISTIC_ROWS;
}

/* Query `row` sees keys from..row of its sequence. */
__device__ inline int first_key(int row, int window) {
    return window > 0 && row >= window ? row - window + 1 : 0;
}

__device__ inline bool is_visible(int row, int key, int window) {
    return key <= row && (window <= 0 || key > row - window);
}

__device__ inline float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ inline uint32_t pack_bf16(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&pair;
}

/* Tiles in shared memory: rows of E elements, the 16-byte pieces of a row permuted so that the
 * eight rows of an 8x8 matrix lie in different banks. */
template <int E> __device__ inline int swizzle(int row, int piece) {
    return row * E + (E % 64 == 0 ? piece ^ (row & 7) : piece ^ ((row >> 1) & 3)) * 8;
}

__device__ inline void copy_async(bf16 *to, const bf16 *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 16 : 0));
}

__device__ inline void copy_commit() {
    asm volatile("cp.async.commit_group;");
}

template <int PENDING> __device__ inline void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* Rows [0, ROWS) of `from`; rows from `valid` on become zeros. EXACT: rows are E wide and start at
 * multiples of 16 bytes, and the copy is under way after the call. Else they are `width` wide, lie
 * anywhere and are padded with zeros. */
template <int ROWS, int E, int THREADS, bool EXACT>
__device__ inline void load_tile(bf16 *to, const bf16 *from, int64_t stride, int valid, int width) {
    constexpr int PIECES = E / 8;
    static_assert(ROWS * PIECES % THREADS == 0, "each thread copies as many pieces");
#pragma unroll
    for (int i = 0; i < ROWS * PIECES / THREADS; i++) {
        int index = i * THREADS + (int)threadIdx.x, row = index / PIECES, piece = index % PIECES;
        bool inside = row < valid;
        const bf16 *at = from + (inside ? row * (int)stride : 0) + piece * 8;
        if constexpr (EXACT) {
            copy_async(to + swizzle<E>(row, piece), at, inside);
        } else {
            int count = inside ? width - piece * 8 : 0;
            write_packed(to + swizzle<E>(row, piece), load_some<8>(at, count, false));
        }
    }
}

__device__ inline void load_matrices(uint32_t (&to)[4], const bf16 *from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from)));
}

__device__ inline void load_matrices_transposed(uint32_t (&to)[4], const bf16 *from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from)));
}

/* The 16x16 piece of a row-major tile at (row, 16 * step) as a left operand. */
template <int E>
__device__ inline void load_left(uint32_t (&to)[4], const bf16 *tile, int row, int step) {
    int lane = threadIdx.x & 31;
    load_matrices(to, tile + swizzle<E>(row + lane % 16, 2 * step + lane / 16));
}

/* Right operands for 16 columns: of the tile's transpose (columns are the tile's rows) ... */
template <int E>
__device__ inline void load_right_rows(uint32_t (&to)[4], const bf16 *tile, int row, int step) {
    int lane = threadIdx.x & 31;
    load_matrices(to, tile + swizzle<E>(row + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
}

/* ... or of the tile itself: rows row..row+15 are summed over, columns 8 * piece.. remain. */
template <int E>
__device__ inline void load_right_columns(uint32_t (&to)[4], const bf16 *tile, int row, int piece) {
    int lane = threadIdx.x & 31;
    load_matrices_transposed(to, tile + swizzle<E>(row + lane % 16, piece + lane / 16));
}

/* c [16, 8] += a [16, 16] b [16, 8]. In lane 4g + t: c = rows g and g+8, columns 2t and 2t+1. */
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* The products' results [16, 16] in two pieces of 8 columns, as a left operand. */
__device__ inline void pack_left(uint32_t (&to)[4], const float (&low)[4], const float (&high)[4]) {
    to[0] = pack_bf16(low[0], low[1]);
    to[1] = pack_bf16(low[2], low[3]);
    to[2] = pack_bf16(high[0], high[1]);
    to[3] = pack_bf16(high[2], high[3]);
}

/* s [16, COLUMNS] += rows row.. of left . (rows of right)^T, both [.., E] in shared memory. */
template <int E, int COLUMNS>
__device__ inline void multiply_rows(float (&s)[COLUMNS / 8][4], const bf16 *left, int row,
                                     const bf16 *right) {
#pragma unroll
    for (int step = 0; step < E / 16; step++) {
        uint32_t a[4];
        load_left<E>(a, left, row, step);
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++) {
            uint32_t b[4];
            load_right_rows<E>(b, right, 16 * n, step);
            multiply(s[2 * n], a, b[0], b[1]);
            multiply(s[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* out [16, WIDTH] += p [16, ROWS] . columns [8 * piece, ...) of right [ROWS, E]. */
template <int E, int WIDTH, int ROWS>
__device__ inline void multiply_columns(float (&out)[WIDTH / 8][4], const float (&p)[ROWS / 8][4],
                                        const bf16 *right, int piece) {
#pragma unroll
    for (int step = 0; step < ROWS / 16; step++) {
        uint32_t a[4];
        pack_left(a, p[2 * step], p[2 * step + 1]);
#pragma unroll
        for (int n = 0; n < WIDTH / 16; n++) {
            uint32_t b[4];
            load_right_columns<E>(b, right, 16 * step, piece + 2 * n);
            multiply(out[2 * n], a, b[0], b[1]);
            multiply(out[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* Words 0..3 of lanes 4g..4g+3 are transposed, so that a lane's four words are neighbours. */
__device__ inline void transpose_quad(uint32_t (&word)[4]) {
    int lane = threadIdx.x & 31;
    bool odd = lane & 1, high = lane & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t other = __shfl_xor_sync(~0u, odd ? word[i] : word[i + 1], 1);
        (odd ? word[i] : word[i + 1]) = other;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t other = __shfl_xor_sync(~0u, high ? word[i] : word[i + 2], 2);
        (high ? word[i] : word[i + 2]) = other;
    }
}

/* Rows g and g+8 of a result [16, 8 * PIECES] times `factor`, as BF16 to `to` + row * stride for
 * rows below `valid`. EXACT as in load_tile; else only columns below `width`. */
template <int PIECES, bool EXACT = true>
__device__ inline void store_result(bf16 *to, int64_t stride, int valid,
                                    const float (&result)[PIECES][4], const float (&factor)[2],
                                    int width = 8 * PIECES) {
    int lane = threadIdx.x & 31, part = lane % 4;
    static_assert(PIECES % 4 == 0, "a lane writes one of four pieces");
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = lane / 4 + 8 * half;
        if constexpr (EXACT) {
#pragma unroll
            for (int piece = 0; piece < PIECES; piece += 4) {
                uint32_t word[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    word[i] = pack_bf16(result[piece + i][2 * half] * factor[half],
                                        result[piece + i][2 * half + 1] * factor[half]);
                transpose_quad(word);
                if (row < valid)
                    *(uint4 *)(to + row * stride + (piece + part) * 8) =
                        make_uint4(word[0], word[1], word[2], word[3]);
            }
        } else {
#pragma unroll
            for (int i = 0; i < 2 * PIECES; i++) {
                int column = i / 2 * 8 + part * 2 + i % 2;
                if (row < valid && column < width)
                    to[row * stride + column] =
                        __float2bfloat16(result[i / 2][2 * half + i % 2] * factor[half]);
            }
        }
    }
}

#endif
