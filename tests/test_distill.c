/* Distillation: what trains in its phases, which rows a step has, micro-batches, states, and steps
 * that must not be taken. tests/cli/distill.sh has the command, and the steps of PyTorch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "check_main.h"
#include "convert/convert.h"
#include "distill/distill.h"
#include "kernels/ops/loss.h"
#include "mixer_choices.h"
#include "train/loss.h"

#define MODELS TEST_DATA "/models/"

enum { ROWS = 14, MOST_TOKENS = 400, VOCABULARY = 300 };

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* ---- what is parsed */

START_TEST(phases_and_factors_are_read) {
    double factors[DISTILL_GROUPS];
    struct distill_phases phases;
    int64_t first;
    distill_factors_default(factors);
    succeeds(distill_factors_parse(factors, "mlp=0,head=2.5"));
    succeeds(distill_phases_parse(&phases, "mixers:20,all:30,mixers:1", factors, 0.1));
    ck_assert_int_eq(phases.count, 3);
    ck_assert_int_eq(distill_phases_steps(&phases), 51);
    for (int group = 0; group < DISTILL_GROUPS; group++)
        ck_assert_int_eq(phases.list[0].groups[group].frozen, group != DISTILL_MIXER);
    const struct parameter_group *all = phases.list[1].groups;
    ck_assert(all[DISTILL_MLP].frozen && all[DISTILL_EMBEDDING].frozen);
    ck_assert(!all[DISTILL_NORM].frozen && !all[DISTILL_ATTENTION].frozen);
    ck_assert_double_eq(all[DISTILL_HEAD].rate, 2.5);
    ck_assert_double_eq(all[DISTILL_HEAD].decay, 0.1);
    static const int phase_at[][3] = {{0, 0, 0}, {19, 0, 0}, {20, 1, 20}, {50, 2, 50}, {51, 2, 50}};
    for (size_t i = 0; i < sizeof phase_at / sizeof *phase_at; i++) {
        ck_assert_int_eq(distill_phase_of(&phases, phase_at[i][0], &first), phase_at[i][1]);
        ck_assert_int_eq(first, phase_at[i][2]);
    }
    static const char *const bad[] = {"",
                                      "all",
                                      "all:",
                                      "all:0",
                                      "all:-1",
                                      "all:1e3",
                                      "all: 3",
                                      "mixers:1,",
                                      ",all:2",
                                      "some:3",
                                      "all:3x",
                                      "all:3;all:4",
                                      "ALL:3",
                                      "all:1000000001",
                                      "all:99999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(distill_phases_parse(&phases, bad[i], factors, 0) == STATUS_USAGE, "\"%s\"",
                      bad[i]);
    static const char *const bad_factors[] = {"",         "mlp",       "mlp=",    "mlp=-1",
                                              "mlp=x",    "mlp=1,",    "mlp=nan", "mlp=inf",
                                              "mixers=1", "mlp=1e999", "mlp=1 "};
    for (size_t i = 0; i < sizeof bad_factors / sizeof *bad_factors; i++)
        ck_assert_msg(distill_factors_parse(factors, bad_factors[i]) == STATUS_USAGE, "\"%s\"",
                      bad_factors[i]);
    for (int group = 0; group < DISTILL_GROUPS; group++) factors[group] = 0;
    ck_assert_int_eq(distill_phases_parse(&phases, "all:3", factors, 0), STATUS_USAGE);
}
END_TEST

START_TEST(a_schedule_belongs_to_a_phase) {
    const struct train_schedule whole = {SCHEDULE_WSD, 1, 0, -1, -1, 0.1};
    const struct distill_phase phase = {.steps = 100};
    struct train_schedule own = distill_phase_schedule(&whole, &phase);
    ck_assert_int_eq(own.steps, 100);
    ck_assert_int_eq(own.warmup, 5);
    ck_assert_int_eq(own.cooldown, 20);
    const struct train_schedule told = {SCHEDULE_WSD, 1, 0, 0, 7, 0.1};
    own = distill_phase_schedule(&told, &phase);
    ck_assert_int_eq(own.warmup, 0);
    ck_assert_int_eq(own.cooldown, 7);
}
END_TEST

/* ---- steps that are not taken */

static void fill(struct guard *guard, double loss, double norm) {
    for (int i = 0; i < GUARD_WINDOW; i++)
        ck_assert(guard_accepts(guard, loss + 0.01 * (i % 7), norm + 0.1 * (i % 5)));
}

