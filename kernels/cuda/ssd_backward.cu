/* The Mamba-2 recurrence's backward pass. A block walks a head's segment from its last chunk to its
 * first with the gradient of the state in registers; each chunk is taken up from its checkpoint.
 * What heads of one group give to db and dc is added up by another kernel; parameters' gradients by
 * segments, then over these in order. Formula: kernels/cpu/ssd_backward.c. */
#include "kernels/cuda/ssd.cuh"

struct ssd_backward {
    struct chunk_rows dout;
    const bf16 *checkpoints;
    const float *ends; /* [segment slots, H, P, N]: gradients of last states; or NULL: zeros */
    bf16 *dx, *db, *dc, *ddt;
    int64_t dx_stride, db_stride, dc_stride, ddt_stride;
    float *db_parts, *dc_parts; /* [tokens, H, N] instead of db and dc where heads share groups */
    float *partial;             /* [3][segment slots, H]: da_log, ddt_bias, dd; or NULL */
    int64_t slots;
};

/* Sums over the columns that a warp owns, by tokens; those over rows and columns of the scores. */
template <int WARPS> struct ssd_sums {
    float du_x[WARPS][CHUNK], through_x[WARPS][CHUNK], dc_c[WARPS][CHUNK];
    float rows[WARPS / 4][CHUNK], columns[4][CHUNK];
    float skip[WARPS], states[WARPS];
};

/* Row sums of a lane's pairs in a [64, 16] result, into to[64]. */
__device__ static void put_rows(float *to, const float (&value)[8]) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float sum = sum_quad(value[i]);
        if (lane % 4 == 0) to[i / 2 * 16 + i % 2 * 8 + lane / 4] = sum;
    }
}

/* scores (with decays, for dU) and dscores (with decays and dt, for dB and dC), lower triangles. */
template <int P, int N, int WARPS>
__device__ static void
differentiate_scores(bf16 *scores, bf16 *dscores, struct ssd_sums<WARPS> *sums, const bf16 *c,
                     const bf16 *b, const bf16 *x, const bf16 *dy, const struct ssd_gates *gates) {
    constexpr int COLUMNS = CHUNK * 4 / WARPS;
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    int row = warp % 4 * 16, column = warp / 4 * COLUMNS;
    float g[COLUMNS / 8][4] = {}, dm[COLUMNS / 8][4] = {}, by_row[2] = {};
    bool below = column <= row + 15;
    if (below) {
        multiply_tiles<N, COLUMNS>(g, c, row, b + column * N);
        multiply_tiles<P, COLUMNS>(dm, dy, row, x + column * P);
    }
    each_pair<COLUMNS / 8>(row, column, [&](int i, int j, int n, int at) {
        float score[2], dscore[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float decay = j + e <= i ? decay_of(gates->sum[i] - gates->sum[j + e]) : 0;
            score[e] = g[n][at + e] * decay;
            dscore[e] = dm[n][at + e] * decay * gates->dt[j + e];
            dm[n][at + e] = j + e < i ? dscore[e] * g[n][at + e] : 0;
            by_row[at / 2] += dm[n][at + e];
        }
        write_pair<CHUNK>(scores, i, j, score[0], score[1]);
        write_pair<CHUNK>(dscores, i, j, dscore[0], dscore[1]);
    });
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = sum_quad(by_row[half]);
        if (lane % 4 == 0) sums->rows[warp / 4][row + lane / 4 + 8 * half] = sum;
    }
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = dm[n][e] + dm[n][2 + e];
#pragma unroll
            for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
            if (lane < 4) sums->columns[warp % 4][column + 8 * n + lane * 2 + e] = sum;
        }
}

