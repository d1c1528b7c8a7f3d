#include "analysis/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/distiller.h"
#include "base/memory.h"
#include "model/tape.h"

struct probe_engine {
    struct model *student, *teacher;
    struct backend *backend;
    const struct tokenset *set;
    struct probe_settings settings;
    const char *cache_directory;
    int64_t training;              /* rows of the set that are trained on: the first ones */
    int64_t first;                 /* the loaded steps are [first, first + loaded) */
    int64_t in_memory;             /* training rows that are loaded; held-out rows follow them */
    int64_t batches;               /* of loaded steps that differ */
    struct hidden inputs, targets; /* at the present layer; the teacher's last */
    int64_t max_tokens;
    int max_rows, longest;
    struct mamba_config mamba; /* of the new mixer */
    struct tape *tape;
    struct mamba_config any_mamba; /* covers the new mixer and the student's own */
    struct trace eval_trace;       /* without gradients */
    void *target_hidden;           /* acc [tokens, D] */
    struct distiller *distiller;
    struct scorer *scorer;
    bool stale; /* the student's head and final norm have been trained */
};

struct probe {
    struct probe_engine *engine;
    int layer;
    struct mixer mixer;
    struct trainable *trainable;
};

/* Rows of step `step` are places step * batch .. of the training rows, wrapping. */
static int64_t rows_for_steps(const struct probe_engine *engine, int64_t count) {
    int64_t rows = count * engine->settings.batch;
    return rows < engine->training ? rows : engine->training;
}

/* Batches of the first `count` steps that differ: they repeat when the rows come round to where
 * they began. */
static int64_t batches_for_steps(const struct probe_engine *engine, int64_t count) {
    int64_t rows = rows_for_steps(engine, count), a = rows, b = engine->settings.batch;
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return rows / a < count ? rows / a : count;
}

static int64_t row_tokens(const struct tokenset *set, int64_t row) {
    return (int64_t)(set->row_offsets[row + 1] - set->row_offsets[row]);
}

/* The most tokens that any step's batch has. */
static int64_t largest_batch(const struct tokenset *set, int64_t training, int64_t steps,
                             int batch) {
    int64_t largest = 0;
    for (int64_t step = 0; step < steps; step++) {
        int64_t tokens = 0;
        for (int i = 0; i < batch; i++) tokens += row_tokens(set, (step * batch + i) % training);
        if (tokens > largest) largest = tokens;
        if (step * batch > training + batch && training % batch == 0) break; /* repeats */
    }
    return largest;
}

static enum status measure(struct probe_engine *engine) {
    const struct probe_settings *settings = &engine->settings;
    int64_t rows = (int64_t)engine->set->rows;
    engine->training = rows - settings->heldout;
    if (settings->heldout < 1 || engine->training < 1)
        return status_set(STATUS_USAGE,
                          "--heldout %lld of %lld rows leaves nothing to train on or to measure",
                          (long long)settings->heldout, (long long)rows);
    engine->longest = (int)tokenset_longest_row(engine->set);
    engine->max_tokens =
        largest_batch(engine->set, engine->training, settings->steps, settings->batch);
    if (engine->max_tokens < engine->longest) engine->max_tokens = engine->longest;
    engine->max_rows = settings->batch;
    /* Held-out rows go through in groups of up to max_tokens: at most that many rows of a token. */
    if (settings->heldout > engine->max_rows)
        engine->max_rows =
            (int)(settings->heldout < engine->max_tokens ? settings->heldout : engine->max_tokens);
    return mil_mamba(&engine->mamba, engine->student->config, &settings->mil);
}

static struct sequences largest_of(const struct probe_engine *engine) {
    return (struct sequences){
        .count = engine->max_rows, .longest = engine->longest, .tokens = engine->max_tokens};
}

static struct tape_options tape_options_of(const struct probe_engine *engine) {
    return (struct tape_options){.first = engine->settings.first_layer,
                                 .sequences = largest_of(engine),
                                 .mixer = &engine->mamba,
                                 .recompute = engine->settings.recompute};
}

/* What a pass without gradients needs; sets any_mamba, which the needs point to. */
static struct trace_needs eval_needs_of(struct probe_engine *engine) {
    const struct model_config *config = engine->student->config;
    engine->any_mamba = engine->mamba;
    for (int l = 0; l < config->n_layers; l++)
        if (config->layers[l].mixer == MIXER_MAMBA)
            tape_cover_mamba(&engine->any_mamba, &config->layers[l].mamba);
    return (struct trace_needs){
        .sequences = largest_of(engine), .attention = true, .mamba = &engine->any_mamba};
}

