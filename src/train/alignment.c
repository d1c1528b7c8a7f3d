#include "train/alignment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "base/random.h"
#include "kernels/ops/rows.h"

static const char *const names[] = {
    [ALIGNMENT_ATTENTION] = "attention", [ALIGNMENT_BLOCK] = "block", [ALIGNMENT_BOTH] = "both"};
enum { OBJECTIVES = sizeof names / sizeof *names };

const char *alignment_objective_name(enum alignment_objective objective) {
    return names[objective];
}

enum status alignment_objective_from_name(enum alignment_objective *out, const char *name) {
    for (int i = 0; i < OBJECTIVES; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum alignment_objective)i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "there is no objective \"%s\"", name);
}

/* Streams of [tokens, D]; those of the block hold the tokens of its error side by side. */
enum stream {
    ATTENDED,       /* a */
    MIXED,          /* m */
    GRADIENT,       /* of the loss with respect to m */
    MIDDLE,         /* h + a, then h + m */
    TARGET,         /* B(a) */
    OUTPUT,         /* B(m) */
    BLOCK_GRADIENT, /* of the block's error with respect to B(m), then h + m */
    STREAMS,
};

struct alignment {
    struct model *model;
    struct train_alignment settings;
    int64_t tokens; /* of the largest batch */
    struct trace trace;
    struct backward backward;
    void *streams[STREAMS];
    struct acc *values, *weights; /* [tokens] */
    double *host;                 /* [tokens] */
    double *errors, *sizes;       /* [tokens] */
    float *host_weights;          /* [tokens] */
    int64_t *chosen;              /* [tokens]: of the batch, ascending by row */
    int64_t chosen_count;
};

static struct trace_needs needs_of(const struct model *model, const struct sequences *largest,
                                   const struct mixer_sizes *mixers, int count) {
    struct trace_needs needs = trace_needs_begin(model, largest, true);
    for (int l = 0; l < model->config->n_layers; l++)
        trace_needs_add(&needs, model, &model->config->layers[l].mixer);
    for (int i = 0; i < count; i++) trace_needs_add(&needs, model, &mixers[i]);
    return needs;
}

static size_t stream_bytes(const struct model *model, int64_t tokens) {
    return (size_t)(tokens * model->config->hidden_size) * dtype_size(model->backend->acc);
}

uint64_t alignment_bytes(const struct model *model, const struct sequences *largest,
                         const struct mixer_sizes *mixers, int count,
                         const struct train_alignment *settings) {
    struct trace_needs needs = needs_of(model, largest, mixers, count);
    return trace_bytes(model, &needs) + backward_bytes(model, &needs) +
           STREAMS * stream_bytes(model, largest->tokens) +
           2 * (uint64_t)largest->tokens * dtype_size(model->backend->acc);
}

static enum status allocate(struct alignment *alignment, const struct sequences *largest,
                            const struct trace_needs *needs) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    size_t tokens = (size_t)largest->tokens, acc = dtype_size(backend->acc);
    enum status status = trace_alloc(&alignment->trace, model, needs);
    if (!status) status = backward_alloc(&alignment->backward, model, needs);
    for (int i = 0; !status && i < STREAMS; i++) {
        alignment->streams[i] =
            backend->alloc(backend, stream_bytes(model, largest->tokens), "states of a layer");
        if (!alignment->streams[i]) status = STATUS_FAILED;
    }
    if (status) return status;
    alignment->values = backend->alloc(backend, tokens * acc, "errors");
    alignment->weights = backend->alloc(backend, tokens * acc, "weights of errors");
    alignment->host = memory_calloc(tokens, sizeof *alignment->host);
    alignment->errors = memory_calloc(tokens, sizeof *alignment->errors);
    alignment->sizes = memory_calloc(tokens, sizeof *alignment->sizes);
    alignment->host_weights = memory_calloc(tokens, sizeof *alignment->host_weights);
    alignment->chosen = memory_calloc(tokens, sizeof *alignment->chosen);
    bool good = alignment->values && alignment->weights && alignment->host && alignment->errors &&
                alignment->sizes && alignment->host_weights && alignment->chosen;
    return good ? STATUS_OK : STATUS_FAILED;
}

