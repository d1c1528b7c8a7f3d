#include "analysis/timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"
#include "measure/scorer.h"
#include "model/forward.h"

enum { LAYERS = 2, FIRST_TOKENS = 64 };
static const double ENOUGH = 0.1, MOST = 0.5; /* seconds of what is timed */

double timing_counted(const struct tokenset *set, int64_t rows) {
    uint64_t tokens = set->row_offsets[rows], counted = 0;
    for (uint64_t t = 0; t < tokens; t++) counted += !set->loss_mask || set->loss_mask[t];
    return (double)counted;
}

void timing_forget_layers(struct model *model, int kept) {
    struct model_config *config = (struct model_config *)(uintptr_t)model->config;
    for (int l = kept; model->resident && l < config->n_layers; l++) model_forget_layer(model, l);
    if (config->n_layers > kept) config->n_layers = kept;
}

enum status timing_cut_rows(struct tokenset *out, const struct tokenset *set, int64_t rows,
                            int64_t length) {
    *out = (struct tokenset){.rows = (uint64_t)rows, .vocab_size = set->vocab_size};
    out->row_offsets = memory_calloc((size_t)rows + 1, sizeof *out->row_offsets);
    out->ids = memory_calloc((size_t)(rows * length), sizeof *out->ids);
    if (!out->row_offsets || !out->ids) return STATUS_FAILED;
    for (int64_t row = 0; row < rows; row++) {
        uint64_t from = set->row_offsets[row], count = set->row_offsets[row + 1] - from;
        if (count > (uint64_t)length) count = (uint64_t)length;
        memcpy(out->ids + out->tokens, set->ids + from, count * sizeof *out->ids);
        out->row_offsets[row + 1] = out->tokens += count;
    }
    return STATUS_OK;
}

void timing_free_rows(struct tokenset *set) {
    free(set->row_offsets);
    free(set->ids);
}

static enum status time_pass(double *seconds, struct forward *forward, void *hidden,
                             const struct token_batch *batch) {
    double start = log_seconds();
    enum status status = forward_run(forward, hidden, batch);
    *seconds = log_seconds() - start;
    return status;
}

/* A pass. The first one of all also loads, and sets up what is set up once: `*once` seconds; in the
 * second its layers are loaded anew: `*load` seconds of it. */
static enum status time_forward(double *seconds, double *once, double *load,
                                struct forward *forward, struct model *model, void *hidden,
                                const struct token_batch *batch) {
    double first = 0, second = 0;
    enum status status = time_pass(&first, forward, hidden, batch);
    for (int l = 0; l < model->config->n_layers; l++) model_forget_layer(model, l);
    if (!status) status = time_pass(&second, forward, hidden, batch);
    if (!status) status = time_pass(seconds, forward, hidden, batch);
    *once = fmax(0, first - second);
    *load = fmax(0, second - *seconds);
    return status;
}

static enum status time_scores(double *seconds, struct scorer *scorer, const struct tokenset *set,
                               const void *hidden) {
    struct positions positions = {0};
    enum status status = positions_create(&positions, set, 0, (int)set->rows);
    double *sums = memory_calloc(2 * (size_t)set->rows * METRIC_COUNT, sizeof *sums);
    if (!sums) status = STATUS_FAILED;
    double start = log_seconds();
    if (!status) status = scorer_score_positions(scorer, &positions, hidden, hidden, 0, 1, sums);
    *seconds = log_seconds() - start;
    free(sums);
    positions_free(&positions);
    return status;
}

/* `*seconds`: what all of it took. */
static enum status time_rows(struct timing *out, double *seconds, struct model *model,
                             const struct tokenset *set) {
    struct backend *backend = model->backend;
    struct token_batch batch = {0};
    struct forward *forward = NULL;
    struct scorer *scorer = NULL;
    size_t bytes =
        (size_t)set->tokens * (size_t)model->config->hidden_size * dtype_size(backend->acc);
    double passes = 0, scores = 0, once = 0, load = 0;
    /* A device sets up its kernels and products when it first meets a shape. */
    bool first = out->block == 0, cold = backend->discrete;
    void *hidden = backend->alloc(backend, bytes, "hidden states");
    enum status status = hidden ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status = forward_open(&forward, model, (int)set->rows, (int64_t)set->tokens,
                              (int)tokenset_longest_row(set));
    if (!status) status = scorer_open(&scorer, model, model, 0);
    if (!status)
        status = token_batch_create(&batch, backend, set->ids, set->row_offsets, (int)set->rows);
    if (!status && first)
        status = time_forward(&passes, &once, &load, forward, model, hidden, &batch);
    for (int i = 0; !status && !first && i < 1 + cold; i++)
        status = time_pass(&passes, forward, hidden, &batch);
    if (first) out->open += once;
    if (first) out->layer = load / model->config->n_layers;
    if (!status) status = time_scores(&scores, scorer, set, hidden);
    if (!status && (cold || passes + scores < ENOUGH)) {
        double before = scores;
        status = time_scores(&scores, scorer, set, hidden);
        if (cold && first) out->open += fmax(0, before - scores);
    }
    out->block = passes / (double)set->tokens / model->config->n_layers;
    out->score = scores / (double)set->tokens / 2;
    *seconds = passes + scores;
    token_batch_free(&batch);
    scorer_close(scorer);
    forward_close(forward);
    backend->free(backend, hidden);
    return status;
}

