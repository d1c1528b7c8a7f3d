/* The whole Mamba-2 and Gated DeltaNet mixers through the ops, forward and backward, against values
 * and gradients of an independent float64 implementation (tests/data/golden). */
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint/safetensors.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/delta.h"
#include "kernels/ops/gated_norm.h"
#include "kernels/ops/products.h"
#include "kernels/ops/ssd.h"
#include "tests/ops/recurrent.h"

enum { SEQUENCES = 2, LENGTH = 13, TOKENS = SEQUENCES * LENGTH };

struct run {
    struct ops *ops;
    struct backend *b;
    struct safetensors *file;
    struct sequences sequences;
    int64_t hidden; /* D */
    struct buffer u, dy, du;
};

/* A parameter with its gradient, as [rows, width]. */
struct parameter {
    const char *name;
    struct buffer w, grad;
};

/* The tensor's values, any float type, checked for their number. */
static double *golden(const struct run *r, const char *prefix, const char *name, int64_t count) {
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    double *values = ops_doubles(r->ops, count);
    const struct safetensors_entry *entry = safetensors_find(r->file, full);
    if (entry && entry->count == count)
        dtype_to_f64(values, entry->data, entry->dtype, (size_t)count);
    else
        ops_fail(r->ops, "the golden file has no \"%s\" of %lld elements", full, (long long)count);
    return values;
}

static struct parameter open_parameter(const struct run *r, const char *name, enum dtype type,
                                       int64_t rows, int64_t width) {
    const double *values = golden(r, "param.", name, rows * width);
    double *zeros = ops_doubles(r->ops, rows * width);
    return (struct parameter){name, ops_given(r->ops, type, rows, width, width, values),
                              ops_given(r->ops, r->b->acc, rows, width, width, zeros)};
}

static void expect(const struct run *r, struct buffer *buffer, const char *prefix,
                   const char *name) {
    ops_expect(r->ops, buffer, golden(r, prefix, name, buffer->count), name);
}

static struct buffer output(const struct run *r, int64_t width) {
    return ops_output(r->ops, r->b->act, TOKENS, width, width);
}

static void *at(const struct buffer *buffer, int64_t column) {
    return (char *)buffer->device + (size_t)column * dtype_size(buffer->type);
}

static struct product product_into(const struct run *r, const struct buffer *out, bool add) {
    struct product to = out->type == r->b->act ? into_act(out->device) : into_acc(out->device);
    to.add = add;
    return to;
}

/* out [TOKENS, rows of w] = in w^T + bias (may be NULL). */
static void project(const struct run *r, struct buffer *out, const struct buffer *in,
                    const struct parameter *w, const struct parameter *bias) {
    r->b->products->matmul(r->b, product_into(r, out, false), in->device, in->stride, w->w.device,
                           bias ? bias->w.device : NULL, TOKENS, w->w.rows, w->w.width);
}

/* The gradients of project; din (or NULL) is written, or added to with `more`. */
static void project_backward(const struct run *r, struct buffer *din, bool more,
                             const struct buffer *dout, const struct buffer *in,
                             struct parameter *w, struct parameter *bias) {
    int64_t n = w->w.rows, k = w->w.width;
    r->b->products->matmul_backward_weight(r->b, w->grad.device, dout->device, in->device,
                                           in->stride, TOKENS, n, k);
    if (bias)
        r->b->products->matmul_backward_bias(r->b, bias->grad.device, dout->device, TOKENS, n);
    r->b->products->matmul_backward_input(r->b, product_into(r, din, more), dout->device,
                                          w->w.device, TOKENS, n, k);
}

/* Gradients pass through more sums: ten times the limit of the values. */
static void loosen(struct ops *ops) {
    ops->limit = (struct limit){ops->limit.f64 * 10, ops->limit.f32 * 10, ops->limit.bf16};
}

static void compare_parameters(const struct run *r, struct parameter *all, int count) {
    struct buffer du = r->du;
    expect(r, &du, "grad.", "u");
    for (int i = 0; i < count; i++)
        if (all[i].name) expect(r, &all[i].grad, "grad.", all[i].name);
}

