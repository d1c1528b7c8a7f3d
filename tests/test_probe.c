#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/probe.h"
#include "base/json.h"
#include "base/memory.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "golden_rows.h"
#include "mixer_choices.h"
#include "mixers/m2/m2.h"
#include "model/loading.h"
#include "train/state.h"

#define GOLDEN TEST_DATA "/golden/"
#define DEMO_MODEL TEST_DATA "/../../recipes/demo-model"

/* gqa order from the paper's: C rows of in_proj, columns of out_proj. */
static void align_rows(float *values, const struct model_config *config,
                       const struct mixer_sizes *m2, int weight) {
    int64_t width = config->hidden_size, inner = m2->value[M2_D_INNER];
    int64_t block = m2->value[M2_D_STATE];
    const struct mixer_host host = config_host(config);
    size_t count = (size_t)(inner * width);
    float *old = memory_calloc(count, sizeof *old);
    float *from = values + (weight == M2_IN_PROJ ? (inner + 2 * m2->value[M2_D_XB]) * width : 0);
    memcpy(old, from, count * sizeof *old);
    for (int64_t c = 0; c < inner; c++) {
        int64_t source =
            m2_subhead(&host, (int)block, M2_ALIGN_GQA, (int)(c / block)) * block + c % block;
        for (int64_t d = 0; d < width; d++) {
            if (weight == M2_IN_PROJ)
                from[c * width + d] = old[source * width + d];
            else
                from[d * inner + c] = old[d * inner + source];
        }
    }
    free(old);
}

/* The demo model with its golden values: rows to train on, and where probes of them begin. */
struct fixture {
    struct json *golden;
    struct safetensors *initial;
    struct backend *backend;
    struct model *model;
    struct tokenset *set;
};

/* On the CPU, or with TEST_DEVICE=cuda on a GPU; of the golden files whose name ends so. */
static struct fixture open_fixture_of(const char *rows, const char *initial) {
    struct fixture f;
    const char *device = getenv("TEST_DEVICE");
    char name[256];
    snprintf(name, sizeof name, GOLDEN "demo-llama-2.6m%s.json", rows);
    enum status status = js_read(&f.golden, name);
    snprintf(name, sizeof name, GOLDEN "demo-llama-2.6m%s.safetensors", initial);
    if (!status) status = safetensors_open(&f.initial, name);
    if (!status) status = backend_open(&f.backend, device ? device : "cpu");
    if (!status) status = model_open(&f.model, f.backend, DEMO_MODEL, NULL);
    ck_assert_msg(!status, "%s", status_message());
    f.set = golden_rows(f.golden, f.initial, 100);
    return f;
}

static struct fixture open_fixture(void) {
    return open_fixture_of("", ".mmr");
}

static void close_fixture(struct fixture *f) {
    model_close(f->model);
    tokenset_free(f->set);
    f->backend->close(f->backend);
    safetensors_close(f->initial);
    js_free(f->golden);
}

static struct probe_parts trained(const char *name) {
    struct probe_parts parts;
    enum status status = probe_parts_from_name(&parts, name, 0);
    ck_assert_msg(!status, "%s", status_message());
    return parts;
}

/* A probe at a time, with everything kept. */
static const struct probe_arrangement one_by_one = {.together = 1};

/* The golden run's optimizer. */
static struct probe_settings golden_settings(int64_t steps, int batch, int64_t heldout) {
    return (struct probe_settings){.data = {.batch = batch, .heldout = heldout},
                                   .schedule = {.steps = steps, .rate = 1e-3},
                                   .optimizer = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                                   .parts = trained("mixer"),
                                   .loss = {LOSS_REVERSE_KL, 1},
                                   .choices =
                                       choices_of("init=published align=paper qkv-bias=drop")};
}

/* Put the golden initial parameters of a layer into a probe's mixer. */
static void set_initial(struct probe *probe, const struct model *model,
                        const struct safetensors *initial, int layer, bool gqa) {
    struct mixer *mixer = probe_mixer(probe);
    const struct mixer_kind *kind = mixer->sizes.kind;
    for (int weight = 0; weight < kind->n_weights; weight++) {
        struct weight_shape shape = mixer_weight_shape(&mixer->sizes, &model->host, weight);
        if (!shape.count) continue;
        float *values = golden_weight(initial, layer, kind, weight, shape.count);
        if (gqa && (weight == M2_IN_PROJ || weight == M2_OUT))
            align_rows(values, model->config, &mixer->sizes, weight);
        mixer_set(mixer, model->backend, &model->host, weight, values);
        free(values);
    }
    enum status status = probe_mixer_was_set(probe);
    ck_assert_msg(!status, "%s", status_message());
}

