/* The gated delta rule's backward pass, last part: every chunk of every value head finds the
 * gradients of its tokens by itself. Formula: kernels/cpu/delta_backward.c; what is in scratch:
 * delta.cuh. Two blocks to a multiprocessor, so that one computes while the other waits for memory;
 * for that states pass through shared memory by halves, and tiles are used again once they are
 * read. */
#include "kernels/cuda/delta.cuh"

/* Two warpgroups: a warp takes 16 rows (of four) and half of the columns, or one of two squares. */
enum { BACK_THREADS = 256, WARPS = BACK_THREADS / 32 };

/* Sums by tokens: of rows by halves of columns or by squares, of columns by warps. */
struct delta_sums {
    float rows[2][CHUNK], columns[WARPS][CHUNK], solve_rows[CHUNK]; /* of decays, of beta */
    float dr_v[2][CHUNK], read[2][CHUNK], written[2][CHUNK], recalled[2][CHUNK];
    float q_along[2][CHUNK], k_along[2][CHUNK];
    float states[WARPS];
};

struct back_shared {
    struct delta_gates gates;
    struct delta_sums sums;
    alignas(16) float start[CHUNK], end[CHUNK]; /* decays from the chunk's start, to its end */
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

/* The sums over 16 rows of a [16, 64] result, to to[0 .. 63]. */
__device__ static void put_columns(float *to, const float (&value)[8][4]) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int x = 0; x < 2; x++) {
            float sum = value[n][x] + value[n][2 + x];
#pragma unroll
            for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
            if (lane < 4) to[8 * n + lane * 2 + x] = sum;
        }
}

/* The row sums of out times a tile's elements. */
template <int PIECES>
__device__ inline void dot_rows(float *to, const float (&out)[PIECES][4], const bf16 *tile, int row,
                                int column) {
    float sums[2] = {};
    each_pair<PIECES>(row, column, [&](int r, int c, int n, int i) {
        float2 at = read_panel_pair(tile, r, c);
        sums[i / 2] += out[n][i] * at.x + out[n][i + 1] * at.y;
    });
    put_halves(to, row, sums);
}

/* d += a square's 16 rows (or its transpose's), columns times their factors, . columns of a tile.
 */
template <bool TRANSPOSED, int PIECES>
__device__ inline void add_square(float (&d)[PIECES][4], const bf16 *square, int row,
                                  const float *factor, const bf16 *tile, int column) {
    uint32_t left[4][4];
    load_panel_square<4, TRANSPOSED>(left, square, row, factor);
    product_registers<true>(d, left, tile, column);
    finish_product(d);
}

/* d += part, its rows times `factor`, or -= beta times that; `sums` receive the rows' sums of that
 * part times a tile's elements. Then the part is zeros. */
template <int PIECES>
__device__ inline void add_part(float (&d)[PIECES][4], float (&part)[PIECES][4],
                                const float *factor, int row, float *sums, const bf16 *tile,
                                int column, const float *beta = NULL) {
    int lane = threadIdx.x & 31;
    scale_result(part, factor, row);
    dot_rows(sums, part, tile, row, column);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float by = beta ? -beta[row + lane / 4 + i / 2 * 8] : 1;
#pragma unroll
        for (int n = 0; n < PIECES; n++) d[n][i] += by * part[n][i];
    }
    clear_result(part);
}

/* The tiles of one block; states pass through by 64 value channels. */
template <int WK, int WV> struct back_tiles {
    static constexpr int STATE = CHUNK * WK; /* of 64 value channels */
    static constexpr int E = STATE > CHUNK *WV ? STATE : CHUNK *WV;
    static constexpr int SPARE = STATE > SQUARE ? STATE : SQUARE;
    bf16 *q, *k, *dout;
    bf16 *de;    /* then dr */
    bf16 *e;     /* then the state before the chunk, its first part */
    bf16 *spare; /* k k^T's gradient; that of the state after the chunk; the other part of that
                    before */
    bf16 *solve; /* then q k^T's gradient */

    __device__ back_tiles() {
        q = first_panel();
        k = q + CHUNK * WK;
        dout = k + CHUNK * WK;
        de = dout + CHUNK * WV;
        e = de + CHUNK * WV;
        spare = e + E;
        solve = spare + SPARE;
    }

    static constexpr int bytes() {
        return (CHUNK * (2 * WK + 2 * WV) + E + SPARE + SQUARE) * (int)sizeof(bf16) +
               PANEL_ALIGNMENT;
    }
};

