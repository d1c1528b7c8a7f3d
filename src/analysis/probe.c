#include "analysis/probe.h"

#include <stdlib.h>

#include "analysis/probe_engine.h"
#include "analysis/step_rows.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/state.h"

static struct step_rows rows_of(const struct probe_engine *engine) {
    return (struct step_rows){engine->training, engine->settings.data.batch};
}

static enum status measure(struct probe_engine *engine) {
    const struct probe_settings *settings = &engine->settings;
    int64_t rows = (int64_t)engine->set->rows;
    engine->training = rows - settings->data.heldout;
    if (settings->data.heldout < 1 || engine->training < 1)
        return status_set(STATUS_USAGE,
                          "--heldout %lld of %lld rows leaves nothing to train on or to measure",
                          (long long)settings->data.heldout, (long long)rows);
    engine->longest = (int)tokenset_longest_row(engine->set);
    const struct step_rows steps = rows_of(engine);
    engine->max_tokens = step_rows_largest(&steps, engine->set, settings->schedule.steps);
    if (engine->max_tokens < engine->longest) engine->max_tokens = engine->longest;
    engine->max_rows = settings->data.batch;
    /* Held-out rows go through in groups of up to max_tokens: at most that many rows of a token. */
    if (settings->data.heldout > engine->max_rows)
        engine->max_rows =
            (int)(settings->data.heldout < engine->max_tokens ? settings->data.heldout
                                                              : engine->max_tokens);
    return replacement_sizes(&engine->mixer, engine->student->config, &settings->choices);
}

static struct sequences largest_of(const struct probe_engine *engine) {
    return (struct sequences){
        .count = engine->max_rows, .longest = engine->longest, .tokens = engine->max_tokens};
}

/* No probe in this place of a group is of an earlier layer. */
static int first_layer_of(const struct probe_engine *engine, int place) {
    return engine->arrangement.first_layers ? engine->arrangement.first_layers[place] : 0;
}

static struct tape_options tape_options_of(const struct probe_engine *engine, int place) {
    return (struct tape_options){.first = first_layer_of(engine, place),
                                 .sequences = largest_of(engine),
                                 .mixer = &engine->mixer,
                                 .recompute = engine->arrangement.memory.recompute,
                                 .park = engine->arrangement.memory.park};
}

/* What a pass without gradients needs. */
static struct trace_needs eval_needs_of(const struct probe_engine *engine) {
    struct trace_needs needs =
        trace_needs_of(engine->student, engine->max_rows, engine->max_tokens, engine->longest);
    trace_needs_add(&needs, engine->student, &engine->mixer);
    return needs;
}

static size_t stream_bytes(const struct probe_engine *engine) {
    return (size_t)(engine->max_tokens * engine->student->config->hidden_size) *
           dtype_size(engine->backend->acc);
}

static int scorer_chunk_of(const struct probe_engine *engine) {
    int chunk = scorer_chunk(engine->student);
    return engine->max_tokens < chunk ? (int)engine->max_tokens : chunk;
}

/* States of all tapes that wait in host memory. */
static int parked_count_of(const struct probe_engine *engine) {
    int count = 0;
    for (int i = 0; i < engine->arrangement.together; i++)
        count += tape_parked_count(engine->student, first_layer_of(engine, i));
    return count;
}

static enum status park(struct probe_engine *engine) {
    enum status status = parked_open(&engine->parked, engine->backend, parked_count_of(engine),
                                     stream_bytes(engine));
    int state = 0;
    for (int i = 0; !status && i < engine->arrangement.together; i++) {
        tape_park(engine->tapes[i], engine->parked, state);
        state += tape_parked_count(engine->student, first_layer_of(engine, i));
    }
    return status;
}

