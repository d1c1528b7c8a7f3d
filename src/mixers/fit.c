#include "mixers/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/matrix.h"
#include "base/memory.h"
#include "kernels/ops/products.h"
#include "mixers/attention/attention.h"
#include "mixers/buffers.h"

/* Ridges, as parts of the mean square of what is mapped. */
static const double head_ridge = 0.01, constant_ridge = 1e-3, out_ridge = 0.01;

static const double memories[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};
static const double writes[] = {0.05, 0.2, 0.5, 0.8};
enum { MEMORIES = sizeof memories / sizeof *memories, WRITES = sizeof writes / sizeof *writes };

/* A mixer under trial and what it is measured by. */
struct trial {
    const struct fit_rules *rules;
    const struct fit_rows *rows;
    const struct attention_source *source;
    struct mixer_choices choices; /* with the fit so far */
    struct mixer_fit *fit;
    struct mixer mixer;
    void *buffers;                  /* device */
    struct acc *sum;                /* device [n, D] */
    float *heads, *mixed;           /* host [n, H E], [n, columns] */
    int64_t tokens, columns, width; /* width: of a unit */
};

/* ---- the parts */

static bool asks(const struct mixer_choices *choices, int choice) {
    return choices->word[choice] == 1;
}

/* Mean of the squares of some columns. */
static double mean_square(const struct matrix_view *view, int64_t rows) {
    double sum = 0;
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < view->width; i++) {
            double value = view->values[t * view->stride + i];
            sum += value * value;
        }
    return sum / (double)(rows * view->width);
}

static void add_ridge(double *gram, int64_t n, double part) {
    double trace = 0;
    for (int64_t i = 0; i < n; i++) trace += gram[i * n + i];
    double ridge = part * trace / (double)n;
    for (int64_t i = 0; i < n; i++) gram[i * n + i] += ridge > 0 ? ridge : 1;
}

/* How much of `to` a linear map of `from` explains, both of the same width: R^2 of the ridge
 * regression. */
static enum status explain(double *out, const struct matrix_view *from,
                           const struct matrix_view *to, int64_t rows) {
    int64_t n = from->width;
    size_t count = (size_t)(n * n);
    double *gram = memory_calloc(3 * count, sizeof *gram);
    if (!gram) return STATUS_FAILED;
    double *map = gram + count,
           *factor = map + count; /* map: from^T to, then the map's transpose */
    double total = mean_square(to, rows) * (double)(rows * n), taken = 0;
    matrix_products(gram, from, from, rows);
    matrix_products(map, from, to, rows);
    memcpy(factor, gram, count * sizeof *factor);
    add_ridge(factor, n, head_ridge);
    *out = 0;
    if (total > 0 && isfinite(total) && matrix_factor(factor, n)) {
        double *moments = memory_calloc(count, sizeof *moments);
        if (!moments) {
            free(gram);
            return STATUS_FAILED;
        }
        memcpy(moments, map, count * sizeof *moments);
        matrix_solve(map, n, factor, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < n; k++) {
                double through = 0; /* (gram map)[i, k] */
                for (int64_t j = 0; j < n; j++) through += gram[i * n + j] * map[j * n + k];
                taken += map[i * n + k] * (2 * moments[i * n + k] - through);
            }
        *out = taken / total;
        free(moments);
    }
    free(gram);
    return STATUS_OK;
}

static struct matrix_view heads_of(const struct trial *trial, int64_t unit) {
    int64_t first =
        trial->rules->channel(&trial->mixer.sizes, &trial->choices, trial->source->host, unit);
    int64_t stride = (int64_t)trial->source->host->heads * trial->source->host->head_dim;
    return (struct matrix_view){trial->heads + first, trial->width, stride};
}

static struct matrix_view mixed_of(const struct trial *trial, int64_t unit) {
    return (struct matrix_view){trial->mixed + unit * trial->width, trial->width, trial->columns};
}

/* ---- passes */

/* The mixer on the rows, which leaves `mixed`; what it adds to zeros is in `sum`. */
static enum status pass(struct trial *trial) {
    struct backend *backend = trial->rows->backend;
    const struct mixer_kind *kind = trial->mixer.sizes.kind;
    const struct mixer_host *host = trial->source->host;
    const struct buffer_room room = {.backend = backend, .sequences = *trial->rows->sequences};
    struct mixer_pass pass = {.backend = backend,
                              .mixer = &trial->mixer,
                              .host = host,
                              .sequences = trial->rows->sequences,
                              .input = trial->rows->input};
    (void)buffers_lay_out(pass.buffer, trial->buffers, kind->buffers, kind->n_buffers,
                          &trial->mixer.sizes, host, &room, false);
    size_t values = (size_t)(trial->tokens * host->hidden);
    backend->zero(backend, trial->sum, values * dtype_size(backend->acc));
    kind->forward(&pass, trial->sum);
    backend->download(backend, trial->mixed, DTYPE_F32, pass.buffer[trial->rules->mixed],
                      backend->act, (size_t)(trial->tokens * trial->columns));
    enum status status = backend->sync(backend);
    return status ? status : interrupt_check();
}

