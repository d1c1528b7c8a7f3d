/* RoPE and causal attention. */
#include <math.h>
#include <string.h>

#include "kernels/ops/attention.h"
#include "tests/ops/ops.h"

void case_rope(struct ops *ops) {
    struct backend *backend = ops->backend;
    static const struct {
        int tokens, heads, head_dim, gap;
    } shapes[] = {{1, 1, 2, 0}, {13, 3, 10, 7}, {70, 4, 64, 64}, {5, 1, 128, 0}, {9, 9, 80, 3}};
    enum { POSITIONS = 90 };
    for (int k = 0; k < 10; k++) {
        int tokens = shapes[k / 2].tokens, heads = shapes[k / 2].heads;
        int head_dim = shapes[k / 2].head_dim, half = head_dim / 2;
        double sign = k % 2 ? -1 : 1;
        int64_t width = (int64_t)heads * head_dim;
        struct buffer x =
            ops_random(ops, backend->act, tokens, width, width + shapes[k / 2].gap, 1);
        struct buffer table = ops_random(ops, backend->acc, POSITIONS, head_dim, head_dim, 1);
        int32_t positions[100];
        for (int t = 0; t < tokens; t++) positions[t] = ops_integer(ops, 0, POSITIONS - 1);
        struct buffer device_positions = ops_integers(ops, tokens, positions);
        double *expected = ops_doubles(ops, x.count);
        for (int64_t i = 0; i < x.count; i++) {
            const double *row = table.values + (int64_t)positions[i / width] * head_dim;
            int j = (int)(i % head_dim);
            double cosine = row[j % half], sine = sign * row[half + j % half];
            expected[i] = j < half ? x.values[i] * cosine - x.values[i + half] * sine
                                   : x.values[i] * cosine + x.values[i - half] * sine;
        }
        backend->attention->rope(backend, x.device, x.stride, table.device, device_positions.device,
                                 k % 2, tokens, heads, head_dim);
        ops_expect(ops, &x, expected, k % 2 ? "inverse rotation" : "rotation");
    }
}

struct attention_case {
    int lengths[3], count, heads, kv_heads, head_dim, window, gap;
    double size; /* of q: large ones make the softmax sharp */
};

static const struct attention_case cases[] = {
    {{1}, 1, 1, 1, 8, 0, 0, 1},     {{5, 1, 13}, 3, 4, 2, 16, 0, 3, 1},
    {{33, 7}, 2, 8, 1, 8, 5, 1, 3}, {{70, 3, 131}, 3, 6, 2, 20, 17, 0, 1},
    {{300}, 1, 4, 4, 64, 0, 64, 2}, {{200, 129}, 2, 8, 1, 128, 100, 0, 1},
    {{257}, 1, 3, 3, 80, 1, 8, 1},  {{190}, 1, 9, 3, 64, 0, 0, 4},
    {{70}, 1, 2, 2, 96, 0, 8, 1},   {{45, 3}, 2, 2, 1, 256, 0, 0, 1},
    {{77}, 1, 4, 2, 32, 0, 0, 1},   {{50}, 1, 2, 1, 128, 0, 1, 1},
    {{40}, 1, 2, 1, 200, 0, 1, 1},  {{130, 1}, 2, 2, 2, 64, 33, 0, 2},
};
enum { CASES = sizeof cases / sizeof *cases };

/* The buffers of a case, and what the formulas below need. */
struct problem {
    struct attention_shape shape;
    struct sequences sequences;
    struct buffer q, k, v;
};

static struct problem make_problem(struct ops *ops, const struct attention_case *c) {
    enum dtype act = ops->backend->act;
    struct problem problem = {
        .shape = {c->heads, c->kv_heads, c->head_dim, c->window, 1 / sqrt(c->head_dim)},
        .sequences = ops_sequences(ops, c->lengths, c->count),
    };
    int64_t tokens = problem.sequences.tokens;
    int64_t wide = (int64_t)c->heads * c->head_dim, narrow = (int64_t)c->kv_heads * c->head_dim;
    problem.q = ops_random(ops, act, tokens, wide, wide + c->gap, c->size);
    problem.k = ops_random(ops, act, tokens, narrow, narrow + 2 * c->gap, 1);
    problem.v = ops_random(ops, act, tokens, narrow, narrow + 3 * c->gap, 1);
    return problem;
}