static const bool alone[] = {true};

static double heldout_rkl(struct probe_group *group) {
    double sums[16 * METRIC_COUNT], sum = 0;
    int64_t counts[16 * METRIC_COUNT], count = 0;
    enum status status = probe_group_evaluate(group, alone, sums, counts);
    ck_assert_msg(!status, "%s", status_message());
    for (int row = 0; row < 16; row++) {
        sum += sums[row * METRIC_COUNT + METRIC_RKL];
        count += counts[row * METRIC_COUNT + METRIC_RKL];
    }
    return sum / (double)count;
}

static const struct json *find_probe(const struct json *golden, int layer, const char *align) {
    const struct json *probes = js_member(js_member(golden, "mmr"), "probes");
    for (size_t i = 0; i < js_count(probes); i++) {
        const struct json *probe = js_element(probes, i);
        if (js_integer_or(js_member(probe, "layer"), -1) == layer &&
            strcmp(js_string_or(js_member(probe, "align"), align), align) == 0)
            return probe;
    }
    return NULL;
}

static void compare_probe(struct probe_engine *engine, struct model *model,
                          const struct json *golden, const struct safetensors *initial, int layer,
                          bool gqa) {
    /* The goldens are float32's; BF16 weights and activations may move a loss by 3 %. */
    bool narrow = model->backend->act == DTYPE_BF16;
    double first = narrow ? 0.03 : 1e-5, later = narrow ? 0.03 : 0.01;
    struct probe_group *group;
    const struct json *expected = find_probe(golden, layer, gqa ? "gqa" : "paper");
    ck_assert_ptr_nonnull(expected);
    const struct probe_choice choice = {.layer = layer};
    enum status status = probe_group_begin(&group, engine, &choice, 1);
    ck_assert_msg(!status, "%s", status_message());
    set_initial(probe_group_member(group, 0), model, initial, layer, gqa);
    double before = js_number_or(js_member(js_member(expected, "heldout_before"), "rkl"), NAN);
    ck_assert_double_le(fabs(heldout_rkl(group) / before - 1), first);
    for (int step = 0; step < 100; step++) {
        double loss,
            reference = js_number_or(js_element(js_member(expected, "losses"), (size_t)step), NAN);
        status = probe_group_step(group, alone, step, &loss);
        ck_assert_msg(!status, "%s", status_message());
        ck_assert_msg(fabs(loss / reference - 1) <= (step == 0 ? first : later),
                      "layer %d, step %d: loss %.9f, expected %.9f", layer, step, loss, reference);
    }
    double after = js_number_or(js_member(js_member(expected, "heldout_after"), "rkl"), NAN);
    ck_assert_double_le(fabs(heldout_rkl(group) / after - 1), later);
    probe_group_end(group);
}

START_TEST(training_gives_the_golden_losses) {
    struct probe_engine *engine;
    struct fixture f = open_fixture();
    struct probe_settings settings = golden_settings(100, 8, 16);
    enum status status =
        probe_engine_open(&engine, f.model, f.model, f.set, &settings, &one_by_one, NULL);
    if (!status) status = probe_engine_load(engine, 0, 100);
    ck_assert_msg(!status, "%s", status_message());
    const int layers[] = {0, 5, 11};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int gqa = 0; gqa < 2; gqa++)
            compare_probe(engine, f.model, f.golden, f.initial, layers[i], gqa);
    probe_engine_close(engine);
    close_fixture(&f);
}
END_TEST

/* Kinds that stock engines serve, from the values that the golden runs began with: the last layer,
 * and with TEST_LONG the two others that there are values of. */
static void compare_kind(const char *kind, const char *file, double norm_eps) {
    struct probe_engine *engine;
    struct fixture f = open_fixture_of(file, file);
    struct probe_settings settings = golden_settings(100, 8, 16);
    f.model->host.norm_eps = norm_eps; /* the golden mixer's */
    enum status status = mixer_choices_begin(&settings.choices, kind);
    if (!status)
        status = probe_engine_open(&engine, f.model, f.model, f.set, &settings, &one_by_one, NULL);
    if (!status) status = probe_engine_load(engine, 0, 100);
    ck_assert_msg(!status, "%s", status_message());
    const int layers[] = {11, 5, 0};
    for (int i = 0; i < (getenv("TEST_LONG") ? 3 : 1); i++)
        compare_probe(engine, f.model, f.golden, f.initial, layers[i], false);
    probe_engine_close(engine);
    close_fixture(&f);
}