static enum status renew(struct trial *trial, int weight) {
    if (weight < 0) return STATUS_OK;
    return mixer_make_weight(&trial->mixer, trial->rows->backend, &trial->choices, trial->source,
                             weight);
}

static void set_all(double *values, int64_t count, double value) {
    for (int64_t i = 0; i < count; i++) values[i] = value;
}

/* ---- memories */

/* With the memory and correction that stand in every unit: those that explain more than before keep
 * them, in `best`. */
static enum status try(struct trial *trial, struct mixer_fit *best) {
    enum status status = renew(trial, trial->rules->memory_weight);
    if (!status) status = pass(trial);
    for (int64_t unit = 0; !status && unit < trial->fit->units; unit++) {
        struct matrix_view from = mixed_of(trial, unit), to = heads_of(trial, unit);
        double explains = 0;
        status = explain(&explains, &from, &to, trial->tokens);
        if (status || !(explains > best->explains[unit])) continue;
        best->explains[unit] = explains;
        best->memory[unit] = trial->fit->memory[unit];
        best->write[unit] = trial->fit->write[unit];
    }
    return status;
}

static enum status alloc_units(struct mixer_fit *fit, int64_t units) {
    size_t count = (size_t)units;
    fit->units = units;
    fit->memory = memory_calloc(4 * count, sizeof *fit->memory);
    if (!fit->memory) return STATUS_FAILED;
    fit->write = fit->memory + count;
    fit->scale = fit->write + count;
    fit->explains = fit->scale + count;
    return STATUS_OK;
}

static enum status find_memories(struct trial *trial) {
    struct mixer_fit *fit = trial->fit, best = {0};
    bool writes_too = trial->rules->write_weight >= 0;
    enum status status = alloc_units(&best, fit->units);
    if (!status) {
        set_all(best.memory, fit->units, memories[0]);
        set_all(best.write, fit->units, fit->write[0]);
    }
    for (int w = 0; !status && w < (writes_too ? WRITES : 1); w++) {
        if (writes_too) set_all(fit->write, fit->units, writes[w]);
        if (writes_too) status = renew(trial, trial->rules->write_weight);
        for (int m = 0; !status && m < MEMORIES; m++) {
            set_all(fit->memory, fit->units, memories[m]);
            status = try(trial, &best);
        }
    }
    if (!status) memcpy(fit->memory, best.memory, 4 * (size_t)fit->units * sizeof *fit->memory);
    set_all(fit->scale, fit->units, 1);
    free(best.memory);
    if (!status) status = renew(trial, trial->rules->write_weight);
    return status ? status : renew(trial, trial->rules->memory_weight);
}

/* ---- sizes, the gate, the output projection */

static enum status find_scales(struct trial *trial) {
    enum status status = pass(trial);
    for (int64_t unit = 0; !status && unit < trial->fit->units; unit++) {
        struct matrix_view from = mixed_of(trial, unit), to = heads_of(trial, unit);
        double scale = sqrt(mean_square(&to, trial->tokens) / mean_square(&from, trial->tokens));
        /* A head that is zero on all rows is left as it is. */
        trial->fit->scale[unit] = isfinite(scale) && scale > 0 ? scale : 1;
    }
    return status ? status : renew(trial, trial->rules->scale_weight);
}

/* argmin E(w u - 1)^2 + ridge |w|^2 */
static enum status find_constant(struct trial *trial) {
    struct backend *backend = trial->rows->backend;
    int64_t width = trial->source->host->hidden, tokens = trial->tokens;
    size_t side = (size_t)width, values = (size_t)(tokens * width);
    float *input = memory_calloc(values, sizeof *input);
    double *gram = memory_calloc(side * side + side, sizeof *gram), error = 0;
    float *row = trial->fit->constant = memory_calloc(side, sizeof *row);
    enum status status = input && gram && row ? STATUS_OK : STATUS_FAILED;
    if (status) goto done;
    backend->download(backend, input, DTYPE_F32, trial->rows->input, backend->act, values);
    status = backend->sync(backend);
    if (status) goto done;
    struct matrix_view view = {input, width, width};
    double *sums = gram + side * side;
    matrix_products(gram, &view, &view, tokens);
    for (size_t i = 0; i < values; i++) sums[i % side] += (double)input[i];
    add_ridge(gram, width, constant_ridge);
    if (matrix_factor(gram, width)) matrix_solve(sums, 1, gram, width);
    for (size_t i = 0; i < side; i++) row[i] = (float)sums[i];
    for (int64_t t = 0; t < tokens; t++) {
        double product = -1;
        for (int64_t i = 0; i < width; i++)
            product += (double)row[i] * (double)input[t * width + i];
        error += product * product;
    }
    trial->fit->constant_explains = 1 - error / (double)tokens;
done:
    free(input);
    free(gram);
    return status;
}

