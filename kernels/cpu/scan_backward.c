/* The scan's backward pass. A unit of work is one sequence and one sub-head of B with all the
 * sub-heads of I that it serves, so that db has one owner. Chunks go from last to first: each is
 * run forward again from its checkpoint, keeping the states and decays of its tokens only.
 * Parameter gradients are summed per sequence, then over sequences in order. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/scan.h"

enum { LANES = MAMBA_LANES };

struct scan_backward {
    const struct scan_gradients *to;
    const real *dout, *checkpoints;
    const struct scan_inputs *in;
    const struct sequences *sequences;
    const struct mamba_shape *shape;
    int repeat, groups_per_head; /* groups of LANES channels in a sub-head */
    real *partial;               /* [sequences, I, N + 2]: da_log, ddt_bias, dd; or NULL */
};

/* What one group carries from chunk to chunk, against the order of tokens. */
struct group_state {
    struct scan_group group;
    struct scan_parameters parameters;
    scan_lanes ddt_bias, dd;
    real *a, *carry, *da; /* [N, LANES]: carry is the gradient of the state before the last chunk */
};

/* One thread's working memory. */
struct workspace {
    real *state;   /* [SCAN_CHUNK + 1, N, LANES]: before each token, and after the last */
    real *decay;   /* [SCAN_CHUNK, N, LANES] */
    real *db, *dc; /* [SCAN_CHUNK, N] */
    struct group_state *groups;
    real *group_memory;
};

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Cuts one thread's workspace out of `memory`, or only measures it when that is NULL. */
static size_t cut_workspace(struct workspace *work, char *memory, const struct scan_backward *op) {
    size_t states = (size_t)op->shape->d_state,
           groups = (size_t)op->repeat * (size_t)op->groups_per_head;
    size_t tile = states * LANES * sizeof(real), sums = SCAN_CHUNK * states * sizeof(real);
    size_t sizes[] = {(SCAN_CHUNK + 1) * tile,       SCAN_CHUNK * tile, sums, sums,
                      groups * sizeof *work->groups, 3 * groups * tile};
    size_t offsets[6], total = 0;
    for (int i = 0; i < 6; i++) {
        offsets[i] = total;
        total += round_up(sizes[i]);
    }
    if (memory)
        *work = (struct workspace){(real *)(memory + offsets[0]),
                                   (real *)(memory + offsets[1]),
                                   (real *)(memory + offsets[2]),
                                   (real *)(memory + offsets[3]),
                                   (struct group_state *)(memory + offsets[4]),
                                   (real *)(memory + offsets[5])};
    return total;
}

/* Runs a chunk forward from state[0], keeping states and decays; chunk->y receives <state, C> + D
 * x. */
CPU_CLONES static void replay(struct workspace *work, struct scan_chunk *restrict chunk,
                              const struct scan_parameters *parameters) {
    int64_t size = (int64_t)chunk->states * LANES;
    for (int64_t t = 0; t < chunk->count; t++) {
        const real *b = chunk->b + t * chunk->b_stride, *c = chunk->c + t * chunk->c_stride;
        const real *dt = chunk->dt[t], *u = chunk->u[t];
        const real *before = work->state + t * size;
        real *restrict after = work->state + (t + 1) * size, *restrict decay =
                                                                 work->decay + t * size;
        real y[LANES];
        for (int p = 0; p < LANES; p++) y[p] = parameters->d[p] * chunk->x[t][p];
        for (int n = 0; n < chunk->states; n++) {
            int64_t at = (int64_t)n * LANES;
#pragma omp simd
            for (int p = 0; p < LANES; p++) {
                real e = fast_exp(dt[p] * parameters->a[at + p]);
                real s = e * before[at + p] + u[p] * b[n];
                decay[at + p] = e;
                after[at + p] = s;
                y[p] += s * c[n];
            }
        }
        for (int p = 0; p < LANES; p++) chunk->y[t][p] = y[p];
    }
}

/* dout and z give dz and the gradient of y. */
CPU_CLONES static void differentiate_gate(scan_lanes *restrict dy, scan_lanes *restrict dz,
                                          const struct scan_chunk *chunk) {
    for (int64_t t = 0; t < chunk->count; t++) {
#pragma omp simd
        for (int p = 0; p < LANES; p++) {
            real z = chunk->z[t][p], sigmoid = fast_sigmoid(z), dout = dy[t][p];
            dz[t][p] = dout * chunk->y[t][p] * sigmoid * (1 + z * (1 - sigmoid));
            dy[t][p] = dout * z * sigmoid;
        }
    }
}