static void with_file(struct ops *ops, const char *name, int64_t hidden,
                      void (*compare)(const struct run *, const void *), const void *context) {
    struct run r = {.ops = ops, .b = ops->backend, .hidden = hidden};
    if (safetensors_open(&r.file, name)) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    recurrent_choose_limit(ops);
    struct limit limit = ops->limit;
    r.sequences = ops_sequences(ops, (int[]){LENGTH, LENGTH}, SEQUENCES);
    r.u = ops_given(ops, r.b->act, TOKENS, hidden, hidden, golden(&r, "u", "", TOKENS * hidden));
    r.dy =
        ops_given(ops, r.b->act, TOKENS, hidden, hidden, golden(&r, "grad_y", "", TOKENS * hidden));
    r.du = ops_output(ops, r.b->acc, TOKENS, hidden, hidden);
    compare(&r, context);
    ops->limit = limit;
    safetensors_close(r.file);
}

enum {
    IN_PROJ,
    IN_BIAS,
    CONV,
    CONV_BIAS,
    DT_BIAS,
    A_LOG,
    SKIP,
    NORM,
    OUT_PROJ,
    OUT_BIAS,
    PARAMETERS
};

struct mamba2_dimensions {
    int hidden, heads, head_dim, groups, states, taps;
    bool projection_bias;
};

struct mamba2 {
    struct ssd_shape shape;
    struct mamba_shape conv;
    struct gated_norm_shape norm;
    int64_t inner, mixed, projected_width; /* I, I + 2 G N, I + mixed + H */
    struct parameter p[PARAMETERS];
    struct parameter *in_bias, *out_bias;
    struct buffer projected, convolved, y, normed, rstd, states, checkpoints;
};

static void open_mamba2(struct mamba2 *m, const struct run *r, const struct mamba2_dimensions *d) {
    enum dtype act = r->b->act, acc = r->b->acc;
    int64_t inner = (int64_t)d->heads * d->head_dim, mixed = inner + 2 * d->groups * d->states;
    int64_t width = inner + mixed + d->heads;
    *m = (struct mamba2){
        .shape = {d->heads, d->head_dim, d->groups, d->states},
        .conv = {(int)mixed, (int)mixed, (int)mixed, d->taps},
        .norm = {d->groups, (int)inner / d->groups, true, false, 1e-5},
        .inner = inner,
        .mixed = mixed,
        .projected_width = width,
        .p = {[IN_PROJ] = open_parameter(r, "in_proj.weight", act, width, d->hidden),
              [CONV] = open_parameter(r, "conv1d.weight", acc, mixed, d->taps),
              [CONV_BIAS] = open_parameter(r, "conv1d.bias", acc, 1, mixed),
              [DT_BIAS] = open_parameter(r, "dt_bias", acc, 1, d->heads),
              [A_LOG] = open_parameter(r, "A_log", acc, 1, d->heads),
              [SKIP] = open_parameter(r, "D", acc, 1, d->heads),
              [NORM] = open_parameter(r, "norm.weight", acc, 1, inner),
              [OUT_PROJ] = open_parameter(r, "out_proj.weight", act, d->hidden, inner)},
        .projected = output(r, width),
        .convolved = output(r, mixed),
        .y = output(r, inner),
        .normed = output(r, inner),
        .rstd = ops_output(r->ops, acc, TOKENS, d->groups, d->groups),
        .states = ops_output(r->ops, acc, SEQUENCES, inner * d->states, inner * d->states),
    };
    m->checkpoints = recurrent_checkpoints(
        r->ops, r->b->ssd->ssd_checkpoint_bytes(r->b, &r->sequences, &m->shape));
    if (!d->projection_bias) return;
    m->p[IN_BIAS] = open_parameter(r, "in_proj.bias", acc, 1, width);
    m->p[OUT_BIAS] = open_parameter(r, "out_proj.bias", acc, 1, d->hidden);
    m->in_bias = &m->p[IN_BIAS];
    m->out_bias = &m->p[OUT_BIAS];
}

