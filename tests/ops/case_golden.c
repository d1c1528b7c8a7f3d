/* The whole Mamba mixer through the ops, forward and backward, against values and gradients of an
 * independent float64 implementation (tests/data/golden/m2_mixer.safetensors). */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "checkpoint/safetensors.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/products.h"
#include "kernels/ops/scan.h"
#include "tests/ops/ops.h"

enum { D = 24, I = 64, X = 32, N = 8, K = 4, R = 3, SEQUENCES = 2, LENGTH = 13 };
enum { TOKENS = SEQUENCES * LENGTH, P = 2 * I + 2 * X };

/* Parameters in the order of the arrays below, with their shapes and whether they are matrix
 * inputs. */
enum { IN_PROJ, DT_IN, DT_PROJ, OUT_PROJ, CONV, CONV_BIAS, DT_BIAS, A_LOG, SKIP, PARAMETERS };
static const struct {
    const char *name;
    int64_t rows, width;
} parameters[PARAMETERS] = {
    {"in_proj.weight", P, D},
    {"dt_in_proj.weight", R, D},
    {"dt_proj.weight", I, R},
    {"out_proj.weight", D, I},
    {"conv1d.weight", I, K},
    {"conv1d.bias", 1, I},
    {"dt_proj.bias", 1, I},
    {"A_log", I, N},
    {"D", 1, I},
};

/* The tensor's values, any float type, checked for their number. */
static double *golden(struct ops *ops, const struct safetensors *file, const char *prefix,
                      const char *name, int64_t count) {
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    double *values = ops_doubles(ops, count);
    const struct safetensors_entry *entry = safetensors_find(file, full);
    if (entry && entry->count == count)
        dtype_to_f64(values, entry->data, entry->dtype, (size_t)count);
    else
        ops_fail(ops, "the golden file has no \"%s\" of %lld elements", full, (long long)count);
    return values;
}

struct mixer {
    struct backend *backend;
    struct sequences sequences;
    struct mamba_shape shape;
    struct buffer u, parameter[PARAMETERS], projected, dt_low, dt, convolved, mixed, checkpoints;
};

static void *at(const struct buffer *buffer, int64_t column) {
    return (char *)buffer->device + (size_t)column * dtype_size(buffer->type);
}

static struct scan_inputs scan_inputs_of(const struct mixer *m) {
    return (struct scan_inputs){
        .x = m->convolved.device,
        .dt = m->dt.device,
        .z = m->projected.device,
        .b = at(&m->projected, I + X),
        .c = at(&m->projected, I + 2 * X),
        .x_stride = I,
        .dt_stride = I,
        .z_stride = P,
        .b_stride = P,
        .c_stride = P,
        .dt_bias = m->parameter[DT_BIAS].device,
        .a_log = m->parameter[A_LOG].device,
        .d = m->parameter[SKIP].device,
    };
}

static void forward(struct ops *ops, struct mixer *m, const double *expected) {
    struct backend *b = m->backend;
    struct buffer y = ops_output(ops, b->acc, TOKENS, D, D), *w = m->parameter;
    b->products->matmul(b, into_act(m->projected.device), m->u.device, D, w[IN_PROJ].device, NULL,
                        TOKENS, P, D);
    b->products->matmul(b, into_act(m->dt_low.device), m->u.device, D, w[DT_IN].device, NULL,
                        TOKENS, R, D);
    b->products->matmul(b, into_act(m->dt.device), m->dt_low.device, R, w[DT_PROJ].device, NULL,
                        TOKENS, I, R);
    b->conv->conv_silu(b, m->convolved.device, at(&m->projected, I), P, w[CONV].device,
                       w[CONV_BIAS].device, &m->sequences, &m->shape);
    struct scan_inputs in = scan_inputs_of(m);
    b->scan->scan(b, m->mixed.device, m->checkpoints.device, NULL, NULL, &in, &m->sequences,
                  &m->shape);
    b->products->matmul(b, into_acc(y.device), m->mixed.device, I, w[OUT_PROJ].device, NULL, TOKENS,
                        D, I);
    ops_expect(ops, &y, expected, "y");
}

