/* What the chunked recurrences (ssd*.cu, delta*.cu) share. A chunk is 64 tokens of one sequence and
 * one head; within it a recurrence is a few matrix products of tiles in shared memory, in BF16 with
 * float32 sums; decays and the states that pass from chunk to chunk are float32.
 *
 * Warps own 16 rows of a state that stays in registers as the result of a product, [16, COLUMNS] in
 * COLUMNS / 8 pieces: rounded to BF16 it is at once a right operand (its rows then are the
 * product's columns, its columns are summed over) or a left one. Widths below a tile's are padded
 * with zeros. */
#ifndef KERNELS_CUDA_CHUNK_CUH
#define KERNELS_CUDA_CHUNK_CUH

#include "kernels/cuda/attention.cuh"

enum { CHUNK = 64, SQUARE = CHUNK * CHUNK };

/* Logarithms of decays are at least this: exp of it is no normal number, and sums stay precise. */
#define LEAST_STEP -80.0f

extern __shared__ uint4 chunk_memory[];

/* Rows of one operand: `at` is the first token's first column of head 0. */
struct chunk_rows {
    const bf16 *at;
    int64_t stride;
    int width;  /* of a head or group */
    bool exact; /* heads and rows start at multiples of 16 bytes, of whole pieces of 8 columns */
};

static inline struct chunk_rows make_rows(const void *at, int64_t stride, int width) {
    struct chunk_rows rows = {(const bf16 *)at, stride, width,
                              width % 8 == 0 && stride % 8 == 0 && aligned_to(at, 16)};
    return rows;
}

/* A block's part of a sequence: tokens [first, first + count). */
struct chunk_part {
    int sequence, head, unit;
    int first, count;
    int64_t slot; /* of this unit among those of all sequences */
};

/* Units of SIZE tokens; sequences begin units of their own, some slots stay unused. */
template <int SIZE>
__device__ inline bool find_part(struct chunk_part *part, const int32_t *offsets, int sequences,
                                 int heads, int64_t block) {
    int64_t rest = block / heads;
    part->head = (int)(block % heads);
    part->sequence = (int)(rest % sequences);
    part->unit = (int)(rest / sequences);
    int start = offsets[part->sequence], end = offsets[part->sequence + 1];
    part->first = start + part->unit * SIZE;
    part->count = end - part->first < SIZE ? end - part->first : SIZE;
    part->slot = (int64_t)start / SIZE + part->sequence + part->unit;
    return part->count > 0;
}

static inline int64_t count_slots(const struct sequences *sequences, int size) {
    return sequences->tokens / size + sequences->count;
}

static inline unsigned count_parts(const struct sequences *sequences, int heads, int size) {
    return (unsigned)(ceil_div(sequences->longest, size) * sequences->count * heads);
}

/* Rows [0, ROWS) of a head; zeros from row `valid` and column `width` on. Under way after the call
 * where the rows are exact. */
template <int ROWS, int E, int THREADS>
__device__ inline void load_rows(bf16 *to, const struct chunk_rows &rows, int64_t token, int head,
                                 int valid, int width, int thread = threadIdx.x) {
    constexpr int PIECES = E / 8, STEP = THREADS / PIECES;
    const bf16 *from = rows.at + token * rows.stride + (int64_t)head * rows.width;
    int first = thread / PIECES, piece = thread % PIECES, count = width - piece * 8;
    const bf16 *at = from + first * rows.stride + piece * 8;
    if (rows.exact) {
#pragma unroll 4
        for (int row = first; row < ROWS; row += STEP, at += STEP * rows.stride) {
            bool inside = row < valid && count > 0;
            copy_async(to + swizzle<E>(row, piece), inside ? at : from, inside);
        }
        return;
    }
#pragma unroll 1
    for (int row = first; row < ROWS; row += STEP, at += STEP * rows.stride)
        write_packed(to + swizzle<E>(row, piece), load_some<8>(at, row < valid ? count : 0, false));
}

template <int E> __device__ inline bf16 *element(bf16 *tile, int row, int column) {
    return tile + swizzle<E>(row, column / 8) + column % 8;
}

template <int E> __device__ inline const bf16 *element(const bf16 *tile, int row, int column) {
    return tile + swizzle<E>(row, column / 8) + column % 8;
}

/* Two neighbours, of which the first has an even column. */
template <int E> __device__ inline float2 read_pair(const bf16 *tile, int row, int column) {
    uint32_t word = *(const uint32_t *)element<E>(tile, row, column);
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}