static size_t stream_bytes(const struct probe_engine *engine) {
    return (size_t)(engine->max_tokens * engine->student->config->hidden_size) *
           dtype_size(engine->backend->acc);
}

static int scorer_chunk_of(const struct probe_engine *engine) {
    int chunk = scorer_chunk(engine->student);
    return engine->max_tokens < chunk ? (int)engine->max_tokens : chunk;
}

static enum status allocate(struct probe_engine *engine) {
    struct backend *backend = engine->backend;
    struct tape_options options = tape_options_of(engine);
    struct trace_needs eval = eval_needs_of(engine);
    enum status status = tape_open(&engine->tape, engine->student, &options);
    if (!status) status = trace_alloc(&engine->eval_trace, engine->student, &eval);
    if (status) return status;
    engine->target_hidden = backend->alloc(backend, stream_bytes(engine), "teacher's states");
    if (!engine->target_hidden) status = STATUS_FAILED;
    if (!status)
        status =
            distiller_open(&engine->distiller, engine->student, engine->teacher,
                           engine->settings.loss, engine->settings.temperature, engine->max_tokens);
    if (!status)
        status =
            scorer_open(&engine->scorer, engine->teacher, engine->student, scorer_chunk_of(engine));
    if (!status) scorer_keep_nonfinite(engine->scorer);
    return status;
}

enum status probe_engine_open(struct probe_engine **out, struct model *student,
                              struct model *teacher, const struct tokenset *set,
                              const struct probe_settings *settings, const char *cache_directory) {
    struct probe_engine *engine = memory_calloc(1, sizeof *engine);
    if (!engine) return STATUS_FAILED;
    *engine = (struct probe_engine){.student = student,
                                    .teacher = teacher,
                                    .backend = student->backend,
                                    .set = set,
                                    .settings = *settings,
                                    .cache_directory = cache_directory};
    enum status status = measure(engine);
    if (!status && settings->scope == TRAIN_ALL && student == teacher)
        status = status_fail("a student that trains everything cannot be its own teacher");
    if (!status && !settings->stream_layers) status = model_keep_layers(student);
    if (!status) status = allocate(engine);
    if (status)
        probe_engine_close(engine);
    else
        *out = engine;
    return status;
}

void probe_engine_close(struct probe_engine *engine) {
    if (!engine) return;
    struct backend *backend = engine->backend;
    tape_close(engine->tape);
    trace_free(&engine->eval_trace, backend);
    backend->free(backend, engine->target_hidden);
    distiller_close(engine->distiller);
    scorer_close(engine->scorer);
    hidden_free(&engine->inputs);
    hidden_free(&engine->targets);
    free(engine);
}

void probe_engine_memory(struct probe_memory *out, const struct model *student,
                         const struct model *teacher, const struct tokenset *set,
                         const struct probe_settings *settings) {
    struct probe_engine engine = {.student = (struct model *)(uintptr_t)student,
                                  .backend = student->backend,
                                  .set = set,
                                  .settings = *settings};
    const struct model_config *config = student->config;
    size_t acc = dtype_size(student->backend->acc), act = dtype_size(student->backend->act);
    *out = (struct probe_memory){0};
    if (measure(&engine)) return;
    struct mixer mixer = {.kind = MIXER_MAMBA, .mamba = engine.mamba};
    uint64_t head = (uint64_t)config->vocab_size * (uint64_t)config->hidden_size * act;
    out->weights = model_layers_present_bytes(student, !settings->stream_layers) +
                   head * (config->tie_word_embeddings ? 1 : 2);
    if (teacher != student) out->weights += head * (config->tie_word_embeddings ? 1 : 2);
    struct tape_options tape = tape_options_of(&engine);
    struct trace_needs eval = eval_needs_of(&engine);
    out->activations =
        tape_bytes(student, &tape) + trace_bytes(student, &eval) + stream_bytes(&engine);
    out->optimizer = mixer_bytes(&mixer, student->backend, config) +
                     trainable_bytes(student, settings->first_layer, &mixer, settings->scope);
    out->logits = distiller_bytes(student, engine.max_tokens) +
                  scorer_bytes(student) / (uint64_t)scorer_chunk(student) *
                      (uint64_t)scorer_chunk_of(&engine);
    out->kept_logits = distiller_kept_bytes(teacher, batches_for_steps(&engine, settings->steps),
                                            engine.max_tokens);
    int64_t tokens = 0, rows = rows_for_steps(&engine, settings->steps);
    for (int64_t row = 0; row < (int64_t)set->rows; row++)
        if (row < rows || row >= engine.training) tokens += row_tokens(set, row);
    out->cache = 2 * (uint64_t)(tokens * config->hidden_size) * acc;
    out->embedding = hidden_embed_bytes(student, tokens);
    out->advancing = trace_bytes(student, &eval) + stream_bytes(&engine);
    /* Parameter and two moments, without a separate master weight. */
    uint64_t state = trainable_bytes(student, settings->first_layer, &mixer, settings->scope);
    out->state = student->backend->discrete ? state / 4 * 3 : state;
}