/* dx of the warp's 16 channels. */
template <int P, int N, int WARPS>
__device__ static void find_dx(const struct ssd_backward &to, const struct ssd_call &call,
                               struct ssd_sums<WARPS> *sums, const bf16 *b, const bf16 *x,
                               const bf16 *dy, const bf16 *scores, const float (&dstate)[N / 8][4],
                               const struct ssd_gates *gates, int64_t first, int count, int head,
                               float d) {
    int warp = threadIdx.x / 32;
    chunk_columns du;
    float du_x[8] = {}, through_x[8] = {}, skip = 0;
    clear(du);
    multiply_state<N>(du, b, dstate);
    scale_rows(du, gates->end);
#pragma unroll
    for (int m = 0; m < 4; m++)
        each_pair<2>(16 * m, 16 * warp, [&](int row, int column, int n, int i) {
            float2 at = read_pair<P>(x, row, column);
            through_x[2 * m + i / 2] += du[m][n][i] * at.x + du[m][n][i + 1] * at.y;
        });
    multiply_lower<P, true>(du, scores, dy, 2 * warp);
    bool exact = call.p % 2 == 0 && to.dx_stride % 2 == 0 && (uintptr_t)to.dx % 4 == 0;
#pragma unroll
    for (int m = 0; m < 4; m++)
        each_pair<2>(16 * m, 16 * warp, [&](int row, int column, int n, int i) {
            float2 at = read_pair<P>(x, row, column), dout = read_pair<P>(dy, row, column);
            float dt = gates->dt[row];
            du_x[2 * m + i / 2] += du[m][n][i] * at.x + du[m][n][i + 1] * at.y;
            skip += dout.x * at.x + dout.y * at.y;
            if (row < count)
                store_pair(to.dx + (first + row) * to.dx_stride + (int64_t)head * call.p, column,
                           call.p, exact, dt * du[m][n][i] + d * dout.x,
                           dt * du[m][n][i + 1] + d * dout.y);
        });
    put_rows(sums->du_x[warp], du_x);
    put_rows(sums->through_x[warp], through_x);
    skip = sum_lanes(skip);
    if (threadIdx.x % 32 == 0) sums->skip[warp] = skip;
}

/* 16 columns of db or dc, to the gradient itself or to the head's part. */
__device__ static void store_shared(const chunk_columns &value, bf16 *to, int64_t stride,
                                    float *parts, const struct ssd_call &call, int64_t first,
                                    int count, int head, int column) {
    bool exact = call.n % 2 == 0 && stride % 2 == 0 && (uintptr_t)to % 4 == 0;
#pragma unroll
    for (int m = 0; m < 4; m++)
        each_pair<2>(16 * m, column, [&](int row, int c, int n, int i) {
            if (row >= count) return;
            if (!parts) {
                store_pair(to + (first + row) * stride + (int64_t)head * call.n, c, call.n, exact,
                           value[m][n][i], value[m][n][i + 1]);
                return;
            }
            float *at = parts + ((first + row) * call.heads + head) * call.n + c;
            if (c < call.n) at[0] = value[m][n][i];
            if (c + 1 < call.n) at[1] = value[m][n][i + 1];
        });
}

template <int P, int N, int WARPS>
__device__ static void find_dc(const struct ssd_backward &to, const struct ssd_call &call,
                               struct ssd_sums<WARPS> *sums, const bf16 *c, const bf16 *b,
                               const bf16 *dy, const bf16 *dscores, const bf16 *before,
                               const struct ssd_gates *gates, int64_t first, int count, int head) {
    int warp = threadIdx.x / 32;
    float dc_c[8] = {};
#pragma unroll 1
    for (int piece = 2 * warp; piece < N / 8; piece += 2 * WARPS) {
        chunk_columns dc;
        clear(dc);
        multiply_slab<P, N>(dc, dy, before, piece);
        scale_rows(dc, gates->start);
#pragma unroll
        for (int m = 0; m < 4; m++)
            each_pair<2>(16 * m, 8 * piece, [&](int row, int column, int n, int i) {
                float2 at = read_pair<N>(c, row, column);
                dc_c[2 * m + i / 2] += dc[m][n][i] * at.x + dc[m][n][i + 1] * at.y;
            });
        multiply_lower<N, false>(dc, dscores, b, piece);
        store_shared(dc, to.dc, to.dc_stride, to.dc_parts, call, first, count, head, 8 * piece);
    }
    put_rows(sums->dc_c[warp], dc_c);
}

template <int P, int N, int WARPS>
__device__ static void find_db(const struct ssd_backward &to, const struct ssd_call &call,
                               const bf16 *c, const bf16 *x, const bf16 *dscores,
                               const bf16 *dstate, const struct ssd_gates *gates, int64_t first,
                               int count, int head) {
#pragma unroll 1
    for (int piece = 2 * (threadIdx.x / 32); piece < N / 8; piece += 2 * WARPS) {
        chunk_columns db;
        clear(db);
        multiply_slab<P, N>(db, x, dstate, piece);
        scale_rows(db, gates->write);
        multiply_lower<N, true>(db, dscores, c, piece);
        store_shared(db, to.db, to.db_stride, to.db_parts, call, first, count, head, 8 * piece);
    }
}

