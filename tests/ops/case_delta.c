/* The gated delta rule. */
#include <math.h>
#include <string.h>

#include "kernels/ops/delta.h"
#include "tests/ops/recurrent.h"

static const struct delta_case {
    int lengths[3], count, key_heads, repeat, key_dim, value_dim, gap;
    int times;     /* the lengths are repeated; 0 is 1 */
    double faster; /* added to a_log: some tokens then forget everything */
    double alike;  /* of every key, how much is the same: corrections then follow each other */
} cases[] = {
    {{1}, 1, 1, 1, 2, 1, 0, 0, 0, 0},
    {{5, 1, 70}, 3, 2, 3, 5, 9, 5, 0, 0, 0},
    {{66, 13}, 2, 2, 1, 11, 7, 1, 0, 4, 0},
    {{129}, 1, 1, 1, 32, 32, 8, 0, 0, 2},
    {{64, 128, 63}, 3, 1, 2, 64, 64, 0, 0, 2, 0},
    {{150}, 1, 2, 1, 128, 128, 16, 0, 0, 0},
    {{3, 65}, 2, 3, 1, 20, 70, 4, 0, -4, 1},
    {{130}, 1, 2, 2, 64, 128, 8, 0, 6, 0},
    {{33, 1, 16}, 3, 2, 1, 8, 8, 0, 10, 0, 0},
    {{12, 2}, 2, 1, 8, 100, 24, 0, 0, 0, 1},
};
enum { CASES = sizeof cases / sizeof *cases, MOST_CELLS = 128 * 128 };

/* Operands in the order of the formula's inputs. */
enum { IN_Q, IN_K, IN_V, IN_B, IN_A, IN_DT_BIAS, IN_A_LOG, INPUTS, TOKEN_INPUTS = 5 };
static const char *const gradient_names[] = {"dq", "dk", "dv", "db", "da", "ddt_bias", "da_log"};

struct problem {
    struct delta_shape shape;
    struct sequences sequences;
    const double *initial; /* [sequences, HV, DK, DV]; or NULL for zeros */
    double *final;         /* the same, written; or NULL */
};

static struct problem make_problem(struct ops *ops, const struct delta_case *c, bool single) {
    int lengths[MOST_SEQUENCES], count = c->count * (c->times ? c->times : 1);
    for (int i = 0; i < count; i++) lengths[i] = single ? 1 : c->lengths[i % c->count];
    return (struct problem){{c->key_heads, c->key_heads * c->repeat, c->key_dim, c->value_dim},
                            ops_sequences(ops, lengths, count),
                            NULL,
                            NULL};
}

static int64_t states_size(const struct problem *p) {
    return (int64_t)p->shape.value_heads * p->shape.key_dim * p->shape.value_dim;
}

/* One value head's token: rows in the inputs, and what follows from them. */
struct token {
    int64_t key, value, gate;               /* places in q and k, in v, in b and a */
    double q[128], k[128], v[128];          /* q and k normalised */
    double q_size, k_size, raw, step, beta; /* step: the decay's logarithm */
};

static void load_token(struct token *token, const struct problem *p, double *const in[], int64_t t,
                       int head) {
    int heads = p->shape.value_heads, dk = p->shape.key_dim, dv = p->shape.value_dim;
    double q_squares = 1e-6, k_squares = 1e-6;
    token->key = (t * p->shape.key_heads + head / (heads / p->shape.key_heads)) * dk;
    token->value = (t * heads + head) * dv;
    token->gate = t * heads + head;
    for (int i = 0; i < dk; i++) {
        q_squares += in[IN_Q][token->key + i] * in[IN_Q][token->key + i];
        k_squares += in[IN_K][token->key + i] * in[IN_K][token->key + i];
    }
    token->q_size = 1 / sqrt(q_squares * dk);
    token->k_size = 1 / sqrt(k_squares);
    for (int i = 0; i < dk; i++) {
        token->q[i] = in[IN_Q][token->key + i] * token->q_size;
        token->k[i] = in[IN_K][token->key + i] * token->k_size;
    }
    for (int c = 0; c < dv; c++) token->v[c] = in[IN_V][token->value + c];
    token->raw = in[IN_A][token->gate] + in[IN_DT_BIAS][head];
    token->step = -exp(in[IN_A_LOG][head]) * log1p(exp(token->raw));
    token->beta = 1 / (1 + exp(-in[IN_B][token->gate]));
}

