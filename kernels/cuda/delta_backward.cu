/* The gated delta rule's backward pass. Chunks are prepared as in the forward pass, with e found
 * from their checkpoints; a walk from the last chunk to the first passes the state's gradient on,
 * transposed as the state; then every chunk of every head finds its gradients by itself. Formula:
 * kernels/cpu/delta_backward.c. */
#include "kernels/cuda/delta.cuh"

/* 16 value channels a warp; a block takes SLICE of a head's. scratch.de holds dout's share of de
 * and receives all of it. */
template <int WK, int WV, int SLICE>
__global__ void __launch_bounds__(2 * SLICE + LOADERS)
    delta_walk_back(struct delta_scratch scratch, struct delta_call call, struct chunk_rows dout) {
    constexpr int TILE = CHUNK * (3 * WK + 2 * SLICE), SLICES = WV / SLICE;
    __shared__ struct delta_gates gates[2];
    alignas(16) __shared__ float start[CHUNK], end[CHUNK], minus[CHUNK];
    bf16 *tiles = (bf16 *)chunk_memory;
    int slice = blockIdx.x % SLICES * SLICE, head = blockIdx.x / SLICES % call.heads;
    int sequence = blockIdx.x / SLICES / call.heads, warp = threadIdx.x / 32;
    int loader = (int)threadIdx.x - 2 * SLICE; /* of the last warps, which only load tiles */
    int first = call.offsets[sequence], tokens = call.offsets[sequence + 1] - first;
    int chunks = (tokens + CHUNK - 1) / CHUNK, row = slice + 16 * warp, lane = threadIdx.x & 31;
    int source = head / call.per_key;
    int64_t slot = (int64_t)first / CHUNK + sequence;
    float dstate[WK / 8][4] = {}, de[8][4];
    auto load = [&](int step) {
        bf16 *tile = tiles + step % 2 * TILE;
        int place = (chunks - 1 - step) * CHUNK;
        int64_t cell = (slot + chunks - 1 - step) * call.heads + head;
        struct chunk_rows share = {scratch.de + cell * CHUNK * WV + slice, WV, WV, true};
        struct chunk_rows part = dout;
        part.at += slice;
        load_rows<CHUNK, WK, LOADERS>(tile, scratch_rows<WK>(scratch.w + cell * CHUNK * WK), 0, 0,
                                      CHUNK, WK, loader);
        load_rows<CHUNK, WK, LOADERS>(tile + CHUNK * WK, call.k, first + place, source,
                                      tokens - place, call.dk, loader);
        load_rows<CHUNK, WK, LOADERS>(tile + 2 * CHUNK * WK, call.q, first + place, source,
                                      tokens - place, call.dk, loader);
        load_rows<CHUNK, SLICE, LOADERS>(tile + 3 * CHUNK * WK, share, 0, 0, CHUNK, SLICE, loader);
        load_rows<CHUNK, SLICE, LOADERS>(tile + CHUNK * (3 * WK + SLICE), part, first + place, head,
                                         tokens - place, call.dv - slice, loader);
        load_gates(&gates[step % 2], scratch.gates + cell, loader);
    };
    if (!chunks) return;
    if (loader >= 0) load(0);
    copy_commit();
    for (int step = 0; step < chunks; step++) {
        const bf16 *w = tiles + step % 2 * TILE, *k = w + CHUNK * WK, *q = k + CHUNK * WK;
        const bf16 *share = q + CHUNK * WK, *part = share + CHUNK * SLICE;
        const struct delta_gates &now = gates[step % 2];
        int64_t cell = (slot + chunks - 1 - step) * call.heads + head;
        const float one[2] = {1, 1};
        copy_wait<0>();
        __syncthreads();
        if (loader >= 0) {
            start[loader] = now.query[loader] * decay_of(now.sum[loader]);
            end[loader] = now.key[loader] * decay_of(now.sum[CHUNK - 1] - now.sum[loader]);
            minus[loader] = -1;
            if (step + 1 < chunks) load(step + 1);
            copy_commit();
        } else {
            store_result<WK / 8>(scratch.dstates + (cell * WV + row) * WK, WK, CHUNK, dstate, one);
            recall<WK>(de, dstate, k);
        }
        __syncthreads();
        if (loader < 0) {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) de[n][i] *= end[8 * n + lane % 4 * 2 + i % 2];
            add_transposed<SLICE>(de, share, 2 * warp);
            store_transposed<WV>(scratch.de + cell * CHUNK * WV, de, row);
            advance_state<SLICE, WK>(dstate, part, 2 * warp, q, start,
                                     decay_of(now.sum[CHUNK - 1]));
            write_tokens<WK>(dstate, de, w, minus);
        }
        __syncthreads();
    }
}