template <int E>
__device__ inline void write_pair(bf16 *tile, int row, int column, float low, float high) {
    *(uint32_t *)element<E>(tile, row, column) = pack_bf16(low, high);
}

__device__ inline uint32_t scale_pair(uint32_t word, float low, float high) {
    return pack_bf16(__uint_as_float(word << 16) * low, __uint_as_float(word & 0xffff0000u) * high);
}

/* Of a tile's transpose: rows are the tile's columns from 8 * piece on, summed are its rows from
 * 16 * step on. */
template <int E>
__device__ inline void load_left_columns(uint32_t (&to)[4], const bf16 *tile, int piece, int step) {
    int lane = threadIdx.x & 31, matrix = lane / 8;
    load_matrices_transposed(
        to, tile + swizzle<E>(16 * step + matrix / 2 * 8 + lane % 8, piece + matrix % 2));
}

/* Each summed index times its factor. */
__device__ inline void scale_left(uint32_t (&a)[4], const float *factor, int step) {
    int at = 16 * step + (threadIdx.x & 3) * 2;
    float2 low = *(const float2 *)(factor + at), high = *(const float2 *)(factor + at + 8);
    a[0] = scale_pair(a[0], low.x, low.y);
    a[1] = scale_pair(a[1], low.x, low.y);
    a[2] = scale_pair(a[2], high.x, high.y);
    a[3] = scale_pair(a[3], high.x, high.y);
}

__device__ inline float decay_of(float logarithm) {
    return exp2_fast(logarithm * LOG2_E);
}

/* multiply_rows with its loop kept short: the instruction cache is what these kernels would wait
 * for. */
template <int E, int COLUMNS>
__device__ inline void multiply_tiles(float (&s)[COLUMNS / 8][4], const bf16 *left, int row,
                                      const bf16 *right) {
#pragma unroll 2
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

/* out [64, 16] in 4 parts of 16 rows. */
typedef float chunk_columns[4][2][4];

__device__ inline void clear(chunk_columns &out) {
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int i = 0; i < 8; i++) out[m][i / 4][i % 4] = 0;
}

/* out += tile [64, E] times the transpose of a state [16, E] in registers. */
template <int E>
__device__ inline void multiply_state(chunk_columns &out, const bf16 *tile,
                                      const float (&state)[E / 8][4]) {
#pragma unroll
    for (int step = 0; step < E / 16; step++) {
        uint32_t b[4] = {pack_bf16(state[2 * step][0], state[2 * step][1]),
                         pack_bf16(state[2 * step + 1][0], state[2 * step + 1][1]),
                         pack_bf16(state[2 * step][2], state[2 * step][3]),
                         pack_bf16(state[2 * step + 1][2], state[2 * step + 1][3])};
#pragma unroll
        for (int m = 0; m < 4; m++) {
            uint32_t a[4];
            load_left<E>(a, tile, 16 * m, step);
            multiply(out[m][0], a, b[0], b[1]);
            multiply(out[m][1], a, b[2], b[3]);
        }
    }
}

/* out += left [64, K] . columns [8 * piece, + 16) of right [K, E]. */
template <int K, int E>
__device__ inline void multiply_slab(chunk_columns &out, const bf16 *left, const bf16 *right,
                                     int piece) {
#pragma unroll 2
    for (int step = 0; step < K / 16; step++) {
        uint32_t b[4];
        load_right_columns<E>(b, right, 16 * step, piece);
#pragma unroll
        for (int m = 0; m < 4; m++) {
            uint32_t a[4];
            load_left<K>(a, left, 16 * m, step);
            multiply(out[m][0], a, b[0], b[1]);
            multiply(out[m][1], a, b[2], b[3]);
        }
    }
}

/* The same with left a lower triangular square, or its transpose. */
template <int E, bool TRANSPOSED>
__device__ inline void multiply_lower(chunk_columns &out, const bf16 *square, const bf16 *right,
                                      int piece) {
#pragma unroll 1
    for (int step = 0; step < 4; step++) {
        uint32_t b[4];
        load_right_columns<E>(b, right, 16 * step, piece);
#pragma unroll
        for (int m = 0; m < 4; m++) {
            if (TRANSPOSED ? step < m : step > m) continue;
            uint32_t a[4];
            if constexpr (TRANSPOSED)
                load_left_columns<CHUNK>(a, square, 2 * m, step);
            else
                load_left<CHUNK>(a, square, 16 * m, step);
            multiply(out[m][0], a, b[0], b[1]);
            multiply(out[m][1], a, b[2], b[3]);
        }
    }
}