/* One token back. du and ddt receive the gradients of u = dt' x and, through the decay, of dt'. */
static inline void step_back(real *restrict du, real *restrict ddt, real *restrict db,
                             real *restrict dc, struct group_state *group,
                             const struct workspace *work, const struct scan_chunk *chunk,
                             const real *restrict dy, int64_t t) {
    int64_t size = (int64_t)chunk->states * LANES;
    const real *before = work->state + t * size, *after = before + size;
    const real *decay = work->decay + t * size;
    const real *b = chunk->b + t * chunk->b_stride, *c = chunk->c + t * chunk->c_stride;
    const real *restrict u = chunk->u[t], *restrict dt = chunk->dt[t];
    real sum_u[LANES] = {0}, sum_dt[LANES] = {0};
    for (int n = 0; n < chunk->states; n++) {
        real *restrict carry = group->carry + n * LANES, *restrict da = group->da + n * LANES;
        const real *restrict a = group->a + n * LANES;
        int64_t at = (int64_t)n * LANES;
        real part_b = 0, part_c = 0;
#pragma omp simd reduction(+ : part_b, part_c)
        for (int p = 0; p < LANES; p++) {
            real ds = carry[p] + c[n] * dy[p], passed = ds * decay[at + p];
            real through = passed * before[at + p];
            part_c += after[at + p] * dy[p];
            part_b += ds * u[p];
            sum_u[p] += ds * b[n];
            sum_dt[p] += through * a[p];
            da[p] += through * dt[p];
            carry[p] = passed;
        }
        dc[n] += part_c;
        db[n] += part_b;
    }
    for (int p = 0; p < LANES; p++) {
        du[p] = sum_u[p];
        ddt[p] = sum_dt[p];
    }
}

/* Gradients of a chunk's lanes: on entry dx holds dy; on return dx, ddt (before softplus). */
CPU_CLONES static void go_back(scan_lanes *restrict dx, scan_lanes *restrict ddt,
                               struct group_state *group, struct workspace *work,
                               const struct scan_chunk *chunk) {
    const struct scan_parameters *parameters = &group->parameters;
    for (int64_t t = chunk->count - 1; t >= 0; t--) {
        real du[LANES], decay[LANES];
        const real *dy = dx[t];
        step_back(du, decay, work->db + t * chunk->states, work->dc + t * chunk->states, group,
                  work, chunk, dy, t);
#pragma omp simd
        for (int p = 0; p < LANES; p++) {
            real x = chunk->x[t][p], raw = chunk->raw_dt[t][p] + parameters->dt_bias[p];
            real slope = (decay[p] + du[p] * x) * fast_sigmoid(raw);
            group->dd[p] += dx[t][p] * x;
            group->ddt_bias[p] += slope;
            ddt[t][p] = slope;
            dx[t][p] = du[p] * chunk->dt[t][p] + dx[t][p] * parameters->d[p];
        }
    }
}

static void store_lanes(void *to, int64_t stride, scan_lanes *lanes, const struct scan_chunk *chunk,
                        const struct scan_group *group) {
    for (int64_t t = 0; t < chunk->count; t++)
        memcpy((real *)to + (chunk->first + t) * stride + group->channel, lanes[t],
               (size_t)group->width * sizeof(real));
}

/* Sums over a sub-head's channels, [count, N], to columns from `column` on. */
static void store_sums(void *to, int64_t stride, const real *sums, int64_t first, int64_t count,
                       int64_t column, int states) {
    for (int64_t t = 0; t < count; t++)
        memcpy((real *)to + (first + t) * stride + column, sums + t * states,
               (size_t)states * sizeof(real));
}

static void backward_chunk(const struct scan_backward *op, struct workspace *work,
                           struct group_state *group, const real *checkpoint, int64_t first,
                           int64_t end) {
    struct scan_chunk chunk = {0};
    scan_lanes dx[SCAN_CHUNK] = {{0}}, ddt[SCAN_CHUNK], dz[SCAN_CHUNK];
    scan_load_chunk(&chunk, op->in, op->shape, &group->group, &group->parameters, first, end);
    memcpy(work->state, checkpoint, (size_t)chunk.states * LANES * sizeof *checkpoint);
    replay(work, &chunk, &group->parameters);
    for (int64_t t = 0; t < chunk.count; t++)
        memcpy(dx[t], op->dout + (first + t) * op->shape->d_inner + group->group.channel,
               (size_t)group->group.width * sizeof(real));
    differentiate_gate(dx, dz, &chunk);
    go_back(dx, ddt, group, work, &chunk);
    store_lanes(op->to->dx, op->to->x_stride, dx, &chunk, &group->group);
    store_lanes(op->to->ddt, op->to->dt_stride, ddt, &chunk, &group->group);
    store_lanes(op->to->dz, op->to->z_stride, dz, &chunk, &group->group);
}

static void begin_groups(const struct scan_backward *op, struct workspace *work, int source) {
    int64_t tile = (int64_t)op->shape->d_state * LANES;
    int count = op->repeat * op->groups_per_head;
    memset(work->group_memory, 0, (size_t)(3 * count * tile) * sizeof(real));
    for (int i = 0; i < count; i++) {
        struct group_state *group = &work->groups[i];
        real *memory = work->group_memory + 3 * i * tile;
        *group = (struct group_state){
            .group = scan_group_at(op->shape, source * count + i),
            .a = memory,
            .carry = memory + tile,
            .da = memory + 2 * tile,
        };
        scan_load_group(&group->parameters, group->a, op->in, op->shape, &group->group);
    }
}