static enum status allocate(struct probe_engine *engine) {
    struct backend *backend = engine->backend;
    struct trace_needs eval = eval_needs_of(engine);
    int together = engine->arrangement.together;
    engine->tapes = memory_calloc((size_t)together, sizeof *engine->tapes);
    enum status status = engine->tapes ? STATUS_OK : STATUS_FAILED;
    struct tape_options options = tape_options_of(engine, 0);
    if (!status) status = tape_open(&engine->tapes[0], engine->student, &options);
    for (int i = 1; !status && i < together; i++)
        status = tape_open_beside(&engine->tapes[i], engine->tapes[0], first_layer_of(engine, i));
    if (!status && engine->arrangement.memory.park) status = park(engine);
    if (!status) status = trace_alloc(&engine->eval_trace, engine->student, &eval);
    if (status) return status;
    engine->target_hidden = backend->alloc(backend, stream_bytes(engine), "teacher's states");
    if (!engine->target_hidden) status = STATUS_FAILED;
    if (!status && together > 1) {
        engine->trunk = backend->alloc(backend, stream_bytes(engine), "trunk");
        if (!engine->trunk) status = STATUS_FAILED;
    }
    if (!status)
        status = loss_open(&engine->loss, engine->student, engine->teacher, &engine->settings.loss,
                           engine->max_tokens);
    if (!status)
        status =
            scorer_open(&engine->scorer, engine->teacher, engine->student, scorer_chunk_of(engine));
    if (!status) scorer_keep_nonfinite(engine->scorer);
    return status;
}

enum status probe_engine_open(struct probe_engine **out, struct model *student,
                              struct model *teacher, const struct tokenset *set,
                              const struct probe_settings *settings,
                              const struct probe_arrangement *arrangement,
                              const struct probe_cache *cache) {
    struct probe_engine *engine = memory_calloc(1, sizeof *engine);
    if (!engine) return STATUS_FAILED;
    *engine = (struct probe_engine){.student = student,
                                    .teacher = teacher,
                                    .backend = student->backend,
                                    .set = set,
                                    .settings = *settings,
                                    .arrangement = *arrangement,
                                    .cache = cache ? *cache : (struct probe_cache){0}};
    enum status status = measure(engine);
    if (!status && settings->parts.count > PROBE_OUTSIDE && student == teacher)
        status = status_fail("a student that trains everything cannot be its own teacher");
    bool alone = settings->parts.count > PROBE_MIXER + 1;
    if (!status && (arrangement->together < 1 || (arrangement->together > 1 && alone)))
        status = status_fail("%d probes cannot train one model together", arrangement->together);
    if (!status && !arrangement->memory.stream_layers) status = model_keep_layers(student);
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
    for (int i = engine->arrangement.together - 1; engine->tapes && i >= 0; i--)
        tape_close(engine->tapes[i]);
    free(engine->tapes);
    parked_close(engine->parked);
    trace_free(&engine->eval_trace, backend);
    backend->free(backend, engine->trunk);
    backend->free(backend, engine->target_hidden);
    loss_close(engine->loss);
    scorer_close(engine->scorer);
    hidden_free(&engine->inputs);
    hidden_free(&engine->targets);
    free(engine);
}

/* Of the probe in a place of the group: what its mixer and its training take, and of what is saved
 * of it. */
static enum status measure_training(uint64_t *bytes, uint64_t *state,
                                    const struct probe_engine *engine, int place) {
    struct model *student = engine->student;
    struct parameters *parameters = NULL;
    const struct probe_parts *parts = &engine->settings.parts;
    const struct mixer mixer = {.sizes = engine->mixer};
    enum status status = parameters_create(&parameters, student, parts->groups);
    if (!status)
        status = probe_parts_add(parameters, parts, student, first_layer_of(engine, place), &mixer,
                                 false);
    if (!status) {
        *bytes = mixer_bytes(&mixer.sizes, student->backend, &student->host) +
                 parameters_bytes(parameters);
        *state = state_bytes(parameters);
    }
    parameters_free(parameters);
    return status;
}

