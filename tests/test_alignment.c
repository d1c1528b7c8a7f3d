/* Alignment against a PyTorch computation (tests/oracle/align_torch.py): errors, gradients and
 * losses of every step; and what its shares, masks and stretches are. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/hidden.h"
#include "check_main.h"
#include "golden_rows.h"
#include "mixer_choices.h"
#include "model/replacement.h"
#include "train/alignment.h"

#define GOLDEN TEST_DATA "/golden/"
#define DEMO_MODEL TEST_DATA "/../../recipes/demo-model"
enum { STEPS = 100, BATCH = 8, T = 128, HELDOUT = 16 };

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static double number(const struct json *value) {
    double found = js_number_or(value, NAN);
    ck_assert(isfinite(found));
    return found;
}

struct fixture {
    struct json *golden; /* of the alignment */
    struct json *rows;   /* with the held-out sequences */
    struct safetensors *initial;
    struct backend *backend;
    struct model *model;
    struct tokenset *set;
};

/* `steps` golden batches as rows, then the held-out sequences. */
static void open_fixture(struct fixture *f, const char *initial, int steps) {
    const char *device = getenv("TEST_DEVICE");
    char name[256];
    snprintf(name, sizeof name, GOLDEN "demo-llama-2.6m.%s.safetensors", initial);
    succeeds(js_read(&f->golden, GOLDEN "demo-llama-2.6m.align.json"));
    succeeds(js_read(&f->rows, GOLDEN "demo-llama-2.6m.json"));
    succeeds(safetensors_open(&f->initial, name));
    succeeds(backend_open(&f->backend, device ? device : "cpu"));
    succeeds(model_open(&f->model, f->backend, DEMO_MODEL, NULL));
    f->set = golden_rows(f->rows, f->initial, (size_t)steps);
}

static void close_fixture(struct fixture *f) {
    model_close(f->model);
    tokenset_free(f->set);
    f->backend->close(f->backend);
    safetensors_close(f->initial);
    js_free(f->golden);
    js_free(f->rows);
}

/* A mixer in a layer's place, with all that its steps need. */
struct aligned {
    struct fixture *f;
    struct hidden inputs;
    struct mixer mixer;
    struct parameters *parameters;
    struct alignment *alignment;
    struct acc *input;
    const struct layer *layer;
};

static const struct parameter_group groups[] = {{.name = "mixer", .rate = 1}};

static void begin(struct aligned *out, struct fixture *f, int layer, const char *kind,
                  const struct train_alignment *settings) {
    struct model *model = f->model;
    struct mixer_choices choices;
    int64_t *rows = memory_calloc(f->set->rows, sizeof *rows);
    for (uint64_t i = 0; i < f->set->rows; i++) rows[i] = (int64_t)i;
    *out = (struct aligned){.f = f};
    succeeds(mixer_choices_begin(&choices, kind));
    if (strcmp(kind, "m2") == 0) choices = choices_of("init=published align=paper qkv-bias=drop");
    succeeds(hidden_create(&out->inputs, f->set, f->backend, model->config->hidden_size, rows,
                           (int64_t)f->set->rows, NULL));
    succeeds(hidden_advance(&out->inputs, model, layer, (int64_t)HELDOUT * T));
    succeeds(model_layer(&out->layer, model, layer));
    succeeds(replacement_create(&out->mixer, model, layer, &choices));
    succeeds(parameters_create(&out->parameters, model, groups));
    succeeds(parameters_add_mixer(out->parameters, 0, layer, &out->mixer));
    succeeds(parameters_allocate(out->parameters));
    const struct sequences largest = {.count = HELDOUT, .longest = T, .tokens = HELDOUT * T};
    succeeds(alignment_open(&out->alignment, model, &largest, &out->mixer.sizes, 1, settings));
    size_t bytes = (size_t)(HELDOUT * T * model->config->hidden_size) * dtype_size(f->backend->acc);
    out->input = f->backend->alloc(f->backend, bytes, "inputs");
    ck_assert_ptr_nonnull(out->input);
    free(rows);
}

static void end(struct aligned *aligned) {
    struct backend *backend = aligned->f->backend;
    backend->free(backend, aligned->input);
    alignment_close(aligned->alignment);
    parameters_free(aligned->parameters);
    mixer_free(&aligned->mixer, backend);
    hidden_free(&aligned->inputs);
}

/* The golden initial parameters. */
static void set_initial(struct aligned *aligned, int layer) {
    struct mixer *mixer = &aligned->mixer;
    const struct mixer_kind *kind = mixer->sizes.kind;
    const struct model *model = aligned->f->model;
    for (int weight = 0; weight < kind->n_weights; weight++) {
        struct weight_shape shape = mixer_weight_shape(&mixer->sizes, &model->host, weight);
        if (!shape.count) continue;
        float *values = golden_weight(aligned->f->initial, layer, kind, weight, shape.count);
        mixer_set(mixer, model->backend, &model->host, weight, values);
        free(values);
    }
    succeeds(parameters_read_live(aligned->parameters));
}

