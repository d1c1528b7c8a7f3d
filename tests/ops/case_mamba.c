/* The Mamba mixer's convolution and selective scan. */
#include <math.h>
#include <string.h>

#include "kernels/ops/conv.h"
#include "kernels/ops/scan.h"
#include "tests/ops/ops.h"

static const struct mamba_case {
    int lengths[3], count, sub_heads, repeat, states, taps, gap; /* sub_heads: of x and B */
    int times; /* the lengths are repeated; 0 is 1 */
} cases[] = {
    {{1}, 1, 1, 1, 8, 2, 0, 0},
    {{5, 1, 70}, 3, 2, 3, 8, 4, 5, 0},
    {{66, 13}, 2, 2, 2, 12, 3, 1, 0},
    {{129}, 1, 1, 4, 32, 4, 32, 0},
    {{33, 64}, 2, 1, 1, 64, 4, 0, 0},
    {{9, 3}, 2, 1, 8, 16, 4, 3, 0},
    {{150}, 1, 3, 3, 16, 4, 192, 0},
    {{70, 3}, 2, 1, 2, 8, 64, 0, 0},
    {{4, 2}, 2, 1, 1, 128, 1, 0, 0},
    {{31, 2, 7}, 3, 1, 7, 8, 4, 8, 0},
    {{3, 33, 1}, 3, 2, 2, 16, 4, 2, 0},
    {{30, 4}, 2, 1, 8, 8, 4, 0, 0},
    {{2, 33}, 2, 1, 5, 8, 4, 4, 0},
    {{35}, 1, 1, 6, 8, 4, 0, 0},
    /* Enough sequences that a GPU need not cut them. */
    {{33, 1, 16}, 3, 1, 4, 16, 4, 8, 30},
    {{20, 1, 35}, 3, 3, 2, 16, 4, 0, 60},
};
enum { CASES = sizeof cases / sizeof *cases, LARGE_CASES = 2, MOST_SEQUENCES = 180 };

struct problem {
    struct mamba_shape shape;
    struct sequences sequences;
    double *final; /* [sequences, I, N]: receives the scan's last states; or NULL */
};

static struct problem make_problem(struct ops *ops, const struct mamba_case *c) {
    int d_xb = c->sub_heads * c->states, lengths[MOST_SEQUENCES];
    int count = c->count * (c->times ? c->times : 1);
    for (int i = 0; i < count; i++) lengths[i] = c->lengths[i % c->count];
    return (struct problem){
        {d_xb * c->repeat, d_xb, c->states, c->taps}, ops_sequences(ops, lengths, count), NULL};
}

static int source(const struct mamba_shape *shape, int c) {
    int n = shape->d_state, repeat = shape->d_inner / shape->d_xb;
    return c / n / repeat * n + c % n;
}

static double silu(double x) {
    return x / (1 + exp(-x));
}

/* inputs: x [tokens, X], w [I, K], bias [I] */
static void conv_formula(const void *context, double *const inputs[], double *out) {
    const struct problem *problem = context;
    const struct mamba_shape *shape = &problem->shape;
    for (int s = 0; s < problem->sequences.count; s++)
        for (int64_t t = problem->sequences.offsets[s]; t < problem->sequences.offsets[s + 1]; t++)
            for (int c = 0; c < shape->d_inner; c++) {
                double sum = inputs[2][c];
                for (int k = 0; k < shape->d_conv; k++) {
                    int64_t from = t - shape->d_conv + 1 + k;
                    if (from >= problem->sequences.offsets[s])
                        sum += inputs[1][c * shape->d_conv + k] *
                               inputs[0][from * shape->d_xb + source(shape, c)];
                }
                out[t * shape->d_inner + c] = silu(sum);
            }
}

/* Every fourth case has none: the formula's is zero, the op's NULL. */
static struct buffer draw_bias(struct ops *ops, int64_t inner, int k) {
    if (k % 4 != 3) return ops_random(ops, ops->backend->acc, 1, inner, inner, 1);
    return (struct buffer){.count = inner, .values = ops_doubles(ops, inner)};
}

