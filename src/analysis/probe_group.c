/* Probes that advance together through the layers. */
#include <stdlib.h>
#include <string.h>

#include "analysis/probe_engine.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/recorded.h"
#include "train/step.h"

struct probe {
    struct student student; /* its tape is that of its place in the group; borrowed */
    int layer;
    struct mixer mixer;
};

struct probe_group {
    struct probe_engine *engine;
    struct probe *probes;      /* [count], in the order of their layers */
    struct student **students; /* [count]: theirs */
    int count;
    struct token_batch batch; /* of the present passage, and of later ones with rows as long: its
                                 ids, which no layer reads, are those of the first */
    struct recorded forward, backward; /* of steps with that batch */
};

/* The mixer that a library has of the layer, in the place of one that is initialised. */
static enum status take_from_library(struct mixer *out, const struct probe_engine *engine,
                                     int layer) {
    const struct library *library = engine->settings.library;
    const struct library_entry *entry;
    enum status status = library_need(&entry, library, layer, &engine->mixer);
    if (!status) status = library_load(out, library, entry, engine->student);
    if (!status) mixer_freeze(out, &engine->settings.choices);
    return status;
}

static enum status begin(struct probe *probe, struct probe_engine *engine,
                         const struct probe_choice *choice) {
    struct mixer_choices choices = engine->settings.choices;
    choices.seed = choice->seed;
    choices.fit = calibration_find(engine->settings.fits, engine->settings.n_fits, choice->layer,
                                   choice->seed);
    probe->layer = choice->layer;
    enum status status =
        engine->settings.library
            ? take_from_library(&probe->mixer, engine, choice->layer)
            : replacement_create(&probe->mixer, engine->student, choice->layer, &choices);
    if (status) return status;
    const struct probe_parts *parts = &engine->settings.parts;
    struct parameters **parameters = &probe->student.parameters;
    status = parameters_create(parameters, engine->student, parts->groups);
    if (!status)
        status = probe_parts_add(*parameters, parts, engine->student, choice->layer, &probe->mixer,
                                 true);
    return status ? status : parameters_allocate(*parameters);
}

enum status probe_group_begin(struct probe_group **out, struct probe_engine *engine,
                              const struct probe_choice *choices, int count) {
    struct model *student = engine->student;
    struct probe_group *group = memory_calloc(1, sizeof *group);
    if (!group) return STATUS_FAILED;
    group->engine = engine;
    group->probes = memory_calloc((size_t)count, sizeof *group->probes);
    group->students = memory_calloc((size_t)count, sizeof *group->students);
    enum status status = group->probes && group->students ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status = hidden_advance(&engine->inputs, student, choices[0].layer, engine->max_tokens);
    if (!status && engine->stale) status = model_reload_outside(student);
    if (!status) engine->stale = false;
    for (int i = 0; !status && i < count; i++) {
        group->count = i + 1;
        group->students[i] = &group->probes[i].student;
        group->students[i]->tape = engine->tapes[i];
        status = begin(&group->probes[i], engine, &choices[i]);
    }
    if (status)
        probe_group_end(group);
    else
        *out = group;
    return status;
}

static void end(struct probe *probe, struct probe_engine *engine) {
    struct model *student = engine->student;
    const struct probe_parts *parts = &engine->settings.parts;
    parameters_free(probe->student.parameters);
    mixer_free(&probe->mixer, student->backend);
    /* What the probe did to the model's own weights is undone by loading them again. */
    int end = probe_parts_end(parts, student, probe->layer);
    for (int l = probe->layer; l < end; l++) model_forget_layer(student, l);
    if (parts->count > PROBE_OUTSIDE) engine->stale = true;
}

static void drop_batch(struct probe_group *group) {
    recorded_forget(&group->forward, group->engine->backend);
    recorded_forget(&group->backward, group->engine->backend);
    token_batch_free(&group->batch);
}

void probe_group_end(struct probe_group *group) {
    if (!group) return;
    drop_batch(group);
    for (int i = 0; i < group->count; i++) end(&group->probes[i], group->engine);
    free(group->students);
    free(group->probes);
    free(group);
}

struct probe *probe_group_member(struct probe_group *group, int place) {
    return &group->probes[place];
}

struct mixer *probe_mixer(struct probe *probe) {
    return &probe->mixer;
}

enum status probe_mixer_was_set(struct probe *probe) {
    return parameters_read_live(probe->student.parameters);
}

/* Some rows on their way through the layers. */
struct passage {
    struct probe_group *group;
    const bool *takes_part; /* [count] */
    int first, last;        /* the layers between which probes leave the trunk */
    struct acc *trunk;      /* [tokens, D] */
    const struct sequences *rows;
    struct token_batch *units; /* [unit_count]: the same rows in the units of hidden.h; none when
                                  the trunk does not go on */
    int unit_count;
    struct positions positions;
};

static void leave(struct passage *passage) {
    for (int i = 0; i < passage->unit_count; i++) token_batch_free(&passage->units[i]);
    free(passage->units);
    positions_free(&passage->positions);
}

