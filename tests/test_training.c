/* Learning rates, parameters and their arena, the optimizer and the training state, each by itself;
 * tests/test_step.c has whole steps. The golden values are transformers' and PyTorch's, by
 * tests/oracle/training.py. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/probe_parts.h"
#include "base/json.h"
#include "base/memory.h"
#include "check_main.h"
#include "mixer_choices.h"
#include "model/replacement.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/state.h"

#define MODELS TEST_DATA "/models/"

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static struct json *read_golden(void) {
    struct json *golden;
    succeeds(js_read(&golden, TEST_DATA "/golden/training.json"));
    return golden;
}

static double number(const struct json *object, const char *name) {
    double value = js_number_or(js_member(object, name), NAN);
    ck_assert_msg(isfinite(value), "no number \"%s\"", name);
    return value;
}

static struct train_schedule schedule_of(const struct json *json) {
    struct train_schedule schedule = {.rate = number(json, "rate"),
                                      .steps = (int64_t)number(json, "steps"),
                                      .warmup = (int64_t)number(json, "warmup"),
                                      .cooldown = (int64_t)number(json, "cooldown"),
                                      .floor = number(json, "floor")};
    succeeds(train_schedule_from_name(&schedule.kind, js_string_or(js_member(json, "kind"), "")));
    return schedule;
}

START_TEST(rates_are_those_of_other_schedules) {
    struct json *golden = read_golden();
    const struct json *schedules = js_member(golden, "schedules");
    size_t count = js_count(schedules), kinds[SCHEDULE_COUNT] = {0};
    for (size_t i = 0; i < count; i++) {
        const struct json *json = js_element(schedules, i);
        struct train_schedule schedule = schedule_of(json);
        kinds[schedule.kind]++;
        for (int64_t step = 0; step <= schedule.steps; step++) {
            double expected = js_number_or(js_element(js_member(json, "rates"), (size_t)step), NAN);
            double rate = train_schedule_rate(&schedule, step);
            ck_assert_msg(fabs(rate - expected) <= 1e-14 * schedule.rate,
                          "schedule %zu, step %lld: %.17g, expected %.17g", i, (long long)step,
                          rate, expected);
        }
    }
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++) ck_assert_uint_gt(kinds[kind], 0);
    js_free(golden);
}
END_TEST

/* What schedules must do at their edges. */
START_TEST(rates_at_the_edges) {
    static const struct {
        struct train_schedule schedule;
        int64_t step;
        double expected;
    } table[] = {
        /* all of the training is warm-up, or more than it */
        {{SCHEDULE_COSINE, 1, 4, 4, 0, 0}, 3, 1},
        {{SCHEDULE_COSINE, 1, 4, 4, 0, 0}, 4, 0},
        {{SCHEDULE_COSINE, 1, 4, 8, 0, 0}, 3, 0.5},
        {{SCHEDULE_CONSTANT, 1, 4, 8, 0, 0}, 3, 0.5},
        {{SCHEDULE_WSD, 1, 4, 8, 2, 0}, 3, 0.5},
        /* a fall that would begin in the warm-up begins behind it */
        {{SCHEDULE_WSD, 1, 10, 5, 8, 0}, 4, 1},
        {{SCHEDULE_WSD, 1, 10, 5, 8, 0}, 5, 1},
        {{SCHEDULE_WSD, 1, 10, 5, 8, 0}, 6, 0.8},
        /* no fall at all */
        {{SCHEDULE_WSD, 1, 10, 0, 0, 0}, 9, 1},
        /* one step */
        {{SCHEDULE_COSINE, 1, 1, 0, 0, 0}, 0, 1},
        {{SCHEDULE_COSINE, 1, 1, 1, 0, 0}, 0, 1},
        {{SCHEDULE_WSD, 1, 1, 0, 1, 0}, 0, 1},
        /* behind the end */
        {{SCHEDULE_COSINE, 1, 4, 0, 0, 0.25}, 4, 0.25},
        {{SCHEDULE_COSINE, 1, 4, 0, 0, 0.25}, 1000, 0.25},
        {{SCHEDULE_WSD, 1, 4, 0, 2, 0.25}, INT64_MAX, 0.25},
        {{SCHEDULE_CONSTANT, 1, 4, 0, 0, 0.25}, 1000, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(fabs(train_schedule_rate(&table[i].schedule, table[i].step) -
                           table[i].expected) <= 1e-15,
                      "row %zu: %.17g", i, train_schedule_rate(&table[i].schedule, table[i].step));
}
END_TEST

/* A model, and what trains of it. */
struct trained {
    struct backend *backend;
    struct model *model;
    struct mixer mixer;
    struct probe_parts parts;
    struct parameters *parameters;
};

/* Everything from layer 0 on, which has a Mamba mixer. */
static void open_trained(struct trained *out, const char *directory, bool allocate) {
    struct mixer_choices choices =
        choices_of("init=published align=gqa qkv-bias=drop d-state=8 d-conv=3");
    choices.seed = 4;
    *out = (struct trained){0};
    succeeds(backend_open_cpu(&out->backend));
    succeeds(model_open(&out->model, out->backend, directory, NULL));
    succeeds(model_keep_layers(out->model));
    succeeds(replacement_create(&out->mixer, out->model, 0, &choices));
    succeeds(probe_parts_from_name(&out->parts, "all", 0.1));
    succeeds(parameters_create(&out->parameters, out->model, out->parts.groups));
    succeeds(probe_parts_add(out->parameters, &out->parts, out->model, 0, &out->mixer, true));
    if (allocate) succeeds(parameters_allocate(out->parameters));
}

static void close_trained(struct trained *trained) {
    parameters_free(trained->parameters);
    mixer_free(&trained->mixer, trained->backend);
    model_close(trained->model);
    trained->backend->close(trained->backend);
}

static const float *floats(const void *memory) {
    return memory;
}

START_TEST(the_arena_has_a_place_for_everything) {
    struct trained trained;
    open_trained(&trained, MODELS "llama-f32-bare", false);
    struct parameters *parameters = trained.parameters;
    uint64_t bytes = parameters_bytes(parameters);
    succeeds(parameters_allocate(parameters));
    size_t section = parameters->section, values = 0;
    ck_assert_uint_eq(bytes, 3 * section * sizeof(float)); /* no masters on the CPU */
    char *taken = memory_calloc(section, 1);
    int part_seen[PROBE_PARTS] = {0};
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *one = &parameters->list[i];
        size_t at = (size_t)((char *)one->gradient - parameters->arena);
        ck_assert_uint_eq(at % PARAMETER_ALIGNMENT, 0);
        ck_assert_uint_eq(at, one->at * sizeof(float));
        ck_assert_ptr_eq(one->moment1, (float *)one->gradient + section);
        ck_assert_ptr_eq(one->moment2, (float *)one->gradient + 2 * section);
        ck_assert_ptr_eq(one->master, one->live);
        ck_assert_uint_le(one->at + (size_t)one->count, section);
        for (int64_t v = 0; v < one->count; v++) ck_assert_int_eq(taken[one->at + v]++, 0);
        for (size_t other = 0; other < parameters->count; other++) /* the last layer is first */
            if (parameters->list[other].layer > one->layer)
                ck_assert_uint_lt(parameters->list[other].at, one->at);
        part_seen[one->group]++;
        values += (size_t)one->count;
    }
    free(taken);
    ck_assert_int_eq(part_seen[PROBE_MIXER], 9);
    ck_assert_int_eq(part_seen[PROBE_BLOCK], 4);
    ck_assert_int_eq(part_seen[PROBE_LATER], 6);
    ck_assert_int_eq(part_seen[PROBE_OUTSIDE], 2);
    ck_assert_uint_eq(values, (size_t)parameters_count(parameters));
    ck_assert_uint_le(section - values, parameters->count * PARAMETER_ALIGNMENT / sizeof(float));
    close_trained(&trained);
}
END_TEST

START_TEST(gradients_are_found_and_zeroed) {
    struct trained trained;
    open_trained(&trained, MODELS "llama-f32-bare", true);
    struct parameters *parameters = trained.parameters;
    for (size_t i = 0; i < parameters->section * 3; i++) {
        ck_assert(floats(parameters->arena)[i] == 0);
        ((float *)(void *)parameters->arena)[i] = 1;
    }
    parameters_zero_gradients(parameters);
    for (size_t i = 0; i < parameters->section * 3; i++)
        ck_assert(floats(parameters->arena)[i] == (i < parameters->section ? 0 : 1));
    /* Each weight's gradient, by the tables that the backward pass takes. */
    size_t found = 2;
    for (int l = 0; l < trained.model->config->n_layers; l++)
        for (enum weight w = 0; w < WEIGHT_COUNT; w++)
            found += parameters_gradients(parameters, l)[w] != NULL;
    ck_assert_uint_eq(found, parameters->count);
    ck_assert_ptr_eq(parameters->norm_gradient, parameters->list[parameters->count - 2].gradient);
    ck_assert_ptr_eq(parameters->head_gradient,
                     parameters->arena +
                         parameters->list[parameters->count - 1].at * sizeof(float));
    close_trained(&trained);
}
END_TEST

/* A dry run knows sizes only. */
START_TEST(what_is_not_loaded_is_measured) {
    static const char *const names[] = {"mixer", "layer", "all"};
    static const char *const models[] = {"llama-f32-bare", "qwen2-tied", "qwen3", "apriel-h1"};
    for (size_t m = 0; m < 4; m++) {
        struct trained trained;
        char path[512];
        snprintf(path, sizeof path, MODELS "%s", models[m]);
        open_trained(&trained, path, true);
        for (size_t i = 0; i < 3; i++) {
            struct parameters *there = NULL, *sizes = NULL;
            struct model *described;
            struct probe_parts parts;
            const struct mixer mixer = {.sizes = trained.mixer.sizes};
            succeeds(probe_parts_from_name(&parts, names[i], 0));
            ck_assert_str_eq(probe_parts_name(&parts), names[i]);
            succeeds(model_describe(&described, trained.backend, path, NULL));
            succeeds(parameters_create(&there, trained.model, parts.groups));
            succeeds(parameters_create(&sizes, described, parts.groups));
            succeeds(probe_parts_add(there, &parts, trained.model, 0, &trained.mixer, true));
            succeeds(probe_parts_add(sizes, &parts, described, 0, &mixer, false));
            for (size_t p = 0; p < there->count; p++) ck_assert_ptr_nonnull(there->list[p].live);
            ck_assert_uint_eq(there->count, sizes->count);
            ck_assert_uint_eq(parameters_bytes(there), parameters_bytes(sizes));
            ck_assert_uint_eq(state_bytes(there), state_bytes(sizes));
            ck_assert_uint_eq(state_bytes(there),
                              3 * sizeof(float) * (size_t)parameters_count(there));
            parameters_free(there);
            parameters_free(sizes);
            model_close(described);
        }
        close_trained(&trained);
    }
}
END_TEST

/* Layer 1 of the smallest model and its final norm, as in the golden steps. */
static void open_golden(struct trained *out, const struct json *steps,
                        struct parameter_group groups[3]) {
    const struct json *parameters = js_member(steps, "parameters");
    const struct layer *layer;
    *out = (struct trained){0};
    for (size_t i = 0; i < 3; i++) {
        const struct json *group = js_element(js_member(steps, "groups"), i);
        groups[i] =
            (struct parameter_group){"golden", number(group, "rate"), number(group, "decay")};
    }
    succeeds(backend_open_cpu(&out->backend));
    succeeds(model_open(&out->model, out->backend, MODELS "foreign-llama", NULL));
    succeeds(model_keep_layers(out->model));
    succeeds(model_layer(&layer, out->model, 1));
    succeeds(parameters_create(&out->parameters, out->model, groups));
    succeeds(parameters_add_block(out->parameters, 1, layer));
    succeeds(parameters_add_mixer(out->parameters, 0, 1, &layer->mixer));
    succeeds(parameters_add_final_norm(out->parameters, 2));
    if (!out->model->config->tie_word_embeddings) succeeds(parameters_add_head(out->parameters, 2));
    succeeds(parameters_allocate(out->parameters));
    ck_assert_uint_eq(out->parameters->count, js_count(parameters));
    for (size_t k = 0; k < out->parameters->count; k++) {
        const struct parameter *one = &out->parameters->list[k];
        const struct json *expected = js_element(parameters, k);
        ck_assert_int_eq(one->count, (int64_t)number(expected, "count"));
        ck_assert_int_eq(one->group, (int)number(expected, "group"));
        ck_assert_int_eq(one->decays, js_bool_or(js_member(expected, "decays"), false));
        for (int64_t i = 0; i < one->count; i++)
            ((float *)one->live)[i] = (float)((i * 37 + (int64_t)k * 11) % 101 - 50) / 100;
    }
}

static void set_gradients(struct parameters *parameters, int64_t step) {
    for (size_t k = 0; k < parameters->count; k++)
        for (int64_t i = 0; i < parameters->list[k].count; i++)
            ((float *)parameters->list[k].gradient)[i] =
                (float)((i * 53 + (int64_t)k * 17 + step * 29) % 97 - 48) /
                (step % 2 == 0 ? 200 : 6000);
}

/* Groups with rates and decays of their own, a norm limited in every second step. */
START_TEST(the_optimizer_takes_golden_steps) {
    struct json *golden = read_golden();
    const struct json *steps = js_member(golden, "adamw");
    struct parameter_group groups[3];
    struct trained trained;
    open_golden(&trained, steps, groups);
    struct parameters *parameters = trained.parameters;
    const struct train_schedule schedule = schedule_of(js_member(steps, "schedule"));
    const struct train_optimizer optimizer = {number(steps, "beta1"), number(steps, "beta2"),
                                              number(steps, "epsilon"), number(steps, "clip")};
    for (int64_t step = 0; step < schedule.steps; step++) {
        double norm, expected;
        set_gradients(parameters, step);
        optimizer_step(parameters, &optimizer, train_schedule_rate(&schedule, step), step, &norm);
        expected = js_number_or(js_element(js_member(steps, "norms"), (size_t)step), NAN);
        ck_assert_msg(fabs(norm / expected - 1) <= 1e-6, "step %lld: norm %.9g, expected %.9g",
                      (long long)step, norm, expected);
    }
    for (size_t k = 0; k < parameters->count; k++) {
        const struct json *values =
            js_member(js_element(js_member(steps, "parameters"), k), "values");
        for (size_t i = 0; i < js_count(values); i++) {
            double expected = js_number_or(js_element(values, i), NAN);
            ck_assert_msg(fabs((double)floats(parameters->list[k].live)[i] - expected) <= 5e-7,
                          "parameter %zu, value %zu: %.9g, expected %.9g", k, i,
                          (double)floats(parameters->list[k].live)[i], expected);
        }
    }
    close_trained(&trained);
    js_free(golden);
}
END_TEST

static const struct train_optimizer plain = {0.9, 0.95, 1e-8, 0.5};

static void take_steps(struct parameters *parameters, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; step++) {
        set_gradients(parameters, step);
        optimizer_step(parameters, &plain, 0.01, step, NULL);
    }
}

