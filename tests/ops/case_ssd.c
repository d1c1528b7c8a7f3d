/* The Mamba-2 recurrence. */
#include <math.h>
#include <string.h>

#include "kernels/ops/ssd.h"
#include "tests/ops/recurrent.h"

static const struct ssd_case {
    int lengths[3], count, heads, head_dim, groups, states, gap;
    int times;     /* the lengths are repeated; 0 is 1 */
    double faster; /* added to a_log: some tokens then forget everything */
} cases[] = {
    {{1}, 1, 1, 1, 1, 1, 0, 0, 0},
    {{5, 1, 70}, 3, 6, 5, 3, 9, 5, 0, 0},
    {{66, 13}, 2, 2, 11, 2, 7, 1, 0, 4},
    {{129}, 1, 1, 32, 1, 32, 8, 0, 0},
    {{64, 128, 63}, 3, 2, 64, 1, 64, 0, 0, 2},
    {{200}, 1, 2, 128, 2, 128, 16, 0, 0},
    {{70, 3}, 2, 2, 64, 1, 256, 8, 0, 0},
    {{3, 65}, 2, 3, 20, 3, 130, 4, 0, 0},
    {{130}, 1, 4, 16, 1, 16, 8, 0, 6},
    {{33, 1, 16}, 3, 2, 8, 1, 8, 0, 10, 0},
    {{12, 2}, 2, 8, 24, 1, 40, 0, 0, 0},
    {{1030, 5, 513}, 3, 1, 20, 1, 16, 0, 0, -2}, /* the GPU cuts long sequences */
    {{4700}, 1, 1, 4, 1, 3, 0, 0, -4},
};
enum { CASES = sizeof cases / sizeof *cases };

/* Operands in the order of the formula's inputs. */
enum { IN_X, IN_B, IN_C, IN_DT, IN_DT_BIAS, IN_A_LOG, IN_D, INPUTS, TOKEN_INPUTS = 4 };
static const char *const gradient_names[] = {"dx", "db", "dc", "ddt", "ddt_bias", "da_log", "dd"};

struct problem {
    struct ssd_shape shape;
    struct sequences sequences;
    const double *initial; /* [sequences, H, P, N]; or NULL for zeros */
    double *final;         /* the same, written; or NULL */
};

static struct problem make_problem(struct ops *ops, const struct ssd_case *c, bool single) {
    int lengths[MOST_SEQUENCES], count = c->count * (c->times ? c->times : 1);
    for (int i = 0; i < count; i++) lengths[i] = single ? 1 : c->lengths[i % c->count];
    return (struct problem){{c->heads, c->head_dim, c->groups, c->states},
                            ops_sequences(ops, lengths, count),
                            NULL,
                            NULL};
}

static int64_t states_size(const struct problem *p) {
    return (int64_t)p->shape.heads * p->shape.head_dim * p->shape.d_state;
}

static double decay_of(const struct problem *p, double *const in[], int64_t t, int h, double *dt) {
    *dt = log1p(exp(in[IN_DT][t * p->shape.heads + h] + in[IN_DT_BIAS][h]));
    return exp(-*dt * exp(in[IN_A_LOG][h]));
}

static void ssd_formula(const void *context, double *const in[], double *out) {
    const struct problem *p = context;
    int heads = p->shape.heads, width = p->shape.head_dim, states = p->shape.d_state;
    int64_t groups = p->shape.groups, size = states_size(p);
    for (int s = 0; s < p->sequences.count; s++)
        for (int channel = 0; channel < heads * width; channel++) {
            double state[256] = {0};
            int h = channel / width;
            int64_t g = h / (heads / groups), at = s * size + (int64_t)channel * states;
            for (int n = 0; p->initial && n < states; n++) state[n] = p->initial[at + n];
            for (int64_t t = p->sequences.offsets[s]; t < p->sequences.offsets[s + 1]; t++) {
                const double *b = in[IN_B] + (t * groups + g) * states;
                const double *c = in[IN_C] + (t * groups + g) * states;
                double dt, decay = decay_of(p, in, t, h, &dt);
                double x = in[IN_X][t * heads * width + channel], y = in[IN_D][h] * x;
                for (int n = 0; n < states; n++) {
                    state[n] = decay * state[n] + dt * x * b[n];
                    y += state[n] * c[n];
                }
                out[t * heads * width + channel] = y;
            }
            for (int n = 0; p->final && n < states; n++) p->final[at + n] = state[n];
        }
}

