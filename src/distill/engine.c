#include "distill/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"

static const struct model_config *config_of(const struct distill_engine *engine) {
    return engine->student->config;
}

/* The largest batch that passes at a time, in training or in validation. */
static struct sequences largest_batch(struct distill_rows *rows, int micro) {
    const struct tokenset *set = rows->set;
    int64_t tokens = distill_rows_largest(rows, micro);
    int64_t longest = (int64_t)tokenset_longest_row(set);
    return (struct sequences){
        .count = micro, .tokens = tokens > longest ? tokens : longest, .longest = (int)longest};
}

/* The first layer that trains in any phase. */
static int first_of_all(const struct distill_training *training, const struct model *student,
                        const struct model *teacher) {
    int first = student->config->n_layers;
    for (int i = 0; i < training->phases.count; i++) {
        int own = distill_phase_first(&training->phases.list[i], student->config, teacher->config);
        if (own < first) first = own;
    }
    return first;
}

static struct tape_options tape_of(const struct distill_training *training,
                                   const struct model *student, const struct model *teacher,
                                   const struct sequences *largest, bool recompute) {
    return (struct tape_options){.first = first_of_all(training, student, teacher),
                                 .sequences = *largest,
                                 .recompute = recompute};
}

/* Of a block of either model without gradients. */
static struct trace_needs passing_needs(const struct model *student, const struct model *teacher,
                                        const struct sequences *largest) {
    struct trace_needs needs = trace_needs_begin(student, largest, false);
    for (int l = 0; l < student->config->n_layers; l++) {
        trace_needs_add(&needs, student, &student->config->layers[l].mixer);
        trace_needs_add(&needs, teacher, &teacher->config->layers[l].mixer);
    }
    return needs;
}

static size_t stream_bytes(const struct model *model, int64_t tokens) {
    return (size_t)(tokens * model->config->hidden_size) * dtype_size(model->backend->acc);
}

static enum status allocate(struct distill_engine *engine) {
    struct backend *backend = engine->backend;
    const struct distill_training *training = engine->training;
    const struct sequences largest = largest_batch(&engine->rows, engine->arrangement.micro);
    const struct tape_options tape = tape_of(training, engine->student, engine->teacher, &largest,
                                             engine->arrangement.recompute);
    const struct trace_needs needs = passing_needs(engine->student, engine->teacher, &largest);
    int most = (training->data.batch + engine->arrangement.micro - 1) / engine->arrangement.micro;
    engine->room = largest.tokens;
    engine->micros = memory_calloc((size_t)most, sizeof *engine->micros);
    engine->batches = memory_calloc((size_t)most, sizeof *engine->batches);
    engine->target =
        backend->alloc(backend, stream_bytes(engine->student, largest.tokens), "teacher's states");
    if (!engine->micros || !engine->batches || !engine->target) return STATUS_FAILED;
    enum status status = trace_alloc(&engine->trace, engine->student, &needs);
    if (!status) status = model_prepare(engine->teacher, largest.longest);
    if (!status) status = tape_open(&engine->state.tape, engine->student, &tape);
    if (!status)
        status = loss_open(&engine->loss, engine->student, engine->teacher, &training->loss,
                           largest.tokens);
    if (!status) status = scorer_open(&engine->scorer, engine->teacher, engine->student, 0);
    if (!status) scorer_keep_nonfinite(engine->scorer);
    return status;
}

/* What trains, and everything that an optimizer keeps of it. */
static enum status allocate_parameters(struct distill_engine *engine) {
    const struct distill_training *training = engine->training;
    struct parameters **parameters = &engine->state.parameters;
    enum status status =
        parameters_create(parameters, engine->student, training->phases.list[0].groups);
    if (!status)
        status = distill_phases_add(*parameters, &training->phases, engine->student,
                                    engine->teacher->config, true);
    return status ? status : parameters_allocate(*parameters);
}