/* Gradients of the squares, before the lengths of keys and queries: of q k^T (lower) by the first
 * warpgroup, from dout e^T, and of k k^T (below the diagonal) by the second, from dr e^T, which is
 * minus the gradient of what T inverts; and what goes to the decays and to beta. `s` is the square
 * itself, `d` the other product. */
__device__ static void differentiate_squares(bf16 *to, struct delta_sums *sums, float (&s)[8][4],
                                             const float (&d)[8][4],
                                             const struct delta_gates *gates) {
    int warp = threadIdx.x / 32, row = warp % 4 * 16;
    bool keys = warp / 4;
    float by_row[2] = {}, by_beta[2] = {};
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
        float of_row = keys ? -gates->key[i] : gates->query[i];
        float beta = keys ? gates->beta[i] : 1, sign = keys ? -beta : 1, gradient[2];
#pragma unroll
        for (int x = 0; x < 2; x++) {
            float all = j + x <= i ? d[n][at + x] * decay_of(gates->sum[i] - gates->sum[j + x]) : 0;
            float below = j + x < i ? all : 0;
            float of_beta = below * s[n][at + x] * of_row * gates->key[j + x];
            gradient[x] = sign * (keys ? below : all);
            s[n][at + x] = of_beta * beta;
            by_beta[at / 2] += of_beta;
            by_row[at / 2] += s[n][at + x];
        }
        write_panel_pair(to, i, j, gradient[0], gradient[1]);
    });
    put_halves(sums->rows[keys], row, by_row);
    if (keys) put_halves(sums->solve_rows, row, by_beta);
    put_columns(sums->columns[warp], s);
}

/* dr = T^T de in place of de, dv = beta dr, and dr's rows times v's for beta. */
template <int WV, bool EXACT>
__device__ static void find_dr(const struct delta_back &to, struct delta_sums *sums, bf16 *de,
                               const bf16 *solve, const struct delta_gates &gates,
                               const struct delta_call &call, const struct chunk_part &part) {
    constexpr int PIECES = WV / 16;
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32, half = warp / 4, row = warp % 4 * 16;
    int column = half * (WV / 2);
    float dr[PIECES][4] = {}, dr_v[2] = {};
    add_square<true>(dr, solve, row, NULL, de, column);
    __syncthreads();
    bool exact = call.dv % 2 == 0 && to.dv_stride % 2 == 0 && (uintptr_t)to.dv % 4 == 0;
    const bf16 *v = call.v.at + part.first * call.v.stride + (int64_t)part.head * call.dv;
    bf16 *dv = to.dv + part.first * to.dv_stride + (int64_t)part.head * call.dv;
    each_pair<PIECES>(row, column, [&](int r, int c, int n, int i) {
        write_panel_pair(de, r, c, dr[n][i], dr[n][i + 1]);
        if (r >= part.count) return;
        float beta = gates.beta[r];
        if (!EXACT)
            store_pair(dv + r * to.dv_stride, c, call.dv, exact, beta * dr[n][i],
                       beta * dr[n][i + 1]);
        float at[2];
        widen(at, load_some<2>(v + r * call.v.stride + c, call.dv - c, EXACT));
        dr_v[i / 2] += dr[n][i] * at[0] + dr[n][i + 1] * at[1];
    });
    put_halves(sums->dr_v[half], row, dr_v);
    const float beta[2] = {gates.beta[row + lane / 4], gates.beta[row + lane / 4 + 8]};
    if (EXACT)
        store_result<PIECES>(dv + row * to.dv_stride + column, to.dv_stride, part.count - row, dr,
                             beta);
}

/* A thread's share of the sum over a state times its gradient, of 64 value channels from `from` on:
 * the state in memory, its gradient in a tile. */