/* One token of a channel back: `before` and `after` are its states, e receives the gradient of the
 * former. */
static void step_back(const struct problem *p, double *const in[], double *const to[], int64_t t,
                      int channel, const double *before, double *e, double dy) {
    int heads = p->shape.heads, width = p->shape.head_dim, states = p->shape.d_state;
    int h = channel / width;
    const double *after = before + states;
    int64_t row = (t * p->shape.groups + h / (heads / p->shape.groups)) * states;
    double dt, decay = decay_of(p, in, t, h, &dt), a = -exp(in[IN_A_LOG][h]);
    double x = in[IN_X][t * heads * width + channel], du = 0, ddecay = 0;
    for (int n = 0; n < states; n++) {
        double now = e[n] + in[IN_C][row + n] * dy;
        to[IN_C][row + n] += after[n] * dy;
        to[IN_B][row + n] += now * dt * x;
        du += now * in[IN_B][row + n];
        ddecay += now * before[n];
        e[n] = now * decay;
    }
    double raw = in[IN_DT][t * heads + h] + in[IN_DT_BIAS][h];
    double slope = (du * x + ddecay * decay * a) / (1 + exp(-raw));
    to[IN_X][t * heads * width + channel] += du * dt + in[IN_D][h] * dy;
    to[IN_D][h] += dy * x;
    to[IN_A_LOG][h] += ddecay * decay * dt * a;
    to[IN_DT][t * heads + h] += slope;
    to[IN_DT_BIAS][h] += slope;
}

static void ssd_chain_rule(struct ops *ops, const struct problem *p, double *const in[],
                           const double *dout, double *const to[]) {
    int inner = p->shape.heads * p->shape.head_dim, states = p->shape.d_state;
    int64_t g = p->shape.groups;
    double *state = ops_doubles(ops, ((int64_t)p->sequences.longest + 1) * states);
    for (int s = 0; s < p->sequences.count; s++)
        for (int channel = 0; channel < inner; channel++) {
            int64_t start = p->sequences.offsets[s], end = p->sequences.offsets[s + 1];
            int h = channel / p->shape.head_dim;
            double e[256] = {0};
            for (int64_t t = start; t < end; t++) {
                const double *b = in[IN_B] + (t * g + h / (p->shape.heads / g)) * states;
                double *now = state + (t - start + 1) * states, dt;
                double decay = decay_of(p, in, t, h, &dt);
                for (int n = 0; n < states; n++)
                    now[n] = decay * (t > start ? now[n - states] : 0) +
                             dt * in[IN_X][t * inner + channel] * b[n];
            }
            memset(state, 0, (size_t)states * sizeof *state);
            for (int64_t t = end; t-- > start;)
                step_back(p, in, to, t, channel, state + (t - start) * states, e,
                          dout[t * inner + channel]);
        }
}