static struct ssd_inputs ssd_inputs_of(const struct mamba2 *m) {
    int64_t group = (int64_t)m->shape.groups * m->shape.d_state;
    return (struct ssd_inputs){m->convolved.device,
                               at(&m->convolved, m->inner),
                               at(&m->convolved, m->inner + group),
                               at(&m->projected, m->inner + m->mixed),
                               m->mixed,
                               m->mixed,
                               m->mixed,
                               m->projected_width,
                               m->p[DT_BIAS].w.device,
                               m->p[A_LOG].w.device,
                               m->p[SKIP].w.device};
}

static void forward_mamba2(const struct run *r, struct mamba2 *m) {
    struct backend *b = r->b;
    struct buffer slots = ops_integers(r->ops, SEQUENCES, (int32_t[]){0, 1});
    struct buffer out = ops_output(r->ops, b->acc, TOKENS, r->hidden, r->hidden);
    struct ssd_inputs in = ssd_inputs_of(m);
    project(r, &m->projected, &r->u, &m->p[IN_PROJ], m->in_bias);
    b->conv->conv_silu(b, m->convolved.device, at(&m->projected, m->inner), m->projected_width,
                       m->p[CONV].w.device, m->p[CONV_BIAS].w.device, &r->sequences, &m->conv);
    b->ssd->ssd(b, m->y.device, m->checkpoints.device, m->states.device, slots.device, false, &in,
                &r->sequences, &m->shape);
    b->gated_norm->gated_norm(b, m->normed.device, m->rstd.device, m->y.device, m->projected.device,
                              m->projected_width, m->p[NORM].w.device, TOKENS, &m->norm);
    project(r, &out, &m->normed, &m->p[OUT_PROJ], m->out_bias);
    expect(r, &m->y, "", "scan");
    expect(r, &m->states, "", "state");
    expect(r, &out, "", "y");
}

static void backward_mamba2(const struct run *r, struct mamba2 *m) {
    struct backend *b = r->b;
    struct buffer dnormed = output(r, m->inner), dscan = output(r, m->inner), du = r->du;
    struct buffer dprojected = output(r, m->projected_width), dconvolved = output(r, m->mixed);
    struct ssd_inputs in = ssd_inputs_of(m);
    int64_t group = (int64_t)m->shape.groups * m->shape.d_state;
    struct ssd_gradients to = {dconvolved.device,
                               at(&dconvolved, m->inner),
                               at(&dconvolved, m->inner + group),
                               at(&dprojected, m->inner + m->mixed),
                               m->mixed,
                               m->mixed,
                               m->mixed,
                               m->projected_width,
                               m->p[DT_BIAS].grad.device,
                               m->p[A_LOG].grad.device,
                               m->p[SKIP].grad.device};
    project_backward(r, &dnormed, false, &r->dy, &m->normed, &m->p[OUT_PROJ], m->out_bias);
    b->gated_norm->gated_norm_backward(b, dscan.device, dprojected.device, m->projected_width,
                                       m->p[NORM].grad.device, dnormed.device, m->y.device,
                                       m->projected.device, m->projected_width, m->p[NORM].w.device,
                                       m->rstd.device, TOKENS, &m->norm);
    b->ssd->ssd_backward(b, &to, dscan.device, m->checkpoints.device, &in, &r->sequences,
                         &m->shape);
    b->conv->conv_silu_backward(
        b, at(&dprojected, m->inner), m->projected_width, m->p[CONV].grad.device,
        m->p[CONV_BIAS].grad.device, dconvolved.device, at(&m->projected, m->inner),
        m->projected_width, m->p[CONV].w.device, m->p[CONV_BIAS].w.device, &r->sequences, &m->conv);
    project_backward(r, &du, false, &dprojected, &r->u, &m->p[IN_PROJ], m->in_bias);
}

static void compare_mamba2(const struct run *r, const void *context) {
    struct mamba2 m;
    open_mamba2(&m, r, context);
    forward_mamba2(r, &m);
    loosen(r->ops);
    backward_mamba2(r, &m);
    compare_parameters(r, m.p, PARAMETERS);
}

