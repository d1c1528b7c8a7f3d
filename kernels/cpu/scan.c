/* The selective scan. A unit of work is a group of channels of one sub-head (one vector register
 * wide) of one sequence; the state is laid out [state, channel], so that the recurrence and its
 * output need no sums across a register. Tokens go by chunks, whose first states are the
 * checkpoints that scan_backward.c restarts from. */
#include "kernels/cpu/scan.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/ops.h"

struct scan_group scan_group_at(const struct mamba_shape *shape, int index) {
    int groups = mamba_groups(shape->d_state), offset = index % groups * MAMBA_LANES;
    struct scan_group group = {
        .sub_head = index / groups,
        .channel = index / groups * shape->d_state + offset,
        .width = shape->d_state - offset < MAMBA_LANES ? shape->d_state - offset : MAMBA_LANES,
    };
    return group;
}

void scan_load_group(struct scan_parameters *to, real *a, const struct scan_inputs *in,
                     const struct mamba_shape *shape, const struct scan_group *group) {
    int states = shape->d_state;
    memset(to, 0, sizeof *to);
    memset(a, 0, (size_t)states * MAMBA_LANES * sizeof *a);
    for (int p = 0; p < group->width; p++) {
        int64_t channel = group->channel + p;
        to->d[p] = ((const real *)in->d)[channel];
        to->dt_bias[p] = ((const real *)in->dt_bias)[channel];
        for (int n = 0; n < states; n++)
            a[n * MAMBA_LANES + p] = -real_exp(((const real *)in->a_log)[channel * states + n]);
    }
    to->a = a;
}

static void load_lanes(scan_lanes *to, const void *from, int64_t stride, int64_t first,
                       int64_t count, const struct scan_group *group) {
    const real *row = (const real *)from + first * stride + group->channel;
    size_t bytes = (size_t)group->width * sizeof(real);
    for (int64_t t = 0; t < count; t++) memcpy(to[t], row + t * stride, bytes);
}

CPU_CLONES static void prepare_steps(struct scan_chunk *chunk,
                                     const struct scan_parameters *parameters) {
    for (int64_t t = 0; t < chunk->count; t++) {
#pragma omp simd
        for (int p = 0; p < MAMBA_LANES; p++) {
            real dt = fast_softplus(chunk->raw_dt[t][p] + parameters->dt_bias[p]);
            chunk->dt[t][p] = dt;
            chunk->u[t][p] = dt * chunk->x[t][p];
        }
    }
}

void scan_load_chunk(struct scan_chunk *chunk, const struct scan_inputs *in,
                     const struct mamba_shape *shape, const struct scan_group *group,
                     const struct scan_parameters *parameters, int64_t first, int64_t end) {
    int sub_head = group->sub_head, states = shape->d_state;
    int source = sub_head / (shape->d_inner / shape->d_xb);
    chunk->first = first;
    chunk->count = end - first < SCAN_CHUNK ? end - first : SCAN_CHUNK;
    chunk->states = states;
    chunk->b = (const real *)in->b + first * in->b_stride + source * states;
    chunk->c = (const real *)in->c + first * in->c_stride + sub_head * states;
    chunk->b_stride = in->b_stride;
    chunk->c_stride = in->c_stride;
    load_lanes(chunk->raw_dt, in->dt, in->dt_stride, first, chunk->count, group);
    load_lanes(chunk->x, in->x, in->x_stride, first, chunk->count, group);
    load_lanes(chunk->z, in->z, in->z_stride, first, chunk->count, group);
    prepare_steps(chunk, parameters);
}

/* Advances state [states, LANES] over the chunk; chunk->y receives <state, C> + D x. */
CPU_CLONES static void advance(real *restrict state, struct scan_chunk *restrict chunk,
                               const struct scan_parameters *parameters) {
    int states = chunk->states;
    for (int64_t t = 0; t < chunk->count; t++) {
        const real *b = chunk->b + t * chunk->b_stride, *c = chunk->c + t * chunk->c_stride;
        const real *dt = chunk->dt[t], *u = chunk->u[t];
        real y[MAMBA_LANES];
        for (int p = 0; p < MAMBA_LANES; p++) y[p] = parameters->d[p] * chunk->x[t][p];
        for (int n = 0; n < states; n++) {
            const real *a = parameters->a + n * MAMBA_LANES;
            real *s = state + n * MAMBA_LANES;
#pragma omp simd
            for (int p = 0; p < MAMBA_LANES; p++) {
                s[p] = fast_exp(dt[p] * a[p]) * s[p] + u[p] * b[n];
                y[p] += s[p] * c[n];
            }
        }
        for (int p = 0; p < MAMBA_LANES; p++) chunk->y[t][p] = y[p];
    }
}