START_TEST(training_mamba2_gives_the_golden_losses) {
    compare_kind("mamba2", ".mmr-mamba2", 1e-5);
}
END_TEST

START_TEST(training_gdn_gives_the_golden_losses) {
    compare_kind("gdn", ".mmr-gdn", 1e-6);
}
END_TEST

/* From a start that was fitted to data. */
START_TEST(training_m2_fitted_gives_the_golden_losses) {
    compare_kind("m2", ".mmr-m2-fitted", 1e-5);
}
END_TEST

/* Losses of three steps at layer 9 and the training state after them. */
static void *run_steps(double losses[3], size_t *bytes, struct model *model, struct tokenset *set,
                       struct probe_settings settings, struct probe_arrangement way) {
    struct probe_engine *engine;
    struct probe_group *group;
    const struct probe_choice choice = {.layer = 9, .seed = 3};
    enum status status = probe_engine_open(&engine, model, model, set, &settings, &way, NULL);
    if (!status) status = probe_engine_load(engine, 0, settings.schedule.steps);
    if (!status) status = probe_group_begin(&group, engine, &choice, 1);
    if (way.memory.keep_logits) { /* they come from another probe's steps */
        for (int step = 0; !status && step < 3; step++)
            status = probe_group_step(group, alone, step, &losses[step]);
        probe_group_end(group);
        if (!status) status = probe_group_begin(&group, engine, &choice, 1);
    }
    for (int step = 0; !status && step < 3; step++)
        status = probe_group_step(group, alone, step, &losses[step]);
    ck_assert_msg(!status, "%s", status_message());
    struct probe *probe = probe_group_member(group, 0);
    *bytes = state_bytes(probe_parameters(probe));
    void *state = memory_aligned(*bytes);
    state_save(probe_parameters(probe), state, 0, *bytes);
    probe_group_end(group);
    probe_engine_close(engine);
    return state;
}

/* Whatever is kept or computed again, the same losses and the same mixer come out. */
START_TEST(memory_for_time_gives_the_same_bits) {
    struct fixture f = open_fixture();
    struct model *model = f.model;
    /* Three rows to train on in batches of two: the third batch wraps. */
    f.set->rows = 5;
    f.set->tokens = f.set->row_offsets[5];
    struct probe_settings settings = golden_settings(3, 2, 2);
    struct probe_arrangement way = one_by_one;
    settings.parts = trained("layer");
    double plain[3], again[3];
    size_t bytes, bytes_again;
    void *state = run_steps(plain, &bytes, model, f.set, settings, way);
    ck_assert_double_gt(plain[2], 0);
    struct probe_memory memory, less;
    ck_assert_int_eq(probe_engine_memory(&memory, model, model, f.set, &settings, &way), STATUS_OK);
    for (int change = 0; change < 2; change++) {
        way.memory.recompute = change == 0;
        way.memory.keep_logits = change == 1;
        void *state_again = run_steps(again, &bytes_again, model, f.set, settings, way);
        ck_assert_mem_eq(plain, again, sizeof plain);
        ck_assert_uint_eq(bytes, bytes_again);
        ck_assert_mem_eq(state, state_again, bytes);
        free(state_again);
    }
    way.memory.recompute = true;
    ck_assert_int_eq(probe_engine_memory(&less, model, model, f.set, &settings, &way), STATUS_OK);
    /* Inputs of blocks are float32, what else is kept is BF16 on a GPU: there it saves less. */
    ck_assert_uint_lt((f.backend->discrete ? 2 : 3) * less.activations, memory.activations);
    ck_assert_uint_eq(memory.kept_logits, 3 * 2 * 128 * (2048 + 1) * sizeof(float));
    free(state);
    /* Layers that are loaded for each pass, in place or by the thread that streams them. */
    way.memory.recompute = way.memory.keep_logits = false;
    settings.parts = trained("mixer");
    state = run_steps(plain, &bytes, model, f.set, settings, way);
    way.memory.recompute = way.memory.stream_layers = true;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct model *passing;
        enum status status = model_open(&passing, f.backend, DEMO_MODEL, NULL);
        if (!status && threaded) status = model_stream_layers(passing);
        ck_assert_msg(!status, "%s", status_message());
        void *state_again = run_steps(again, &bytes_again, passing, f.set, settings, way);
        ck_assert_ptr_null(passing->resident);
        ck_assert_mem_eq(plain, again, sizeof plain);
        ck_assert_uint_eq(bytes, bytes_again);
        ck_assert_mem_eq(state, state_again, bytes);
        free(state_again);
        model_close(passing);
    }
    free(state);
    close_fixture(&f);
}
END_TEST