static void draw(struct ops *ops, const struct problem *p, const struct ssd_case *c,
                 struct buffer in[INPUTS], double *values[INPUTS]) {
    enum dtype act = ops->backend->act, acc = ops->backend->acc;
    int64_t tokens = p->sequences.tokens, heads = p->shape.heads;
    int64_t widths[TOKEN_INPUTS] = {heads * p->shape.head_dim,
                                    (int64_t)p->shape.groups * p->shape.d_state,
                                    (int64_t)p->shape.groups * p->shape.d_state, heads};
    double *a_log = ops_doubles(ops, heads), *bias = ops_doubles(ops, heads);
    for (int i = 0; i < TOKEN_INPUTS; i++)
        in[i] = ops_random(ops, act, tokens, widths[i], widths[i] + (i + 1) * c->gap, 1);
    for (int64_t h = 0; h < heads; h++) {
        a_log[h] = ops_uniform(ops, -3, 1) + c->faster;
        bias[h] = ops_uniform(ops, -3, 1);
    }
    in[IN_DT_BIAS] = ops_given(ops, acc, 1, heads, heads, bias);
    in[IN_A_LOG] = ops_given(ops, acc, 1, heads, heads, a_log);
    in[IN_D] = ops_random(ops, acc, 1, heads, heads, 1);
    for (int i = 0; i < INPUTS; i++) values[i] = in[i].values;
}

static struct ssd_inputs inputs_of(const struct buffer in[INPUTS]) {
    return (struct ssd_inputs){in[IN_X].device,     in[IN_B].device,  in[IN_C].device,
                               in[IN_DT].device,    in[IN_X].stride,  in[IN_B].stride,
                               in[IN_C].stride,     in[IN_DT].stride, in[IN_DT_BIAS].device,
                               in[IN_A_LOG].device, in[IN_D].device};
}

static struct buffer checkpoints_of(struct ops *ops, const struct problem *p) {
    return recurrent_checkpoints(
        ops, ops->backend->ssd->ssd_checkpoint_bytes(ops->backend, &p->sequences, &p->shape));
}

static struct kept make_kept(struct ops *ops, struct problem *p) {
    struct kept kept = recurrent_keep(ops, p->sequences.count, states_size(p));
    p->initial = kept.initial;
    p->final = kept.final;
    return kept;
}

void case_ssd(struct ops *ops) {
    struct backend *backend = ops->backend;
    recurrent_choose_limit(ops);
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k], false);
        struct buffer in[INPUTS], checkpoints = checkpoints_of(ops, &p);
        double *values[INPUTS];
        draw(ops, &p, &cases[k], in, values);
        struct ssd_inputs inputs = inputs_of(in);
        int64_t tokens = p.sequences.tokens, inner = (int64_t)p.shape.heads * p.shape.head_dim;
        for (int resume = 0; resume < 2; resume++) {
            struct buffer out = ops_output(ops, backend->act, tokens, inner, inner);
            double *expected = ops_doubles(ops, out.count);
            struct kept kept = make_kept(ops, &p);
            if (!resume) p.initial = NULL;
            ssd_formula(&p, values, expected);
            backend->ssd->ssd(backend, out.device, resume ? checkpoints.device : NULL,
                              kept.states.device, kept.device_slots.device, resume, &inputs,
                              &p.sequences, &p.shape);
            ops_expect(ops, &out, expected, resume ? "out from states" : "out");
            recurrent_expect(ops, &kept);
        }
        recurrent_check_guards(ops, &checkpoints);
    }
}

void case_ssd_checkpoint_bytes(struct ops *ops) {
    struct problem p = make_problem(ops, &cases[5], false);
    size_t bytes = ops->backend->ssd->ssd_checkpoint_bytes(ops->backend, &p.sequences, &p.shape);
    double per_token = (double)bytes / (double)dtype_size(ops->backend->acc) /
                       (double)(p.sequences.tokens * states_size(&p));
    if (bytes == 0 || per_token > 0.1)
        ops_fail(ops, "%zu bytes of checkpoints: not linear in the tokens", bytes);
}

static void check_chain_rule(struct ops *ops, struct formula *formula, int which,
                             const struct buffer *in, const double *dout, const double *gradient) {
    int64_t step = ops_step(in->count, 40);
    const double *numeric = ops_differentiate(ops, formula, which, in->count, step, dout);
    for (int64_t j = 0; j < in->count && ops->compare; j += step)
        if (!(fabs(numeric[j] - gradient[j]) <= 1e-8 * (1 + fabs(numeric[j]))))
            ops_fail(ops, "the test's %s formula is wrong: %.12g, by differences %.12g",
                     gradient_names[which], gradient[j], numeric[j]);
}

