/* Whole steps of training, of one student alone: several micro-batches are one large batch,
 * whatever counts in each of them, and ten steps are five, a restart, and five more. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/probe_parts.h"
#include "base/memory.h"
#include "check_main.h"
#include "kernels/ops/embedding.h"
#include "mixer_choices.h"
#include "model/forward.h"
#include "model/replacement.h"
#include "model/sequences.h"
#include "train/state.h"
#include "train/step.h"

#define MODEL TEST_DATA "/models/llama-f32-bare"

enum { ROWS = 6, TOKENS = 60, VOCABULARY = 300, MOST_BATCHES = 6, LAYER = 0 };

static uint64_t row_offsets[ROWS + 1] = {0, 3, 19, 20, 33, 53, TOKENS};

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* Rows [first, first + rows) as a micro-batch. */
struct micro {
    struct positions positions;
    struct token_batch ids;
    void *teacher;
};

/* A student whose layer 0 has a Mamba mixer, and everything behind it trains; a teacher. */
struct course {
    struct backend *backend;
    struct model *model, *teacher;
    struct mixer mixer;
    struct probe_parts parts;
    struct tokenset set;
    uint32_t ids[TOKENS];
    uint8_t mask[TOKENS];
    struct student student, *students[1];
    struct loss *loss;
    struct micro micros[MOST_BATCHES];
    struct loss_batch batches[MOST_BATCHES];
    int count;
    int ways_back; /* that were gone */
};

/* Which tokens count: all, none of the longest rows but a few, a single one. */
enum masking { ALL, UNEQUAL, SINGLE, NONE };

static void make_set(struct course *course, enum masking masking) {
    for (uint32_t t = 0; t < TOKENS; t++) {
        course->ids[t] = (t * 97 + 13) % VOCABULARY;
        course->mask[t] = masking == UNEQUAL  ? t < 20 || t == 50
                          : masking == SINGLE ? t == 40
                                              : masking == ALL;
    }
    course->set = (struct tokenset){.rows = ROWS,
                                    .tokens = TOKENS,
                                    .row_offsets = row_offsets,
                                    .ids = course->ids,
                                    .loss_mask = masking == ALL ? NULL : course->mask,
                                    .vocab_size = VOCABULARY};
}

/* The rows of a micro-batch, and what the teacher says there. */
static void add_micro(struct course *course, int first, int rows, bool with_teacher) {
    struct micro *micro = &course->micros[course->count];
    struct backend *backend = course->backend;
    succeeds(positions_create(&micro->positions, &course->set, first, rows));
    succeeds(token_batch_create(&micro->ids, backend, course->ids, row_offsets + first, rows));
    if (with_teacher) {
        struct forward *forward;
        micro->teacher = backend->alloc(
            backend, (size_t)(TOKENS * course->teacher->config->hidden_size) * sizeof(float), "");
        succeeds(forward_open(&forward, course->teacher, ROWS, TOKENS, TOKENS));
        succeeds(forward_run(forward, micro->teacher, &micro->ids));
        forward_close(forward);
    }
    course->batches[course->count++] =
        (struct loss_batch){.positions = &micro->positions, .teacher = micro->teacher, .slot = -1};
}

/* `cuts`: the first rows of the micro-batches, and ROWS. */
static void open_course(struct course *out, enum masking masking, enum loss_kind kind,
                        const int *cuts) {
    struct mixer_choices choices =
        choices_of("init=published align=gqa qkv-bias=drop d-state=8 d-conv=4");
    choices.seed = 4;
    const struct train_loss loss = {kind, kind == LOSS_CROSS_ENTROPY ? 1 : 2, 0};
    bool with_teacher = kind != LOSS_CROSS_ENTROPY;
    *out = (struct course){.students = {&out->student}};
    make_set(out, masking);
    succeeds(backend_open_cpu(&out->backend));
    succeeds(model_open(&out->model, out->backend, MODEL, NULL));
    succeeds(model_open(&out->teacher, out->backend, MODEL, NULL));
    succeeds(model_keep_layers(out->model));
    succeeds(replacement_create(&out->mixer, out->model, LAYER, &choices));
    const struct tape_options tape = {
        .sequences = {.count = ROWS, .tokens = TOKENS, .longest = TOKENS},
        .mixer = &out->mixer.sizes};
    succeeds(tape_open(&out->student.tape, out->model, &tape));
    succeeds(probe_parts_from_name(&out->parts, "all", 0.1));
    struct parameters **parameters = &out->student.parameters;
    succeeds(parameters_create(parameters, out->model, out->parts.groups));
    succeeds(probe_parts_add(*parameters, &out->parts, out->model, LAYER, &out->mixer, true));
    succeeds(parameters_allocate(*parameters));
    succeeds(loss_open(&out->loss, out->model, with_teacher ? out->teacher : NULL, &loss, TOKENS));
    for (; *cuts < ROWS; cuts++) add_micro(out, cuts[0], cuts[1] - cuts[0], with_teacher);
    out->student.takes_part = true;
}