void case_conv_silu(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        int64_t tokens = p.sequences.tokens, inner = p.shape.d_inner, xb = p.shape.d_xb;
        struct buffer x = ops_random(ops, backend->act, tokens, xb, xb + cases[k].gap, 2);
        struct buffer w = ops_random(ops, backend->acc, inner, p.shape.d_conv, p.shape.d_conv, 1);
        struct buffer bias = draw_bias(ops, inner, k);
        struct buffer out = ops_output(ops, backend->act, tokens, inner, inner);
        double *expected = ops_doubles(ops, out.count);
        conv_formula(&p, (double *[]){x.values, w.values, bias.values}, expected);
        backend->conv->conv_silu(backend, out.device, x.device, x.stride, w.device, bias.device,
                                 &p.sequences, &p.shape);
        ops_expect(ops, &out, expected, "out");
    }
}

void case_conv_silu_backward(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES - LARGE_CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        int64_t tokens = p.sequences.tokens, inner = p.shape.d_inner, xb = p.shape.d_xb;
        int64_t taps = p.shape.d_conv;
        struct buffer x = ops_random(ops, backend->act, tokens, xb, xb + cases[k].gap, 2);
        struct buffer w = ops_random(ops, backend->acc, inner, taps, taps, 1);
        struct buffer bias = draw_bias(ops, inner, k);
        struct buffer dout = ops_random(ops, backend->act, tokens, inner, inner, 1);
        struct buffer dx = ops_output(ops, backend->act, tokens, xb, xb + 2 * cases[k].gap);
        struct buffer dw = ops_random(ops, backend->acc, inner, taps, taps, 1);
        struct buffer dbias = ops_random(ops, backend->acc, 1, inner, inner, 1);
        struct formula formula = {conv_formula, &p, {x.values, w.values, bias.values}, dout.count};
        int64_t steps[] = {ops_step(x.count, 150), ops_step(w.count, 100),
                           ops_step(bias.count, 60)};
        double *expected[] = {
            ops_differentiate(ops, &formula, 0, x.count, steps[0], dout.values),
            ops_differentiate(ops, &formula, 1, w.count, steps[1], dout.values),
            ops_differentiate(ops, &formula, 2, bias.count, steps[2], dout.values)};
        bool with_parameters = k % 3 != 2;
        backend->conv->conv_silu_backward(
            backend, dx.device, dx.stride, with_parameters ? dw.device : NULL,
            with_parameters && bias.device ? dbias.device : NULL, dout.device, x.device, x.stride,
            w.device, bias.device, &p.sequences, &p.shape);
        ops_expect_some(ops, &dx, expected[0], steps[0], "dx");
        if (!with_parameters) continue;
        ops_expect_some(ops, &dw, ops_add(ops, dw.values, expected[1], dw.count), steps[1], "dw");
        if (!bias.device) continue;
        ops_expect_some(ops, &dbias, ops_add(ops, dbias.values, expected[2], dbias.count), steps[2],
                        "dbias");
    }
}

/* Scan operands in the order of the formula's inputs. */
enum { IN_X, IN_DT, IN_Z, IN_B, IN_C, IN_DT_BIAS, IN_A_LOG, IN_D, INPUTS, TOKEN_INPUTS = 5 };
static const char *const gradient_names[] = {"dx", "ddt",      "dz",     "db",
                                             "dc", "ddt_bias", "da_log", "dd"};