enum status alignment_open(struct alignment **out, struct model *model,
                           const struct sequences *largest, const struct mixer_sizes *mixers,
                           int count, const struct train_alignment *settings) {
    struct alignment *alignment = memory_calloc(1, sizeof *alignment);
    if (!alignment) return STATUS_FAILED;
    alignment->model = model;
    alignment->settings = *settings;
    alignment->tokens = largest->tokens;
    struct trace_needs needs = needs_of(model, largest, mixers, count);
    enum status status = model_prepare(model, largest->longest);
    if (!status) status = allocate(alignment, largest, &needs);
    if (status)
        alignment_close(alignment);
    else
        *out = alignment;
    return status;
}

void alignment_close(struct alignment *alignment) {
    if (!alignment) return;
    struct backend *backend = alignment->model->backend;
    trace_free(&alignment->trace, backend);
    backward_free(&alignment->backward, backend);
    for (int i = 0; i < STREAMS; i++) backend->free(backend, alignment->streams[i]);
    backend->free(backend, alignment->values);
    backend->free(backend, alignment->weights);
    free(alignment->host);
    free(alignment->errors);
    free(alignment->sizes);
    free(alignment->host_weights);
    free(alignment->chosen);
    free(alignment);
}

/* ---- the tokens of the block's error */

/* Of row `row`: a share of the tokens that count, from any of them on and from the first again. */
static void choose_of_row(struct alignment *alignment, const struct positions *positions,
                          int64_t from, int64_t end, double share, double drawn) {
    int64_t length = 0, index = 0;
    for (int64_t t = from; t < end; t++) length += positions->counted[t];
    int64_t count = (int64_t)ceil(share * (double)length);
    int64_t begin = count < length ? (int64_t)(drawn * (double)length) : 0;
    for (int64_t t = from; t < end; t++) {
        if (!positions->counted[t]) continue;
        int64_t place = index++ - begin;
        if ((place < 0 ? place + length : place) < count)
            alignment->chosen[alignment->chosen_count++] = t;
    }
}

static void choose_tokens(struct alignment *alignment, const struct alignment_batch *batch,
                          double share, int64_t step) {
    const struct sequences *sequences = batch->sequences;
    const struct random_stream stream =
        random_stream_for(alignment->settings.seed, batch->layer->index, "alignment.tokens");
    alignment->chosen_count = 0;
    for (int row = 0; row < sequences->count; row++) {
        uint64_t index = (uint64_t)step * (uint64_t)sequences->count + (uint64_t)row;
        choose_of_row(alignment, batch->positions, sequences->offsets[row],
                      sequences->offsets[row + 1], share, random_uniform(&stream, index));
    }
}

/* Rows of the chosen tokens side by side, or back to where they stand in the batch. */
static void move_tokens(struct alignment *alignment, void *to, const void *from, bool gather) {
    struct backend *backend = alignment->model->backend;
    const int64_t *chosen = alignment->chosen;
    size_t row = stream_bytes(alignment->model, 1);
    for (int64_t i = 0, end; i < alignment->chosen_count; i = end) {
        for (end = i + 1; end < alignment->chosen_count && chosen[end] == chosen[end - 1] + 1;)
            end++;
        size_t place = (size_t)chosen[i] * row, at = (size_t)i * row;
        backend->copy(backend, (char *)to + (gather ? at : place),
                      (const char *)from + (gather ? place : at), (size_t)(end - i) * row);
    }
}

/* ---- forward */

/* m or a: what a mixer adds to the residual stream. */
static void run_mixer(struct alignment *alignment, enum stream to, const struct mixer *mixer,
                      const struct alignment_batch *batch) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    backend->zero(backend, alignment->streams[to], stream_bytes(model, batch->sequences->tokens));
    block_mix(model, batch->layer, mixer, &alignment->trace, alignment->streams[to], batch->input,
              batch->sequences);
}

/* B of the chosen tokens of what a mixer gave; the stream between stays in MIDDLE. */
static void run_block(struct alignment *alignment, enum stream to, enum stream given,
                      const struct alignment_batch *batch) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    int64_t width = model->config->hidden_size;
    void *middle = alignment->streams[MIDDLE], *output = alignment->streams[to];
    move_tokens(alignment, middle, batch->input, true);
    move_tokens(alignment, output, alignment->streams[given], true);
    backend->rows->add_difference(backend, middle, NULL, output, NULL, alignment->chosen_count,
                                  width);
    backend->copy(backend, output, middle, stream_bytes(model, alignment->chosen_count));
    block_mlp(model, batch->layer, &alignment->trace, output, middle, alignment->chosen_count);
}