enum status probe_engine_memory(struct probe_memory *out, const struct model *student,
                                const struct model *teacher, const struct tokenset *set,
                                const struct probe_settings *settings,
                                const struct probe_arrangement *arrangement) {
    struct probe_engine engine = {.student = (struct model *)(uintptr_t)student,
                                  .backend = student->backend,
                                  .set = set,
                                  .settings = *settings,
                                  .arrangement = *arrangement};
    const struct model_config *config = student->config;
    size_t acc = dtype_size(student->backend->acc), act = dtype_size(student->backend->act);
    *out = (struct probe_memory){0};
    enum status status = measure(&engine);
    if (status) return status;
    const struct step_rows steps = rows_of(&engine);
    out->tokens = engine.max_tokens;
    uint64_t head = (uint64_t)config->vocab_size * (uint64_t)config->hidden_size * act;
    out->weights = model_layers_present_bytes(student, !arrangement->memory.stream_layers) +
                   head * (config->tie_word_embeddings ? 1 : 2);
    if (teacher != student) out->weights += head * (config->tie_word_embeddings ? 1 : 2);
    struct trace_needs eval = eval_needs_of(&engine);
    out->activations = trace_bytes(student, &eval) + stream_bytes(&engine);
    if (arrangement->together > 1) out->activations += stream_bytes(&engine);
    if (arrangement->memory.park) {
        out->activations += PARKED_PLACES * stream_bytes(&engine);
        out->parked = (uint64_t)parked_count_of(&engine) * stream_bytes(&engine);
    }
    for (int i = 0; i < arrangement->together; i++) {
        struct tape_options tape = tape_options_of(&engine, i);
        out->activations += i == 0 ? tape_bytes(student, &tape) : tape_beside_bytes(student, &tape);
        uint64_t training, state;
        status = measure_training(&training, &state, &engine, i);
        if (status) return status;
        out->optimizer += training;
        if (i == 0) out->state = state;
    }
    out->logits = loss_bytes(student, engine.max_tokens) + scorer_bytes(student) /
                                                               (uint64_t)scorer_chunk(student) *
                                                               (uint64_t)scorer_chunk_of(&engine);
    out->kept_logits = loss_kept_bytes(teacher, step_rows_batches(&steps, settings->schedule.steps),
                                       engine.max_tokens);
    int64_t tokens = 0, rows = step_rows_count(&steps, settings->schedule.steps);
    for (int64_t row = 0; row < (int64_t)set->rows; row++)
        if (row < rows || row >= engine.training) tokens += step_rows_tokens(set, row);
    out->cache = 2 * (uint64_t)(tokens * config->hidden_size) * acc;
    out->embedding = hidden_embed_bytes(student, tokens);
    out->advancing = trace_bytes(student, &eval) + stream_bytes(&engine);
    return STATUS_OK;
}

/* The rows of steps [first, first + count), then the held-out ones. The caller frees `rows`. */
static enum status choose_rows(struct probe_rows *out, const struct probe_engine *engine,
                               int64_t first, int64_t count) {
    const struct step_rows steps = rows_of(engine);
    int64_t heldout = engine->settings.data.heldout, training = step_rows_count(&steps, count);
    *out = (struct probe_rows){.training = training,
                               .count = training + heldout,
                               .unit = (int)step_rows_unit(&steps, count),
                               .tokens = engine->max_tokens};
    out->rows = memory_calloc((size_t)out->count, sizeof *out->rows);
    if (!out->rows) return STATUS_FAILED;
    for (int64_t i = 0; i < training; i++)
        out->rows[i] = (first * engine->settings.data.batch + i) % engine->training;
    for (int64_t i = 0; i < heldout; i++) out->rows[training + i] = engine->training + i;
    return STATUS_OK;
}

/* A file that release 0.1.0 has left for this question is named once: it may be another model's. */
static enum status tell_of_older(const struct states_key *key, const struct model *model,
                                 const struct tokenset *set, const struct probe_rows *rows) {
    struct states_key older = *key;
    char *identity = NULL, *path = NULL;
    enum status status = probe_cache_older_identity(&identity, model, set, rows);
    older.identity = identity;
    if (!status) status = states_cache_path(&path, &older);
    if (!status && file_exists(path))
        log_note("\"%s\" is named by an older fingerprint, which reads samples of the weights: it "
                 "may be of another model and is not used",
                 path);
    free(identity);
    free(path);
    return status;
}

/* The file of the teacher's `last` states, or of the inputs that move on through the student. The
 * caller frees the identity. */