static struct attention_inputs inputs_of(const struct problem *problem) {
    return (struct attention_inputs){problem->q.device, problem->k.device, problem->v.device,
                                     problem->q.stride, problem->k.stride, problem->v.stride};
}

/* One query: probabilities p[j] of keys from..t (tokens of the whole batch); returns its lse. */
static double weigh(const struct problem *problem, const double *q, const double *k, int head,
                    int64_t t, int64_t from, double *p) {
    int width = problem->shape.head_dim;
    int kv_head = head / (problem->shape.heads / problem->shape.kv_heads);
    const double *query = q + (t * problem->shape.heads + head) * width;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = from; j <= t; j++) {
        const double *key = k + (j * problem->shape.kv_heads + kv_head) * width;
        double score = 0;
        for (int i = 0; i < width; i++) score += query[i] * key[i];
        p[j - from] = score * problem->shape.scale;
        largest = fmax(largest, p[j - from]);
    }
    for (int64_t j = from; j <= t; j++) sum += exp(p[j - from] - largest);
    double lse = largest + log(sum);
    for (int64_t j = from; j <= t; j++) p[j - from] = exp(p[j - from] - lse);
    return lse;
}

/* The first key that the query at token t of a sequence that starts at `start` sees. */
static int64_t first_key(const struct problem *problem, int64_t start, int64_t t) {
    int64_t from = problem->shape.window > 0 ? t - problem->shape.window + 1 : start;
    return from < start ? start : from;
}

static void attend(const struct problem *problem, double *const inputs[], double *out,
                   double *lse) {
    const struct attention_shape *shape = &problem->shape;
    double p[512];
    for (int s = 0; s < problem->sequences.count; s++)
        for (int64_t t = problem->sequences.offsets[s]; t < problem->sequences.offsets[s + 1]; t++)
            for (int h = 0; h < shape->heads; h++) {
                int64_t from = first_key(problem, problem->sequences.offsets[s], t);
                int kv_head = h / (shape->heads / shape->kv_heads);
                double value = weigh(problem, inputs[0], inputs[1], h, t, from, p);
                double *row = out + (t * shape->heads + h) * shape->head_dim;
                if (lse) lse[h * problem->sequences.tokens + t] = value;
                memset(row, 0, (size_t)shape->head_dim * sizeof *row);
                for (int64_t j = from; j <= t; j++)
                    for (int i = 0; i < shape->head_dim; i++)
                        row[i] += p[j - from] *
                                  inputs[2][(j * shape->kv_heads + kv_head) * shape->head_dim + i];
            }
}

static void attention_formula(const void *context, double *const inputs[], double *out) {
    attend(context, inputs, out, NULL);
}

/* Gradients by the chain rule, for shapes too large for differences; checked against these on the
 * small ones. `out` is what the op is given: its rounding to BF16 enters through out.dout, the mean
 * of dp, and where the softmax is sharp that is the largest error of dq and dk by far. gradients:
 * dq, dk, dv, zeroed. */
static void attend_backward(const struct problem *problem, const double *dout, const double *out,
                            double *const gradients[]) {
    const struct attention_shape *shape = &problem->shape;
    const double *q = problem->q.values, *k = problem->k.values, *v = problem->v.values;
    int width = shape->head_dim;
    double p[512], dp[512];
    for (int s = 0; s < problem->sequences.count; s++)
        for (int64_t t = problem->sequences.offsets[s]; t < problem->sequences.offsets[s + 1]; t++)
            for (int h = 0; h < shape->heads; h++) {
                int64_t from = first_key(problem, problem->sequences.offsets[s], t);
                int64_t at = (t * shape->heads + h) * width;
                int kv_head = h / (shape->heads / shape->kv_heads);
                double mean = 0;
                weigh(problem, q, k, h, t, from, p);
                for (int64_t j = from; j <= t; j++) {
                    int64_t key = (j * shape->kv_heads + kv_head) * width;
                    dp[j - from] = 0;
                    for (int i = 0; i < width; i++) {
                        dp[j - from] += dout[at + i] * v[key + i];
                        gradients[2][key + i] += p[j - from] * dout[at + i];
                    }
                }
                for (int i = 0; i < width; i++) mean += out[at + i] * dout[at + i];
                for (int64_t j = from; j <= t; j++) {
                    int64_t key = (j * shape->kv_heads + kv_head) * width;
                    double ds = p[j - from] * (dp[j - from] - mean) * shape->scale;
                    for (int i = 0; i < width; i++) {
                        gradients[0][at + i] += ds * k[key + i];
                        gradients[1][key + i] += ds * q[at + i];
                    }
                }
            }
}