static void scan_formula(const void *context, double *const inputs[], double *out) {
    const struct problem *problem = context;
    const struct mamba_shape *shape = &problem->shape;
    int64_t inner = shape->d_inner, states = shape->d_state;
    for (int s = 0; s < problem->sequences.count; s++)
        for (int64_t c = 0; c < inner; c++) {
            double state[128] = {0};
            int64_t head = c / states * states;
            int64_t shared = source(shape, (int)head);
            for (int64_t t = problem->sequences.offsets[s]; t < problem->sequences.offsets[s + 1];
                 t++) {
                double x = inputs[IN_X][t * inner + c];
                double dt = log1p(exp(inputs[IN_DT][t * inner + c] + inputs[IN_DT_BIAS][c]));
                double y = inputs[IN_D][c] * x;
                for (int64_t n = 0; n < states; n++) {
                    double a = -exp(inputs[IN_A_LOG][c * states + n]);
                    state[n] = exp(dt * a) * state[n] +
                               dt * x * inputs[IN_B][t * shape->d_xb + shared + n];
                    y += state[n] * inputs[IN_C][t * inner + head + n];
                }
                out[t * inner + c] = y * silu(inputs[IN_Z][t * inner + c]);
            }
            for (int64_t n = 0; problem->final && n < states; n++)
                problem->final[(s * inner + c) * states + n] = state[n];
        }
}

/* One token of a channel back: state before and after it, and its decay, per state of N; e receives
 * the gradient of the state before it. gradients as the formula's inputs, accumulated. */
static void step_back(const struct problem *problem, double *const in[INPUTS],
                      double *const to[INPUTS], int64_t t, int64_t c, const double *before,
                      const double *decay, double *e, double dout) {
    int64_t inner = problem->shape.d_inner, states = problem->shape.d_state, at = t * inner + c;
    int64_t head = c / states * states;
    int64_t shared = t * problem->shape.d_xb + source(&problem->shape, (int)head);
    const double *after = before + states;
    double x = in[IN_X][at], z = in[IN_Z][at], raw = in[IN_DT][at] + in[IN_DT_BIAS][c];
    double dt = log1p(exp(raw)), gate = 1 / (1 + exp(-z)), dy = dout * z * gate;
    double y = in[IN_D][c] * x, du = 0, slope = 0;
    for (int64_t n = 0; n < states; n++) {
        double a = -exp(in[IN_A_LOG][c * states + n]),
               now = e[n] + in[IN_C][t * inner + head + n] * dy;
        y += after[n] * in[IN_C][t * inner + head + n];
        to[IN_C][t * inner + head + n] += after[n] * dy;
        to[IN_B][shared + n] += now * dt * x;
        du += now * in[IN_B][shared + n];
        e[n] = now * decay[n];
        slope += e[n] * before[n] * a;
        to[IN_A_LOG][c * states + n] += e[n] * before[n] * dt * a;
    }
    double draw = (slope + du * x) / (1 + exp(-raw));
    to[IN_X][at] += du * dt + in[IN_D][c] * dy;
    to[IN_DT][at] += draw;
    to[IN_DT_BIAS][c] += draw;
    to[IN_Z][at] += dout * y * gate * (1 + z * (1 - gate));
    to[IN_D][c] += dy * x;
}

/* Gradients by the chain rule, checked against differences on the small cases; `to` is zeroed. */
static void scan_chain_rule(struct ops *ops, const struct problem *problem,
                            double *const in[INPUTS], const double *dout,
                            double *const to[INPUTS]) {
    int64_t inner = problem->shape.d_inner, states = problem->shape.d_state;
    int64_t longest = problem->sequences.longest;
    double *state = ops_doubles(ops, (longest + 1) * states);
    double *decay = ops_doubles(ops, longest * states);
    for (int s = 0; s < problem->sequences.count; s++)
        for (int64_t c = 0; c < inner; c++) {
            int64_t start = problem->sequences.offsets[s], end = problem->sequences.offsets[s + 1];
            int64_t shared = source(&problem->shape, (int)(c / states * states));
            for (int64_t n = 0; n < states; n++) state[n] = 0;
            for (int64_t t = start; t < end; t++) {
                double dt = log1p(exp(in[IN_DT][t * inner + c] + in[IN_DT_BIAS][c]));
                double *h = state + (t - start) * states, *keep = decay + (t - start) * states;
                for (int64_t n = 0; n < states; n++) {
                    keep[n] = exp(-dt * exp(in[IN_A_LOG][c * states + n]));
                    h[states + n] =
                        keep[n] * h[n] + dt * in[IN_X][t * inner + c] *
                                             in[IN_B][t * problem->shape.d_xb + shared + n];
                }
            }
            double e[128] = {0};
            for (int64_t t = end; t-- > start;)
                step_back(problem, in, to, t, c, state + (t - start) * states,
                          decay + (t - start) * states, e, dout[t * inner + c]);
        }
}