/* A probe whose losses and metrics before and after training are known, and its last state. */
struct course {
    struct probe_choice choice;
    double losses[4], before[2 * METRIC_COUNT], after[2 * METRIC_COUNT];
    void *state;
    size_t bytes;
};

enum { POISONED = 2, LATE = 3, COURSES = 4 };

/* From its third step on this mixer's output is not finite. */
static void poison(struct probe *probe, const struct model *model) {
    struct mixer *mixer = probe_mixer(probe);
    struct weight_shape shape = mixer_weight_shape(&mixer->sizes, &model->host, M2_D);
    float *values = memory_calloc((size_t)shape.count, sizeof *values);
    for (int64_t i = 0; i < shape.count; i++) values[i] = INFINITY;
    mixer_set(mixer, model->backend, &model->host, M2_D, values);
    free(values);
    enum status status = probe_mixer_was_set(probe);
    ck_assert_msg(!status, "%s", status_message());
}

static void keep_state(struct course *course, struct probe *probe) {
    free(course->state);
    course->bytes = state_bytes(probe_parameters(probe));
    course->state = memory_aligned(course->bytes);
    state_save(probe_parameters(probe), course->state, 0, course->bytes);
}

/* Steps [from, to) of the probes that take part. The one at layer 9 is poisoned before step 2. */
static void take_steps(struct course *courses, struct probe_group *group, const struct model *model,
                       const bool *takes_part, int from, int to, int count) {
    bool active[COURSES];
    double losses[COURSES];
    memcpy(active, takes_part, (size_t)count * sizeof *active);
    for (int step = from; step < to; step++) {
        bool any = false;
        for (int i = 0; i < count; i++) any |= active[i];
        if (!any) break;
        for (int i = 0; i < count; i++)
            if (active[i] && step == 2 && courses[i].choice.layer == 9)
                poison(probe_group_member(group, i), model);
        enum status status = probe_group_step(group, active, step, losses);
        ck_assert_msg(!status, "%s", status_message());
        for (int i = 0; i < count; i++) {
            if (active[i]) courses[i].losses[step] = losses[i];
            active[i] = active[i] && isfinite(losses[i]);
        }
    }
}

static void evaluate(struct probe_group *group, const bool *takes_part, double *sums) {
    int64_t counts[2 * METRIC_COUNT];
    enum status status = probe_group_evaluate(group, takes_part, sums, counts);
    ck_assert_msg(!status, "%s", status_message());
    ck_assert_int_eq(counts[METRIC_RKL], 100);
}

static struct probe_engine *open_engine(struct model *model, struct tokenset *set,
                                        const struct probe_settings *settings,
                                        const struct probe_arrangement *way) {
    struct probe_engine *engine;
    enum status status = probe_engine_open(&engine, model, model, set, settings, way, NULL);
    if (!status) status = probe_engine_load(engine, 0, settings->schedule.steps);
    ck_assert_msg(!status, "%s", status_message());
    return engine;
}

/* Each probe by itself. */
static void run_alone(struct course *courses, struct model *model, struct tokenset *set,
                      struct probe_settings settings) {
    struct probe_engine *engine = open_engine(model, set, &settings, &one_by_one);
    for (int i = 0; i < COURSES; i++) {
        struct course *course = &courses[i];
        struct probe_group *group;
        enum status status = probe_group_begin(&group, engine, &course->choice, 1);
        ck_assert_msg(!status, "%s", status_message());
        evaluate(group, alone, course->before);
        take_steps(course, group, model, alone, 0, 4, 1);
        if (i != POISONED) evaluate(group, alone, course->after);
        keep_state(course, probe_group_member(group, 0));
        probe_group_end(group);
    }
    probe_engine_close(engine);
}

/* All in one group, which is given up after two steps and begun again. The last probe has taken
 * none of them by then. */