template <int WK, bool EXACT>
__device__ static float dot_states(const struct chunk_rows &state, const bf16 *dstate, int from,
                                   const struct delta_call &call) {
    float product = 0;
#pragma unroll
    for (int k = 0; k < CHUNK * WK / 8 / BACK_THREADS; k++) {
        int i = k * BACK_THREADS + (int)threadIdx.x, row = i / (WK / 8), piece = i % (WK / 8);
        int count = from + row < call.dv ? call.dk - piece * 8 : 0;
        const bf16 *at = state.at + (count > 0 ? (from + row) * state.stride + piece * 8 : 0);
        float left[8], right[8];
        widen(left, load_some<8>(at, count, EXACT));
        load(right, dstate + panel_place(row, piece));
#pragma unroll
        for (int x = 0; x < 8; x++) product += left[x] * right[x];
    }
    return product;
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
            dbeta[i] += sums.dr_v[w][t];
            recalled += sums.recalled[w][t] * gates.key[t];
            write += sums.written[w][t] * gates.key[t];
        }
        for (int w = 0; w < WARPS; w++) later[i] -= sums.columns[w][t];
        dbeta[i] += sums.solve_rows[t] - recalled;
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
template <bool EXACT, int PIECES>
__device__ static void store_lengths(float (&d)[PIECES][4], const bf16 *tile, const float *size,
                                     float width, const float (*along)[CHUNK], bf16 *to,
                                     int64_t stride, float *parts, const struct delta_call &call,
                                     int64_t first, int count, int head, int row, int column) {
    const float one[2] = {1, 1};
    bool exact = call.dk % 2 == 0 && stride % 2 == 0 && (uintptr_t)to % 4 == 0;
    bf16 *rows = to + first * stride + (int64_t)head * call.dk;
    each_pair<PIECES>(row, column, [&](int r, int c, int n, int i) {
        float2 at = read_panel_pair(tile, r, c);
        float scale = size[r], back = scale * scale * scale * width * (along[0][r] + along[1][r]);
        d[n][i] = scale * d[n][i] - back * at.x;
        d[n][i + 1] = scale * d[n][i + 1] - back * at.y;
        if (EXACT || r >= count) return;
        if (!parts) {
            store_pair(rows + r * stride, c, call.dk, exact, d[n][i], d[n][i + 1]);
            return;
        }
        float *place = parts + ((first + r) * call.heads + head) * call.dk + c;
        if (c < call.dk) place[0] = d[n][i];
        if (c + 1 < call.dk) place[1] = d[n][i + 1];
    });
    if (EXACT) store_result<PIECES>(rows + row * stride + column, stride, count - row, d, one);
}

/* Begins the loads of a chunk's tokens, in two groups. */
template <int WK, int WV, bool EXACT>
__device__ static void
load_tokens(const struct back_tiles<WK, WV> &tiles, struct delta_gates *gates,
            const struct delta_back &to, const struct delta_scratch &scratch,
            const struct delta_call &call, const struct chunk_part &part, int64_t cell) {
    constexpr int THREADS = BACK_THREADS;
    int source = part.head / call.per_key;
    load_gates(gates, scratch.gates + cell);
    load_panels<CHUNK, CHUNK, THREADS, true>(
        tiles.solve, scratch_rows<CHUNK>(scratch.solve + cell * SQUARE), 0, 0, CHUNK, CHUNK);
    load_panels<CHUNK, WV, THREADS, true>(
        tiles.de, scratch_rows<WV>(scratch.de + cell * CHUNK * WV), 0, 0, CHUNK, WV);
    copy_commit();
    load_panels<CHUNK, WV, THREADS, true>(tiles.e, scratch_rows<WV>(scratch.e + cell * CHUNK * WV),
                                          0, 0, CHUNK, WV);
    load_panels<CHUNK, WK, THREADS, EXACT>(tiles.k, call.k, part.first, source, part.count,
                                           call.dk);
    load_panels<CHUNK, WK, THREADS, EXACT>(tiles.q, call.q, part.first, source, part.count,
                                           call.dk);
    load_panels<CHUNK, WV, THREADS, EXACT>(tiles.dout, to.dout, part.first, part.head, part.count,
                                           call.dv);
    copy_commit();
}