/* The trunk must give the bits that hidden_advance gives: it goes in the same units. */
static enum status cut_into_units(struct passage *passage, int64_t from, int count, int64_t wrap) {
    struct probe_engine *engine = passage->group->engine;
    const struct hidden *inputs = &engine->inputs;
    passage->units = memory_calloc((size_t)count, sizeof *passage->units);
    enum status status = passage->units ? STATUS_OK : STATUS_FAILED;
    for (int row = 0; !status && row < count;) {
        int64_t place = (from + row) % wrap;
        int rows = hidden_group(inputs, place, wrap, engine->max_tokens);
        status = hidden_batch(&passage->units[passage->unit_count], inputs, place, rows, wrap);
        if (!status) passage->unit_count++;
        row += rows;
    }
    return status;
}

static enum status keep_batch(struct probe_group *group, int64_t from, int count, int64_t wrap) {
    const struct hidden *inputs = &group->engine->inputs;
    if (hidden_has_lengths(inputs, &group->batch.sequences, from, count, wrap)) return STATUS_OK;
    drop_batch(group);
    return hidden_batch(&group->batch, inputs, from, count, wrap);
}

/* Rows as hidden_batch takes them: the trunk at the first probe's layer and the teacher's last
 * states are put on the device. `leave` frees, also after a failure. */
static enum status enter(struct passage *passage, struct probe_group *group, const bool *takes_part,
                         int64_t from, int count, int64_t wrap) {
    struct probe_engine *engine = group->engine;
    *passage = (struct passage){.group = group, .takes_part = takes_part, .last = -1};
    struct tape *tape = NULL; /* of the first probe that takes part */
    for (int i = 0; i < group->count; i++) {
        if (!takes_part[i]) continue;
        if (!tape) tape = group->probes[i].student.tape;
        passage->last = group->probes[i].layer;
    }
    passage->first = engine->inputs.layer;
    bool goes_on = passage->last > passage->first;
    passage->trunk = goes_on ? engine->trunk : tape_stream(tape, passage->first);
    passage->rows = &group->batch.sequences;
    enum status status = keep_batch(group, from, count, wrap);
    if (!status && goes_on) status = cut_into_units(passage, from, count, wrap);
    if (!status) status = hidden_positions(&passage->positions, &engine->inputs, from, count, wrap);
    if (status) return status;
    hidden_upload(&engine->inputs, passage->trunk, from, count, wrap);
    hidden_upload(&engine->targets, engine->target_hidden, from, count, wrap);
    return STATUS_OK;
}

static size_t token_bytes(const struct probe_engine *engine) {
    return (size_t)engine->student->config->hidden_size * dtype_size(engine->backend->acc);
}

static void advance_trunk(struct passage *passage, const struct layer *layer) {
    struct probe_engine *engine = passage->group->engine;
    struct acc *h = passage->trunk;
    for (int i = 0; i < passage->unit_count; i++) {
        const struct sequences *rows = &passage->units[i].sequences;
        block_mix(engine->student, layer, &layer->mixer, &engine->eval_trace, h, h, rows);
        block_mlp(engine->student, layer, &engine->eval_trace, h, h, rows->tokens);
        h = acc_at(engine->backend, h, rows->tokens * engine->student->config->hidden_size);
    }
}

/* A probe through one layer: with everything that the way back needs, or in place. */
static enum status through_layer(struct passage *passage, struct probe *probe,
                                 const struct layer *layer, bool trains) {
    struct probe_engine *engine = passage->group->engine;
    const struct sequences *rows = passage->rows;
    struct mixer *placed = layer->index == probe->layer ? &probe->mixer : NULL;
    if (trains) return tape_forward_layer(probe->student.tape, layer->index, placed, rows);
    const struct mixer *mixer = placed ? placed : &layer->mixer;
    void *h = tape_stream(probe->student.tape, probe->layer);
    block_mix(engine->student, layer, mixer, &engine->eval_trace, h, h, rows);
    block_mlp(engine->student, layer, &engine->eval_trace, h, h, rows->tokens);
    return STATUS_OK;
}

/* All probes that take part to the output of the last layer. */
static enum status go_forward(struct passage *passage, bool trains) {
    struct probe_group *group = passage->group;
    struct probe_engine *engine = group->engine;
    struct backend *backend = engine->backend;
    size_t bytes = (size_t)passage->rows->tokens * token_bytes(engine);
    int layers = engine->student->config->n_layers;
    model_turn(engine->student, trains ? passage->first : -1, trains ? layers - 1 : -1);
    for (int l = passage->first; l < layers; l++) {
        const struct layer *layer;
        enum status status = interrupt_check();
        if (!status) status = model_layer(&layer, engine->student, l);
        progress_within((double)(l - passage->first) / (layers - passage->first) / (trains ? 3 : 1),
                        NULL);
        for (int i = 0; !status && i < group->count; i++) {
            void *input = tape_stream(group->probes[i].student.tape, l);
            if (passage->takes_part[i] && group->probes[i].layer == l && input != passage->trunk)
                backend->copy(backend, input, passage->trunk, bytes);
        }
        for (int i = 0; !status && i < group->count; i++)
            if (passage->takes_part[i] && group->probes[i].layer <= l)
                status = through_layer(passage, &group->probes[i], layer, trains);
        if (status) return status;
        if (l < passage->last) advance_trunk(passage, layer);
    }
    return STATUS_OK;
}