/* What the attention gives less what the mixer gives [n, D]; the caller frees. */
static enum status find_rest(float **out, struct trial *trial) {
    struct backend *backend = trial->rows->backend;
    const struct attention_source *source = trial->source;
    int64_t width = source->host->hidden, tokens = trial->tokens;
    int64_t heads = (int64_t)source->host->heads * source->host->head_dim;
    size_t weights = (size_t)(width * heads), values = (size_t)(tokens * width);
    float *rest = memory_calloc(2 * values, sizeof *rest);
    float *host = memory_calloc(weights, sizeof *host);
    struct act *device = backend->alloc(backend, weights * dtype_size(backend->act), "W_O");
    enum status status = rest && host && device ? STATUS_OK : STATUS_FAILED;
    if (!status) status = pass(trial);
    if (!status) {
        backend->download(backend, rest + values, DTYPE_F32, trial->sum, backend->acc, values);
        status = source->read(source->context, ATTENTION_O, 0, width * heads, host);
    }
    if (!status) {
        backend->upload(backend, device, backend->act, host, DTYPE_F32, weights);
        backend->products->matmul(backend, into_acc(trial->sum), trial->rows->heads, heads, device,
                                  NULL, tokens, width, heads);
        backend->download(backend, rest, DTYPE_F32, trial->sum, backend->acc, values);
        status = backend->sync(backend);
    }
    for (size_t i = 0; !status && i < values; i++) rest[i] -= rest[values + i];
    if (!status && source->name(source->context, ATTENTION_O_BIAS)) {
        status = source->read(source->context, ATTENTION_O_BIAS, 0, width, host);
        for (size_t i = 0; !status && i < values; i++) rest[i] += host[i % (size_t)width];
    }
    free(host);
    backend->free(backend, device);
    if (status) free(rest);
    if (!status) *out = rest;
    return status;
}

/* The output projection that comes closest to the attention's outputs, as a change of what it is
 * without: the ridge is on the change. */
static enum status find_out(struct trial *trial) {
    int64_t width = trial->source->host->hidden, columns = trial->columns;
    size_t weights = (size_t)(width * columns), side = (size_t)columns;
    float *rest = NULL, *before = memory_calloc(weights, sizeof *before);
    double *gram = memory_calloc(side * side, sizeof *gram);
    double *change = memory_calloc(weights, sizeof *change); /* [columns, D] */
    enum status status = before && gram && change ? STATUS_OK : STATUS_FAILED;
    if (!status) status = find_rest(&rest, trial);
    if (!status)
        status = mixer_init(before, trial->rules->out, &trial->mixer.sizes, &trial->choices,
                            trial->source);
    if (status) goto done;
    struct matrix_view mixed = {trial->mixed, columns, columns}, missing = {rest, width, width};
    matrix_products(gram, &mixed, &mixed, trial->tokens);
    matrix_products(change, &mixed, &missing, trial->tokens);
    add_ridge(gram, columns, out_ridge);
    if (!matrix_factor(gram, columns)) {
        status = status_fail("layer %d: no output projection can be fitted: the mixer's values are "
                             "not finite",
                             trial->source->layer);
        goto done;
    }
    matrix_solve(change, width, gram, columns);
    for (int64_t d = 0; d < width; d++)
        for (int64_t i = 0; i < columns; i++)
            before[d * columns + i] += (float)change[i * width + d];
    trial->fit->out = before;
    before = NULL;
done:
    free(before);
    free(rest);
    free(gram);
    free(change);
    return status;
}

/* ---- all of it */

static enum status open_trial(struct trial *trial) {
    struct backend *backend = trial->rows->backend;
    const struct mixer_kind *kind = trial->mixer.sizes.kind;
    const struct mixer_host *host = trial->source->host;
    const struct mixer_sizes *sizes = &trial->mixer.sizes;
    int64_t heads = (int64_t)host->heads * host->head_dim;
    struct tensor_shape out = mixer_tensor_shape(sizes, host, trial->rules->out);
    const struct buffer_room room = {.backend = backend, .sequences = *trial->rows->sequences};
    trial->tokens = trial->rows->sequences->tokens;
    trial->columns = out.dims[1];
    trial->heads = memory_calloc((size_t)(trial->tokens * heads), sizeof *trial->heads);
    trial->mixed = memory_calloc((size_t)(trial->tokens * trial->columns), sizeof *trial->mixed);
    enum status status = alloc_units(trial->fit, trial->rules->units(sizes));
    if (status || !trial->heads || !trial->mixed) return STATUS_FAILED;
    trial->width = trial->columns / trial->fit->units;
    size_t bytes =
        buffers_lay_out(NULL, NULL, kind->buffers, kind->n_buffers, sizes, host, &room, false);
    trial->buffers = backend->alloc(backend, bytes, "activations");
    trial->sum = backend->alloc(
        backend, (size_t)(trial->tokens * host->hidden) * dtype_size(backend->acc), "activations");
    if (!trial->buffers || !trial->sum) return STATUS_FAILED;
    backend->download(backend, trial->heads, DTYPE_F32, trial->rows->heads, backend->act,
                      (size_t)(trial->tokens * heads));
    set_all(trial->fit->memory, trial->fit->units, memories[0]);
    set_all(trial->fit->write, trial->fit->units, 0.5);
    set_all(trial->fit->scale, trial->fit->units, 1);
    return mixer_alloc(&trial->mixer, backend, host);
}

