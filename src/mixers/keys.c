/* Keys and queries of new mixers that have fewer groups, or fewer channels in one, than the
 * attention has heads and channels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/matrix.h"
#include "base/memory.h"
#include "mixers/attention/attention.h"
#include "mixers/start.h"

/* Rows of one group, [E, D + 1] in float32, the last column their bias: means over its heads. */
static enum status read_group(float *out, bool query, int64_t group, int64_t groups,
                              const struct attention_source *source) {
    const struct mixer_host *host = source->host;
    int64_t heads = host->heads / groups, width = host->hidden, rows = host->head_dim;
    int tensor = query ? ATTENTION_Q : ATTENTION_K;
    int bias = query ? ATTENTION_Q_BIAS : ATTENTION_K_BIAS;
    float *weights = memory_calloc((size_t)(rows * (width + 1)), sizeof *weights);
    enum status status = weights ? STATUS_OK : STATUS_FAILED;
    memset(out, 0, (size_t)(rows * (width + 1)) * sizeof *out);
    for (int64_t h = group * heads; h < (group + 1) * heads && !status; h++) {
        int64_t from = query ? h : h / (host->heads / host->kv_heads);
        float *biases = weights + rows * width;
        status = source->read(source->context, tensor, from * rows * width, rows * width, weights);
        if (!status && source->name(source->context, bias))
            status = source->read(source->context, bias, from * rows, rows, biases);
        for (int64_t r = 0; r < rows && !status; r++) {
            for (int64_t d = 0; d < width; d++)
                out[r * (width + 1) + d] += weights[r * width + d] / (float)heads;
            out[r * (width + 1) + width] += biases[r] / (float)heads;
        }
    }
    free(weights);
    return status;
}

/* R [n, n] with R^T R = rows rows^T, of rows [n, width]. */
static enum status find_root(double *root, const float *rows, int64_t n, int64_t width) {
    size_t side = (size_t)n;
    double *gram = memory_calloc(3 * side * side + side, sizeof *gram);
    float *turned = memory_calloc((size_t)(n * width), sizeof *turned);
    enum status status = gram && turned ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        double *u = gram + side * side, *v = u + side * side, *values = v + side * side;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < width; k++) turned[k * n + i] = rows[i * width + k];
        const struct matrix_view view = {turned, n, n};
        matrix_products(gram, &view, &view, width);
        status = matrix_decompose(u, values, v, gram, n);
        for (int64_t i = 0; i < n && !status; i++)
            for (int64_t k = 0; k < n; k++) root[i * n + k] = sqrt(values[i]) * v[k * n + i];
    }
    free(gram);
    free(turned);
    return status;
}

/* The directions of an approximation carry very different weight, and what reads their channels,
 * the convolution's SiLU, is linear for small values only: a rotation, the same for queries and
 * keys, spreads them. [n, n], the discrete cosine transform. */
static double spread(int64_t i, int64_t j, int64_t n) {
    double phase = M_PI * ((double)i + 0.5) * (double)j / (double)n;
    return sqrt((j ? 2.0 : 1.0) / (double)n) * cos(phase);
}

/* maps[0] and maps[1] [states, n]: what takes queries and keys [n, width] to `states` channels
 * whose products are the best approximation, of that rank, of all products between them. With Q^T =
 * O R (and K alike) the core R_q R_k^T has the singular values of Q^T K. */