/* state becomes what the token leaves; error [DV] = v - recalled; out [DV] (or NULL) is read. */
static void advance(const struct problem *p, const struct token *token, double *state,
                    double *error, double *out) {
    int dk = p->shape.key_dim, dv = p->shape.value_dim;
    double decay = exp(token->step);
    for (int c = 0; c < dv; c++) error[c] = token->v[c];
    for (int i = 0; i < dk; i++)
        for (int c = 0; c < dv; c++) {
            state[i * dv + c] *= decay;
            error[c] -= state[i * dv + c] * token->k[i];
        }
    for (int c = 0; c < dv && out; c++) out[c] = 0;
    for (int i = 0; i < dk; i++)
        for (int c = 0; c < dv; c++) {
            state[i * dv + c] += token->k[i] * token->beta * error[c];
            if (out) out[c] += state[i * dv + c] * token->q[i];
        }
}

static void delta_formula(const void *context, double *const in[], double *out) {
    const struct problem *p = context;
    int heads = p->shape.value_heads;
    int64_t cells = (int64_t)p->shape.key_dim * p->shape.value_dim;
    for (int s = 0; s < p->sequences.count; s++)
        for (int head = 0; head < heads; head++) {
            double state[MOST_CELLS] = {0}, error[128];
            size_t bytes = (size_t)cells * sizeof *state;
            int64_t at = (s * (int64_t)heads + head) * cells;
            if (p->initial) memcpy(state, p->initial + at, bytes);
            for (int64_t t = p->sequences.offsets[s]; t < p->sequences.offsets[s + 1]; t++) {
                struct token token;
                load_token(&token, p, in, t, head);
                advance(p, &token, state, error, out + token.value);
            }
            if (p->final) memcpy(p->final + at, state, bytes);
        }
}

/* x' = x size: from the gradient of x' to that of x; `length` as in |x'|. */
static void add_normalised(double *to, const double *d, const double *row, double size,
                           double length, int width) {
    double along = 0;
    for (int i = 0; i < width; i++) along += d[i] * row[i] / (length * length);
    for (int i = 0; i < width; i++) to[i] += size * (d[i] - row[i] * along);
}

/* One token of a head back: `before` and `after` [DK, DV] are its states, e receives the gradient
 * of the former. */
static void step_back(const struct problem *p, double *const in[], double *const to[], int64_t t,
                      int head, const double *before, double *e, const double *dout) {
    int dk = p->shape.key_dim, dv = p->shape.value_dim;
    double error[128], dq[128], dkey[128], dwrite[128] = {0}, dbeta = 0, ddecay = 0;
    double after[MOST_CELLS];
    struct token token;
    load_token(&token, p, in, t, head);
    memcpy(after, before, (size_t)(dk * dv) * sizeof *after);
    advance(p, &token, after, error, NULL);
    double decay = exp(token.step), beta = token.beta;
    for (int i = 0; i < dk; i++) {
        dq[i] = dkey[i] = 0;
        for (int c = 0; c < dv; c++) {
            dq[i] += after[i * dv + c] * dout[c];
            e[i * dv + c] += token.q[i] * dout[c];
            dkey[i] += e[i * dv + c] * beta * error[c];
            dwrite[c] += e[i * dv + c] * token.k[i];
        }
    }
    for (int c = 0; c < dv; c++) {
        dbeta += dwrite[c] * error[c];
        to[IN_V][token.value + c] += beta * dwrite[c];
    }
    for (int i = 0; i < dk; i++)
        for (int c = 0; c < dv; c++) {
            double *now = &e[i * dv + c], old = before[i * dv + c];
            dkey[i] -= decay * old * beta * dwrite[c];
            *now -= token.k[i] * beta * dwrite[c];
            ddecay += *now * old;
            *now *= decay;
        }
    add_normalised(to[IN_Q] + token.key, dq, token.q, token.q_size, 1 / sqrt(dk), dk);
    add_normalised(to[IN_K] + token.key, dkey, token.k, token.k_size, 1, dk);
    double slope = ddecay * decay * -exp(in[IN_A_LOG][head]) / (1 + exp(-token.raw));
    to[IN_B][token.gate] += dbeta * beta * (1 - beta);
    to[IN_A][token.gate] += slope;
    to[IN_DT_BIAS][head] += slope;
    to[IN_A_LOG][head] += ddecay * decay * token.step;
}