static void close_trial(struct trial *trial) {
    struct backend *backend = trial->rows->backend;
    mixer_free(&trial->mixer, backend);
    backend->free(backend, trial->buffers);
    backend->free(backend, trial->sum);
    free(trial->heads);
    free(trial->mixed);
}

enum status mixer_fit_make(struct mixer_fit **out, const struct mixer_sizes *sizes,
                           const struct mixer_choices *choices,
                           const struct attention_source *source, const struct fit_rows *rows) {
    const struct fit_rules *rules = sizes->kind->fitting;
    if (!rules) return status_fail("%s cannot be fitted to data", sizes->kind->plural);
    struct mixer_fit *fit = memory_calloc(1, sizeof *fit);
    if (!fit) return STATUS_FAILED;
    struct trial trial = {.rules = rules,
                          .rows = rows,
                          .source = source,
                          .choices = *choices,
                          .fit = fit,
                          .mixer = {.sizes = *sizes}};
    trial.choices.fit = fit;
    enum status status = open_trial(&trial);
    if (!status && rules->constant && rules->constant(sizes, choices))
        status = find_constant(&trial);
    for (int w = 0; !status && w < sizes->kind->n_weights; w++) status = renew(&trial, w);
    if (!status && asks(choices, rules->memory)) status = find_memories(&trial);
    if (!status && asks(choices, rules->scale)) status = find_scales(&trial);
    if (!status && asks(choices, rules->fit_out)) status = find_out(&trial);
    close_trial(&trial);
    if (status)
        mixer_fit_free(fit);
    else
        *out = fit;
    return status;
}

/* [D, columns], with zeros behind those of the fit's units. */
static float *pad_out(const struct mixer_fit *fit, int64_t units, int64_t columns,
                      const struct mixer_host *host) {
    int64_t own = columns / units * fit->units;
    float *out = memory_calloc((size_t)(host->hidden * columns), sizeof *out);
    for (int64_t d = 0; out && d < host->hidden; d++)
        memcpy(out + d * columns, fit->out + d * own, (size_t)own * sizeof *out);
    return out;
}

enum status mixer_fit_pad(struct mixer_fit **out, const struct mixer_fit *fit,
                          const struct mixer_sizes *sizes, const struct mixer_host *host) {
    const struct fit_rules *rules = sizes->kind->fitting;
    int64_t units = rules->units(sizes);
    int64_t columns = mixer_tensor_shape(sizes, host, rules->out).dims[1];
    size_t width = (size_t)host->hidden;
    struct mixer_fit *padded = memory_calloc(1, sizeof *padded);
    if (!padded) return STATUS_FAILED;
    padded->constant_explains = fit->constant_explains;
    enum status status = alloc_units(padded, units);
    if (fit->constant) padded->constant = memory_calloc(width, sizeof *padded->constant);
    if (fit->out) padded->out = pad_out(fit, units, columns, host);
    if (status || (fit->constant && !padded->constant) || (fit->out && !padded->out)) {
        mixer_fit_free(padded);
        return STATUS_FAILED;
    }
    if (fit->constant) memcpy(padded->constant, fit->constant, width * sizeof *fit->constant);
    for (int64_t i = 0; i < units; i++) {
        bool own = i < fit->units;
        padded->memory[i] = own ? fit->memory[i] : 1;
        padded->write[i] = own ? fit->write[i] : 0.5;
        padded->scale[i] = own ? fit->scale[i] : 0;
        padded->explains[i] = own ? fit->explains[i] : 0;
    }
    *out = padded;
    return STATUS_OK;
}

void mixer_fit_free(struct mixer_fit *fit) {
    if (!fit) return;
    free(fit->memory);
    free(fit->constant);
    free(fit->out);
    free(fit);
}

bool mixer_fit_has_constant(const struct mixer_fit *fit) {
    return fit && fit->constant && fit->constant_explains > 0.9;
}