struct rows {
    struct token_batch batch;
    struct positions positions;
    struct alignment_batch view;
};

static void take_rows(struct rows *rows, struct aligned *aligned, int64_t from, int count) {
    const struct hidden *inputs = &aligned->inputs;
    succeeds(hidden_batch(&rows->batch, inputs, from, count, inputs->count));
    succeeds(hidden_positions(&rows->positions, inputs, from, count, inputs->count));
    hidden_upload(inputs, aligned->input, from, count, inputs->count);
    rows->view = (struct alignment_batch){.layer = aligned->layer,
                                          .sequences = &rows->batch.sequences,
                                          .positions = &rows->positions,
                                          .input = aligned->input};
}

static void drop_rows(struct rows *rows) {
    token_batch_free(&rows->batch);
    positions_free(&rows->positions);
}

/* Both relative errors over the held-out rows. */
static void measure(double out[2], struct aligned *aligned) {
    struct alignment_errors errors[HELDOUT];
    struct rows rows;
    double sums[4] = {0};
    take_rows(&rows, aligned, aligned->inputs.count - HELDOUT, HELDOUT);
    succeeds(alignment_measure(aligned->alignment, errors, &aligned->mixer, &rows.view));
    for (int row = 0; row < HELDOUT; row++) {
        sums[0] += errors[row].attention;
        sums[1] += errors[row].attention_all;
        sums[2] += errors[row].block;
        sums[3] += errors[row].block_all;
    }
    out[0] = sums[0] / sums[1];
    out[1] = sums[2] / sums[3];
    drop_rows(&rows);
}

static void step(double *loss, struct aligned *aligned, const struct json *golden, int index) {
    const struct train_schedule schedule = {.kind = SCHEDULE_COSINE,
                                            .rate = number(js_member(golden, "rate")),
                                            .steps = STEPS,
                                            .warmup = (int64_t)number(js_member(golden, "warmup")),
                                            .floor = number(js_member(golden, "floor"))};
    const struct train_optimizer optimizer = {.beta1 = number(js_member(golden, "beta1")),
                                              .beta2 = number(js_member(golden, "beta2")),
                                              .epsilon = number(js_member(golden, "epsilon"))};
    struct rows rows;
    take_rows(&rows, aligned, (int64_t)index * BATCH, BATCH);
    succeeds(alignment_step(aligned->alignment, loss, &aligned->mixer, aligned->parameters,
                            &rows.view, &schedule, &optimizer, index));
    drop_rows(&rows);
}

static void is_near(double found, double expected, double limit, const char *what, int index) {
    ck_assert_msg(fabs(found / expected - 1) <= limit, "%s %d: %.9g, expected %.9g", what, index,
                  found, expected);
}

/* The norm of the gradients of all weights together: of each tensor by itself the golden file has
 * it, of those that lie in one weight the root of the sum of squares. */
static void compare_gradients(struct aligned *aligned, const struct json *norms, double limit) {
    struct parameters *parameters = aligned->parameters;
    struct backend *backend = aligned->f->backend;
    double expected = 0, found = 0;
    for (void *i = js_first(norms); i; i = js_next(norms, i))
        expected += number(js_value(i)) * number(js_value(i));
    for (size_t k = 0; k < parameters->count; k++) {
        size_t count = (size_t)parameters->list[k].count;
        double *values = memory_calloc(count, sizeof *values);
        backend->download(backend, values, DTYPE_F64, parameters->list[k].gradient, backend->acc,
                          count);
        succeeds(backend->sync(backend));
        for (size_t j = 0; j < count; j++) found += values[j] * values[j];
        free(values);
    }
    is_near(sqrt(found), sqrt(expected), limit, "gradient of layer", aligned->layer->index);
}

static void compare_run(struct fixture *f, const struct json *run, int steps) {
    const struct train_alignment settings = {.objective = ALIGNMENT_BOTH, .block_share = 1};
    bool narrow = f->backend->act == DTYPE_BF16;
    double first = narrow ? 0.03 : 1e-4, later = narrow ? 0.03 : 0.01, errors[2], loss;
    int layer = (int)number(js_member(run, "layer"));
    struct aligned aligned;
    begin(&aligned, f, layer, js_string_or(js_member(run, "kind"), ""), &settings);
    set_initial(&aligned, layer);
    measure(errors, &aligned);
    for (int i = 0; i < 2; i++)
        is_near(errors[i], number(js_element(js_member(run, "before"), (size_t)i)), first,
                "error before", i);
    for (int s = 0; s < steps; s++) {
        step(&loss, &aligned, f->golden, s);
        is_near(loss, number(js_element(js_member(run, "losses"), (size_t)s)), s ? later : first,
                "loss of step", s);
        if (!s) compare_gradients(&aligned, js_member(run, "gradient_norms"), first);
    }
    measure(errors, &aligned);
    for (int i = 0; steps == STEPS && i < 2; i++)
        is_near(errors[i], number(js_element(js_member(run, "after"), (size_t)i)), later,
                "error after", i);
    end(&aligned);
}