static void draw_scan(struct ops *ops, const struct problem *p, int gap, struct buffer in[INPUTS]) {
    struct backend *backend = ops->backend;
    int64_t tokens = p->sequences.tokens, inner = p->shape.d_inner, states = p->shape.d_state;
    for (int i = 0; i < TOKEN_INPUTS; i++) {
        int64_t width = i == IN_B ? p->shape.d_xb : inner;
        in[i] = ops_random(ops, backend->act, tokens, width, width + (i + 1) * gap, 1);
    }
    double *a_log = ops_doubles(ops, inner * states), *bias = ops_doubles(ops, inner);
    for (int64_t i = 0; i < inner * states; i++)
        a_log[i] = log((double)(i % states + 1)) + ops_uniform(ops, -0.3, 0.3);
    for (int64_t i = 0; i < inner; i++) bias[i] = ops_uniform(ops, -5, 1);
    in[IN_DT_BIAS] = ops_given(ops, backend->acc, 1, inner, inner, bias);
    in[IN_A_LOG] = ops_given(ops, backend->acc, inner, states, states, a_log);
    in[IN_D] = ops_random(ops, backend->acc, 1, inner, inner, 1);
}

static struct scan_inputs scan_inputs_of(const struct buffer in[INPUTS]) {
    return (struct scan_inputs){in[IN_X].device,  in[IN_DT].device,      in[IN_Z].device,
                                in[IN_B].device,  in[IN_C].device,       in[IN_X].stride,
                                in[IN_DT].stride, in[IN_Z].stride,       in[IN_B].stride,
                                in[IN_C].stride,  in[IN_DT_BIAS].device, in[IN_A_LOG].device,
                                in[IN_D].device};
}

static struct buffer checkpoints_of(struct ops *ops, const struct problem *p) {
    size_t bytes =
        ops->backend->scan->scan_checkpoint_bytes(ops->backend, &p->sequences, &p->shape);
    int64_t count = (int64_t)(bytes / dtype_size(ops->backend->acc));
    return ops_output(ops, ops->backend->acc, 1, count, count);
}

/* checkpoints: guarded by a buffer, whose unused parts may keep their NaN. */
static void check_guards(struct ops *ops, struct buffer *checkpoints) {
    uint64_t digest = ops->digest;
    ops_fetch(ops, checkpoints, "checkpoints");
    ops->digest = digest;
}

void case_scan(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        struct buffer in[INPUTS], checkpoints = checkpoints_of(ops, &p);
        double *values[INPUTS];
        draw_scan(ops, &p, cases[k].gap, in);
        for (int i = 0; i < INPUTS; i++) values[i] = in[i].values;
        struct scan_inputs inputs = scan_inputs_of(in);
        int64_t tokens = p.sequences.tokens, inner = p.shape.d_inner;
        double *expected = ops_doubles(ops, tokens * inner);
        scan_formula(&p, values, expected);
        for (int with = 0; with < 2; with++) {
            struct buffer out = ops_output(ops, backend->act, tokens, inner, inner);
            backend->scan->scan(backend, out.device, with ? checkpoints.device : NULL, NULL, NULL,
                                &inputs, &p.sequences, &p.shape);
            ops_expect(ops, &out, expected, with ? "out with checkpoints" : "out");
        }
        check_guards(ops, &checkpoints);
    }
}

/* As backend.h says: a state of I * N for every 64 tokens, or 16 where a GPU keeps more of them,
 * and one more a sequence at most; also for twice the tokens. */