/* One warp: ddt of the chunk, and what it adds to the parameters' gradients. */
template <int WARPS>
__device__ static void find_ddt(const struct ssd_backward &to, float (&partial)[3],
                                const struct ssd_sums<WARPS> &sums, const struct ssd_gates &gates,
                                float a, int64_t first, int count, int head) {
    int lane = threadIdx.x & 31;
    float later[2], du_x[2], written = 0, states = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int t = 2 * lane + i;
        float through = 0;
        later[i] = 0;
        du_x[i] = 0;
        for (int w = 0; w < WARPS / 4; w++) later[i] += sums.rows[w][t];
        for (int w = 0; w < 4; w++) later[i] -= sums.columns[w][t];
        for (int w = 0; w < WARPS; w++) {
            later[i] += sums.dc_c[w][t];
            du_x[i] += sums.du_x[w][t];
            through += sums.through_x[w][t];
        }
        later[i] -= gates.dt[t] * through;
        written += gates.dt[t] * through;
    }
    written = sum_lanes(written);
    for (int w = 0; w < WARPS; w++) {
        states += sums.states[w];
        partial[2] += lane == 0 ? sums.skip[w] : 0;
    }
    if (lane == 31) later[1] += written + decay_of(gates.last) * states;
    sum_after(later);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int t = 2 * lane + i;
        float slope = (du_x[i] + later[i] * a) * sigmoid(gates.raw[t]);
        if (t >= count) continue;
        to.ddt[(first + t) * to.ddt_stride + head] = __float2bfloat16(slope);
        partial[0] += later[i] * gates.dt[t] * a;
        partial[1] += slope;
    }
}

template <int P, int N> constexpr int ssd_stages = P *N <= 128 * 128 ? 2 : 1;