START_TEST(what_is_not_finite_or_far_out_is_skipped) {
    struct guard guard = {0};
    ck_assert(!guard_accepts(&guard, NAN, 1));
    ck_assert(!guard_accepts(&guard, 1, INFINITY));
    ck_assert(!guard_accepts(&guard, 1, NAN));
    ck_assert_int_eq(guard.not_finite, 3);
    ck_assert(guard_accepts(&guard, 1e30, 1e30)); /* nothing to compare with yet */
    guard = (struct guard){0};
    fill(&guard, 1, 2);
    ck_assert(!guard_accepts(&guard, 1.5, 2));
    ck_assert(!guard_accepts(&guard, 1, 20));
    ck_assert_int_eq(guard.far_out, 2);
    ck_assert(guard_accepts(&guard, 1.1, 2.5));
    ck_assert(guard_accepts(&guard, -1e30, 0)); /* far below is fine */
    ck_assert_int_eq(guard.in_a_row, 0);
    guard_forget_window(&guard);
    ck_assert(guard_accepts(&guard, 1.5, 20));
    ck_assert_int_eq(guard.far_out, 2);
}
END_TEST

START_TEST(ten_in_a_row_end_a_run) {
    struct guard guard = {0};
    for (int i = 0; i < GUARD_IN_A_ROW; i++) {
        succeeds(guard_check(&guard, i));
        ck_assert(!guard_accepts(&guard, NAN, NAN));
    }
    ck_assert_int_eq(guard_check(&guard, 9), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "10 steps in a row were skipped, up to step 9: its loss was "
                                       "not finite; try a smaller --lr");
    ck_assert(guard_accepts(&guard, 1, 1));
    succeeds(guard_check(&guard, 10));
}
END_TEST

START_TEST(a_guard_comes_back_bit_for_bit) {
    struct guard guard = {0}, back;
    for (int i = 0; i < 200; i++) (void)guard_accepts(&guard, 1.0 / (3 + i), sqrt(2.0 + i));
    (void)guard_accepts(&guard, NAN, 1);
    struct json *json = guard_to_json(&guard), *again = NULL;
    char *text = js_print(json, 0);
    succeeds(js_parse(&again, text, strlen(text), "state"));
    succeeds(guard_from_json(&back, again, "state"));
    ck_assert_mem_eq(&guard.losses, &back.losses, sizeof guard.losses);
    ck_assert_mem_eq(&guard.norms, &back.norms, sizeof guard.norms);
    ck_assert_int_eq(guard.next, back.next);
    ck_assert_int_eq(guard.count, back.count);
    ck_assert_int_eq(guard.in_a_row, back.in_a_row);
    ck_assert_int_eq(guard.not_finite, back.not_finite);
    ck_assert_str_eq(guard.why, back.why);
    js_free(again);
    js_set_integer(json, "next", GUARD_WINDOW);
    ck_assert_int_eq(guard_from_json(&back, json, "state"), STATUS_FAILED);
    js_free(json);
    free(text);
}
END_TEST

/* ---- a hybrid and its teacher */

struct course {
    char parent[64], hybrid[96];
    struct backend *backend;
    struct model *student, *teacher;
    struct tokenset set;
    uint64_t offsets[ROWS + 1];
    uint32_t ids[MOST_TOKENS];
    uint8_t mask[MOST_TOKENS];
    struct distill_training training;
    struct distill_engine *engine;
};

/* Rows of 3 to 29 tokens; half of them with next to nothing in the mask. */
static void make_set(struct course *course, bool masked) {
    uint64_t tokens = 0;
    for (int row = 0; row < ROWS; row++) {
        uint64_t length = 3 + (uint64_t)(row * 11 % 27);
        for (uint64_t t = 0; t < length; t++) {
            course->ids[tokens + t] = (uint32_t)((tokens + t) * 97 + 13) % VOCABULARY;
            course->mask[tokens + t] = row % 2 ? t % 3 > 0 : t == 2;
        }
        tokens += length;
        course->offsets[row + 1] = tokens;
    }
    course->set = (struct tokenset){.rows = ROWS,
                                    .tokens = tokens,
                                    .row_offsets = course->offsets,
                                    .ids = course->ids,
                                    .loss_mask = masked ? course->mask : NULL,
                                    .vocab_size = VOCABULARY};
}