static void run_together(struct course *courses, struct model *model, struct tokenset *set,
                         struct probe_settings settings, struct probe_arrangement way) {
    const bool all[COURSES] = {true, true, true, true}, early[COURSES] = {true, true, true};
    const bool late[COURSES] = {[LATE] = true}, whole[COURSES] = {true, true, [LATE] = true};
    static const int first_layers[COURSES] = {7, 7, 8, 11};
    double sums[COURSES * 2 * METRIC_COUNT];
    struct probe_choice choices[COURSES];
    struct probe_group *group;
    way.together = COURSES;
    way.first_layers = first_layers;
    for (int i = 0; i < COURSES; i++) choices[i] = courses[i].choice;
    struct probe_engine *engine = open_engine(model, set, &settings, &way);
    enum status status = probe_group_begin(&group, engine, choices, COURSES);
    ck_assert_msg(!status, "%s", status_message());
    evaluate(group, all, sums);
    for (int i = 0; i < COURSES; i++)
        memcpy(courses[i].before, sums + (size_t)i * 2 * METRIC_COUNT, sizeof courses[i].before);
    take_steps(courses, group, model, early, 0, 2, COURSES);
    for (int i = 0; i < LATE; i++) keep_state(&courses[i], probe_group_member(group, i));
    probe_group_end(group);

    status = probe_group_begin(&group, engine, choices, COURSES);
    ck_assert_msg(!status, "%s", status_message());
    for (int i = 0; i < LATE; i++)
        state_restore(probe_parameters(probe_group_member(group, i)), courses[i].state, 0,
                      courses[i].bytes);
    take_steps(courses, group, model, late, 0, 2, COURSES);
    take_steps(courses, group, model, all, 2, 4, COURSES);
    evaluate(group, whole, sums);
    for (int i = 0; i < COURSES; i++) {
        if (i != POISONED)
            memcpy(courses[i].after, sums + (size_t)i * 2 * METRIC_COUNT, sizeof courses[i].after);
        keep_state(&courses[i], probe_group_member(group, i));
    }
    probe_group_end(group);
    probe_engine_close(engine);
}

START_TEST(probes_in_lock_step_give_the_bits_that_each_gives_alone) {
    struct course apart[COURSES] = {
        {.choice = {7, 1}}, {.choice = {7, 2}}, {.choice = {9, 1}}, {.choice = {11, 1}}};
    struct course together[COURSES];
    struct fixture f = open_fixture();
    /* Three rows to train on in batches of two, so that the batches wrap, and of lengths that leave
     * each matrix product another remainder. */
    static const uint64_t offsets[] = {0, 37, 107, 168, 268, 301};
    f.set->rows = 5;
    f.set->tokens = offsets[5];
    memcpy(f.set->row_offsets, offsets, sizeof offsets);
    struct probe_settings settings = golden_settings(4, 2, 2);
    run_alone(apart, f.model, f.set, settings);
    ck_assert(isnan(apart[POISONED].losses[2]));
    ck_assert_mem_ne(apart[0].losses, apart[1].losses, sizeof apart[0].losses);
    /* Kept activations and layers; then neither, with the thread that streams layers; then with the
     * inputs of blocks in host memory as well. */
    for (int kind = 0; kind < 3; kind++) {
        bool streamed = kind > 0;
        struct model *other = f.model;
        enum status status = STATUS_OK;
        if (streamed) status = model_open(&other, f.backend, DEMO_MODEL, NULL);
        if (!status && streamed) status = model_stream_layers(other);
        ck_assert_msg(!status, "%s", status_message());
        struct probe_arrangement way = one_by_one;
        way.memory = (struct train_memory){.recompute = streamed,
                                           .stream_layers = streamed,
                                           .keep_logits = !streamed,
                                           .park = kind == 2};
        memset(together, 0, sizeof together);
        for (int i = 0; i < COURSES; i++) together[i].choice = apart[i].choice;
        run_together(together, other, f.set, settings, way);
        for (int i = 0; i < COURSES; i++) {
            const struct course *one = &apart[i], *same = &together[i];
            size_t steps = i == POISONED ? 2 : 4;
            ck_assert_mem_eq(one->losses, same->losses, steps * sizeof *one->losses);
            ck_assert_mem_eq(one->before, same->before, sizeof one->before);
            ck_assert_mem_eq(one->after, same->after, sizeof one->after);
            ck_assert_uint_eq(one->bytes, same->bytes);
            ck_assert_mem_eq(one->state, same->state, one->bytes);
            free(same->state);
        }
        ck_assert(isnan(together[POISONED].losses[2]));
        if (streamed) model_close(other);
    }
    for (int i = 0; i < COURSES; i++) free(apart[i].state);
    close_fixture(&f);
}
END_TEST

CHECK_MAIN("probe", training_gives_the_golden_losses, training_mamba2_gives_the_golden_losses,
           training_gdn_gives_the_golden_losses, training_m2_fitted_gives_the_golden_losses,
           memory_for_time_gives_the_same_bits,
           probes_in_lock_step_give_the_bits_that_each_gives_alone)