enum status distill_engine_open(struct distill_engine **out, struct model *student,
                                struct model *teacher, const struct tokenset *set, const char *path,
                                const struct distill_training *training,
                                const struct distill_arrangement *arrangement) {
    struct distill_engine *engine = memory_calloc(1, sizeof *engine);
    if (!engine) return STATUS_FAILED;
    engine->training = training;
    engine->arrangement = *arrangement;
    engine->student = student;
    engine->teacher = teacher;
    engine->backend = student->backend;
    engine->set = set;
    engine->phase = -1;
    engine->students[0] = &engine->state;
    engine->state.takes_part = true;
    enum status status = distill_rows_open(&engine->rows, set, training->data.heldout,
                                           training->in_order, training->seed, path);
    if (!status) status = model_keep_layers(student);
    if (!status && arrangement->keep_teacher) status = model_keep_layers(teacher);
    if (!status) status = distill_count_alike(&engine->alike, student, teacher);
    if (!status) status = allocate(engine);
    if (!status) status = allocate_parameters(engine);
    if (status)
        distill_engine_close(engine);
    else
        *out = engine;
    return status;
}

static void drop_batches(struct distill_engine *engine) {
    for (int i = 0; i < engine->micro_count; i++) distill_micro_close(&engine->micros[i]);
    engine->micro_count = 0;
}

void distill_engine_close(struct distill_engine *engine) {
    if (!engine) return;
    struct backend *backend = engine->backend;
    drop_batches(engine);
    scorer_close(engine->scorer);
    loss_close(engine->loss);
    parameters_free(engine->state.parameters);
    tape_close(engine->state.tape);
    trace_free(&engine->trace, backend);
    backend->free(backend, engine->target);
    distill_rows_close(&engine->rows);
    free(engine->micros);
    free(engine->batches);
    free(engine);
}

enum status distill_engine_memory(struct distill_memory *out, struct model *student,
                                  const struct model *teacher, const struct tokenset *set,
                                  const char *path, const struct distill_training *training,
                                  const struct distill_arrangement *arrangement) {
    struct distill_rows rows;
    struct parameters *parameters = NULL;
    enum status status = distill_rows_open(&rows, set, training->data.heldout, training->in_order,
                                           training->seed, path);
    if (!status) status = parameters_create(&parameters, student, training->phases.list[0].groups);
    if (!status)
        status = distill_phases_add(parameters, &training->phases, student, teacher->config, false);
    if (!status) {
        const struct sequences largest = largest_batch(&rows, arrangement->micro);
        const struct tape_options tape =
            tape_of(training, student, teacher, &largest, arrangement->recompute);
        const struct trace_needs needs = passing_needs(student, teacher, &largest);
        *out = (struct distill_memory){
            .student = model_outside_bytes(student, largest.longest) + model_layers_bytes(student),
            .teacher = model_outside_bytes(teacher, largest.longest) +
                       model_layers_present_bytes(teacher, arrangement->keep_teacher),
            .activations = tape_bytes(student, &tape) + trace_bytes(student, &needs) +
                           stream_bytes(student, largest.tokens),
            .optimizer = parameters_bytes(parameters),
            .logits = loss_bytes(student, largest.tokens) + scorer_bytes(student),
            .tokens = largest.tokens};
    }
    parameters_free(parameters);
    distill_rows_close(&rows);
    return status;
}

/* ---- phases */

void distill_engine_enter(struct distill_engine *engine, int64_t step) {
    const struct distill_phases *phases = &engine->training->phases;
    int64_t begins;
    int phase = distill_phase_of(phases, step, &begins);
    if (phase == engine->phase) return;
    int lowest = config_of(engine)->n_layers;
    for (int i = 0; i <= phase; i++) {
        engine->first =
            distill_phase_first(&phases->list[i], engine->student->config, engine->teacher->config);
        if (engine->first < lowest) lowest = engine->first;
    }
    engine->phase = phase;
    engine->shared = engine->alike < lowest ? engine->alike : lowest;
    engine->trains_input = !phases->list[phase].groups[DISTILL_EMBEDDING].frozen;
    for (int i = 0; i <= phase; i++)
        if (!phases->list[i].groups[DISTILL_EMBEDDING].frozen) engine->shared = -1;
    parameters_set_groups(engine->state.parameters, phases->list[phase].groups);
}