void case_scan_checkpoint_bytes(struct ops *ops) {
    static const struct mamba_case long_ones[] = {{{4096}, 1, 4, 2, 16, 4, 0, 0},
                                                  {{8192}, 1, 4, 2, 16, 4, 0, 0},
                                                  {{4096}, 1, 2, 2, 64, 4, 0, 0},
                                                  {{8192}, 1, 2, 2, 64, 4, 0, 0},
                                                  {{100, 1, 64}, 3, 2, 2, 64, 4, 0, 30}};
    for (size_t i = 0; i < sizeof long_ones / sizeof *long_ones; i++) {
        struct problem p = make_problem(ops, &long_ones[i]);
        size_t bytes =
            ops->backend->scan->scan_checkpoint_bytes(ops->backend, &p.sequences, &p.shape);
        double states = (double)bytes / (double)dtype_size(ops->backend->acc) / p.shape.d_inner /
                        p.shape.d_state;
        double least = (double)p.sequences.tokens /
                       (ops->backend->discrete && p.shape.d_state == 16 ? 16 : 64);
        if (!(states >= least && states <= least + p.sequences.count + 1))
            ops_fail(ops, "%zu bytes of checkpoints: %g states for %lld tokens of %d sequences",
                     bytes, states, (long long)p.sequences.tokens, p.sequences.count);
    }
}

static void check_chain_rule(struct ops *ops, struct formula *formula, int which,
                             const struct buffer *in, const double *dout, const double *gradient) {
    int64_t step = ops_step(in->count, 60);
    const double *numeric = ops_differentiate(ops, formula, which, in->count, step, dout);
    for (int64_t j = 0; j < in->count && ops->compare; j += step)
        if (!(fabs(numeric[j] - gradient[j]) <= 1e-8 * (1 + fabs(numeric[j]))))
            ops_fail(ops, "the test's %s formula is wrong: %.12g, by differences %.12g",
                     gradient_names[which], gradient[j], numeric[j]);
}

static void scan_backward_once(struct ops *ops, const struct mamba_case *c, bool parameters) {
    struct backend *backend = ops->backend;
    struct problem p = make_problem(ops, c);
    struct buffer in[INPUTS], d[INPUTS], checkpoints = checkpoints_of(ops, &p);
    draw_scan(ops, &p, c->gap, in);
    int64_t tokens = p.sequences.tokens, inner = p.shape.d_inner;
    struct buffer out = ops_output(ops, backend->act, tokens, inner, inner);
    struct buffer dout = ops_random(ops, backend->act, tokens, inner, inner, 1);
    struct formula formula = {.evaluate = scan_formula, .context = &p, .out_count = dout.count};
    for (int i = 0; i < INPUTS; i++) {
        formula.inputs[i] = in[i].values;
        d[i] = i < TOKEN_INPUTS
                   ? ops_output(ops, in[i].type, in[i].rows, in[i].width, in[i].width + c->gap)
                   : ops_random(ops, in[i].type, in[i].rows, in[i].width, in[i].width, 1);
    }
    struct scan_inputs inputs = scan_inputs_of(in);
    struct scan_gradients gradients = {
        d[IN_X].device,       d[IN_DT].device,    d[IN_Z].device, d[IN_B].device, d[IN_C].device,
        d[IN_X].stride,       d[IN_DT].stride,    d[IN_Z].stride, d[IN_B].stride, d[IN_C].stride,
        d[IN_DT_BIAS].device, d[IN_A_LOG].device, d[IN_D].device};
    if (!parameters) gradients.ddt_bias = gradients.da_log = gradients.dd = NULL;
    backend->scan->scan(backend, out.device, checkpoints.device, NULL, NULL, &inputs, &p.sequences,
                        &p.shape);
    backend->scan->scan_backward(backend, &gradients, dout.device, checkpoints.device, &inputs,
                                 &p.sequences, &p.shape);
    double *expected[INPUTS];
    for (int i = 0; i < INPUTS; i++) expected[i] = ops_doubles(ops, in[i].count);
    if (ops->compare) scan_chain_rule(ops, &p, formula.inputs, dout.values, expected);
    for (int i = 0; i < INPUTS; i++) {
        if (tokens * inner * p.shape.d_state < 20000)
            check_chain_rule(ops, &formula, i, &in[i], dout.values, expected[i]);
        if (i >= TOKEN_INPUTS && !parameters) continue;
        if (i >= TOKEN_INPUTS) expected[i] = ops_add(ops, expected[i], d[i].values, d[i].count);
        ops_expect(ops, &d[i], expected[i], gradient_names[i]);
    }
}