/* A few tokens first; then, where that was quick, as many as go through a block at a time. */
static enum status time_passes(struct timing *out, struct model *model, const struct tokenset *set,
                               int64_t most_tokens) {
    int64_t longest = tokenset_longest_row(set), rows = 1, length = FIRST_TOKENS;
    enum status status = STATUS_OK;
    for (double seconds = 0; !status;) {
        struct tokenset part;
        status = timing_cut_rows(&part, set, rows, length);
        if (!status) status = time_rows(out, &seconds, model, &part);
        double a_token = seconds / (double)part.tokens;
        int64_t room = (int64_t)(MOST / a_token);
        timing_free_rows(&part);
        if (room > most_tokens) room = most_tokens;
        if (status || seconds > ENOUGH || room < 2 * rows * length) break;
        int64_t tried = rows * (length < longest ? length : longest);
        length = room < longest ? room : longest;
        rows = room / length < (int64_t)set->rows ? room / length : (int64_t)set->rows;
        if (rows < 1) rows = 1;
        if (rows * length < 2 * tried) break;
    }
    return status;
}

/* On the CPU a very large embedding takes longer to widen than anybody waits for a dry run. */
static bool is_too_large(const struct model *model) {
    return !model->backend->discrete && model_outside_bytes(model, 1) > (uint64_t)2 << 30;
}

static enum status load(struct timing *out, struct model *model) {
    double start = log_seconds();
    timing_forget_layers(model, LAYERS);
    enum status status = model_load(model);
    if (!status) status = model_keep_layers(model);
    out->open = log_seconds() - start;
    return status;
}

enum status timing_passes(struct timing *out, struct model *model, const struct tokenset *set,
                          int64_t most_tokens) {
    *out = (struct timing){0};
    if (is_too_large(model)) return STATUS_OK;
    enum status status = load(out, model);
    return status ? status : time_passes(out, model, set, most_tokens);
}

double timing_loads(const struct timing *timing, int layers, double computing, double times,
                    bool beside) {
    double loading = timing->layer * layers * times;
    return beside ? fmax(computing, loading) : computing + loading;
}

static enum status time_step(double *seconds, struct probe_engine *engine, int layer) {
    struct probe_group *group;
    struct probe_choice choice = {.layer = layer};
    const bool alone = true;
    double loss;
    enum status status = probe_group_begin(&group, engine, &choice, 1);
    if (status) return status;
    status = probe_group_step(group, &alone, 0, &loss);
    double start = log_seconds();
    if (!status) status = probe_group_step(group, &alone, 0, &loss);
    *seconds = log_seconds() - start;
    probe_group_end(group);
    return status;
}

/* Steps at the last layer and the one below it, and how many tokens they took. */
struct steps {
    double top, lower, tokens;
};

static enum status time_steps(struct steps *out, struct model *model, const struct tokenset *set,
                              const struct probe_settings *settings,
                              const struct train_memory *memory) {
    struct probe_engine *engine = NULL;
    struct probe_settings own = *settings;
    struct probe_arrangement alone = {.memory = *memory, .together = 1};
    int last = model->config->n_layers - 1;
    own.data.batch = (int)set->rows - 1;
    own.data.heldout = own.schedule.steps = 1;
    own.schedule.warmup = 0;
    mixer_choices_forget_data(&own.choices);
    alone.memory.stream_layers = alone.memory.park = false;
    *out = (struct steps){.tokens = (double)set->row_offsets[set->rows - 1]};
    enum status status = probe_engine_open(&engine, model, model, set, &own, &alone, NULL);
    if (!status) status = probe_engine_load(engine, 0, 1);
    if (!status) status = time_step(&out->top, engine, last);
    if (!status && last > 0) status = time_step(&out->lower, engine, last - 1);
    if (engine) probe_engine_close(engine);
    return status;
}

static enum status time_part(struct steps *out, struct model *model, const struct tokenset *set,
                             const struct probe_settings *settings,
                             const struct train_memory *memory, int64_t rows, int64_t length) {
    struct tokenset part;
    enum status status = timing_cut_rows(&part, set, rows, length);
    if (!status) status = time_steps(out, model, &part, settings, memory);
    timing_free_rows(&part);
    return status;
}