void case_golden_mamba2(struct ops *ops) {
    static const struct mamba2_dimensions one = {22, 5, 11, 5, 7, 4, true},
                                          grouped = {20, 6, 5, 3, 9, 3, false};
    with_file(ops, TEST_DATA "/golden/mamba2_mixer.safetensors", one.hidden, compare_mamba2, &one);
    with_file(ops, TEST_DATA "/golden/mamba2_mixer_grouped.safetensors", grouped.hidden,
              compare_mamba2, &grouped);
}

enum {
    QKV,
    GATE,
    BETA,
    DECAY,
    GDN_CONV,
    GDN_DT_BIAS,
    GDN_A_LOG,
    GDN_NORM,
    GDN_OUT,
    GDN_PARAMETERS
};

struct gdn_dimensions {
    int hidden, key_heads, value_heads, key_dim, value_dim, taps;
};

struct gdn {
    struct delta_shape shape;
    struct mamba_shape conv;
    struct gated_norm_shape norm;
    int64_t keys, inner, mixed; /* HK DK, HV DV, 2 keys + inner */
    struct parameter p[GDN_PARAMETERS];
    struct buffer qkv, z, beta, decay, convolved, y, normed, rstd, states, checkpoints;
};

static void open_gdn(struct gdn *m, const struct run *r, const struct gdn_dimensions *d) {
    enum dtype act = r->b->act, acc = r->b->acc;
    int64_t keys = (int64_t)d->key_heads * d->key_dim, heads = d->value_heads;
    int64_t inner = heads * d->value_dim, mixed = 2 * keys + inner;
    int64_t size = inner * d->key_dim;
    *m = (struct gdn){
        .shape = {d->key_heads, d->value_heads, d->key_dim, d->value_dim},
        .conv = {(int)mixed, (int)mixed, (int)mixed, d->taps},
        .norm = {d->value_heads, d->value_dim, false, true, 1e-6},
        .keys = keys,
        .inner = inner,
        .mixed = mixed,
        .p = {[QKV] = open_parameter(r, "in_proj_qkv.weight", act, mixed, d->hidden),
              [GATE] = open_parameter(r, "in_proj_z.weight", act, inner, d->hidden),
              [BETA] = open_parameter(r, "in_proj_b.weight", act, heads, d->hidden),
              [DECAY] = open_parameter(r, "in_proj_a.weight", act, heads, d->hidden),
              [GDN_CONV] = open_parameter(r, "conv1d.weight", acc, mixed, d->taps),
              [GDN_DT_BIAS] = open_parameter(r, "dt_bias", acc, 1, heads),
              [GDN_A_LOG] = open_parameter(r, "A_log", acc, 1, heads),
              [GDN_NORM] = open_parameter(r, "norm.weight", acc, 1, d->value_dim),
              [GDN_OUT] = open_parameter(r, "out_proj.weight", act, d->hidden, inner)},
        .qkv = output(r, mixed),
        .z = output(r, inner),
        .beta = output(r, heads),
        .decay = output(r, heads),
        .convolved = output(r, mixed),
        .y = output(r, inner),
        .normed = output(r, inner),
        .rstd = ops_output(r->ops, acc, TOKENS, heads, heads),
        .states = ops_output(r->ops, acc, SEQUENCES, size, size),
    };
    m->checkpoints = recurrent_checkpoints(
        r->ops, r->b->delta->delta_checkpoint_bytes(r->b, &r->sequences, &m->shape));
}

static struct delta_inputs delta_inputs_of(const struct gdn *m) {
    int64_t heads = m->shape.value_heads;
    return (struct delta_inputs){m->convolved.device,
                                 at(&m->convolved, m->keys),
                                 at(&m->convolved, 2 * m->keys),
                                 m->beta.device,
                                 m->decay.device,
                                 m->mixed,
                                 m->mixed,
                                 m->mixed,
                                 heads,
                                 heads,
                                 m->p[GDN_DT_BIAS].w.device,
                                 m->p[GDN_A_LOG].w.device};
}