void case_scan_backward(struct ops *ops) {
    for (int k = 0; k < CASES; k++) scan_backward_once(ops, &cases[k], k % 3 != 2);
}

/* Decoding. Slots are dealt out from the end, and one stays unused between every two. */
static struct buffer make_slots(struct ops *ops, int count, int32_t *slots) {
    for (int s = 0; s < count; s++) slots[s] = 2 * (count - 1 - s);
    return ops_integers(ops, count, slots);
}

/* The rows of the last tokens. */
static struct buffer last_rows(struct ops *ops, const struct problem *p, const struct buffer *all) {
    double *rows = ops_doubles(ops, p->sequences.count * all->width);
    for (int s = 0; s < p->sequences.count; s++)
        memcpy(rows + s * all->width, all->values + (p->sequences.offsets[s + 1] - 1) * all->width,
               (size_t)all->width * sizeof *rows);
    return ops_given(ops, all->type, p->sequences.count, all->width, all->stride, rows);
}

/* What conv_store leaves in [slots, K - 1, X] after the tokens but the last `without`; slots that
 * are not used keep what they hold. */
static void keep_inputs(double *states, const struct problem *p, const double *x,
                        const int32_t *slots, int without) {
    int64_t width = p->shape.d_xb, kept = p->shape.d_conv - 1;
    for (int s = 0; s < p->sequences.count; s++)
        for (int64_t r = 0; r < kept; r++) {
            int64_t token = p->sequences.offsets[s + 1] - without - kept + r;
            for (int64_t c = 0; c < width; c++)
                states[(slots[s] * kept + r) * width + c] =
                    token < p->sequences.offsets[s] ? 0 : x[token * width + c];
        }
}

void case_conv_store(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        int32_t slots[MOST_SEQUENCES];
        int64_t width = p.shape.d_xb, kept = p.shape.d_conv - 1, count = 2 * p.sequences.count - 1;
        struct buffer device_slots = make_slots(ops, p.sequences.count, slots);
        struct buffer x =
            ops_random(ops, backend->act, p.sequences.tokens, width, width + cases[k].gap, 2);
        struct buffer states =
            ops_random(ops, backend->act, 1, count * kept * width, count * kept * width, 1);
        double *expected = ops_doubles(ops, states.count);
        memcpy(expected, states.values, (size_t)states.count * sizeof *expected);
        keep_inputs(expected, &p, x.values, slots, 0);
        backend->conv->conv_store(backend, states.device, device_slots.device, x.device, x.stride,
                                  &p.sequences, &p.shape);
        ops_expect(ops, &states, expected, "states");
    }
}

void case_conv_step(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        int32_t slots[MOST_SEQUENCES];
        int sequences = p.sequences.count;
        int64_t width = p.shape.d_xb, inner = p.shape.d_inner, taps = p.shape.d_conv;
        int64_t size = (2 * sequences - 1) * (taps - 1) * width;
        struct buffer device_slots = make_slots(ops, sequences, slots);
        struct buffer x =
            ops_random(ops, backend->act, p.sequences.tokens, width, width + cases[k].gap, 2);
        struct buffer w = ops_random(ops, backend->acc, inner, taps, taps, 1);
        struct buffer bias = draw_bias(ops, inner, k);
        struct buffer now = last_rows(ops, &p, &x);
        double *before = ops_doubles(ops, size), *after = ops_doubles(ops, size);
        keep_inputs(before, &p, x.values, slots, 1);
        keep_inputs(after, &p, x.values, slots, 0);
        struct buffer states = ops_given(ops, backend->act, 1, size, size, before);
        struct buffer out = ops_output(ops, backend->act, sequences, inner, inner);
        double *full = ops_doubles(ops, p.sequences.tokens * inner);
        double *expected = ops_doubles(ops, out.count);
        conv_formula(&p, (double *[]){x.values, w.values, bias.values}, full);
        for (int s = 0; s < sequences; s++)
            memcpy(expected + s * inner, full + (p.sequences.offsets[s + 1] - 1) * inner,
                   (size_t)inner * sizeof *expected);
        backend->conv->conv_step(backend, out.device, states.device, device_slots.device,
                                 now.device, now.stride, w.device, bias.device, sequences,
                                 &p.shape);
        ops_expect(ops, &out, expected, "out");
        ops_expect(ops, &states, after, "states");
    }
}