double distill_engine_rate(const struct distill_engine *engine, int64_t step) {
    const struct distill_phases *phases = &engine->training->phases;
    int64_t first;
    int phase = distill_phase_of(phases, step, &first);
    const struct train_schedule schedule =
        distill_phase_schedule(&engine->training->schedule, &phases->list[phase]);
    return train_schedule_rate(&schedule, step - first);
}

/* ---- passes */

static void embed(const struct model *model, struct acc *out, const struct token_batch *batch) {
    model->backend->embedding->embed(model->backend, out, batch->ids, model->embedding,
                                     batch->sequences.tokens, model->config->hidden_size);
}

/* `h` in place through layers [from, to) of a model, without gradients. */
static enum status go_through(struct distill_engine *engine, struct model *model, struct acc *h,
                              int from, int to, const struct sequences *sequences) {
    for (int l = from; l < to; l++) {
        const struct layer *layer;
        enum status status = interrupt_check();
        if (!status) status = model_layer(&layer, model, l);
        if (status) return status;
        block_mix(model, layer, &layer->mixer, &engine->trace, h, h, sequences);
        block_mlp(model, layer, &engine->trace, h, h, sequences->tokens);
    }
    return STATUS_OK;
}

/* The teacher to its last states, and the student's states before layer `until` into `h`. */
static enum status go_forward(struct distill_engine *engine, const struct token_batch *batch,
                              struct acc *h, int until) {
    struct model *teacher = engine->teacher, *student = engine->student;
    const struct sequences *sequences = &batch->sequences;
    int shared = engine->shared < until ? engine->shared : until;
    embed(teacher, engine->target, batch);
    enum status status = go_through(engine, teacher, engine->target, 0, shared, sequences);
    if (status) return status;
    if (shared < 0)
        embed(student, h, batch);
    else
        engine->backend->copy(engine->backend, h, engine->target,
                              stream_bytes(student, sequences->tokens));
    status = go_through(engine, teacher, engine->target, shared < 0 ? 0 : shared,
                        teacher->config->n_layers, sequences);
    return status ? status
                  : go_through(engine, student, h, shared < 0 ? 0 : shared, until, sequences);
}

static enum status pass_forward(void *context, int batch) {
    struct distill_engine *engine = context;
    struct tape *tape = engine->state.tape;
    const struct token_batch *tokens = &engine->micros[batch].tokens;
    progress_range((double)batch / engine->micro_count, (batch + 1.0) / engine->micro_count);
    enum status status =
        go_forward(engine, tokens, tape_stream(tape, engine->first), engine->first);
    return status ? status : tape_forward(tape, engine->first, NULL, &tokens->sequences);
}

static enum status pass_backward(void *context, int batch) {
    struct distill_engine *engine = context;
    const struct parameters *parameters = engine->state.parameters;
    const struct token_batch *tokens = &engine->micros[batch].tokens;
    enum status status = tape_backward(engine->state.tape, engine->first, parameters,
                                       engine->trains_input, NULL, &tokens->sequences);
    if (!status && engine->trains_input)
        engine->backend->embedding->embed_backward(engine->backend, parameters->embedding_gradient,
                                                   tokens->ids, tape_gradient(engine->state.tape),
                                                   tokens->sequences.tokens,
                                                   config_of(engine)->hidden_size);
    return status;
}

/* ---- steps */

int64_t distill_engine_tokens(struct distill_engine *engine, int64_t step) {
    const uint64_t *offsets = engine->set->row_offsets;
    int64_t tokens = 0;
    for (int i = 0; i < engine->training->data.batch; i++) {
        int64_t row;
        distill_rows_at(&engine->rows, step * engine->training->data.batch + i, &row, 1);
        tokens += (int64_t)(offsets[row + 1] - offsets[row]);
    }
    return tokens;
}