__device__ inline void scale_rows(chunk_columns &out, const float *factor) {
    int row = (threadIdx.x & 31) / 4;
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int i = 0; i < 8; i++) out[m][i / 4][i % 4] *= factor[16 * m + row + i % 4 / 2 * 8];
}

/* state [16, E] = state * decay + (columns [8 * piece, + 16) of left [64, P])^T . right [64, E],
 * the tokens times their factors. */
template <int P, int E>
__device__ inline void advance_state(float (&state)[E / 8][4], const bf16 *left, int piece,
                                     const bf16 *right, const float *factor, float decay) {
#pragma unroll
    for (int n = 0; n < E / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) state[n][i] *= decay;
#pragma unroll 1
    for (int step = 0; step < 4; step++) {
        uint32_t a[4];
        load_left_columns<P>(a, left, piece, step);
        scale_left(a, factor, step);
#pragma unroll
        for (int n = 0; n < E / 16; n++) {
            uint32_t b[4];
            load_right_columns<E>(b, right, 16 * step, 2 * n);
            multiply(state[2 * n], a, b[0], b[1]);
            multiply(state[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* f(row, column, index): the places of a lane's pairs in a result [16, 8 * PIECES], whose rows and
 * columns begin at `row` and `column`. */
template <int PIECES, typename F> __device__ inline void each_pair(int row, int column, F f) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < PIECES; n++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            f(row + lane / 4 + 8 * half, column + 8 * n + lane % 4 * 2, n, 2 * half);
}

/* A state [16, E] from or to float32 rows, of which `rows` and `width` exist; `across` and `down`
 * are the distances of neighbours in a row and in a column. */
template <int E>
__device__ inline void read_state(float (&state)[E / 8][4], const float *from, int row, int rows,
                                  int width, int64_t down, int64_t across) {
    each_pair<E / 8>(row, 0, [&](int r, int c, int n, int i) {
        const float *at = from + r * down + c * across;
        state[n][i] = r < rows && c < width ? at[0] : 0;
        state[n][i + 1] = r < rows && c + 1 < width ? at[across] : 0;
    });
}

template <int E>
__device__ inline void write_state(float *to, const float (&state)[E / 8][4], int row, int rows,
                                   int width, int64_t down, int64_t across) {
    each_pair<E / 8>(row, 0, [&](int r, int c, int n, int i) {
        float *at = to + r * down + c * across;
        if (r < rows && c < width) at[0] = state[n][i];
        if (r < rows && c + 1 < width) at[across] = state[n][i + 1];
    });
}

/* A state [16, E] as BF16 rows of `width`; whole rows of 16 bytes each where `exact`. */
template <int E>
__device__ inline void keep_state(bf16 *to, const float (&state)[E / 8][4], int row, int rows,
                                  int width, bool exact) {
    const float one[2] = {1, 1};
    if (exact && width == E)
        store_result<E / 8>(to + (int64_t)row * width, width, rows - row, state, one);
    else
        store_result<E / 8, false>(to + (int64_t)row * width, width, rows - row, state, one, width);
}

/* Two BF16 elements of a row of `width` at `column`. */
__device__ inline void store_pair(bf16 *row, int column, int width, bool exact, float low,
                                  float high) {
    if (exact && column < width) {
        *(uint32_t *)(row + column) = pack_bf16(low, high);
    } else {
        if (column < width) row[column] = __float2bfloat16(low);
        if (column + 1 < width) row[column + 1] = __float2bfloat16(high);
    }
}

/* The sum over the four lanes that share a row. */
__device__ inline float sum_quad(float value) {
    return sum_lanes<4>(value);
}

/* Of two tokens a lane, in a whole warp: value becomes the sum over the tokens up to it. */
__device__ inline void sum_before(float (&value)[2]) {
    int lane = threadIdx.x & 31;
    float pair = value[0] + value[1], sum = pair;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        float other = __shfl_up_sync(~0u, sum, step);
        if (lane >= step) sum += other;
    }
    value[0] = sum - pair + value[0];
    value[1] = sum;
}

/* ... over the tokens from it on. */
__device__ inline void sum_after(float (&value)[2]) {
    int lane = threadIdx.x & 31;
    float pair = value[0] + value[1], sum = pair;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        float other = __shfl_down_sync(~0u, sum, step);
        if (lane + step < 32) sum += other;
    }
    value[1] = sum - pair + value[1];
    value[0] = sum;
}

__device__ inline float softplus(float x) {
    return x > 20 ? x : log1pf(expf(x));
}

#endif