static void run_attention(struct ops *ops, const struct problem *problem, struct buffer *out,
                          struct buffer *lse) {
    struct backend *backend = ops->backend;
    struct attention_inputs in = inputs_of(problem);
    int64_t tokens = problem->sequences.tokens, width = problem->q.width;
    *out = ops_output(ops, backend->act, tokens, width, width);
    *lse = ops_output(ops, backend->acc, problem->shape.heads, tokens, tokens);
    backend->attention->attention(backend, out->device, lse->device, &in, &problem->sequences,
                                  &problem->shape);
}

void case_attention(struct ops *ops) {
    for (int c = 0; c < CASES; c++) {
        struct problem problem = make_problem(ops, &cases[c]);
        struct buffer out, lse, alone;
        double *expected = ops_doubles(ops, problem.q.count);
        double *expected_lse = ops_doubles(ops, problem.sequences.tokens * problem.shape.heads);
        double *inputs[] = {problem.q.values, problem.k.values, problem.v.values};
        if (ops->compare) attend(&problem, inputs, expected, expected_lse);
        run_attention(ops, &problem, &out, &lse);
        ops_expect(ops, &out, expected, "out");
        ops_expect(ops, &lse, expected_lse, "lse");
        struct attention_inputs in = inputs_of(&problem);
        alone = ops_output(ops, out.type, out.rows, out.width, out.stride);
        ops->backend->attention->attention(ops->backend, alone.device, NULL, &in,
                                           &problem.sequences, &problem.shape);
        ops_expect(ops, &alone, expected, "out without lse");
    }
}

/* The chain rule above against differences; small shapes only. */
static void check_formula(struct ops *ops, struct problem *problem, const double *dout) {
    struct formula formula = {attention_formula,
                              problem,
                              {problem->q.values, problem->k.values, problem->v.values},
                              problem->q.count};
    int64_t counts[] = {problem->q.count, problem->k.count, problem->v.count};
    double *out = ops_doubles(ops, problem->q.count), *expected[3];
    for (int i = 0; i < 3; i++) expected[i] = ops_doubles(ops, counts[i]);
    attend(problem, formula.inputs, out, NULL);
    attend_backward(problem, dout, out, expected);
    for (int i = 0; i < 3; i++) {
        double *numeric = ops_differentiate(ops, &formula, i, counts[i], 7, dout);
        for (int64_t j = 0; j < counts[i]; j += 7)
            if (!(fabs(numeric[j] - expected[i][j]) <= 1e-9 * (1 + fabs(numeric[j]))))
                ops_fail(ops, "the test's gradient formula is wrong");
    }
}

void case_attention_backward(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int c = 0; c < CASES; c++) {
        struct problem problem = make_problem(ops, &cases[c]);
        struct buffer out, lse, *in[] = {&problem.q, &problem.k, &problem.v}, gradient[3];
        double *expected[3];
        run_attention(ops, &problem, &out, &lse);
        struct buffer dout = ops_random(ops, backend->act, out.rows, out.width, out.width, 1);
        for (int i = 0; i < 3; i++) {
            expected[i] = ops_doubles(ops, in[i]->count);
            gradient[i] = ops_output(ops, backend->act, in[i]->rows, in[i]->width,
                                     in[i]->width + (3 - i) * cases[c].gap);
        }
        /* Where a query sees one key only, dq and dk are differences of equal terms of size 1. */
        gradient[0].floor = gradient[1].floor = 1;
        ops_fetch(ops, &out, "out");
        if (ops->compare) attend_backward(&problem, dout.values, out.got, expected);
        if (ops->compare && c < 3) check_formula(ops, &problem, dout.values);
        struct attention_inputs inputs = inputs_of(&problem);
        struct attention_gradients gradients = {gradient[0].device, gradient[1].device,
                                                gradient[2].device, gradient[0].stride,
                                                gradient[1].stride, gradient[2].stride};
        backend->attention->attention_backward(backend, &gradients, dout.device, out.device,
                                               lse.device, &inputs, &problem.sequences,
                                               &problem.shape);
        static const char *names[] = {"dq", "dk", "dv"};
        for (int i = 0; i < 3; i++) ops_expect(ops, &gradient[i], expected[i], names[i]);
    }
}