static void backward_once(struct ops *ops, const struct ssd_case *c, bool parameters) {
    struct backend *backend = ops->backend;
    struct problem p = make_problem(ops, c, false);
    struct buffer in[INPUTS], d[INPUTS], checkpoints = checkpoints_of(ops, &p);
    int64_t tokens = p.sequences.tokens, inner = (int64_t)p.shape.heads * p.shape.head_dim;
    struct formula formula = {.evaluate = ssd_formula, .context = &p, .out_count = tokens * inner};
    double *expected[INPUTS];
    draw(ops, &p, c, in, formula.inputs);
    struct buffer out = ops_output(ops, backend->act, tokens, inner, inner);
    struct buffer dout = ops_random(ops, backend->act, tokens, inner, inner, 1);
    for (int i = 0; i < INPUTS; i++) {
        d[i] = i < TOKEN_INPUTS
                   ? ops_output(ops, in[i].type, in[i].rows, in[i].width, in[i].width + c->gap)
                   : ops_random(ops, in[i].type, in[i].rows, in[i].width, in[i].width, 1);
        expected[i] = ops_doubles(ops, in[i].count);
    }
    struct ssd_inputs inputs = inputs_of(in);
    struct ssd_gradients to = {d[IN_X].device,     d[IN_B].device,  d[IN_C].device,
                               d[IN_DT].device,    d[IN_X].stride,  d[IN_B].stride,
                               d[IN_C].stride,     d[IN_DT].stride, d[IN_DT_BIAS].device,
                               d[IN_A_LOG].device, d[IN_D].device};
    if (!parameters) to.ddt_bias = to.da_log = to.dd = NULL;
    backend->ssd->ssd(backend, out.device, checkpoints.device, NULL, NULL, false, &inputs,
                      &p.sequences, &p.shape);
    backend->ssd->ssd_backward(backend, &to, dout.device, checkpoints.device, &inputs, &p.sequences,
                               &p.shape);
    if (ops->compare) ssd_chain_rule(ops, &p, formula.inputs, dout.values, expected);
    for (int i = 0; i < INPUTS; i++) {
        if (tokens * states_size(&p) < 30000)
            check_chain_rule(ops, &formula, i, &in[i], dout.values, expected[i]);
        if (i >= TOKEN_INPUTS && !parameters) continue;
        if (i >= TOKEN_INPUTS) expected[i] = ops_add(ops, expected[i], d[i].values, d[i].count);
        ops_expect(ops, &d[i], expected[i], gradient_names[i]);
    }
}

void case_ssd_backward(struct ops *ops) {
    recurrent_choose_limit(ops);
    for (int k = 0; k < CASES; k++) backward_once(ops, &cases[k], k % 3 != 2);
}

/* A step is a sequence of one token from the states that are kept. */
void case_ssd_step(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k], true);
        struct buffer in[INPUTS];
        double *values[INPUTS];
        draw(ops, &p, &cases[k], in, values);
        int64_t inner = (int64_t)p.shape.heads * p.shape.head_dim;
        struct ssd_inputs inputs = inputs_of(in);
        struct kept kept = make_kept(ops, &p);
        struct buffer out = ops_output(ops, backend->act, p.sequences.count, inner, inner);
        double *expected = ops_doubles(ops, out.count);
        ssd_formula(&p, values, expected);
        backend->ssd->ssd_step(backend, out.device, kept.states.device, kept.device_slots.device,
                               &inputs, p.sequences.count, &p.shape);
        ops_expect(ops, &out, expected, "out");
        recurrent_expect(ops, &kept);
    }
}