/* The last layer of a model becomes m2. */
static void make_hybrid(struct course *course, const char *model, int last) {
    struct convert_job job;
    struct checkpoint *base;
    struct json *provenance = js_new_object();
    strcpy(course->parent, "/tmp/test-distill-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(course->parent));
    snprintf(course->hybrid, sizeof course->hybrid, "%s/hybrid", course->parent);
    succeeds(checkpoint_open(&base, model, NULL));
    struct convert_options options = {
        .base = base,
        .layers = {&last, 1},
        .format = FORMAT_APRIEL2,
        .choices = choices_of("kind=m2 init=published qkv-bias=drop d-state=8")};
    options.choices.seed = 3;
    succeeds(convert_prepare(&job, &options));
    succeeds(convert_write(&job, course->hybrid, provenance, NULL));
    js_free(provenance);
    convert_free(&job);
    checkpoint_close(base);
}

static void open_course(struct course *out, const char *name, const char *phases,
                        const char *factors, bool masked) {
    char path[512];
    double shares[DISTILL_GROUPS];
    *out = (struct course){0};
    snprintf(path, sizeof path, MODELS "%s", name);
    make_set(out, masked);
    make_hybrid(out, path, 1);
    succeeds(backend_open_cpu(&out->backend));
    succeeds(model_open(&out->student, out->backend, out->hybrid, NULL));
    succeeds(model_open(&out->teacher, out->backend, path, NULL));
    out->training = (struct distill_training){.data = {.batch = 8, .heldout = 3},
                                              .schedule = {SCHEDULE_COSINE, 1e-3, 0, 1, 0, 0.1},
                                              .optimizer = {0.9, 0.95, 1e-8, 1},
                                              .loss = {LOSS_REVERSE_KL, 1, 0}};
    distill_factors_default(shares);
    succeeds(distill_factors_parse(shares, factors));
    succeeds(distill_phases_parse(&out->training.phases, phases, shares, 0.1));
}

static void open_engine(struct course *course, int micro, bool recompute, bool keep_teacher) {
    const struct distill_arrangement arrangement = {micro, recompute, keep_teacher};
    succeeds(distill_engine_open(&course->engine, course->student, course->teacher, &course->set,
                                 "set", &course->training, &arrangement));
}

static void close_course(struct course *course) {
    distill_engine_close(course->engine);
    model_close(course->student);
    model_close(course->teacher);
    course->backend->close(course->backend);
    succeeds(file_remove_directory(course->hybrid));
    succeeds(file_remove_directory(course->parent));
}

static void take_steps(struct course *course, int64_t from, int64_t to,
                       const struct step_judge *judge) {
    for (int64_t step = from; step < to; step++) {
        distill_engine_enter(course->engine, step);
        succeeds(distill_engine_step(course->engine, step, judge));
    }
}

static bool always(void *context, double loss, double norm) {
    return isfinite(loss) && isfinite(norm) && !context;
}
static const struct step_judge each = {always, NULL};

static float *state_of(const struct course *course, size_t *count) {
    size_t bytes = state_bytes(course->engine->state.parameters);
    float *state = memory_aligned(bytes);
    state_save(course->engine->state.parameters, state, 0, bytes);
    *count = bytes / sizeof *state;
    return state;
}

/* The largest difference of two courses' states, over the largest value. */
static double distance(const struct course *a, const struct course *b) {
    size_t count, other;
    float *left = state_of(a, &count), *right = state_of(b, &other);
    double largest = 0, difference = 0;
    ck_assert_uint_eq(count, other);
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)left[i]));
        difference = fmax(difference, fabs((double)left[i] - (double)right[i]));
    }
    free(left);
    free(right);
    return difference / largest;
}

/* ---- rows */