/* Distances of `rows` rows to the host. */
static enum status fetch_distances(struct alignment *alignment, double *out, const struct acc *x,
                                   const struct acc *y, int64_t rows) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    backend->rows->distance(backend, alignment->values, x, y, rows, model->config->hidden_size);
    backend->download(backend, out, DTYPE_F64, alignment->values, backend->acc, (size_t)rows);
    return backend->sync(backend);
}

/* |m - a|^2 and |a|^2 of each token of the batch into errors and sizes. */
static enum status compare_mixers(struct alignment *alignment,
                                  const struct alignment_batch *batch) {
    int64_t tokens = batch->sequences->tokens;
    void *const *streams = alignment->streams;
    enum status status =
        fetch_distances(alignment, alignment->sizes, streams[ATTENDED], NULL, tokens);
    if (status) return status;
    return fetch_distances(alignment, alignment->errors, streams[MIXED], streams[ATTENDED], tokens);
}

/* |B(m) - B(a)|^2 and |B(a) - h|^2 of the chosen tokens, side by side. */
static enum status compare_blocks(struct alignment *alignment,
                                  const struct alignment_batch *batch) {
    void *const *streams = alignment->streams;
    /* The gradient of the block's error is not there yet: its place holds h. */
    move_tokens(alignment, streams[BLOCK_GRADIENT], batch->input, true);
    enum status status = fetch_distances(alignment, alignment->sizes, streams[TARGET],
                                         streams[BLOCK_GRADIENT], alignment->chosen_count);
    if (status) return status;
    return fetch_distances(alignment, alignment->errors, streams[OUTPUT], streams[TARGET],
                           alignment->chosen_count);
}

/* ---- sums and gradients */

/* Sums over the counted tokens: of all, or of those chosen; the weights of the gradient are 1 over
 * the sum of sizes, where a token counts. */
static void add_up(struct alignment *alignment, const struct alignment_batch *batch, bool chosen,
                   double *errors, double *sizes) {
    int64_t count = chosen ? alignment->chosen_count : batch->sequences->tokens;
    const bool *counted = batch->positions->counted;
    *errors = *sizes = 0;
    for (int64_t i = 0; i < count; i++)
        if (chosen || counted[i]) {
            *errors += alignment->errors[i];
            *sizes += alignment->sizes[i];
        }
    for (int64_t i = 0; i < count; i++)
        alignment->host_weights[i] = chosen || counted[i] ? (float)(1 / *sizes) : 0;
}

/* `into` += weights * (x - y) of `rows` rows. */
static void add_gradient(struct alignment *alignment, enum stream into, enum stream x,
                         enum stream y, int64_t rows) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    backend->upload(backend, alignment->weights, backend->acc, alignment->host_weights, DTYPE_F32,
                    (size_t)rows);
    backend->rows->add_difference(backend, alignment->streams[into], alignment->weights,
                                  alignment->streams[x], alignment->streams[y], rows,
                                  model->config->hidden_size);
}

/* The block's error and its gradient with respect to m, written to GRADIENT. */
static enum status take_block(struct alignment *alignment, double *loss, const struct mixer *mixer,
                              const struct alignment_batch *batch) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    void *const *streams = alignment->streams;
    double errors, sizes;
    run_block(alignment, OUTPUT, MIXED, batch);
    enum status status = compare_blocks(alignment, batch);
    if (status) return status;
    add_up(alignment, batch, true, &errors, &sizes);
    *loss += 0.5 * errors / sizes;
    if (!isfinite(*loss)) return STATUS_OK;
    backend->zero(backend, streams[BLOCK_GRADIENT], stream_bytes(model, alignment->chosen_count));
    add_gradient(alignment, BLOCK_GRADIENT, OUTPUT, TARGET, alignment->chosen_count);
    const struct block_state state = {.layer = batch->layer,
                                      .mixer = mixer,
                                      .trace = &alignment->trace,
                                      .input = batch->input,
                                      .middle = streams[MIDDLE],
                                      .output = streams[OUTPUT]};
    const struct sequences chosen = {.tokens = alignment->chosen_count};
    block_backward_mlp(model, &state, &alignment->backward, streams[BLOCK_GRADIENT], NULL, &chosen);
    move_tokens(alignment, streams[GRADIENT], streams[BLOCK_GRADIENT], false);
    return STATUS_OK;
}