/* The rows of a step, in micro-batches. */
static enum status take_rows(struct distill_engine *engine, int64_t step) {
    int batch = engine->training->data.batch, micro = engine->arrangement.micro;
    int64_t *rows = memory_calloc((size_t)batch, sizeof *rows);
    enum status status = rows ? STATUS_OK : STATUS_FAILED;
    if (rows) distill_rows_at(&engine->rows, step * batch, rows, batch);
    drop_batches(engine);
    for (int from = 0; !status && from < batch; from += micro) {
        struct distill_micro *one = &engine->micros[engine->micro_count];
        int count = batch - from < micro ? batch - from : micro;
        engine->batches[engine->micro_count++] = (struct loss_batch){
            .positions = &one->positions, .teacher = engine->target, .slot = -1};
        status = distill_micro_open(one, engine->set, engine->backend, rows + from, count);
    }
    free(rows);
    return status;
}

enum status distill_engine_step(struct distill_engine *engine, int64_t step,
                                const struct step_judge *judge) {
    const struct distill_training *training = engine->training;
    int64_t first;
    int phase = distill_phase_of(&training->phases, step, &first);
    const struct train_schedule schedule =
        distill_phase_schedule(&training->schedule, &training->phases.list[phase]);
    enum status status = take_rows(engine, step);
    const struct step whole = {.number = step - first,
                               .students = engine->students,
                               .student_count = 1,
                               .batches = engine->batches,
                               .batch_count = engine->micro_count,
                               .loss = engine->loss,
                               .schedule = &schedule,
                               .optimizer = &training->optimizer,
                               .passes = {pass_forward, pass_backward, engine},
                               .judge = judge};
    if (!status) status = step_run(&whole);
    drop_batches(engine);
    return status;
}

/* ---- validation */

/* Held-out rows [from, from + count): each one's means. */
static enum status validate_rows(struct distill_engine *engine, const int64_t *rows, int count,
                                 struct sequence_value *values, int64_t stride) {
    struct distill_micro micro;
    struct acc *h = tape_stream(engine->state.tape, config_of(engine)->n_layers);
    double *sums = memory_calloc((size_t)count * METRIC_COUNT * 2, sizeof *sums);
    enum status status = sums ? STATUS_OK : STATUS_FAILED;
    if (!status) status = distill_micro_open(&micro, engine->set, engine->backend, rows, count);
    if (status) {
        free(sums);
        return status;
    }
    status = go_forward(engine, &micro.tokens, h, config_of(engine)->n_layers);
    if (!status)
        status =
            scorer_score_positions(engine->scorer, &micro.positions, engine->target, h, 0, 1, sums);
    const double *own = sums + (size_t)count * METRIC_COUNT;
    for (int i = 0; !status && i < count; i++)
        for (int metric = 0; metric < METRIC_COUNT; metric++) {
            int64_t counted = micro.positions.counts[i * METRIC_COUNT + metric];
            values[metric * stride + i] = (struct sequence_value){
                rows[i], counted, counted ? own[i * METRIC_COUNT + metric] / (double)counted : 0};
        }
    distill_micro_close(&micro);
    free(sums);
    return status;
}

enum status distill_engine_validate(struct distill_engine *engine,
                                    struct statistics out[METRIC_COUNT]) {
    int64_t held = engine->training->data.heldout, first = (int64_t)engine->set->rows - held;
    int micro = engine->arrangement.micro;
    struct sequence_value *values = memory_calloc((size_t)held * METRIC_COUNT + 1, sizeof *values);
    int64_t *rows = memory_calloc((size_t)held + 1, sizeof *rows);
    enum status status = values && rows ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; !status && i < held; i++) rows[i] = first + i;
    for (int64_t from = 0; !status && from < held; from += micro) {
        int count = held - from < micro ? (int)(held - from) : micro;
        const uint64_t *offsets = engine->set->row_offsets + first + from;
        int64_t most = (int64_t)(offsets[count] - offsets[0]);
        int each = most > engine->room ? 1 : count;
        for (int i = 0; !status && i < count; i += each)
            status = validate_rows(engine, rows + from + i, each, values + from + i, held);
    }
    for (int metric = 0; !status && metric < METRIC_COUNT; metric++)
        status = statistics_mean(&out[metric], values + metric * held, (size_t)held);
    free(values);
    free(rows);
    return status;
}