/* All layers and all steps with TEST_LONG, else some steps of one. */
static void compare_kind(const char *kind, const char *initial) {
    struct fixture f;
    bool all = getenv("TEST_LONG") != NULL;
    int steps = all ? STEPS : 6, compared = 0;
    open_fixture(&f, initial, steps);
    f.model->host.norm_eps = 1e-5; /* of the golden mixers */
    const struct json *runs = js_member(f.golden, "runs");
    for (size_t i = 0; i < js_count(runs); i++) {
        const struct json *run = js_element(runs, i);
        if (strcmp(js_string_or(js_member(run, "kind"), ""), kind) != 0) continue;
        if (!all && number(js_member(run, "layer")) != 5) continue;
        compare_run(&f, run, steps);
        compared++;
    }
    ck_assert_int_eq(compared, all ? 3 : 1);
    close_fixture(&f);
}

START_TEST(m2_gives_the_golden_losses) {
    compare_kind("m2", "mmr");
}
END_TEST

START_TEST(mamba2_gives_the_golden_losses) {
    compare_kind("mamba2", "mmr-mamba2");
}
END_TEST

/* The loss of the first step with these settings; the tokens that count are those of `mask`, or
 * all. */
static double first_loss(struct fixture *f, enum alignment_objective objective, double share,
                         const uint8_t *mask) {
    const struct train_alignment settings = {.objective = objective, .block_share = share};
    struct aligned aligned;
    double loss;
    f->set->loss_mask = mask ? (uint8_t *)(uintptr_t)mask : NULL;
    begin(&aligned, f, 0, "m2", &settings);
    set_initial(&aligned, 0);
    step(&loss, &aligned, f->golden, 0);
    end(&aligned);
    f->set->loss_mask = NULL;
    return loss;
}

/* The two terms add up; a share of the block's is near it and not it; what a mask leaves out does
 * not count, and a mask that leaves everything is none. */
START_TEST(terms_shares_and_masks) {
    struct fixture f;
    open_fixture(&f, "mmr", 1);
    double both = first_loss(&f, ALIGNMENT_BOTH, 1, NULL);
    double attention = first_loss(&f, ALIGNMENT_ATTENTION, 1, NULL);
    double block = first_loss(&f, ALIGNMENT_BLOCK, 1, NULL);
    ck_assert_double_lt(fabs(attention + block - both), 1e-6 * both);
    double quarter = first_loss(&f, ALIGNMENT_BLOCK, 0.25, NULL);
    ck_assert_double_ne(quarter, block);
    ck_assert_double_lt(fabs(quarter / block - 1), 0.3);
    ck_assert(first_loss(&f, ALIGNMENT_ATTENTION, 0.25, NULL) == attention);
    uint8_t *mask = memory_calloc(f.set->tokens, 1);
    memset(mask, 1, f.set->tokens);
    double all = first_loss(&f, ALIGNMENT_BOTH, 1, mask);
    ck_assert_double_ne(all, both); /* the last token of a row predicts nothing */
    ck_assert_double_lt(fabs(all / both - 1), 0.05);
    for (uint64_t t = 0; t < f.set->tokens; t++) mask[t] = t % 2 == 0;
    double even = first_loss(&f, ALIGNMENT_BOTH, 1, mask);
    for (uint64_t t = 0; t < f.set->tokens; t++) mask[t] = t % 2 == 1;
    double odd = first_loss(&f, ALIGNMENT_BOTH, 1, mask);
    ck_assert_double_ne(even, odd);
    ck_assert_double_lt(fmin(even, odd), all);
    ck_assert_double_gt(fmax(even, odd), all);
    /* One token of a row counts: its share is that token. */
    memset(mask, 0, f.set->tokens);
    for (uint64_t row = 0; row < f.set->rows; row++) mask[row * T + 9] = 1;
    ck_assert(first_loss(&f, ALIGNMENT_BLOCK, 0.25, mask) ==
              first_loss(&f, ALIGNMENT_BLOCK, 1, mask));
    free(mask);
    close_fixture(&f);
}
END_TEST

CHECK_MAIN("alignment", m2_gives_the_golden_losses, mamba2_gives_the_golden_losses,
           terms_shares_and_masks)