static char *whole_state(const struct parameters *parameters) {
    size_t bytes = state_bytes(parameters);
    char *state = memory_aligned(bytes);
    state_save(parameters, state, 0, bytes);
    return state;
}

/* In pieces of any size it is the same state; restored, the same steps follow. */
START_TEST(a_state_goes_and_comes_in_pieces) {
    static const size_t pieces[] = {1, 4, 60, 63, 4096, SIZE_MAX};
    struct json *golden = read_golden();
    const struct json *steps = js_member(golden, "adamw");
    struct parameter_group groups[3];
    struct trained first, second;
    open_golden(&first, steps, groups);
    take_steps(first.parameters, 0, 3);
    char *saved = whole_state(first.parameters);
    size_t bytes = state_bytes(first.parameters);
    const struct parameter *one = &first.parameters->list[0];
    size_t length = (size_t)one->count * sizeof(float);
    ck_assert_mem_eq(saved, one->live, length);
    ck_assert_mem_eq(saved + length, one->moment1, length);
    ck_assert_mem_eq(saved + 2 * length, one->moment2, length);
    take_steps(first.parameters, 3, 5);
    char *expected = whole_state(first.parameters), *part = memory_aligned(bytes);
    ck_assert_mem_ne(saved, expected, bytes);
    state_restore(first.parameters, saved, 0, bytes);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        open_golden(&second, steps, groups);
        for (size_t from = 0, size; from < bytes; from += size) {
            size = pieces[p] < bytes - from ? pieces[p] : bytes - from;
            state_save(first.parameters, part, from, size);
            ck_assert_mem_eq(part, saved + from, size);
            state_restore(second.parameters, part, from, size);
        }
        take_steps(second.parameters, 3, 5);
        char *found = whole_state(second.parameters);
        ck_assert_mem_eq(found, expected, bytes);
        free(found);
        close_trained(&second);
    }
    free(saved);
    free(expected);
    free(part);
    close_trained(&first);
    js_free(golden);
}
END_TEST