static enum status name_states(struct states_key *key, char **identity,
                               const struct probe_cache *cache, const struct model *model,
                               bool last, const struct tokenset *set,
                               const struct probe_rows *rows) {
    enum status status = STATUS_OK;
    *identity = NULL;
    if (cache->kept) status = probe_cache_identity(identity, model, set, rows);
    *key = (struct states_key){.directory = cache->directory,
                               .kind = last ? "teacher" : "inputs",
                               .identity = *identity,
                               .complete = last ? model->config->n_layers : STATES_NOTHING};
    return status;
}

enum status probe_cache_size(uint64_t *bytes, uint64_t *there, const struct model *student,
                             const struct model *teacher, const struct tokenset *set,
                             const struct probe_settings *settings, const struct probe_cache *cache,
                             int64_t count) {
    struct probe_engine engine = {
        .student = (struct model *)(uintptr_t)student, .set = set, .settings = *settings};
    struct probe_rows rows = {0};
    uint64_t tokens = 0;
    *bytes = *there = 0;
    enum status status = measure(&engine);
    if (!status) status = choose_rows(&rows, &engine, 0, count);
    for (int64_t i = 0; !status && i < rows.count; i++)
        tokens += (uint64_t)step_rows_tokens(set, rows.rows[i]);
    for (int last = 0; !status && last < 2; last++) {
        const struct model *model = last ? teacher : student;
        struct states_key key;
        char *identity;
        uint64_t size = 0, present = 0;
        status = name_states(&key, &identity, cache, model, last, set, &rows);
        key.shape = (struct states_shape){tokens, (uint64_t)model->config->hidden_size,
                                          model->backend->acc};
        if (!status) status = states_cache_size(&size, &present, &key);
        *bytes += size;
        *there += present;
        free(identity);
    }
    free(rows.rows);
    return status;
}

/* Room for the rows' states, with those that the cache has. */
static enum status open_states(struct hidden *out, const struct probe_engine *engine,
                               const struct model *model, bool last,
                               const struct probe_rows *rows) {
    bool in_file = engine->cache.directory != NULL;
    struct states_key key;
    char *identity = NULL;
    enum status status = STATUS_OK;
    if (in_file)
        status = name_states(&key, &identity, &engine->cache, model, last, engine->set, rows);
    if (!status && in_file && last && engine->cache.kept)
        status = tell_of_older(&key, model, engine->set, rows);
    if (!status)
        status =
            hidden_create(out, engine->set, engine->backend, model->config->hidden_size, rows->rows,
                          rows->count, &(struct hidden_place){.key = in_file ? &key : NULL});
    out->in_units = rows->training;
    out->unit = rows->unit;
    free(identity);
    return status;
}

enum status probe_engine_load(struct probe_engine *engine, int64_t first, int64_t count) {
    struct model *teacher = engine->teacher;
    struct hidden *inputs = &engine->inputs, *targets = &engine->targets;
    int layers = teacher->config->n_layers;
    struct probe_rows rows;
    hidden_free(inputs);
    hidden_free(targets);
    enum status status = choose_rows(&rows, engine, first, count);
    if (status) return status;
    engine->first = first;
    engine->in_memory = rows.training;
    const struct step_rows steps = rows_of(engine);
    engine->batches = step_rows_batches(&steps, count);
    status = open_states(inputs, engine, engine->student, false, &rows);
    if (!status) status = open_states(targets, engine, teacher, true, &rows);
    if (!status && targets->layer == layers) log_note("the teacher's states are there already");
    if (!status && inputs->layer > 0)
        log_note("the shared inputs of layer %d are there already", inputs->layer);
    if (!status) status = hidden_advance(targets, teacher, layers, engine->max_tokens);
    if (!status && engine->arrangement.memory.keep_logits)
        status = loss_keep(engine->loss, engine->batches, engine->max_tokens);
    free(rows.rows);
    return status;
}

void probe_engine_finish(struct probe_engine *engine) {
    if (engine->inputs.cache) states_cache_remove(engine->inputs.cache);
}