/* Back to each one's own layer. */
static enum status go_backward(void *context) {
    struct passage *passage = context;
    struct probe_group *group = passage->group;
    enum status status = STATUS_OK;
    int layers = group->engine->student->config->n_layers;
    for (int l = layers - 1; !status && l >= passage->first; l--) {
        status = interrupt_check();
        progress_within(1 - (double)(l - passage->first + 1) / (layers - passage->first) * 2 / 3,
                        NULL);
        for (int i = 0; !status && i < group->count; i++) {
            struct probe *probe = &group->probes[i];
            if (!student_goes_back(&probe->student) || probe->layer > l) continue;
            status = tape_backward_layer(probe->student.tape, l, probe->student.parameters,
                                         l == probe->layer, NULL, passage->rows);
        }
    }
    return status;
}

static enum status go_forward_training(void *context) {
    return go_forward(context, true);
}

/* One of the two passes of a step. Of a probe that goes alone through layers that stay where they
 * are, it comes again with the same pointers. */
static enum status pass(struct passage *passage, struct recorded *recorded,
                        enum status (*ops)(void *context)) {
    const struct probe_group *group = passage->group;
    const struct train_memory *memory = &group->engine->arrangement.memory;
    if (group->count > 1 || memory->stream_layers || memory->park) return ops(passage);
    return recorded_run(recorded, group->engine->backend, ops, passage);
}

static enum status pass_forward(void *context, int batch) {
    struct passage *passage = context;
    return pass(passage, &passage->group->forward, go_forward_training);
}

static enum status pass_backward(void *context, int batch) {
    struct passage *passage = context;
    return pass(passage, &passage->group->backward, go_backward);
}

enum status probe_group_step(struct probe_group *group, const bool *takes_part, int64_t step,
                             double *losses) {
    struct probe_engine *engine = group->engine;
    const struct probe_settings *settings = &engine->settings;
    int rows = settings->data.batch;
    int64_t place = step - engine->first;
    struct passage passage;
    enum status status = enter(&passage, group, takes_part, place * rows, rows, engine->in_memory);
    for (int i = 0; i < group->count; i++) group->students[i]->takes_part = takes_part[i];
    bool kept = engine->arrangement.memory.keep_logits;
    const struct loss_batch batch = {.positions = &passage.positions,
                                     .teacher = engine->target_hidden,
                                     .slot = kept ? place % engine->batches : -1};
    const struct step whole = {.number = step,
                               .students = group->students,
                               .student_count = group->count,
                               .batches = &batch,
                               .batch_count = 1,
                               .loss = engine->loss,
                               .schedule = &settings->schedule,
                               .optimizer = &settings->optimizer,
                               .passes = {pass_forward, pass_backward, &passage}};
    if (!status) status = step_run(&whole);
    for (int i = 0; !status && i < group->count; i++)
        if (takes_part[i]) losses[i] = group->students[i]->loss;
    leave(&passage);
    return status;
}

/* Held-out rows [row, row + passage rows): each probe's metrics, both models' sums side by side. */
static enum status score(struct passage *passage, int64_t row, double *sums, int64_t *counts) {
    struct probe_group *group = passage->group;
    struct probe_engine *engine = group->engine;
    size_t values = (size_t)passage->rows->count * METRIC_COUNT;
    double *both = memory_calloc(2 * values, sizeof *both);
    enum status status = both ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; !status && i < group->count; i++) {
        if (!passage->takes_part[i]) continue;
        struct probe *probe = &group->probes[i];
        memset(both, 0, 2 * values * sizeof *both);
        status = scorer_score_positions(engine->scorer, &passage->positions, engine->target_hidden,
                                        tape_stream(probe->student.tape, probe->layer), 0, 1, both);
        int64_t place = i * engine->settings.data.heldout + row;
        if (!status) memcpy(sums + place * METRIC_COUNT, both + values, values * sizeof *sums);
    }
    if (!status)
        memcpy(counts + row * METRIC_COUNT, passage->positions.counts, values * sizeof *counts);
    free(both);
    return status;
}

enum status probe_group_evaluate(struct probe_group *group, const bool *takes_part, double *sums,
                                 int64_t *counts) {
    struct probe_engine *engine = group->engine;
    const struct hidden *inputs = &engine->inputs;
    enum status status = STATUS_OK;
    for (int64_t from = engine->in_memory; !status && from < inputs->count;) {
        int count = hidden_group(inputs, from, inputs->count, engine->max_tokens);
        struct passage passage;
        status = enter(&passage, group, takes_part, from, count, inputs->count);
        if (!status) status = go_forward(&passage, false);
        if (!status) status = score(&passage, from - engine->in_memory, sums, counts);
        leave(&passage);
        from += count;
    }
    return status;
}

struct parameters *probe_parameters(struct probe *probe) {
    return probe->student.parameters;
}