/* Where passes read BF16, matrices have masters in the arena, begin at what is live, and what is
 * live follows a restored state. */
START_TEST(narrow_weights_have_masters) {
    static const struct parameter_group group = {"all", 1, 0};
    struct backend *cpu;
    struct model *model;
    const struct layer *layer;
    struct parameters *parameters;
    succeeds(backend_open_cpu(&cpu));
    succeeds(model_open(&model, cpu, MODELS "foreign-llama", NULL));
    succeeds(model_keep_layers(model));
    succeeds(model_layer(&layer, model, 1));
    struct layer narrow = *layer;
    struct backend half = *cpu; /* as a GPU stores matrices */
    half.act = DTYPE_BF16;
    model->backend = &half;
    size_t matrix = 16 * 16, masters = 3 * matrix;
    uint16_t *bits = memory_calloc(masters, sizeof *bits);
    for (size_t i = 0; i < masters; i++) bits[i] = i % 2 ? 0xC000 : 0x3F00; /* -2 and 0.5 */
    narrow.weights[WEIGHT_GATE_UP] = bits;
    narrow.weights[WEIGHT_DOWN] = bits + 2 * matrix;
    succeeds(parameters_create(&parameters, model, &group));
    succeeds(parameters_add_block(parameters, 0, &narrow));
    uint64_t bytes = parameters_bytes(parameters);
    succeeds(parameters_allocate(parameters));
    ck_assert_uint_eq(bytes, (3 * parameters->section + masters) * sizeof(float));
    for (size_t k = 0; k < parameters->count; k++) {
        const struct parameter *one = &parameters->list[k];
        ck_assert_int_eq(one->decays, one->master != one->live);
        if (!one->decays) continue;
        size_t at = (size_t)((char *)one->master - parameters->arena) / sizeof(float);
        ck_assert_uint_ge(at, 3 * parameters->section);
        ck_assert_uint_le(at + (size_t)one->count, 3 * parameters->section + masters);
        for (int64_t i = 0; i < one->count; i++)
            ck_assert(floats(one->master)[i] == (i % 2 ? -2.0f : 0.5f));
        for (int64_t i = 0; i < one->count; i++) ((float *)one->master)[i] = 0.333f;
    }
    /* Not even the last byte but one changes what the passes read. */
    char *state = whole_state(parameters);
    size_t size = state_bytes(parameters);
    state_restore(parameters, state, 0, size - 1);
    ck_assert_uint_eq(bits[0], 0x3F00);
    state_restore(parameters, state + size - 1, size - 1, 1);
    for (size_t i = 0; i < masters; i++) ck_assert_uint_eq(bits[i], 0x3EAA); /* 0.333 rounded */
    free(state);
    parameters_free(parameters);
    free(bits);
    model->backend = cpu;
    model_close(model);
    cpu->close(cpu);
}
END_TEST