static void delta_chain_rule(struct ops *ops, const struct problem *p, double *const in[],
                             const double *dout, double *const to[]) {
    int heads = p->shape.value_heads, dv = p->shape.value_dim;
    int64_t cells = (int64_t)p->shape.key_dim * dv;
    double *states = ops_doubles(ops, ((int64_t)p->sequences.longest + 1) * cells);
    for (int s = 0; s < p->sequences.count; s++)
        for (int head = 0; head < heads; head++) {
            int64_t start = p->sequences.offsets[s], end = p->sequences.offsets[s + 1];
            double e[MOST_CELLS] = {0}, error[128];
            for (int64_t t = start; t < end; t++) { /* states[0] stays zero */
                double *now = states + (t - start + 1) * cells;
                struct token token;
                load_token(&token, p, in, t, head);
                memcpy(now, now - cells, (size_t)cells * sizeof *now);
                advance(p, &token, now, error, NULL);
            }
            for (int64_t t = end; t-- > start;)
                step_back(p, in, to, t, head, states + (t - start) * cells, e,
                          dout + (t * heads + head) * dv);
        }
}

static void draw(struct ops *ops, const struct problem *p, const struct delta_case *c,
                 struct buffer in[INPUTS], double *values[INPUTS]) {
    enum dtype act = ops->backend->act, acc = ops->backend->acc;
    int64_t tokens = p->sequences.tokens, heads = p->shape.value_heads;
    int64_t keys = (int64_t)p->shape.key_heads * p->shape.key_dim;
    int64_t widths[TOKEN_INPUTS] = {keys, keys, heads * p->shape.value_dim, heads, heads};
    double *a_log = ops_doubles(ops, heads), *bias = ops_doubles(ops, heads);
    double *alike = ops_doubles(ops, tokens * keys);
    for (int i = 0; i < TOKEN_INPUTS; i++)
        in[i] = ops_random(ops, act, tokens, widths[i], widths[i] + (i + 1) * c->gap, 1);
    for (int64_t i = 0; i < tokens * keys; i++)
        alike[i] = in[IN_K].values[i] + c->alike * cos((double)(i % keys));
    in[IN_K] = ops_given(ops, act, tokens, keys, keys + 2 * c->gap, alike);
    for (int64_t h = 0; h < heads; h++) {
        a_log[h] = ops_uniform(ops, -3, 1) + c->faster;
        bias[h] = ops_uniform(ops, -3, 1);
    }
    in[IN_DT_BIAS] = ops_given(ops, acc, 1, heads, heads, bias);
    in[IN_A_LOG] = ops_given(ops, acc, 1, heads, heads, a_log);
    for (int i = 0; i < INPUTS; i++) values[i] = in[i].values;
}

static struct delta_inputs inputs_of(const struct buffer in[INPUTS]) {
    return (struct delta_inputs){in[IN_Q].device, in[IN_K].device,       in[IN_V].device,
                                 in[IN_B].device, in[IN_A].device,       in[IN_Q].stride,
                                 in[IN_K].stride, in[IN_V].stride,       in[IN_B].stride,
                                 in[IN_A].stride, in[IN_DT_BIAS].device, in[IN_A_LOG].device};
}

static struct buffer checkpoints_of(struct ops *ops, const struct problem *p) {
    return recurrent_checkpoints(
        ops, ops->backend->delta->delta_checkpoint_bytes(ops->backend, &p->sequences, &p->shape));
}

static struct kept make_kept(struct ops *ops, struct problem *p) {
    struct kept kept = recurrent_keep(ops, p->sequences.count, states_size(p));
    p->initial = kept.initial;
    p->final = kept.final;
    return kept;
}

void case_delta(struct ops *ops) {
    struct backend *backend = ops->backend;
    recurrent_choose_limit(ops);
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k], false);
        struct buffer in[INPUTS], checkpoints = checkpoints_of(ops, &p);
        double *values[INPUTS];
        draw(ops, &p, &cases[k], in, values);
        struct delta_inputs inputs = inputs_of(in);
        int64_t width = (int64_t)p.shape.value_heads * p.shape.value_dim;
        for (int resume = 0; resume < 2; resume++) {
            struct buffer out = ops_output(ops, backend->act, p.sequences.tokens, width, width);
            double *expected = ops_doubles(ops, out.count);
            struct kept kept = make_kept(ops, &p);
            if (!resume) p.initial = NULL;
            delta_formula(&p, values, expected);
            backend->delta->delta(backend, out.device, resume ? checkpoints.device : NULL,
                                  kept.states.device, kept.device_slots.device, resume, &inputs,
                                  &p.sequences, &p.shape);
            ops_expect(ops, &out, expected, resume ? "out from states" : "out");
            recurrent_expect(ops, &kept);
        }
        recurrent_check_guards(ops, &checkpoints);
    }
}