static void close_course(struct course *course) {
    for (int i = 0; i < course->count; i++) {
        token_batch_free(&course->micros[i].ids);
        positions_free(&course->micros[i].positions);
        course->backend->free(course->backend, course->micros[i].teacher);
    }
    loss_close(course->loss);
    parameters_free(course->student.parameters);
    tape_close(course->student.tape);
    mixer_free(&course->mixer, course->backend);
    model_close(course->model);
    model_close(course->teacher);
    course->backend->close(course->backend);
}

static enum status forward(void *context, int batch) {
    struct course *course = context;
    const struct model *model = course->model;
    const struct token_batch *ids = &course->micros[batch].ids;
    course->backend->embedding->embed(course->backend, tape_stream(course->student.tape, LAYER),
                                      ids->ids, model->embedding, ids->sequences.tokens,
                                      model->config->hidden_size);
    return tape_forward(course->student.tape, LAYER, &course->mixer, &ids->sequences);
}

static enum status backward(void *context, int batch) {
    struct course *course = context;
    course->ways_back++;
    return tape_backward(course->student.tape, LAYER, course->student.parameters, false, NULL,
                         &course->micros[batch].ids.sequences);
}

static const struct train_schedule schedule = {SCHEDULE_COSINE, 1e-3, 10, 3, 0, 0.1};

static double take_step(struct course *course, int64_t number) {
    const struct train_optimizer optimizer = {0.9, 0.95, 1e-8, 0.5};
    const struct step step = {.number = number,
                              .students = course->students,
                              .student_count = 1,
                              .batches = course->batches,
                              .batch_count = course->count,
                              .loss = course->loss,
                              .schedule = &schedule,
                              .optimizer = &optimizer,
                              .passes = {forward, backward, course}};
    succeeds(step_run(&step));
    return course->student.loss;
}

static char *state_of(const struct course *course) {
    size_t bytes = state_bytes(course->student.parameters);
    char *state = memory_aligned(bytes);
    state_save(course->student.parameters, state, 0, bytes);
    return state;
}

static const float *gradients(const struct course *course) {
    return (const float *)(const void *)course->student.parameters->arena;
}

/* The distance between two steps' gradients over the length of the first. */
static double distance(const struct course *a, const struct course *b) {
    double squares = 0, differences = 0;
    for (size_t i = 0; i < a->student.parameters->section; i++) {
        double x = (double)gradients(a)[i], y = (double)gradients(b)[i];
        squares += x * x;
        differences += (x - y) * (x - y);
    }
    ck_assert(squares > 0);
    return sqrt(differences / squares);
}

/* What a mean of the micro-batches' means would be. */
static double mean_of_means(const int *cuts, enum masking masking, enum loss_kind kind) {
    double sum = 0, means = 0;
    for (; *cuts < ROWS; cuts++) {
        struct course course;
        const int alone[] = {cuts[0], cuts[1], ROWS};
        open_course(&course, masking, kind, alone);
        course.count = 1;
        double loss = take_step(&course, 0);
        if (isfinite(loss)) {
            sum += loss;
            means++;
        }
        course.count = 1 + (cuts[1] < ROWS);
        close_course(&course);
    }
    return sum / means;
}

START_TEST(micro_batches_are_one_batch) {
    static const int whole[] = {0, ROWS}, halves[] = {0, 3, ROWS}, uneven[] = {0, 1, 2, 5, ROWS},
                     single[] = {0, 1, 2, 3, 4, 5, ROWS};
    static const int *const cuts[] = {halves, uneven, single};
    static const enum loss_kind kinds[] = {LOSS_REVERSE_KL, LOSS_FORWARD_KL, LOSS_CROSS_ENTROPY};
    for (enum masking masking = ALL; masking <= SINGLE; masking++)
        for (size_t k = 0; k < 3; k++) {
            struct course one;
            open_course(&one, masking, kinds[k], whole);
            double loss = take_step(&one, 0);
            ck_assert(isfinite(loss) && loss > 0);
            for (size_t c = 0; c < 3; c++) {
                struct course several;
                open_course(&several, masking, kinds[k], cuts[c]);
                double same = take_step(&several, 0);
                ck_assert_msg(fabs(same / loss - 1) <= 1e-6, "loss %.9g, in parts %.9g", loss,
                              same);
                double apart = distance(&one, &several);
                ck_assert_msg(apart <= 1e-5, "masking %d, loss %zu, cut %zu: gradients %.3g apart",
                              masking, k, c, apart);
                close_course(&several);
            }
            /* Where they count unequally, a mean of means is another number. */
            if (masking == UNEQUAL) {
                double means = mean_of_means(uneven, masking, kinds[k]);
                ck_assert_msg(fabs(means / loss - 1) > 0.01,
                              "loss %.9g: the mean of means is the mean: %.9g", loss, means);
            }
            close_course(&one);
        }
}
END_TEST