/* This sequence's parameter gradients. */
static void store_parameters(const struct scan_backward *op, const struct workspace *work,
                             int sequence) {
    int states = op->shape->d_state;
    for (int i = 0; i < op->repeat * op->groups_per_head; i++) {
        const struct group_state *group = &work->groups[i];
        for (int p = 0; p < group->group.width; p++) {
            int64_t channel = (int64_t)sequence * op->shape->d_inner + group->group.channel + p;
            real *to = op->partial + channel * (states + 2);
            for (int n = 0; n < states; n++)
                to[n] = group->da[n * LANES + p] * group->a[n * LANES + p];
            to[states] = group->ddt_bias[p];
            to[states + 1] = group->dd[p];
        }
    }
}

static void backward_unit(const struct scan_backward *op, struct workspace *work, int sequence,
                          int source) {
    int states = op->shape->d_state, count = op->repeat * op->groups_per_head;
    int64_t tile = (int64_t)states * LANES, groups = op->shape->d_inner / states;
    groups *= op->groups_per_head;
    int64_t start = op->sequences->offsets[sequence], end = op->sequences->offsets[sequence + 1];
    int64_t chunks = (end - start + SCAN_CHUNK - 1) / SCAN_CHUNK;
    size_t bytes = (size_t)(SCAN_CHUNK * states) * sizeof(real);
    begin_groups(op, work, source);
    for (int64_t k = chunks - 1; k >= 0; k--) {
        const real *checkpoint =
            op->checkpoints +
            ((scan_first_chunk(op->sequences, sequence) + k) * groups + (int64_t)source * count) *
                tile;
        int64_t first = start + k * SCAN_CHUNK;
        int64_t tokens = end - first < SCAN_CHUNK ? end - first : SCAN_CHUNK;
        memset(work->db, 0, bytes);
        for (int i = 0; i < count; i++) {
            if (i % op->groups_per_head == 0) memset(work->dc, 0, bytes);
            backward_chunk(op, work, &work->groups[i], checkpoint + i * tile, first, end);
            if ((i + 1) % op->groups_per_head == 0)
                store_sums(op->to->dc, op->to->c_stride, work->dc, first, tokens,
                           (int64_t)work->groups[i].group.sub_head * states, states);
        }
        store_sums(op->to->db, op->to->b_stride, work->db, first, tokens, (int64_t)source * states,
                   states);
    }
    if (op->partial) store_parameters(op, work, sequence);
}

static void add_parameters(const struct scan_backward *op) {
    int64_t inner = op->shape->d_inner, states = op->shape->d_state;
    for (int s = 0; s < op->sequences->count; s++)
        for (int64_t channel = 0; channel < inner; channel++) {
            const real *from = op->partial + (s * inner + channel) * (states + 2);
            real *da_log = (real *)op->to->da_log, *dd = (real *)op->to->dd;
            real *ddt_bias = (real *)op->to->ddt_bias;
            for (int64_t n = 0; n < states && da_log; n++) da_log[channel * states + n] += from[n];
            if (ddt_bias) ddt_bias[channel] += from[states];
            if (dd) dd[channel] += from[states + 1];
        }
}

void cpu_scan_backward(struct backend *backend, const struct scan_gradients *to,
                       const struct act *dout, const struct acc *checkpoints,
                       const struct scan_inputs *in, const struct sequences *sequences,
                       const struct mamba_shape *shape) {
    struct scan_backward op = {
        .to = to,
        .dout = (const real *)dout,
        .checkpoints = (const real *)checkpoints,
        .in = in,
        .sequences = sequences,
        .shape = shape,
        .repeat = shape->d_inner / shape->d_xb,
        .groups_per_head = mamba_groups(shape->d_state),
    };
    bool parameters = to->da_log || to->ddt_bias || to->dd;
    size_t partial = (size_t)sequences->count * (size_t)shape->d_inner *
                     (size_t)(shape->d_state + 2) * sizeof(real);
    size_t per_thread = cut_workspace(NULL, NULL, &op);
    partial = parameters ? round_up(partial) : 0;
    char *memory = cpu_scratch(backend, partial + (size_t)omp_get_max_threads() * per_thread,
                               "the scan's gradients");
    if (!memory) return;
    if (parameters) op.partial = (real *)memory;
    int sources = shape->d_xb / shape->d_state;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int source = 0; source < sources; source++) {
            struct workspace work;
            cut_workspace(&work, memory + partial + (size_t)omp_get_thread_num() * per_thread, &op);
            backward_unit(&op, &work, s, source);
        }
    if (parameters) add_parameters(&op);
    free(memory);
}