enum status probe_engine_load(struct probe_engine *engine, int64_t first, int64_t count) {
    struct model *student = engine->student, *teacher = engine->teacher;
    int64_t training = rows_for_steps(engine, count), heldout = engine->settings.heldout;
    hidden_free(&engine->inputs);
    hidden_free(&engine->targets);
    int64_t *rows = memory_calloc((size_t)(training + heldout), sizeof *rows);
    if (!rows) return STATUS_FAILED;
    for (int64_t i = 0; i < training; i++)
        rows[i] = (first * engine->settings.batch + i) % engine->training;
    for (int64_t i = 0; i < heldout; i++) rows[training + i] = engine->training + i;
    engine->first = first;
    engine->in_memory = training;
    int64_t all = training + heldout;
    enum status status =
        hidden_create(&engine->targets, engine->set, engine->backend, teacher->config->hidden_size,
                      rows, all, engine->cache_directory);
    if (!status)
        status = hidden_create(&engine->inputs, engine->set, engine->backend,
                               student->config->hidden_size, rows, all, engine->cache_directory);
    if (!status) status = hidden_embed(&engine->targets, teacher);
    if (!status)
        status = hidden_advance(&engine->targets, teacher, teacher->config->n_layers,
                                engine->max_tokens);
    if (!status) status = hidden_embed(&engine->inputs, student);
    engine->batches = batches_for_steps(engine, count);
    if (!status && engine->settings.keep_logits)
        status = distiller_keep(engine->distiller, engine->batches, engine->max_tokens);
    free(rows);
    return status;
}

enum status probe_begin(struct probe **out, struct probe_engine *engine, int layer, uint64_t seed) {
    struct model *student = engine->student;
    struct mil_options mil = engine->settings.mil;
    struct probe *probe = memory_calloc(1, sizeof *probe);
    if (!probe) return STATUS_FAILED;
    mil.seed = seed;
    probe->engine = engine;
    probe->layer = layer;
    enum status status = hidden_advance(&engine->inputs, student, layer, engine->max_tokens);
    if (!status && engine->stale) status = model_reload_outside(student);
    if (!status) engine->stale = false;
    if (!status) status = mil_mixer_create(&probe->mixer, student, layer, &mil);
    if (!status)
        status = trainable_create(&probe->trainable, student, layer, &probe->mixer,
                                  engine->settings.scope);
    if (!status)
        distiller_train(engine->distiller, trainable_head_gradient(probe->trainable),
                        trainable_norm_gradient(probe->trainable));
    if (status)
        probe_end(probe);
    else
        *out = probe;
    return status;
}

void probe_end(struct probe *probe) {
    if (!probe) return;
    struct model *student = probe->engine->student;
    enum train_scope scope = probe->engine->settings.scope;
    distiller_train(probe->engine->distiller, NULL, NULL);
    trainable_free(probe->trainable);
    mixer_free(&probe->mixer, student->backend);
    /* What the probe did to the model's own weights is undone by loading them again. */
    int end = scope == TRAIN_ALL     ? student->config->n_layers
              : scope == TRAIN_LAYER ? probe->layer + 1
                                     : probe->layer;
    for (int l = probe->layer; l < end; l++) model_forget_layer(student, l);
    if (scope == TRAIN_ALL) probe->engine->stale = true;
    free(probe);
}

struct mixer *probe_mixer(struct probe *probe) {
    return &probe->mixer;
}

enum status probe_mixer_was_set(struct probe *probe) {
    return trainable_read_live(probe->trainable);
}

static double learning_rate(const struct probe_settings *settings, int64_t step) {
    if (step < settings->warmup)
        return settings->lr * (double)(step + 1) / (double)settings->warmup;
    if (settings->schedule == SCHEDULE_CONSTANT) return settings->lr;
    double span = (double)(settings->steps - settings->warmup);
    double progress = span > 0 ? (double)(step - settings->warmup) / span : 1;
    return settings->lr * 0.5 * (1 + cos(3.14159265358979323846 * progress));
}