static enum status take_attention(struct alignment *alignment, double *loss,
                                  const struct alignment_batch *batch) {
    double errors, sizes;
    enum status status = compare_mixers(alignment, batch);
    if (status) return status;
    add_up(alignment, batch, false, &errors, &sizes);
    *loss += 0.5 * errors / sizes;
    if (isfinite(*loss))
        add_gradient(alignment, GRADIENT, MIXED, ATTENDED, batch->sequences->tokens);
    return STATUS_OK;
}

/* From the gradient with respect to m to that of the weights. */
static void go_back(struct alignment *alignment, const struct mixer *mixer,
                    const struct parameters *parameters, const struct alignment_batch *batch) {
    const struct block_state state = {
        .layer = batch->layer, .mixer = mixer, .trace = &alignment->trace, .input = batch->input};
    block_backward_mixer(
        alignment->model, &state, &alignment->backward, alignment->streams[GRADIENT],
        parameters_gradients(parameters, batch->layer->index), true, batch->sequences);
}

enum status alignment_step(struct alignment *alignment, double *loss, const struct mixer *mixer,
                           struct parameters *parameters, const struct alignment_batch *batch,
                           const struct train_schedule *schedule,
                           const struct train_optimizer *optimizer, int64_t number) {
    struct model *model = alignment->model;
    struct backend *backend = model->backend;
    enum alignment_objective objective = alignment->settings.objective;
    bool block = objective != ALIGNMENT_ATTENTION;
    enum status status = interrupt_check();
    if (status) return status;
    *loss = 0;
    run_mixer(alignment, ATTENDED, &batch->layer->mixer, batch);
    if (block) {
        choose_tokens(alignment, batch, alignment->settings.block_share, number);
        run_block(alignment, TARGET, ATTENDED, batch);
    }
    run_mixer(alignment, MIXED, mixer, batch);
    backend->zero(backend, alignment->streams[GRADIENT],
                  stream_bytes(model, batch->sequences->tokens));
    if (block) status = take_block(alignment, loss, mixer, batch);
    if (!status && objective != ALIGNMENT_BLOCK) status = take_attention(alignment, loss, batch);
    if (status) return status;
    if (!isfinite(*loss)) {
        *loss = NAN;
        return STATUS_OK;
    }
    parameters_zero_gradients(parameters);
    go_back(alignment, mixer, parameters, batch);
    optimizer_step(parameters, optimizer, train_schedule_rate(schedule, number), number, NULL);
    return backend->sync(backend);
}

/* By row: `errors` and `sizes` of the tokens that count. */
static void add_rows(struct alignment *alignment, struct alignment_errors *rows,
                     const struct alignment_batch *batch, bool block) {
    int64_t count = block ? alignment->chosen_count : batch->sequences->tokens;
    for (int64_t i = 0; i < count; i++) {
        int64_t token = block ? alignment->chosen[i] : i;
        struct alignment_errors *row = &rows[batch->positions->row[token]];
        if (!batch->positions->counted[token]) continue;
        *(block ? &row->block : &row->attention) += alignment->errors[i];
        *(block ? &row->block_all : &row->attention_all) += alignment->sizes[i];
    }
}

enum status alignment_measure(struct alignment *alignment, struct alignment_errors *errors,
                              const struct mixer *mixer, const struct alignment_batch *batch) {
    for (int row = 0; row < batch->sequences->count; row++)
        errors[row] = (struct alignment_errors){0};
    choose_tokens(alignment, batch, 1, 0);
    run_mixer(alignment, ATTENDED, &batch->layer->mixer, batch);
    run_block(alignment, TARGET, ATTENDED, batch);
    run_mixer(alignment, MIXED, mixer, batch);
    run_block(alignment, OUTPUT, MIXED, batch);
    enum status status = compare_mixers(alignment, batch);
    if (status) return status;
    add_rows(alignment, errors, batch, false);
    status = compare_blocks(alignment, batch);
    if (!status) add_rows(alignment, errors, batch, true);
    return status;
}