static void backward(struct ops *ops, struct mixer *m, struct buffer *dy, struct buffer *du,
                     struct buffer grad[PARAMETERS]) {
    struct backend *b = m->backend;
    enum dtype act = b->act;
    struct buffer *w = m->parameter, dmixed = ops_output(ops, act, TOKENS, I, I);
    struct buffer dprojected = ops_output(ops, act, TOKENS, P, P);
    struct buffer dconvolved = ops_output(ops, act, TOKENS, I, I);
    struct buffer ddt = ops_output(ops, act, TOKENS, I, I);
    struct buffer ddt_low = ops_output(ops, act, TOKENS, R, R);
    struct scan_inputs in = scan_inputs_of(m);
    struct scan_gradients out = {
        .dx = dconvolved.device,
        .ddt = ddt.device,
        .dz = dprojected.device,
        .db = at(&dprojected, I + X),
        .dc = at(&dprojected, I + 2 * X),
        .x_stride = I,
        .dt_stride = I,
        .z_stride = P,
        .b_stride = P,
        .c_stride = P,
        .ddt_bias = grad[DT_BIAS].device,
        .da_log = grad[A_LOG].device,
        .dd = grad[SKIP].device,
    };
    b->products->matmul_backward_weight(b, grad[OUT_PROJ].device, dy->device, m->mixed.device, I,
                                        TOKENS, D, I);
    b->products->matmul_backward_input(b, into_act(dmixed.device), dy->device, w[OUT_PROJ].device,
                                       TOKENS, D, I);
    b->scan->scan_backward(b, &out, dmixed.device, m->checkpoints.device, &in, &m->sequences,
                           &m->shape);
    b->conv->conv_silu_backward(b, at(&dprojected, I), P, grad[CONV].device, grad[CONV_BIAS].device,
                                dconvolved.device, at(&m->projected, I), P, w[CONV].device,
                                w[CONV_BIAS].device, &m->sequences, &m->shape);
    b->products->matmul_backward_weight(b, grad[DT_PROJ].device, ddt.device, m->dt_low.device, R,
                                        TOKENS, I, R);
    b->products->matmul_backward_input(b, into_act(ddt_low.device), ddt.device, w[DT_PROJ].device,
                                       TOKENS, I, R);
    b->products->matmul_backward_weight(b, grad[DT_IN].device, ddt_low.device, m->u.device, D,
                                        TOKENS, R, D);
    b->products->matmul_backward_weight(b, grad[IN_PROJ].device, dprojected.device, m->u.device, D,
                                        TOKENS, P, D);
    b->products->matmul_backward_input(b, into_acc(du->device), dprojected.device,
                                       w[IN_PROJ].device, TOKENS, P, D);
    b->products->matmul_backward_input(b, onto_acc(du->device), ddt_low.device, w[DT_IN].device,
                                       TOKENS, R, D);
}

static void compare(struct ops *ops, const struct safetensors *file) {
    struct backend *b = ops->backend;
    struct mixer m = {
        .backend = b,
        .sequences = ops_sequences(ops, (int[]){LENGTH, LENGTH}, SEQUENCES),
        .shape = {I, X, N, K},
        .projected = ops_output(ops, b->act, TOKENS, P, P),
        .dt_low = ops_output(ops, b->act, TOKENS, R, R),
        .dt = ops_output(ops, b->act, TOKENS, I, I),
        .convolved = ops_output(ops, b->act, TOKENS, I, I),
        .mixed = ops_output(ops, b->act, TOKENS, I, I),
    };
    m.u = ops_given(ops, b->act, TOKENS, D, D, golden(ops, file, "u", "", TOKENS * D));
    size_t bytes = b->scan->scan_checkpoint_bytes(b, &m.sequences, &m.shape);
    int64_t states = (int64_t)(bytes / dtype_size(b->acc));
    m.checkpoints = ops_output(ops, b->acc, 1, states, states);
    struct buffer grad[PARAMETERS];
    for (int i = 0; i < PARAMETERS; i++) {
        int64_t rows = parameters[i].rows, width = parameters[i].width;
        const double *values = golden(ops, file, "param.", parameters[i].name, rows * width);
        m.parameter[i] =
            ops_given(ops, i <= OUT_PROJ ? b->act : b->acc, rows, width, width, values);
        grad[i] = ops_given(ops, b->acc, rows, width, width, ops_doubles(ops, rows * width));
    }
    forward(ops, &m, golden(ops, file, "y", "", TOKENS * D));
    /* Gradients pass through more sums: ten times the limit of the values. */
    ops->limit = (struct limit){ops->limit.f64 * 10, ops->limit.f32 * 10, ops->limit.bf16};
    struct buffer dy =
        ops_given(ops, b->act, TOKENS, D, D, golden(ops, file, "grad_y", "", TOKENS * D));
    struct buffer du = ops_output(ops, b->acc, TOKENS, D, D);
    backward(ops, &m, &dy, &du, grad);
    ops_expect(ops, &du, golden(ops, file, "grad.u", "", TOKENS * D), "du");
    for (int i = 0; i < PARAMETERS; i++)
        ops_expect(ops, &grad[i], golden(ops, file, "grad.", parameters[i].name, grad[i].count),
                   parameters[i].name);
}

void case_golden_mixer(struct ops *ops) {
    struct safetensors *file;
    if (safetensors_open(&file, TEST_DATA "/golden/m2_mixer.safetensors")) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    /* What a BF16 device keeps in float32 was computed from BF16. */
    if (ops->backend->act == DTYPE_BF16) ops->limit.f32 = ops->limit.bf16;
    compare(ops, file);
    safetensors_close(file);
}
