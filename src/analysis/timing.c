#include "analysis/timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/scorer.h"
#include "model/forward.h"

enum { LAYERS = 2, FIRST_TOKENS = 64 };
static const double ENOUGH = 0.1, MOST = 0.5; /* seconds of what is timed */

double timing_counted(const struct tokenset *set, int64_t rows) {
    uint64_t tokens = set->row_offsets[rows], counted = 0;
    for (uint64_t t = 0; t < tokens; t++) counted += !set->loss_mask || set->loss_mask[t];
    return (double)counted;
}

static void forget_layers(struct model *model) {
    struct model_config *config = (struct model_config *)(uintptr_t)model->config;
    if (config->n_layers > LAYERS) config->n_layers = LAYERS;
}

/* The first rows of a set, each cut to at most `length` tokens. Offsets are the caller's to free,
 * and the ids. */
static enum status cut_rows(struct tokenset *out, const struct tokenset *set, int64_t rows,
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

static void free_rows(struct tokenset *set) {
    free(set->row_offsets);
    free(set->ids);
}

/* The second of two times: the first one loads and allocates, `*more` seconds of it. */
static enum status time_forward(double *seconds, double *more, struct forward *forward,
                                void *hidden, const struct token_batch *batch) {
    double start = log_seconds();
    enum status status = forward_run(forward, hidden, batch);
    double first = log_seconds() - start;
    start = log_seconds();
    if (!status) status = forward_run(forward, hidden, batch);
    *seconds = log_seconds() - start;
    *more = fmax(0, first - *seconds);
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
    double passes = 0, scores = 0, more = 0;
    bool first = out->block == 0;
    void *hidden = backend->alloc(backend, bytes, "hidden states");
    enum status status = hidden ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status = forward_open(&forward, model, (int)set->rows, (int64_t)set->tokens,
                              (int)tokenset_longest_row(set));
    if (!status) status = scorer_open(&scorer, model, model, 0);
    if (!status)
        status = token_batch_create(&batch, backend, set->ids, set->row_offsets, (int)set->rows);
    if (!status) status = time_forward(&passes, &more, forward, hidden, &batch);
    if (first && backend->discrete) out->open += more;
    if (!status) status = time_scores(&scores, scorer, set, hidden);
    if (!status && passes + scores < ENOUGH) status = time_scores(&scores, scorer, set, hidden);
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
        status = cut_rows(&part, set, rows, length);
        if (!status) status = time_rows(out, &seconds, model, &part);
        double a_token = seconds / (double)part.tokens;
        int64_t room = (int64_t)(MOST / a_token);
        free_rows(&part);
        if (room > most_tokens) room = most_tokens;
        if (status || seconds > ENOUGH || room < 2 * rows * length || length >= longest) break;
        length = room < longest ? room : longest;
        rows = room / length < (int64_t)set->rows ? room / length : (int64_t)set->rows;
        if (rows < 1) rows = 1;
    }
    return status;
}

/* On the CPU a very large embedding takes longer to widen than anybody waits for a dry run. */
static bool is_too_large(const struct model *model) {
    return !model->backend->discrete && model_outside_bytes(model, 1) > (uint64_t)2 << 30;
}

static enum status load(struct timing *out, struct model *model) {
    double start = log_seconds();
    forget_layers(model);
    enum status status = model_load(model);
    double loaded = log_seconds();
    if (!status) status = model_keep_layers(model);
    out->open = loaded - start;
    if (model->backend->discrete) out->layer = (log_seconds() - loaded) / model->config->n_layers;
    return status;
}

enum status timing_passes(struct timing *out, struct model *model, const struct tokenset *set,
                          int64_t most_tokens) {
    *out = (struct timing){0};
    if (is_too_large(model)) return STATUS_OK;
    enum status status = load(out, model);
    return status ? status : time_passes(out, model, set, most_tokens);
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
    enum status status = cut_rows(&part, set, rows, length);
    if (!status) status = time_steps(out, model, &part, settings, memory);
    free_rows(&part);
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