/* The square's gradients: of q k^T to `solve`, of k k^T to `spare`. */
template <int WK, int WV>
__device__ static void find_squares(const struct back_tiles<WK, WV> &tiles, struct delta_sums *sums,
                                    const struct delta_gates *gates) {
    float s[8][4] = {}, d[8][4] = {};
    bool keys = threadIdx.x / 128;
    product_shared<false, WK / 16>(s, keys ? tiles.k : tiles.q, tiles.k);
    product_shared<false, WV / 16>(d, keys ? tiles.de : tiles.dout, tiles.e);
    finish_product(s);
    finish_product(d);
    differentiate_squares(keys ? tiles.spare : tiles.solve, sums, s, d, gates);
}

/* dk before its lengths, half of the columns: from the squares, from e and the gradient dS of the
 * state after the chunk, from dr and the state S before it. That one is in `states` then. */
template <int WK, int WV, bool EXACT>
__device__ static void find_dk(float (&dk)[WK / 16][4], bf16 *const (&states)[2],
                               const struct back_tiles<WK, WV> &tiles, struct back_shared *shared,
                               const struct chunk_rows &state, const struct chunk_rows &dstate,
                               const struct delta_call &call) {
    constexpr int PARTS = WV / CHUNK, THREADS = BACK_THREADS;
    int warp = threadIdx.x / 32, half = warp / 4, row = warp % 4 * 16, column = half * (WK / 2);
    struct delta_sums *sums = &shared->sums;
    const struct delta_gates &gates = shared->gates;
    const bf16 *dscores = tiles.solve, *dkeys = tiles.spare;
    float part[WK / 16][4] = {}, product = 0;
    clear_result(dk);
    add_square<true>(dk, dscores, row, gates.query, tiles.q, column);
    add_square<false>(dk, dkeys, row, gates.key, tiles.k, column);
    add_square<true>(dk, dkeys, row, gates.key, tiles.k, column);
#pragma unroll 1
    for (int p = 0; p < PARTS; p++) {
        __syncthreads();
        load_panels<CHUNK, WK, THREADS, true>(tiles.spare, dstate, p * CHUNK, 0, CHUNK, WK);
        copy_commit();
        panels_ready<0>();
        product_shared<true, 4>(part, tiles.e + p * SQUARE, tiles.spare, column);
        product += dot_states<WK, EXACT>(state, tiles.spare, p * CHUNK, call);
        finish_product(part);
    }
    product = sum_lanes(product);
    if (threadIdx.x % 32 == 0) sums->states[warp] = product;
    __syncthreads();
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        load_panels<CHUNK, WK, THREADS, EXACT>(states[p], state, p * CHUNK, 0, call.dv - p * CHUNK,
                                               call.dk);
    copy_commit();
    add_part(dk, part, shared->end, row, sums->written[half], tiles.k, column);
    panels_ready<0>();
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        product_shared<true, 4>(part, tiles.de + p * SQUARE, states[p], column);
    finish_product(part);
    add_part(dk, part, shared->start, row, sums->recalled[half], tiles.k, column, gates.beta);
    dot_rows(sums->k_along[half], dk, tiles.k, row, column);
}

/* The same of dq: from its square, and from dout and the state. */
template <int WK, int WV>
__device__ static void find_dq(float (&dq)[WK / 16][4], bf16 *const (&states)[2],
                               const struct back_tiles<WK, WV> &tiles, struct back_shared *shared) {
    constexpr int PARTS = WV / CHUNK;
    int warp = threadIdx.x / 32, half = warp / 4, row = warp % 4 * 16, column = half * (WK / 2);
    struct delta_sums *sums = &shared->sums;
    float part[WK / 16][4] = {};
    clear_result(dq);
    add_square<false>(dq, tiles.solve, row, shared->gates.key, tiles.k, column);
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        product_shared<true, 4>(part, tiles.dout + p * SQUARE, states[p], column);
    finish_product(part);
    add_part(dq, part, shared->start, row, sums->read[half], tiles.q, column);
    dot_rows(sums->q_along[half], dq, tiles.q, row, column);
}

/* A block a chunk of a value head, two on a multiprocessor: the gradients of its tokens from the
 * state before it, that of the state after it, e and de. EXACT: heads are as wide as tiles, rows of
 * inputs and gradients start at multiples of 16 bytes, and every head has its own key. */