static void forward_gdn(const struct run *r, struct gdn *m) {
    struct backend *b = r->b;
    struct buffer slots = ops_integers(r->ops, SEQUENCES, (int32_t[]){0, 1});
    struct buffer out = ops_output(r->ops, b->acc, TOKENS, r->hidden, r->hidden);
    struct delta_inputs in = delta_inputs_of(m);
    project(r, &m->qkv, &r->u, &m->p[QKV], NULL);
    project(r, &m->z, &r->u, &m->p[GATE], NULL);
    project(r, &m->beta, &r->u, &m->p[BETA], NULL);
    project(r, &m->decay, &r->u, &m->p[DECAY], NULL);
    b->conv->conv_silu(b, m->convolved.device, m->qkv.device, m->mixed, m->p[GDN_CONV].w.device,
                       NULL, &r->sequences, &m->conv);
    b->delta->delta(b, m->y.device, m->checkpoints.device, m->states.device, slots.device, false,
                    &in, &r->sequences, &m->shape);
    b->gated_norm->gated_norm(b, m->normed.device, m->rstd.device, m->y.device, m->z.device,
                              m->inner, m->p[GDN_NORM].w.device, TOKENS, &m->norm);
    project(r, &out, &m->normed, &m->p[GDN_OUT], NULL);
    expect(r, &m->y, "", "scan");
    expect(r, &m->states, "", "state");
    expect(r, &out, "", "y");
}

static void backward_gdn(const struct run *r, struct gdn *m) {
    struct backend *b = r->b;
    struct buffer dnormed = output(r, m->inner), dscan = output(r, m->inner), du = r->du;
    struct buffer dz = output(r, m->inner), dqkv = output(r, m->mixed);
    struct buffer dconvolved = output(r, m->mixed);
    struct buffer dbeta = output(r, m->shape.value_heads), ddecay = output(r, m->shape.value_heads);
    struct delta_inputs in = delta_inputs_of(m);
    struct delta_gradients to = {dconvolved.device,
                                 at(&dconvolved, m->keys),
                                 at(&dconvolved, 2 * m->keys),
                                 dbeta.device,
                                 ddecay.device,
                                 m->mixed,
                                 m->mixed,
                                 m->mixed,
                                 dbeta.stride,
                                 ddecay.stride,
                                 m->p[GDN_DT_BIAS].grad.device,
                                 m->p[GDN_A_LOG].grad.device};
    project_backward(r, &dnormed, false, &r->dy, &m->normed, &m->p[GDN_OUT], NULL);
    b->gated_norm->gated_norm_backward(b, dscan.device, dz.device, m->inner,
                                       m->p[GDN_NORM].grad.device, dnormed.device, m->y.device,
                                       m->z.device, m->inner, m->p[GDN_NORM].w.device,
                                       m->rstd.device, TOKENS, &m->norm);
    b->delta->delta_backward(b, &to, dscan.device, m->checkpoints.device, &in, &r->sequences,
                             &m->shape);
    b->conv->conv_silu_backward(b, dqkv.device, m->mixed, m->p[GDN_CONV].grad.device, NULL,
                                dconvolved.device, m->qkv.device, m->mixed, m->p[GDN_CONV].w.device,
                                NULL, &r->sequences, &m->conv);
    project_backward(r, &du, false, &dqkv, &r->u, &m->p[QKV], NULL);
    project_backward(r, &du, true, &dz, &r->u, &m->p[GATE], NULL);
    project_backward(r, &du, true, &dbeta, &r->u, &m->p[BETA], NULL);
    project_backward(r, &du, true, &ddecay, &r->u, &m->p[DECAY], NULL);
}

static void compare_gdn(const struct run *r, const void *context) {
    struct gdn m;
    open_gdn(&m, r, context);
    forward_gdn(r, &m);
    loosen(r->ops);
    backward_gdn(r, &m);
    compare_parameters(r, m.p, GDN_PARAMETERS);
}

void case_golden_gdn(struct ops *ops) {
    static const struct gdn_dimensions one = {22, 5, 5, 9, 7, 4}, grouped = {20, 3, 6, 7, 11, 3};
    with_file(ops, TEST_DATA "/golden/gdn_mixer.safetensors", one.hidden, compare_gdn, &one);
    with_file(ops, TEST_DATA "/golden/gdn_mixer_grouped.safetensors", grouped.hidden, compare_gdn,
              &grouped);
}