/* Nothing counts: no loss, no update, and the moments stay as they are. */
START_TEST(a_step_without_positions_changes_nothing) {
    static const int cuts[] = {0, 2, ROWS};
    struct course course;
    open_course(&course, NONE, LOSS_REVERSE_KL, cuts);
    char *before = state_of(&course);
    ck_assert(isnan(take_step(&course, 0)));
    ck_assert_int_eq(course.ways_back, 0);
    char *after = state_of(&course);
    ck_assert_mem_eq(before, after, state_bytes(course.student.parameters));
    free(before);
    free(after);
    close_course(&course);
}
END_TEST

/* A loss that is not finite, in whichever micro-batch, ends a student's step. */
START_TEST(a_loss_that_is_not_finite_changes_nothing) {
    static const int cuts[] = {0, 2, 4, ROWS};
    for (int bad = 0; bad < 3; bad++) {
        struct course course;
        open_course(&course, ALL, LOSS_REVERSE_KL, cuts);
        char *before = state_of(&course);
        ((float *)course.micros[bad].teacher)[5] = NAN;
        ck_assert(isnan(take_step(&course, 0)));
        ck_assert_int_eq(course.ways_back, bad);
        char *after = state_of(&course);
        ck_assert_mem_eq(before, after, state_bytes(course.student.parameters));
        free(before);
        free(after);
        close_course(&course);
    }
}
END_TEST

/* A student that does not take part keeps its state, and the other's bits do not depend on it. */
START_TEST(who_takes_no_part_stays) {
    static const int whole[] = {0, ROWS};
    struct course course;
    open_course(&course, ALL, LOSS_REVERSE_KL, whole);
    char *before = state_of(&course);
    course.student.takes_part = false;
    course.student.loss = 7;
    take_step(&course, 0);
    char *after = state_of(&course);
    ck_assert_mem_eq(before, after, state_bytes(course.student.parameters));
    ck_assert(course.student.loss == 7);
    free(before);
    free(after);
    close_course(&course);
}
END_TEST

enum { STEPS = 10, STOP = 5 };

START_TEST(ten_steps_are_five_a_restart_and_five) {
    static const int cuts[] = {0, 2, ROWS};
    static const enum loss_kind kinds[] = {LOSS_REVERSE_KL, LOSS_CROSS_ENTROPY};
    for (size_t k = 0; k < 2; k++) {
        struct course whole, first, second;
        double losses[STEPS], again[STEPS];
        open_course(&whole, UNEQUAL, kinds[k], cuts);
        size_t bytes = state_bytes(whole.student.parameters);
        for (int step = 0; step < STEPS; step++) losses[step] = take_step(&whole, step);
        char *expected = state_of(&whole);
        close_course(&whole);
        ck_assert(losses[STEPS - 1] < losses[0]);

        open_course(&first, UNEQUAL, kinds[k], cuts);
        for (int step = 0; step < STOP; step++) again[step] = take_step(&first, step);
        char *saved = state_of(&first);
        close_course(&first); /* everything goes */
        open_course(&second, UNEQUAL, kinds[k], cuts);
        state_restore(second.student.parameters, saved, 0, bytes);
        for (int step = STOP; step < STEPS; step++) again[step] = take_step(&second, step);
        char *found = state_of(&second);
        ck_assert_mem_eq(losses, again, sizeof losses);
        ck_assert_mem_eq(expected, found, bytes);
        close_course(&second);
        free(expected);
        free(saved);
        free(found);
    }
}
END_TEST

CHECK_MAIN("step", micro_batches_are_one_batch, a_step_without_positions_changes_nothing,
           a_loss_that_is_not_finite_changes_nothing, who_takes_no_part_stays,
           ten_steps_are_five_a_restart_and_five)