static void update(struct probe *probe, int64_t step, double *loss) {
    const struct probe_settings *settings = &probe->engine->settings;
    struct adamw_settings adamw = {.lr = learning_rate(settings, step),
                                   .beta1 = settings->beta1,
                                   .beta2 = settings->beta2,
                                   .epsilon = settings->epsilon,
                                   .weight_decay = settings->weight_decay,
                                   .step = step + 1};
    if (isfinite(*loss)) trainable_step(probe->trainable, &adamw, settings->clip, NULL);
}

enum status probe_step(struct probe *probe, int64_t step, double *loss) {
    struct probe_engine *engine = probe->engine;
    struct model *student = engine->student;
    struct backend *backend = engine->backend;
    struct tape *tape = engine->tape;
    int batch = engine->settings.batch, layers = student->config->n_layers, layer = probe->layer;
    int64_t from = (step - engine->first) * batch;
    int64_t slot = engine->settings.keep_logits ? (step - engine->first) % engine->batches : -1;
    struct token_batch tokens;
    struct positions positions = {0};
    enum status status = hidden_batch(&tokens, &engine->inputs, from, batch, engine->in_memory);
    if (status) return status;
    status = distiller_positions(&positions, &engine->inputs, from, batch, engine->in_memory);
    if (status) goto done;
    hidden_upload(&engine->inputs, tape_stream(tape, layer), from, batch, engine->in_memory);
    hidden_upload(&engine->targets, engine->target_hidden, from, batch, engine->in_memory);
    trainable_zero_gradients(probe->trainable);
    status = tape_forward(tape, layer, &probe->mixer, &tokens.sequences);
    if (!status)
        status = distiller_run(engine->distiller, &positions, slot, tape_stream(tape, layers),
                               engine->target_hidden, tape_gradient(tape), loss);
    if (status) goto done;
    status = tape_backward(tape, layer, trainable_gradients(probe->trainable), false, NULL,
                           &tokens.sequences);
    if (status) goto done;
    update(probe, step, loss);
    status = backend->sync(backend);
done:
    positions_free(&positions);
    token_batch_free(&tokens);
    return status;
}

/* Forward without gradients, in place. */
static enum status run_inference(struct probe *probe, void *h, const struct sequences *sequences) {
    struct probe_engine *engine = probe->engine;
    struct model *student = engine->student;
    for (int l = probe->layer; l < student->config->n_layers; l++) {
        const struct layer *layer;
        enum status status = model_layer(&layer, student, l);
        if (status) return status;
        const struct mixer *mixer = l == probe->layer ? &probe->mixer : &layer->mixer;
        block_mix(student, layer, mixer, &engine->eval_trace, h, h, sequences);
        block_mlp(student, layer, &engine->eval_trace, h, h, sequences->tokens);
    }
    return STATUS_OK;
}

enum status probe_evaluate(struct probe *probe, double *sums, int64_t *counts) {
    struct probe_engine *engine = probe->engine;
    const struct hidden *inputs = &engine->inputs;
    enum status status = STATUS_OK;
    for (int64_t from = engine->in_memory; !status && from < inputs->count;) {
        int count = hidden_group(inputs, from, inputs->count, engine->max_tokens);
        int64_t row = from - engine->in_memory;
        size_t values = (size_t)count * METRIC_COUNT;
        struct token_batch batch;
        struct positions positions = {0};
        double *both = memory_calloc(2 * values, sizeof *both);
        if (!both) return STATUS_FAILED;
        status = hidden_batch(&batch, inputs, from, count, inputs->count);
        if (!status) {
            void *h = tape_stream(engine->tape, probe->layer);
            status = positions_create(&positions, engine->set, inputs->rows[from], count);
            hidden_upload(inputs, h, from, count, inputs->count);
            hidden_upload(&engine->targets, engine->target_hidden, from, count, inputs->count);
            if (!status) status = run_inference(probe, h, &batch.sequences);
            if (!status)
                status = scorer_score_positions(engine->scorer, &positions, engine->target_hidden,
                                                h, 0, 1, both);
            token_batch_free(&batch);
        }
        if (!status) {
            memcpy(sums + row * METRIC_COUNT, both + values, values * sizeof *sums);
            memcpy(counts + row * METRIC_COUNT, positions.counts, values * sizeof *counts);
        }
        positions_free(&positions);
        free(both);
        from += count;
    }
    return status;
}

size_t probe_state_bytes(const struct probe *probe) {
    return trainable_state_bytes(probe->trainable);
}

void probe_save(const struct probe *probe, void *host, size_t from, size_t bytes) {
    trainable_save(probe->trainable, host, from, bytes);
}

void probe_restore(struct probe *probe, const void *host, size_t from, size_t bytes) {
    trainable_restore(probe->trainable, host, from, bytes);
}