struct delta_back {
    struct chunk_rows dout;
    const bf16 *checkpoints;
    bf16 *dq, *dk, *dv, *db, *da;
    int64_t dq_stride, dk_stride, dv_stride, db_stride, da_stride;
    int64_t slots; /* chunk slots */
    bool parameters;
};

/* A warp takes 16 rows (of four) and half of the columns. */
enum { BACK_THREADS = 256, WARPS = BACK_THREADS / 32 };

/* Sums by tokens: of rows by halves of columns, of columns by rows of four. */
struct delta_sums {
    float rows[2][CHUNK], columns[4][CHUNK], solve_rows[2][CHUNK]; /* of decays, of beta */
    float dr_v[2][CHUNK], read[2][CHUNK], written[2][CHUNK], recalled[2][CHUNK];
    float q_along[2][CHUNK], k_along[2][CHUNK];
    float states[WARPS];
};

/* 16 rows' sums of a lane's two rows, to to[row ..]. */
__device__ static void put_halves(float *to, int row, const float (&value)[2]) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = sum_quad(value[half]);
        if (lane % 4 == 0) to[row + lane / 4 + 8 * half] = sum;
    }
}

/* out [16, 8 * PIECES] += 16 rows of a square, or of its transpose, its summed index times
 * `factor`, times columns from 8 * piece on of a tile [64, E]. Only steps in [from, to) are not
 * zero. */