template <int P, int N>
__global__ void __launch_bounds__(2 * P, 1)
    ssd_walk_back(struct ssd_backward to, struct ssd_call call) {
    constexpr int THREADS = 2 * P, WARPS = P / 16, TILE = CHUNK * 2 * (N + P);
    constexpr int STAGES = ssd_stages<P, N>, GATES = WARPS == 8 ? 4 : 0;
    struct chunk_part part;
    if (!find_part<SEGMENT>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct ssd_gates ahead[2]; /* of this chunk and the one before it */
    __shared__ struct ssd_sums<WARPS> sums;
    bf16 *tiles = (bf16 *)chunk_memory, *before = tiles + STAGES * TILE;
    bf16 *scores = before + P * N, *dscores = scores + SQUARE;
    int warp = threadIdx.x / 32, group = part.head / call.per_group;
    int chunks = (part.count + CHUNK - 1) / CHUNK;
    float bias = call.dt_bias[part.head], a = -expf(call.a_log[part.head]), d = call.d[part.head];
    float dstate[N / 8][4] = {}, raw[2] = {}, partial[3] = {};
    int64_t size = (int64_t)call.p * call.n;
    int64_t chunk_slot = (int64_t)call.offsets[part.sequence] / CHUNK + part.sequence +
                         part.unit * (SEGMENT / CHUNK);
    struct chunk_rows kept = {to.checkpoints, call.n, call.n, call.n % 8 == 0};
    auto load = [&](int step) {
        bf16 *tile = tiles + step % STAGES * TILE;
        int place = (chunks - 1 - step) * CHUNK, token = part.first + place;
        load_rows<CHUNK, N, THREADS>(tile, call.c, token, group, part.count - place, call.n);
        load_rows<CHUNK, N, THREADS>(tile + CHUNK * N, call.b, token, group, part.count - place,
                                     call.n);
        load_rows<CHUNK, P, THREADS>(tile + 2 * CHUNK * N, call.x, token, part.head,
                                     part.count - place, call.p);
        load_rows<CHUNK, P, THREADS>(tile + CHUNK * (2 * N + P), to.dout, token, part.head,
                                     part.count - place, call.p);
    };
    if (STAGES == 2) load(0);
    if (STAGES == 2) copy_commit();
    if (warp == GATES) {
        int place = (chunks - 1) * CHUNK;
        read_raw(raw, call, part.first + place, part.count - place, part.head);
        find_gates(&ahead[0], raw, bias, a, part.count - place);
        if (chunks > 1) read_raw(raw, call, part.first + place - CHUNK, CHUNK, part.head);
    }
    if (to.ends)
        read_state<N>(dstate, to.ends + (part.slot * call.heads + part.head) * size, 16 * warp,
                      call.p, call.n, call.n, 1);
    for (int step = 0; step < chunks; step++) {
        const bf16 *c = tiles + step % STAGES * TILE, *b = c + CHUNK * N, *x = b + CHUNK * N,
                   *dy = x + CHUNK * P;
        int place = (chunks - 1 - step) * CHUNK, count = part.count - place;
        const struct ssd_gates &gates = ahead[step % 2];
        int64_t first = part.first + place;
        int tokens = count < CHUNK ? count : CHUNK;
        if (STAGES == 1) load(step);
        if (STAGES == 1) copy_commit();
        kept.at =
            to.checkpoints + ((chunk_slot + chunks - 1 - step) * call.heads + part.head) * size;
        load_rows<P, N, THREADS>(before, kept, 0, 0, call.p, call.n);
        copy_commit();
        if (STAGES == 2 && step + 1 < chunks) load(step + 1);
        if (STAGES == 2) copy_commit();
        copy_wait<STAGES>();
        __syncthreads();
        if (warp == GATES && step + 1 < chunks) {
            find_gates(&ahead[(step + 1) % 2], raw, bias, a, CHUNK);
            if (step + 2 < chunks) read_raw(raw, call, first - 2 * CHUNK, CHUNK, part.head);
        }
        differentiate_scores<P, N, WARPS>(scores, dscores, &sums, c, b, x, dy, &gates);
        copy_wait<STAGES - 1>();
        __syncthreads();
        find_dx<P, N, WARPS>(to, call, &sums, b, x, dy, scores, dstate, &gates, first, tokens,
                             part.head, d);
        find_dc<P, N, WARPS>(to, call, &sums, c, b, dy, dscores, before, &gates, first, tokens,
                             part.head);
        float product = 0;
        each_pair<N / 8>(16 * warp, 0, [&](int row, int column, int n, int i) {
            float2 at = read_pair<N>(before, row, column);
            product += dstate[n][i] * at.x + dstate[n][i + 1] * at.y;
        });
        product = sum_lanes(product);
        if (threadIdx.x % 32 == 0) sums.states[warp] = product;
        __syncthreads();
        each_pair<N / 8>(16 * warp, 0, [&](int row, int column, int n, int i) {
            write_pair<N>(before, row, column, dstate[n][i], dstate[n][i + 1]);
        });
        if (warp == 0) find_ddt<WARPS>(to, partial, sums, gates, a, first, tokens, part.head);
        advance_state<P, N>(dstate, dy, 2 * warp, c, gates.start, decay_of(gates.last));
        __syncthreads();
        find_db<P, N, WARPS>(to, call, c, x, dscores, before, &gates, first, tokens, part.head);
        __syncthreads();
    }
    if (!to.partial || warp) return;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        float sum = sum_lanes(partial[i]);
        if (threadIdx.x == 0) to.partial[(i * to.slots + part.slot) * call.heads + part.head] = sum;
    }
}

template <int P, int N> constexpr int ssd_back_shared() {
    return (ssd_stages<P, N> * CHUNK * 2 * (N + P) + P * N + 2 * SQUARE) * (int)sizeof(bf16);
}

enum { SUM_THREADS = 128 };

/* to [tokens, G*N] = the sums over the heads of each group of parts [tokens, H, N]. */
__global__ void ssd_sum_heads(bf16 *to, int64_t stride, const float *parts, int groups,
                              int per_group, int n) {
    int column = (int)(blockIdx.y * SUM_THREADS + threadIdx.x);
    if (column >= groups * n) return;
    const float *from = parts +
                        ((int64_t)blockIdx.x * groups * per_group + column / n * per_group) * n +
                        column % n;
    float sum = 0;
    for (int head = 0; head < per_group; head++) sum += from[(int64_t)head * n];
    to[(int64_t)blockIdx.x * stride + column] = __float2bfloat16(sum);
}

/* Scratch of one call, in floats. */
struct ssd_scratch {
    float *ends, *decays, *db, *dc, *partial;
};