static enum status find_maps(double *maps[2], int64_t states, float *const rows[2], int64_t n,
                             int64_t width) {
    size_t side = (size_t)n;
    double *roots[2] = {memory_calloc(side * side, sizeof(double)),
                        memory_calloc(side * side, sizeof(double))};
    double *core = memory_calloc(3 * side * side + side, sizeof *core);
    enum status status = roots[0] && roots[1] && core ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; i < 2 && !status; i++) status = find_root(roots[i], rows[i], n, width);
    double *u = core + side * side, *v = u + side * side, *values = v + side * side;
    for (int64_t i = 0; i < n && !status; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < n; k++)
                core[i * n + j] += roots[0][i * n + k] * roots[1][j * n + k];
    if (!status) status = matrix_decompose(u, values, v, core, n);
    for (int i = 0; i < 2 && !status; i++)
        for (int64_t s = 0; s < states && values[s] > 1e-12 * values[0]; s++)
            for (int64_t k = 0; k < n; k++) {
                const double *across = i ? u : v, *root = roots[!i];
                double sum = 0;
                for (int64_t j = 0; j < n; j++) sum += across[j * n + s] * root[j * n + k];
                for (int64_t t = 0; t < states; t++)
                    maps[i][t * n + k] += spread(t, s, states) * sum / sqrt(values[s]);
            }
    free(roots[0]);
    free(roots[1]);
    free(core);
    return status;
}

/* Columns [first, first + count) of map rows, as the source's type holds them. */
static void put(float *out, const double *map, int64_t states, const float *rows, int64_t n,
                int64_t width, int64_t first, int64_t count,
                const struct attention_source *source) {
    for (int64_t s = 0; s < states; s++)
        for (int64_t d = 0; d < count; d++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += map[s * n + k] * rows[k * width + first + d];
            out[s * count + d] = start_rounded((float)sum, source);
        }
}

/* The rows of one group into q and k [states, D], or their biases [states]. */
static enum status fill_group(float *const out[2], int64_t group, int64_t groups, int64_t states,
                              bool bias, const struct attention_source *source) {
    int64_t n = source->host->head_dim, width = source->host->hidden + 1;
    float *rows[2] = {memory_calloc((size_t)(n * width), sizeof(float)),
                      memory_calloc((size_t)(n * width), sizeof(float))};
    double *maps[2] = {memory_calloc((size_t)(states * n), sizeof(double)),
                       memory_calloc((size_t)(states * n), sizeof(double))};
    bool there = rows[0] && rows[1] && maps[0] && maps[1];
    enum status status = there ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; i < 2 && !status; i++) status = read_group(rows[i], !i, group, groups, source);
    if (!status && states < n) status = find_maps(maps, states, rows, n, width);
    for (int i = 0; i < 2 && !status; i++) {
        for (int64_t s = 0; s < states && states == n; s++) maps[i][s * n + s] = 1;
        put(out[i], maps[i], states, rows[i], n, width, bias ? width - 1 : 0, bias ? 1 : width - 1,
            source);
    }
    for (int i = 0; i < 2; i++) {
        free(rows[i]);
        free(maps[i]);
    }
    return status;
}

enum status start_keys(float *q, float *k, int64_t groups, int64_t states, bool bias,
                       const struct attention_source *source) {
    const struct mixer_host *host = source->host;
    int64_t width = bias ? 1 : host->hidden;
    enum status status = STATUS_OK;
    if (groups == host->heads && states == host->head_dim) {
        status = start_heads(q, bias ? ATTENTION_Q_BIAS : ATTENTION_Q, width, source);
        if (status) return status;
        return start_heads(k, bias ? ATTENTION_K_BIAS : ATTENTION_K, width, source);
    }
    for (int64_t g = 0; g < groups && !status; g++) {
        float *const out[2] = {q + g * states * width, k + g * states * width};
        status = fill_group(out, g, groups, states, bias, source);
    }
    return status;
}

enum status start_check_keys(const char *groups_option, int64_t groups, const char *states_option,
                             int64_t states, const struct mixer_host *host) {
    if (!host->heads) return STATUS_OK; /* no attention is left that anything could start from */
    if (states > host->head_dim)
        return status_set(STATUS_USAGE, "--%s %d is more than the attention's head size %d",
                          states_option, (int)states, host->head_dim);
    if (host->heads % groups)
        return status_set(STATUS_USAGE, "--%s %d must divide the attention's %d heads",
                          groups_option, (int)groups, host->heads);
    return STATUS_OK;
}