template <int WK, int WV, bool EXACT>
__global__ void __launch_bounds__(BACK_THREADS, 2)
    delta_gradients(struct delta_back to, struct delta_scratch scratch, struct delta_call call) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct back_shared shared;
    const struct delta_gates &gates = shared.gates;
    struct delta_sums *sums = &shared.sums;
    struct back_tiles<WK, WV> tiles;
    int warp = threadIdx.x / 32, row = warp % 4 * 16, column = warp / 4 * (WK / 2);
    int64_t cell = part.slot * call.heads + part.head;
    load_tokens<WK, WV, EXACT>(tiles, &shared.gates, to, scratch, call, part, cell);
    panels_ready<1>();
    if (threadIdx.x < CHUNK) {
        shared.start[threadIdx.x] = decay_of(gates.sum[threadIdx.x]);
        shared.end[threadIdx.x] = decay_of(gates.sum[CHUNK - 1] - gates.sum[threadIdx.x]);
    }
    find_dr<WV, EXACT>(to, sums, tiles.de, tiles.solve, gates, call, part);
    panels_ready<0>();
    find_squares(tiles, sums, &gates);
    __syncthreads();

    float d[WK / 16][4];
    bf16 *const states[2] = {tiles.e, tiles.spare}; /* once they are used */
    int count = part.count < CHUNK ? part.count : CHUNK;
    int target = scratch.dq ? part.head : part.head / call.per_key;
    find_dk<WK, WV, EXACT>(d, states, tiles, &shared, checkpoint_rows(to.checkpoints, cell, call),
                           scratch_rows<WK>(scratch.dstates + cell * WV * WK), call);
    __syncthreads();
    store_lengths<EXACT>(d, tiles.k, gates.key, 1, sums->k_along, to.dk, to.dk_stride, scratch.dk,
                         call, part.first, count, target, row, column);
    find_dq(d, states, tiles, &shared);
    __syncthreads();
    store_lengths<EXACT>(d, tiles.q, gates.query, (float)call.dk, sums->q_along, to.dq,
                         to.dq_stride, scratch.dq, call, part.first, count, target, row, column);
    if (warp == 0)
        find_gate_gradients(to, scratch.partial + cell, *sums, gates, call, part.first, count,
                            part.head);
}

template <int WK, int WV> struct launch_gradients {
    template <bool EXACT>
    static void launch(struct cuda_backend *cuda, const struct delta_back *to,
                       const struct delta_scratch *scratch, const struct delta_call *call,
                       unsigned parts) {
        constexpr int SHARED = back_tiles<WK, WV>::bytes();
        CUDA_ALLOW_SHARED(cuda, (delta_gradients<WK, WV, EXACT>), SHARED);
        CUDA_LAUNCH(cuda, (delta_gradients<WK, WV, EXACT>), parts, BACK_THREADS, SHARED, *to,
                    *scratch, *call);
    }

    static bool is_whole(const bf16 *rows, int64_t stride) {
        return stride % 8 == 0 && aligned_to(rows, 16);
    }

    static void run(struct cuda_backend *cuda, const struct delta_back *to,
                    const struct delta_scratch *scratch, const struct delta_call *call,
                    unsigned parts) {
        bool exact = call->dk == WK && call->dv == WV && call->q.exact && call->k.exact &&
                     call->v.exact && to->dout.exact && !scratch->dq &&
                     aligned_to(to->checkpoints, 16) && is_whole(to->dq, to->dq_stride) &&
                     is_whole(to->dk, to->dk_stride) && is_whole(to->dv, to->dv_stride);
        if (exact)
            launch<true>(cuda, to, scratch, call, parts);
        else
            launch<false>(cuda, to, scratch, call, parts);
    }
};

void cuda_delta_gradients(struct cuda_backend *cuda, const struct delta_back *to,
                          const struct delta_scratch *scratch, const struct delta_call *call,
                          const struct sequences *sequences, const struct delta_shape *shape) {
    delta_choose<launch_gradients>(cuda, shape, to, scratch, call,
                                   count_parts(sequences, shape->value_heads, CHUNK));
}