/* A mixer of which nothing trains has no arena to speak of, and steps over it do nothing. */
START_TEST(nothing_may_train) {
    static const struct parameter_group group = {"none", 1, 0};
    struct trained trained;
    struct parameters *parameters;
    double norm = NAN;
    open_trained(&trained, MODELS "llama-f32-bare", true);
    succeeds(parameters_create(&parameters, trained.model, &group));
    ck_assert_uint_eq(parameters_bytes(parameters), 0);
    succeeds(parameters_allocate(parameters));
    parameters_zero_gradients(parameters);
    optimizer_step(parameters, &plain, 0.01, 0, &norm);
    ck_assert(norm == 0);
    ck_assert_uint_eq(state_bytes(parameters), 0);
    ck_assert_int_eq(parameters_count(parameters), 0);
    ck_assert_ptr_null(parameters_gradients(parameters, 0));
    parameters_free(parameters);
    close_trained(&trained);
}
END_TEST

START_TEST(words_are_read_and_written) {
    static const char *const words[] = {"", "Cosine", "linear", "mixers", "kl"};
    enum schedule_kind kind;
    struct probe_parts parts;
    for (int k = 0; k < SCHEDULE_COUNT; k++) {
        succeeds(train_schedule_from_name(&kind, train_schedule_name((enum schedule_kind)k)));
        ck_assert_int_eq(kind, k);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        ck_assert_int_eq(train_schedule_from_name(&kind, words[i]), STATUS_USAGE);
        ck_assert_int_eq(probe_parts_from_name(&parts, words[i], 0), STATUS_USAGE);
    }
}
END_TEST

CHECK_MAIN("training", rates_are_those_of_other_schedules, rates_at_the_edges,
           the_arena_has_a_place_for_everything, gradients_are_found_and_zeroed,
           what_is_not_loaded_is_measured, the_optimizer_takes_golden_steps,
           a_state_goes_and_comes_in_pieces, narrow_weights_have_masters, nothing_may_train,
           words_are_read_and_written)