/* Few tokens and many: what does not grow with them is the optimizer's. */
enum status timing_probes(struct timing *out, struct model *model, const struct tokenset *set,
                          const struct probe_settings *settings,
                          const struct train_memory *memory) {
    int64_t longest = tokenset_longest_row(set), rows = settings->data.batch + 1;
    struct steps few, many;
    enum status status = timing_passes(out, model, set, settings->data.batch * longest);
    if (rows > (int64_t)set->rows) rows = (int64_t)set->rows;
    if (status || rows < 2 || out->block == 0) return status;
    status = time_part(&few, model, set, settings, memory, 2, FIRST_TOKENS);
    double a_token = (few.top + few.lower) / few.tokens; /* at most */
    int64_t room = (int64_t)(2 * MOST / a_token), length = room < longest ? room : longest;
    if (length < 4 * FIRST_TOKENS) length = longest < 4 * FIRST_TOKENS ? longest : 4 * FIRST_TOKENS;
    if (rows > room / length + 1) rows = room / length + 1;
    if (rows < 2) rows = 2;
    if (!status) status = time_part(&many, model, set, settings, memory, rows, length);
    if (status) return status;
    out->step = many.top / many.tokens;
    out->step_layer = fmax(0, (many.lower - many.top) / many.tokens);
    if (many.tokens < 2 * few.tokens) return status;
    out->step = fmax(0, (many.top - few.top) / (many.tokens - few.tokens));
    out->update = fmax(0, many.top - out->step * many.tokens);
    return status;
}

/* ---- layers of several kinds */

struct block_trial {
    struct model *model;
    struct token_batch batch;
    struct trace trace;
    void *hidden; /* acc [tokens, D] */
};

/* The second of two passes through a layer. */
static enum status time_block(double *seconds, struct block_trial *trial, int index) {
    struct model *model = trial->model;
    const struct layer *layer;
    const struct sequences *sequences = &trial->batch.sequences;
    enum status status = model_layer(&layer, model, index);
    for (int i = 0; !status && i < 2; i++) {
        double start = log_seconds();
        block_mix(model, layer, &layer->mixer, &trial->trace, trial->hidden, trial->hidden,
                  sequences);
        block_mlp(model, layer, &trial->trace, trial->hidden, trial->hidden, sequences->tokens);
        status = model->backend->sync(model->backend);
        *seconds = log_seconds() - start;
    }
    return status;
}

static enum status open_trial(struct block_trial *out, struct model *model,
                              const struct tokenset *rows) {
    struct backend *backend = model->backend;
    int longest = (int)tokenset_longest_row(rows);
    struct trace_needs needs =
        trace_needs_of(model, (int)rows->rows, (int64_t)rows->tokens, longest);
    *out = (struct block_trial){.model = model};
    enum status status = model_prepare(model, longest);
    if (!status)
        status =
            token_batch_create(&out->batch, backend, rows->ids, rows->row_offsets, (int)rows->rows);
    if (!status) status = trace_alloc(&out->trace, model, &needs);
    if (status) return status;
    out->hidden = backend->alloc(backend,
                                 (size_t)rows->tokens * (size_t)model->config->hidden_size *
                                     dtype_size(backend->acc),
                                 "hidden states");
    if (!out->hidden) return STATUS_FAILED;
    backend->embedding->embed(backend, out->hidden, out->batch.ids, model->embedding,
                              (int64_t)rows->tokens, model->config->hidden_size);
    return STATUS_OK;
}

static int first_of_kind(const struct model_config *config, int layer) {
    int first = 0;
    while (config->layers[first].mixer.kind != config->layers[layer].mixer.kind) first++;
    return first;
}

enum status timing_layers(double *out, struct model *model, const struct tokenset *set) {
    enum { ROWS = 2, TOKENS = 256 };
    const struct model_config *config = model->config;
    struct block_trial trial = {0};
    struct tokenset rows = {0};
    enum status status = model_load(model);
    if (!status)
        status = timing_cut_rows(&rows, set, set->rows < ROWS ? (int64_t)set->rows : ROWS, TOKENS);
    if (!status) status = open_trial(&trial, model, &rows);
    for (int l = 0; !status && l < config->n_layers; l++) {
        int first = first_of_kind(config, l);
        if (first < l)
            out[l] = out[first];
        else
            status = time_block(&out[l], &trial, l);
    }
    model->backend->free(model->backend, trial.hidden);
    trace_free(&trial.trace, model->backend);
    token_batch_free(&trial.batch);
    timing_free_rows(&rows);
    return status;
}