START_TEST(an_epoch_has_every_row_once) {
    struct course course = {0};
    struct distill_rows rows;
    make_set(&course, true);
    for (uint64_t t = course.offsets[4]; t < course.offsets[5]; t++) course.mask[t] = 0;
    course.mask[course.offsets[6] + 2] = 0;
    course.mask[course.offsets[6]] = 1; /* a first token is nobody's prediction */
    succeeds(distill_rows_open(&rows, &course.set, 3, false, 5, "set"));
    ck_assert_int_eq(rows.count, ROWS - 3 - 2);
    ck_assert_int_eq(rows.left_out, 2);
    int64_t first[ROWS], second[ROWS], again[ROWS];
    int seen[ROWS] = {0}, count = (int)rows.count;
    distill_rows_at(&rows, 0, first, count);
    distill_rows_at(&rows, count, second, count);
    distill_rows_at(&rows, 0, again, count);
    ck_assert_mem_eq(first, again, (size_t)count * sizeof *first);
    ck_assert(memcmp(first, second, (size_t)count * sizeof *first) != 0);
    for (int i = 0; i < count; i++) {
        seen[first[i]]++;
        seen[second[i]]++;
    }
    for (int row = 0; row < ROWS; row++)
        ck_assert_int_eq(seen[row], row < ROWS - 3 && row != 4 && row != 6 ? 2 : 0);
    int64_t across[2];
    distill_rows_at(&rows, count - 1, across, 2);
    ck_assert_int_eq(across[0], first[count - 1]);
    ck_assert_int_eq(across[1], second[0]);
    distill_rows_close(&rows);
    succeeds(distill_rows_open(&rows, &course.set, 3, true, 5, "set"));
    distill_rows_at(&rows, rows.count, second, 3);
    ck_assert(second[0] == 0 && second[1] == 1 && second[2] == 2);
    distill_rows_close(&rows);
    ck_assert_int_eq(distill_rows_open(&rows, &course.set, ROWS, true, 5, "set"), STATUS_USAGE);
    distill_rows_close(&rows);
    memset(course.mask, 0, sizeof course.mask);
    ck_assert_int_eq(distill_rows_open(&rows, &course.set, 3, true, 5, "set"), STATUS_FAILED);
    distill_rows_close(&rows);
}
END_TEST

/* ---- steps */

/* Whatever counts in the rows of each, micro-batches are one batch. */
START_TEST(micro_batches_are_one_batch) {
    static const struct {
        const char *model, *factors;
        enum loss_kind kind;
        double ce;
        bool masked;
        int micro;
    } cases[] = {
        {"llama-f32-bare", "head=0.1", LOSS_REVERSE_KL, 0, true, 2},
        {"llama-f32-bare", "embedding=0.1", LOSS_FORWARD_KL, 0.25, true, 3},
        {"qwen2-tied", "embedding=0.2", LOSS_REVERSE_KL, 0.5, false, 1},
        {"qwen2-tied", "norm=0", LOSS_CROSS_ENTROPY, 0, true, 4},
        {"qwen3", "mlp=0,norm=0", LOSS_REVERSE_KL, 0, false, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct course whole, cut;
        open_course(&whole, cases[i].model, "mixers:1,all:2", cases[i].factors, cases[i].masked);
        open_course(&cut, cases[i].model, "mixers:1,all:2", cases[i].factors, cases[i].masked);
        whole.training.loss = cut.training.loss =
            (struct train_loss){cases[i].kind, 2, cases[i].ce};
        open_engine(&whole, 8, false, true);
        open_engine(&cut, cases[i].micro, true, false);
        for (int64_t step = 0; step < 3; step++) {
            take_steps(&whole, step, step + 1, &each);
            take_steps(&cut, step, step + 1, &each);
            double loss = whole.engine->state.loss, norm = whole.engine->state.norm;
            ck_assert_msg(fabs(cut.engine->state.loss / loss - 1) < 2e-5 &&
                              fabs(cut.engine->state.norm / norm - 1) < 2e-5,
                          "case %zu, step %lld: %.9g and %.9g, %.9g and %.9g", i, (long long)step,
                          loss, cut.engine->state.loss, norm, cut.engine->state.norm);
        }
        ck_assert_msg(distance(&whole, &cut) < 1e-4, "case %zu: %g", i, distance(&whole, &cut));
        close_course(&whole);
        close_course(&cut);
    }
}
END_TEST

/* How the memory is used changes no bit. */
START_TEST(arrangements_give_the_same_bits) {
    struct course plain, other;
    open_course(&plain, "llama-f32-bare", "mixers:2,all:2", "embedding=0.1", true);
    open_course(&other, "llama-f32-bare", "mixers:2,all:2", "embedding=0.1", true);
    open_engine(&plain, 3, false, true);
    open_engine(&other, 3, true, false);
    take_steps(&plain, 0, 4, &each);
    take_steps(&other, 0, 4, &each);
    ck_assert_int_eq(plain.engine->alike, 1);
    ck_assert(distance(&plain, &other) == 0);
    close_course(&plain);
    close_course(&other);
}
END_TEST

/* What the teacher computes for both is what the student would compute by itself. */
START_TEST(shared_layers_change_no_bit) {
    struct course shared, apart;
    struct statistics a[METRIC_COUNT], b[METRIC_COUNT];
    open_course(&shared, "llama-f32-bare", "mixers:3", "head=0", false);
    open_course(&apart, "llama-f32-bare", "mixers:3", "head=0", false);
    open_engine(&shared, 4, false, true);
    open_engine(&apart, 4, false, true);
    for (int64_t step = 0; step < 3; step++) {
        take_steps(&shared, step, step + 1, &each);
        distill_engine_enter(apart.engine, step);
        apart.engine->shared = -1;
        succeeds(distill_engine_step(apart.engine, step, &each));
    }
    ck_assert_int_eq(shared.engine->shared, 1);
    ck_assert(distance(&shared, &apart) == 0);
    succeeds(distill_engine_validate(shared.engine, a));
    succeeds(distill_engine_validate(apart.engine, b));
    ck_assert_mem_eq(a, b, sizeof a);
    close_course(&shared);
    close_course(&apart);
}
END_TEST

/* Those of a group that is frozen in the phase. */
START_TEST(frozen_weights_stay) {
    struct course course;
    open_course(&course, "llama-f32-bare", "mixers:2,all:1", "attention=0", false);
    open_engine(&course, 8, false, true);
    size_t count;
    float *before = state_of(&course, &count), *after;
    take_steps(&course, 0, 2, &each);
    after = state_of(&course, &count);
    const struct parameters *parameters = course.engine->state.parameters;
    size_t at = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        size_t size = (size_t)parameters->list[i].count;
        bool same = memcmp(before + at, after + at, size * sizeof *before) == 0;
        ck_assert_int_ne(parameters->list[i].group, DISTILL_ATTENTION);
        ck_assert_int_ne(parameters->list[i].group, DISTILL_EMBEDDING);
        ck_assert_int_eq(same, parameters->list[i].group != DISTILL_MIXER);
        at += 3 * size;
    }
    free(before);
    free(after);
    close_course(&course);
}
END_TEST