CPU_CLONES static void apply_gate(struct scan_chunk *chunk) {
    for (int64_t t = 0; t < chunk->count; t++) {
#pragma omp simd
        for (int p = 0; p < MAMBA_LANES; p++) chunk->y[t][p] *= fast_silu(chunk->z[t][p]);
    }
}

int64_t scan_checkpoint_chunks(const struct sequences *sequences) {
    return sequences->tokens / SCAN_CHUNK + sequences->count;
}

int64_t scan_first_chunk(const struct sequences *sequences, int sequence) {
    return sequences->offsets[sequence] / SCAN_CHUNK + sequence;
}

static size_t cpu_scan_checkpoint_bytes(struct backend *backend, const struct sequences *sequences,
                                        const struct mamba_shape *shape) {
    (void)backend;
    int groups = shape->d_inner / shape->d_state * mamba_groups(shape->d_state);
    return (size_t)scan_checkpoint_chunks(sequences) * (size_t)groups * (size_t)shape->d_state *
           MAMBA_LANES * sizeof(real);
}

/* `final` [I, N] of the sequence, or NULL. */
static void scan_unit(real *out, real *checkpoints, real *final, real *work,
                      const struct scan_inputs *in, const struct sequences *sequences,
                      const struct mamba_shape *shape, int sequence, int index, int groups) {
    int64_t size = (int64_t)shape->d_state * MAMBA_LANES;
    real *state = work, *a = work + size;
    struct scan_group group = scan_group_at(shape, index);
    struct scan_parameters parameters;
    struct scan_chunk chunk = {0};
    scan_load_group(&parameters, a, in, shape, &group);
    memset(state, 0, (size_t)size * sizeof *state);
    int64_t end = sequences->offsets[sequence + 1], k = scan_first_chunk(sequences, sequence);
    for (int64_t first = sequences->offsets[sequence]; first < end; first += SCAN_CHUNK, k++) {
        scan_load_chunk(&chunk, in, shape, &group, &parameters, first, end);
        if (checkpoints)
            memcpy(checkpoints + (k * groups + index) * size, state, (size_t)size * sizeof *state);
        advance(state, &chunk, &parameters);
        apply_gate(&chunk);
        for (int64_t t = 0; t < chunk.count; t++)
            memcpy(out + (first + t) * shape->d_inner + group.channel, chunk.y[t],
                   (size_t)group.width * sizeof *out);
    }
    for (int p = 0; final && p < group.width; p++)
        for (int n = 0; n < shape->d_state; n++)
            final[(int64_t)(group.channel + p) * shape->d_state + n] = state[n * MAMBA_LANES + p];
}

static void cpu_scan(struct backend *backend, struct act *out, struct acc *checkpoints,
                     struct acc *states, const int32_t *slots, const struct scan_inputs *in,
                     const struct sequences *sequences, const struct mamba_shape *shape) {
    int64_t state_size = (int64_t)shape->d_inner * shape->d_state;
    int groups = shape->d_inner / shape->d_state * mamba_groups(shape->d_state);
    size_t size = 2 * (size_t)shape->d_state * MAMBA_LANES;
    real *work =
        cpu_scratch(backend, (size_t)omp_get_max_threads() * size * sizeof *work, "the scan");
    if (!work) return;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int index = 0; index < groups; index++)
            scan_unit((real *)out, (real *)checkpoints,
                      states ? (real *)states + slots[s] * state_size : NULL,
                      work + (size_t)omp_get_thread_num() * size, in, sequences, shape, s, index,
                      groups);
    free(work);
}

const struct scan_ops cpu_scan_ops = {
    .scan_checkpoint_bytes = cpu_scan_checkpoint_bytes,
    .scan = cpu_scan,
    .scan_backward = cpu_scan_backward,
    .scan_step = cpu_scan_step,
};