static bool cut_scratch(struct cuda_backend *cuda, struct ssd_scratch *scratch,
                        const struct ssd_gradients *to, const struct sequences *sequences,
                        const struct ssd_shape *shape) {
    int64_t slots = count_slots(sequences, SEGMENT) * shape->heads;
    int64_t states = sequences->longest > SEGMENT ? slots * (shape->head_dim * shape->d_state) : 0;
    int64_t shared =
        shape->heads > shape->groups ? sequences->tokens * shape->heads * shape->d_state : 0;
    bool parameters = to->ddt_bias || to->da_log || to->dd;
    int64_t sums = (3 * slots + 3) / 4 * 4; /* what follows is read 16 bytes at a time */
    size_t count = (size_t)(states + (states ? slots : 0) + 2 * shared + sums);
    float *memory = (float *)cuda_scratch(cuda, count * sizeof(float));
    if (!memory) return false;
    *scratch = {};
    scratch->partial = parameters ? memory : NULL;
    memory += sums;
    if (states) scratch->ends = memory;
    memory += states;
    if (states) scratch->decays = memory;
    memory += states ? slots : 0;
    if (shared) scratch->db = memory;
    if (shared) scratch->dc = memory + shared;
    /* Slots that no segment takes add nothing. */
    return !parameters ||
           cuda_check(cuda,
                      cudaMemsetAsync(scratch->partial, 0, (size_t)(3 * slots) * sizeof(float),
                                      cuda->stream),
                      "ssd_backward");
}

template <int P, int N> struct launch_backward {
    static void run(struct cuda_backend *cuda, struct ssd_backward *to,
                    const struct ssd_scratch *scratch, const struct ssd_call *call,
                    const struct sequences *sequences, const struct ssd_shape *shape) {
        unsigned parts = count_parts(sequences, shape->heads, SEGMENT);
        constexpr int SHARED = ssd_back_shared<P, N>();
        if (scratch->ends) {
            CUDA_ALLOW_SHARED(cuda, (ssd_segment<P, N, true>), (ssd_segment_shared<P, N>()));
            CUDA_LAUNCH(cuda, (ssd_segment<P, N, true>), parts, 2 * P, (ssd_segment_shared<P, N>()),
                        scratch->ends, scratch->decays, *call, to->dout);
            cuda_ssd_combine(cuda, scratch->ends, scratch->decays, NULL, NULL, true, sequences,
                             shape);
        }
        CUDA_ALLOW_SHARED(cuda, (ssd_walk_back<P, N>), SHARED);
        CUDA_LAUNCH(cuda, (ssd_walk_back<P, N>), parts, 2 * P, SHARED, *to, *call);
    }
};

void cuda_ssd_backward(struct backend *backend, const struct ssd_gradients *gradients,
                       const struct act *dout, const struct acc *checkpoints,
                       const struct ssd_inputs *in, const struct sequences *sequences,
                       const struct ssd_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct ssd_call call = make_ssd_call(in, sequences, shape);
    struct ssd_scratch scratch;
    if (!cut_scratch(cuda, &scratch, gradients, sequences, shape)) return;
    struct ssd_backward to = {};
    to.dout = make_rows(dout, (int64_t)shape->heads * shape->head_dim, shape->head_dim);
    to.checkpoints = (const bf16 *)checkpoints;
    to.ends = scratch.ends;
    to.dx = (bf16 *)gradients->dx;
    to.db = (bf16 *)gradients->db;
    to.dc = (bf16 *)gradients->dc;
    to.ddt = (bf16 *)gradients->ddt;
    to.dx_stride = gradients->x_stride;
    to.db_stride = gradients->b_stride;
    to.dc_stride = gradients->c_stride;
    to.ddt_stride = gradients->dt_stride;
    to.db_parts = scratch.db;
    to.dc_parts = scratch.dc;
    to.partial = scratch.partial;
    to.slots = count_slots(sequences, SEGMENT);
    if (!ssd_choose<launch_backward>(cuda, shape, &to, &scratch, &call, sequences, shape)) return;
    dim3 grid((unsigned)sequences->tokens,
              (unsigned)ceil_div(shape->groups * shape->d_state, SUM_THREADS));
    for (int which = 0; which < 2 && scratch.db; which++)
        CUDA_LAUNCH(cuda, ssd_sum_heads, grid, SUM_THREADS, 0, which ? to.dc : to.db,
                    which ? to.dc_stride : to.db_stride, which ? scratch.dc : scratch.db,
                    shape->groups, call.per_group, shape->d_state);
    float *parameters[3] = {(float *)gradients->da_log, (float *)gradients->ddt_bias,
                            (float *)gradients->dd};
    for (int i = 0; i < 3; i++)
        if (parameters[i])
            cuda_add_partials(cuda, parameters[i], to.partial + i * to.slots * shape->heads,
                              to.slots, shape->heads);
}