/* ---- a loss that is not finite */

static const struct loss_ops *real_ops;
static int calls, bad_from, bad_to;

static void poisoned_loss(struct backend *backend, struct acc *loss, struct act *dlogits,
                          enum loss_kind kind, double temperature, const struct acc *student,
                          const struct acc *teacher, const struct acc *teacher_lse,
                          const int32_t *target, const struct acc *weight, int64_t rows,
                          int64_t vocabulary) {
    real_ops->distill_loss(backend, loss, dlogits, kind, temperature, student, teacher, teacher_lse,
                           target, weight, rows, vocabulary);
    if (calls >= bad_from && calls < bad_to) ((float *)(void *)dlogits)[0] = NAN;
    calls++;
}

static bool by_guard(void *context, double loss, double norm) {
    return guard_accepts(context, loss, norm);
}

/* The gradient of step 20 is not finite: the step is as if it had not been. */
START_TEST(a_step_with_nan_is_skipped) {
    struct course course;
    struct loss_ops ops;
    struct guard guard = {0};
    const struct step_judge judge = {by_guard, &guard};
    open_course(&course, "llama-f32-bare", "all:40", "head=0.1", false);
    real_ops = course.backend->loss;
    ops = *real_ops;
    ops.distill_loss = poisoned_loss;
    course.backend->loss = &ops;
    open_engine(&course, 8, false, true);
    calls = 0, bad_from = 20, bad_to = 21; /* a call a step */
    take_steps(&course, 0, 20, &judge);
    ck_assert_int_eq(calls, 20);
    size_t count;
    float *before = state_of(&course, &count);
    take_steps(&course, 20, 21, &judge);
    float *after = state_of(&course, &count);
    ck_assert_mem_eq(before, after, count * sizeof *before);
    ck_assert(!course.engine->state.updated);
    ck_assert_int_eq(guard.not_finite, 1);
    take_steps(&course, 21, 24, &judge);
    ck_assert(course.engine->state.updated && isfinite(course.engine->state.loss));
    bad_from = 0, bad_to = 1000;
    for (int64_t step = 24; step < 34; step++) {
        succeeds(guard_check(&guard, step - 1));
        take_steps(&course, step, step + 1, &judge);
    }
    ck_assert_int_eq(guard_check(&guard, 33), STATUS_FAILED);
    ck_assert_int_eq(guard.not_finite, 11);
    free(before);
    free(after);
    close_course(&course);
}
END_TEST

CHECK_MAIN("distill", phases_and_factors_are_read, a_schedule_belongs_to_a_phase,
           what_is_not_finite_or_far_out_is_skipped, ten_in_a_row_end_a_run,
           a_guard_comes_back_bit_for_bit, an_epoch_has_every_row_once, micro_batches_are_one_batch,
           arrangements_give_the_same_bits, shared_layers_change_no_bit, frozen_weights_stay,
           a_step_with_nan_is_skipped)