template <int E, int PIECES, bool TRANSPOSED>
__device__ inline void add_square(float (&out)[PIECES][4], const bf16 *square, int row, int from,
                                  int to, const float *factor, const bf16 *tile, int piece) {
#pragma unroll 1
    for (int step = 0; step < 4; step++) {
        if (step < from || step >= to) continue;
        uint32_t a[4];
        if constexpr (TRANSPOSED)
            load_left_columns<CHUNK>(a, square, row / 8, step);
        else
            load_left<CHUNK>(a, square, row, step);
        if (factor) scale_left(a, factor, step);
#pragma unroll
        for (int n = 0; n < PIECES / 2; n++) {
            uint32_t b[4];
            load_right_columns<E>(b, tile, 16 * step, piece + 2 * n);
            multiply(out[2 * n], a, b[0], b[1]);
            multiply(out[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* out [16, 8 * PIECES] = rows of left [64, K] times columns from 8 * piece on of right [K, E], the
 * rows times their factors. */
template <int K, int E, int PIECES>
__device__ inline void multiply_part(float (&out)[PIECES][4], const bf16 *left, int row,
                                     const bf16 *right, int piece, const float *factor) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < PIECES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) out[n][i] = 0;
#pragma unroll 2
    for (int step = 0; step < K / 16; step++) {
        uint32_t a[4];
        load_left<K>(a, left, row, step);
#pragma unroll
        for (int n = 0; n < PIECES / 2; n++) {
            uint32_t b[4];
            load_right_columns<E>(b, right, 16 * step, piece + 2 * n);
            multiply(out[2 * n], a, b[0], b[1]);
            multiply(out[2 * n + 1], a, b[2], b[3]);
        }
    }
#pragma unroll
    for (int n = 0; n < PIECES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) out[n][i] *= factor[row + lane / 4 + i / 2 * 8];
}

/* The row sums of out times a tile's elements. */
template <int E, int PIECES>
__device__ inline void dot_rows(float *to, const float (&out)[PIECES][4], const bf16 *tile, int row,
                                int column) {
    float sums[2] = {};
    each_pair<PIECES>(row, column, [&](int r, int c, int n, int i) {
        float2 at = read_pair<E>(tile, r, c);
        sums[i / 2] += out[n][i] * at.x + out[n][i + 1] * at.y;
    });
    put_halves(to, row, sums);
}

/* Gradients of the squares q k^T (dscores, lower) and k k^T (dkeys, below the diagonal), both
 * before the lengths of keys and queries, and what goes to the decays and to beta. */
template <int WK, int WV>
__device__ static void differentiate_squares(bf16 *dscores, bf16 *dkeys, struct delta_sums *sums,
                                             const bf16 *q, const bf16 *k, const bf16 *dout,
                                             const bf16 *e, const bf16 *dr,
                                             const struct delta_gates *gates) {
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32, half = warp / 4;
    int row = warp % 4 * 16, column = half * 32;
    float qk[4][4] = {}, kk[4][4] = {}, dp[4][4] = {}, da[4][4] = {};
    float by_row[2] = {}, by_beta[2] = {};
    if (column <= row + 15) {
        multiply_tiles<WK, 32>(qk, q, row, k + column * WK);
        multiply_tiles<WK, 32>(kk, k, row, k + column * WK);
        multiply_tiles<WV, 32>(dp, dout, row, e + column * WV);
        multiply_tiles<WV, 32>(da, dr, row, e + column * WV); /* minus the gradient of solve */
    }
    each_pair<4>(row, column, [&](int i, int j, int n, int at) {
        float ds[2], dk[2];
#pragma unroll
        for (int x = 0; x < 2; x++) {
            float decay = j + x <= i ? decay_of(gates->sum[i] - gates->sum[j + x]) : 0;
            float below = j + x < i ? decay : 0;
            float key = gates->key[j + x], beta = gates->beta[i];
            float solve = -da[n][at + x] * below;
            float of_beta = solve * kk[n][at + x] * gates->key[i] * key;
            ds[x] = dp[n][at + x] * decay;
            dk[x] = solve * beta;
            kk[n][at + x] =
                of_beta * beta + dp[n][at + x] * below * qk[n][at + x] * gates->query[i] * key;
            by_beta[at / 2] += of_beta;
            by_row[at / 2] += kk[n][at + x];
        }
        write_pair<CHUNK>(dscores, i, j, ds[0], ds[1]);
        write_pair<CHUNK>(dkeys, i, j, dk[0], dk[1]);
    });
    put_halves(sums->rows[half], row, by_row);
    put_halves(sums->solve_rows[half], row, by_beta);
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
        for (int x = 0; x < 2; x++) {
            float sum = kk[n][x] + kk[n][2 + x];
#pragma unroll
            for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
            if (lane < 4) sums->columns[warp % 4][column + 8 * n + lane * 2 + x] = sum;
        }
}

/* One warp: db and da of the chunk, and what it adds to the parameters' gradients. */
__device__ static void find_gate_gradients(const struct delta_back &to, float *partial,
                                           const struct delta_sums &sums,
                                           const struct delta_gates &gates,
                                           const struct delta_call &call, int64_t first, int count,
                                           int head) {
    int lane = threadIdx.x & 31;
    float later[2], dbeta[2], written = 0, states = 0, parts[2] = {};
    float a = -expf(call.a_log[head]), bias = call.dt_bias[head], last = gates.sum[CHUNK - 1];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int t = 2 * lane + i;
        later[i] = 0;
        dbeta[i] = 0;
        float recalled = 0, write = 0;
        for (int w = 0; w < 2; w++) {
            later[i] += sums.rows[w][t] + sums.read[w][t] * gates.query[t];
            dbeta[i] += sums.solve_rows[w][t] + sums.dr_v[w][t];
            recalled += sums.recalled[w][t] * gates.key[t];
            write += sums.written[w][t] * gates.key[t];
        }
        for (int w = 0; w < 4; w++) later[i] -= sums.columns[w][t];
        dbeta[i] -= recalled;
        later[i] -= gates.beta[t] * recalled + write;
        written += write;
    }
    written = sum_lanes(written);
    for (int w = 0; w < WARPS; w++) states += sums.states[w];
    if (lane == 31) later[1] += written + decay_of(last) * states;
    sum_after(later);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int t = 2 * lane + i;
        if (t >= count) continue;
        float raw = __bfloat162float(call.a[(first + t) * call.a_stride + head]) + bias;
        float slope = later[i] * a * sigmoid(raw), beta = gates.beta[t];
        to.da[(first + t) * to.da_stride + head] = __float2bfloat16(slope);
        to.db[(first + t) * to.db_stride + head] = __float2bfloat16(dbeta[i] * beta * (1 - beta));
        parts[0] += later[i] * a * softplus(raw);
        parts[1] += slope;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = sum_lanes(parts[i]);
        if (lane == 0 && to.parameters) partial[i * to.slots * call.heads] = sum;
    }
}

/* 16 rows of dq or dk: through the lengths, to the gradient or to the head's part. `along` are the
 * sums of gradient times row, by halves. */
template <int E, int PIECES>
__device__ static void store_lengths(const float (&d)[PIECES][4], const bf16 *tile,
                                     const float *size, float width, const float (*along)[CHUNK],
                                     bf16 *to, int64_t stride, float *parts,
                                     const struct delta_call &call, int64_t first, int count,
                                     int head, int row, int column) {
    bool exact = call.dk % 2 == 0 && stride % 2 == 0 && (uintptr_t)to % 4 == 0;
    each_pair<PIECES>(row, column, [&](int r, int c, int n, int i) {
        if (r >= count) return;
        float2 at = read_pair<E>(tile, r, c);
        float scale = size[r], back = scale * scale * scale * width * (along[0][r] + along[1][r]);
        float low = scale * d[n][i] - back * at.x, high = scale * d[n][i + 1] - back * at.y;
        if (!parts) {
            store_pair(to + (first + r) * stride + (int64_t)head * call.dk, c, call.dk, exact, low,
                       high);
            return;
        }
        float *place = parts + ((first + r) * call.heads + head) * call.dk + c;
        if (c < call.dk) place[0] = low;
        if (c + 1 < call.dk) place[1] = high;
    });
}

template <int WK, int WV> constexpr int back_shared() {
    return (CHUNK * (2 * WK + 3 * WV) + 2 * WK * WV + 3 * SQUARE) * (int)sizeof(bf16);
}

template <int WK, int WV>
__global__ void __launch_bounds__(BACK_THREADS, 1)
    delta_gradients(struct delta_back to, struct delta_scratch scratch, struct delta_call call) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct delta_gates gates;
    __shared__ struct delta_sums sums;
    alignas(16) __shared__ float start[CHUNK], end[CHUNK];
    bf16 *q = (bf16 *)chunk_memory, *k = q + CHUNK * WK, *dout = k + CHUNK * WK;
    bf16 *e = dout + CHUNK * WV, *de = e + CHUNK * WV, *state = de + CHUNK * WV;
    bf16 *dstate = state + WK * WV, *solve = dstate + WK * WV, *dscores = solve + SQUARE;
    bf16 *dkeys = dscores + SQUARE;
    int warp = threadIdx.x / 32, half = warp / 4, row = warp % 4 * 16,
        source = part.head / call.per_key;
    int64_t cell = part.slot * call.heads + part.head;
    load_gates(&gates, scratch.gates + cell);
    load_rows<CHUNK, CHUNK, BACK_THREADS>(solve, scratch_rows<CHUNK>(scratch.solve + cell * SQUARE),
                                          0, 0, CHUNK, CHUNK);
    load_rows<CHUNK, WV, BACK_THREADS>(de, scratch_rows<WV>(scratch.de + cell * CHUNK * WV), 0, 0,
                                       CHUNK, WV);
    copy_commit();
    load_rows<CHUNK, WK, BACK_THREADS>(q, call.q, part.first, source, part.count, call.dk);
    load_rows<CHUNK, WK, BACK_THREADS>(k, call.k, part.first, source, part.count, call.dk);
    load_rows<CHUNK, WV, BACK_THREADS>(dout, to.dout, part.first, part.head, part.count, call.dv);
    load_rows<CHUNK, WV, BACK_THREADS>(e, scratch_rows<WV>(scratch.e + cell * CHUNK * WV), 0, 0,
                                       CHUNK, WV);
    copy_commit();
    load_rows<WV, WK, BACK_THREADS>(state, checkpoint_rows(to.checkpoints, cell, call), 0, 0,
                                    call.dv, call.dk);
    load_rows<WV, WK, BACK_THREADS>(dstate, scratch_rows<WK>(scratch.dstates + cell * WV * WK), 0,
                                    0, WV, WK);
    copy_commit();
    copy_wait<2>();
    __syncthreads();
    if (threadIdx.x < CHUNK) {
        start[threadIdx.x] = decay_of(gates.sum[threadIdx.x]);
        end[threadIdx.x] = decay_of(gates.sum[CHUNK - 1] - gates.sum[threadIdx.x]);
    }
    {
        float dr[WV / 16][4] = {}, dr_v[2] = {};
        int column = half * (WV / 2);
        add_square<WV, WV / 16, true>(dr, solve, row, row / 16, 4, NULL, de, column / 8);
        __syncthreads();
        bool exact = call.dv % 2 == 0 && to.dv_stride % 2 == 0 && (uintptr_t)to.dv % 4 == 0;
        const bf16 *v = call.v.at + part.first * call.v.stride + (int64_t)part.head * call.dv;
        each_pair<WV / 16>(row, column, [&](int r, int c, int n, int i) {
            write_pair<WV>(de, r, c, dr[n][i], dr[n][i + 1]);
            if (r >= part.count) return;
            float beta = gates.beta[r];
            store_pair(to.dv + (part.first + r) * to.dv_stride + (int64_t)part.head * call.dv, c,
                       call.dv, exact, beta * dr[n][i], beta * dr[n][i + 1]);
            const bf16 *at = v + r * call.v.stride + c;
            if (c < call.dv) dr_v[i / 2] += dr[n][i] * __bfloat162float(at[0]);
            if (c + 1 < call.dv) dr_v[i / 2] += dr[n][i + 1] * __bfloat162float(at[1]);
        });
        put_halves(sums.dr_v[half], row, dr_v);
    }
    copy_wait<1>();
    __syncthreads();
    differentiate_squares<WK, WV>(dscores, dkeys, &sums, q, k, dout, e, de, &gates);
    copy_wait<0>();
    __syncthreads();
    constexpr int PIECES = WK / 16;
    int column = half * (WK / 2);
    float product = 0;
    for (int i = threadIdx.x; i < WK * WV / 8; i += BACK_THREADS) {
        float left[8], right[8];
        load(left, state + i * 8);
        load(right, dstate + i * 8);
#pragma unroll
        for (int x = 0; x < 8; x++) product += left[x] * right[x];
    }
    product = sum_lanes(product);
    if (threadIdx.x % 32 == 0) sums.states[warp] = product;
    float dq[PIECES][4], dk[PIECES][4], part_k[PIECES][4];
    multiply_part<WV, WK, PIECES>(dq, dout, row, state, column / 8, start);
    dot_rows<WK, PIECES>(sums.read[half], dq, q, row, column);
    add_square<WK, PIECES, false>(dq, dscores, row, 0, row / 16 + 1, gates.key, k, column / 8);
    dot_rows<WK, PIECES>(sums.q_along[half], dq, q, row, column);

    multiply_part<WV, WK, PIECES>(dk, e, row, dstate, column / 8, end);
    dot_rows<WK, PIECES>(sums.written[half], dk, k, row, column);
    multiply_part<WV, WK, PIECES>(part_k, de, row, state, column / 8, start);
    dot_rows<WK, PIECES>(sums.recalled[half], part_k, k, row, column);
#pragma unroll
    for (int n = 0; n < PIECES; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            dk[n][i] -= gates.beta[row + threadIdx.x % 32 / 4 + i / 2 * 8] * part_k[n][i];
    add_square<WK, PIECES, true>(dk, dscores, row, row / 16, 4, gates.query, q, column / 8);
    add_square<WK, PIECES, false>(dk, dkeys, row, 0, row / 16 + 1, gates.key, k, column / 8);
    add_square<WK, PIECES, true>(dk, dkeys, row, row / 16, 4, gates.key, k, column / 8);
    dot_rows<WK, PIECES>(sums.k_along[half], dk, k, row, column);
    __syncthreads();
    int count = part.count < CHUNK ? part.count : CHUNK;
    int target = scratch.dq ? part.head : source;
    store_lengths<WK, PIECES>(dq, q, gates.query, (float)call.dk, sums.q_along, to.dq, to.dq_stride,
                              scratch.dq, call, part.first, count, target, row, column);
    store_lengths<WK, PIECES>(dk, k, gates.key, 1, sums.k_along, to.dk, to.dk_stride, scratch.dk,
                              call, part.first, count, target, row, column);
    if (warp == 0)
        find_gate_gradients(to, scratch.partial + cell, sums, gates, call, part.first, count,
                            part.head);
}

enum { SUM_THREADS = 128 };

/* to [tokens, HK*DK] = the sums over the value heads of each key head of parts [tokens, HV, DK]. */
__global__ void delta_sum_heads(bf16 *to, int64_t stride, const float *parts, int keys, int per_key,
                                int dk) {
    int column = (int)(blockIdx.y * SUM_THREADS + threadIdx.x);
    if (column >= keys * dk) return;
    const float *from =
        parts + ((int64_t)blockIdx.x * keys * per_key + column / dk * per_key) * dk + column % dk;
    float sum = 0;
    for (int head = 0; head < per_key; head++) sum += from[(int64_t)head * dk];
    to[(int64_t)blockIdx.x * stride + column] = __float2bfloat16(sum);
}

template <int WK, int WV> struct launch_backward {
    template <int SLICE>
    static void walk(struct cuda_backend *cuda, const struct delta_back *to,
                     const struct delta_scratch *scratch, const struct delta_call *call) {
        constexpr int SHARED = 2 * CHUNK * (3 * WK + 2 * SLICE) * (int)sizeof(bf16);
        CUDA_ALLOW_SHARED(cuda, (delta_walk_back<WK, WV, SLICE>), SHARED);
        CUDA_LAUNCH(cuda, (delta_walk_back<WK, WV, SLICE>),
                    (unsigned)(call->sequences * call->heads * (WV / SLICE)), 2 * SLICE + LOADERS,
                    SHARED, *scratch, *call, to->dout);
    }

    static void run(struct cuda_backend *cuda, const struct delta_back *to,
                    const struct delta_scratch *scratch, const struct delta_call *call,
                    unsigned parts) {
        if (call->sequences * call->heads * (WV / 64) >= cuda->multiprocessors)
            walk<64>(cuda, to, scratch, call);
        else
            walk<32>(cuda, to, scratch, call);
        CUDA_ALLOW_SHARED(cuda, (delta_gradients<WK, WV>), (back_shared<WK, WV>()));
        CUDA_LAUNCH(cuda, (delta_gradients<WK, WV>), parts, BACK_THREADS, (back_shared<WK, WV>()),
                    *to, *scratch, *call);
    }
};

/* Cut out of one piece of memory; measured only where that is NULL. */
static size_t cut_scratch(struct delta_scratch *scratch, char *memory,
                          const struct sequences *sequences, const struct delta_shape *shape) {
    size_t cells = (size_t)(count_slots(sequences, CHUNK) * shape->value_heads);
    size_t wk = (size_t)delta_width(shape->key_dim), wv = (size_t)delta_width(shape->value_dim);
    bool shared = shape->value_heads > shape->key_heads;
    size_t parts = shared ? (size_t)sequences->tokens * (size_t)shape->value_heads *
                                (size_t)shape->key_dim * sizeof(float)
                          : 0;
    size_t sizes[] = {cells * sizeof(struct delta_gates),
                      cells * CHUNK * wk * sizeof(bf16),
                      cells * CHUNK * wv * sizeof(bf16),
                      cells * CHUNK * wv * sizeof(bf16),
                      cells * SQUARE * sizeof(bf16),
                      cells * wk * wv * sizeof(bf16),
                      parts,
                      parts,
                      2 * cells * sizeof(float)};
    void *at[9];
    size_t total = 0;
    for (int i = 0; i < 9; i++) {
        at[i] = memory ? memory + total : NULL;
        total += (sizes[i] + 255) / 256 * 256;
    }
    *scratch = {};
    scratch->gates = (struct delta_gates *)at[0];
    scratch->w = (bf16 *)at[1];
    scratch->e = (bf16 *)at[2];
    scratch->de = (bf16 *)at[3];
    scratch->solve = (bf16 *)at[4];
    scratch->dstates = (bf16 *)at[5];
    scratch->dq = shared ? (float *)at[6] : NULL;
    scratch->dk = shared ? (float *)at[7] : NULL;
    scratch->partial = (float *)at[8];
    return total;
}

static struct delta_back make_back(const struct delta_gradients *gradients, const struct act *dout,
                                   const struct acc *checkpoints, const struct sequences *sequences,
                                   const struct delta_shape *shape) {
    struct delta_back to;
    to.dout = make_rows(dout, (int64_t)shape->value_heads * shape->value_dim, shape->value_dim);
    to.checkpoints = (const bf16 *)checkpoints;
    to.dq = (bf16 *)gradients->dq;
    to.dk = (bf16 *)gradients->dk;
    to.dv = (bf16 *)gradients->dv;
    to.db = (bf16 *)gradients->db;
    to.da = (bf16 *)gradients->da;
    to.dq_stride = gradients->q_stride;
    to.dk_stride = gradients->k_stride;
    to.dv_stride = gradients->v_stride;
    to.db_stride = gradients->b_stride;
    to.da_stride = gradients->a_stride;
    to.slots = count_slots(sequences, CHUNK);
    to.parameters = gradients->da_log || gradients->ddt_bias;
    return to;
}

void cuda_delta_backward(struct backend *backend, const struct delta_gradients *gradients,
                         const struct act *dout, const struct acc *checkpoints,
                         const struct delta_inputs *in, const struct sequences *sequences,
                         const struct delta_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct delta_call call = make_delta_call(in, sequences, shape);
    struct delta_back to = make_back(gradients, dout, checkpoints, sequences, shape);
    struct delta_prepare_back back = {to.dout, to.checkpoints};
    struct delta_scratch scratch;
    char *memory = (char *)cuda_scratch(cuda, cut_scratch(&scratch, NULL, sequences, shape));
    if (!memory) return;
    cut_scratch(&scratch, memory, sequences, shape);
    int64_t cells = to.slots * shape->value_heads;
    /* Slots that no chunk takes add nothing. */
    if (to.parameters &&
        !cuda_check(
            cuda,
            cudaMemsetAsync(scratch.partial, 0, (size_t)(2 * cells) * sizeof(float), cuda->stream),
            "delta_backward"))
        return;
    cuda_delta_prepare(cuda, &scratch, &call, &back, sequences, shape);
    if (!delta_choose<launch_backward>(cuda, shape, &to, &scratch, &call,
                                       count_parts(sequences, shape->value_heads, CHUNK)))
        return;
    dim3 grid((unsigned)sequences->tokens,
              (unsigned)ceil_div(shape->key_heads * shape->key_dim, SUM_THREADS));
    for (int which = 0; which < 2 && scratch.dq; which++)
        CUDA_LAUNCH(cuda, delta_sum_heads, grid, SUM_THREADS, 0, which ? to.dk : to.dq,
                    which ? to.dk_stride : to.dq_stride, which ? scratch.dk : scratch.dq,
                    shape->key_heads, call.per_key, shape->key_dim);
    float *parameters[2] = {(float *)gradients->da_log, (float *)gradients->ddt_bias};
    for (int i = 0; i < 2; i++)
        if (parameters[i])
            cuda_add_partials(cuda, parameters[i], scratch.partial + i * cells, to.slots,
                              shape->value_heads);
}