/* States [sequences, I, N] as they stand in their slots. */
static double *spread(struct ops *ops, const struct problem *p, const double *states,
                      const int32_t *slots) {
    int64_t size = (int64_t)p->shape.d_inner * p->shape.d_state;
    double *all = ops_doubles(ops, (2 * p->sequences.count - 1) * size);
    for (int s = 0; s < p->sequences.count; s++)
        memcpy(all + slots[s] * size, states + s * size, (size_t)size * sizeof *all);
    return all;
}

/* The last states that scan leaves, and one step from the states before the last token. */
void case_scan_step(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k]);
        struct buffer in[INPUTS], last[INPUTS];
        double *values[INPUTS];
        int32_t slots[MOST_SEQUENCES];
        int sequences = p.sequences.count;
        int64_t inner = p.shape.d_inner, size = inner * p.shape.d_state;
        int64_t total = (2 * sequences - 1) * size;
        struct buffer device_slots = make_slots(ops, sequences, slots);
        draw_scan(ops, &p, cases[k].gap, in);
        for (int i = 0; i < INPUTS; i++) {
            values[i] = in[i].values;
            last[i] = i < TOKEN_INPUTS ? last_rows(ops, &p, &in[i]) : in[i];
        }
        double *full = ops_doubles(ops, p.sequences.tokens * inner);
        double *expected = ops_doubles(ops, sequences * inner);
        double *before = ops_doubles(ops, sequences * size);
        struct problem shorter = p;
        int32_t *offsets = (int32_t *)ops_doubles(ops, sequences + 1);
        p.final = ops_doubles(ops, sequences * size);
        scan_formula(&p, values, full);
        for (int s = 0; s < sequences; s++) { /* each sequence without its last token, alone */
            offsets[0] = p.sequences.offsets[s];
            offsets[1] = p.sequences.offsets[s + 1] - 1;
            shorter.sequences.offsets = offsets;
            shorter.sequences.count = 1;
            shorter.final = before + s * size;
            memcpy(expected + s * inner, full + (p.sequences.offsets[s + 1] - 1) * inner,
                   (size_t)inner * sizeof *expected);
            double *unused = ops_doubles(ops, p.sequences.tokens * inner);
            scan_formula(&shorter, values, unused);
        }
        double *final = spread(ops, &p, p.final, slots);
        struct scan_inputs inputs = scan_inputs_of(in);
        struct buffer out = ops_output(ops, backend->act, p.sequences.tokens, inner, inner);
        double *zeros = ops_doubles(ops, total);
        struct buffer states = ops_given(ops, backend->acc, 1, total, total, zeros);
        backend->scan->scan(backend, out.device, NULL, states.device, device_slots.device, &inputs,
                            &p.sequences, &p.shape);
        ops_expect(ops, &states, final, "states after scan");

        struct buffer moving =
            ops_given(ops, backend->acc, 1, total, total, spread(ops, &p, before, slots));
        struct buffer row = ops_output(ops, backend->act, sequences, inner, inner);
        inputs = scan_inputs_of(last);
        backend->scan->scan_step(backend, row.device, moving.device, device_slots.device, &inputs,
                                 sequences, &p.shape);
        ops_expect(ops, &row, expected, "out");
        ops_expect(ops, &moving, final, "states");
    }
}