void case_delta_checkpoint_bytes(struct ops *ops) {
    struct problem p = make_problem(ops, &cases[5], false);
    size_t bytes =
        ops->backend->delta->delta_checkpoint_bytes(ops->backend, &p.sequences, &p.shape);
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

static void backward_once(struct ops *ops, const struct delta_case *c, bool parameters) {
    struct backend *backend = ops->backend;
    struct problem p = make_problem(ops, c, false);
    struct buffer in[INPUTS], d[INPUTS], checkpoints = checkpoints_of(ops, &p);
    int64_t tokens = p.sequences.tokens, width = (int64_t)p.shape.value_heads * p.shape.value_dim;
    struct formula formula = {
        .evaluate = delta_formula, .context = &p, .out_count = tokens * width};
    double *expected[INPUTS];
    draw(ops, &p, c, in, formula.inputs);
    struct buffer out = ops_output(ops, backend->act, tokens, width, width);
    struct buffer dout = ops_random(ops, backend->act, tokens, width, width, 1);
    for (int i = 0; i < INPUTS; i++) {
        d[i] = i < TOKEN_INPUTS
                   ? ops_output(ops, in[i].type, in[i].rows, in[i].width, in[i].width + c->gap)
                   : ops_random(ops, in[i].type, in[i].rows, in[i].width, in[i].width, 1);
        expected[i] = ops_doubles(ops, in[i].count);
    }
    struct delta_inputs inputs = inputs_of(in);
    struct delta_gradients to = {d[IN_Q].device, d[IN_K].device,       d[IN_V].device,
                                 d[IN_B].device, d[IN_A].device,       d[IN_Q].stride,
                                 d[IN_K].stride, d[IN_V].stride,       d[IN_B].stride,
                                 d[IN_A].stride, d[IN_DT_BIAS].device, d[IN_A_LOG].device};
    if (!parameters) to.ddt_bias = to.da_log = NULL;
    backend->delta->delta(backend, out.device, checkpoints.device, NULL, NULL, false, &inputs,
                          &p.sequences, &p.shape);
    backend->delta->delta_backward(backend, &to, dout.device, checkpoints.device, &inputs,
                                   &p.sequences, &p.shape);
    if (ops->compare) delta_chain_rule(ops, &p, formula.inputs, dout.values, expected);
    for (int i = 0; i < INPUTS; i++) {
        if (tokens * states_size(&p) < 30000)
            check_chain_rule(ops, &formula, i, &in[i], dout.values, expected[i]);
        if (i >= TOKEN_INPUTS && !parameters) continue;
        if (i >= TOKEN_INPUTS) expected[i] = ops_add(ops, expected[i], d[i].values, d[i].count);
        ops_expect(ops, &d[i], expected[i], gradient_names[i]);
    }
}

void case_delta_backward(struct ops *ops) {
    recurrent_choose_limit(ops);
    for (int k = 0; k < CASES; k++) backward_once(ops, &cases[k], k % 3 != 2);
}

/* A step is a sequence of one token from the states that are kept. */
void case_delta_step(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        struct problem p = make_problem(ops, &cases[k], true);
        struct buffer in[INPUTS];
        double *values[INPUTS];
        draw(ops, &p, &cases[k], in, values);
        int64_t width = (int64_t)p.shape.value_heads * p.shape.value_dim;
        struct delta_inputs inputs = inputs_of(in);
        struct kept kept = make_kept(ops, &p);
        struct buffer out = ops_output(ops, backend->act, p.sequences.count, width, width);
        double *expected = ops_doubles(ops, out.count);
        delta_formula(&p, values, expected);
        backend->delta->delta_step(backend, out.device, kept.states.device,
                                   kept.device_slots.device, &inputs, p.sequences.count, &p.shape);
        ops_expect(ops, &out, expected, "out");
        recurrent_expect(ops, &kept);
    }
}
