/* The gradients of everything that can train, through a whole student with a new mixer in it: on
 * the CPU against differences of its loss along each gradient, with TEST_DEVICE=cuda those of a GPU
 * against those of the CPU. */
#include <math.h>
#include <string.h>

#include "analysis/probe_parts.h"
#include "base/memory.h"
#include "check_main.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "mixer_choices.h"
#include "model/replacement.h"
#include "model/sequences.h"
#include "train/loss.h"
#include "train/state.h"
#include "train/tape.h"

#define MODELS TEST_DATA "/models/"

enum { ROWS = 3, TOKENS = 28, VOCABULARY = 300 };

static uint64_t row_offsets[ROWS + 1] = {0, 9, 10, TOKENS};

struct student {
    struct model *model;
    struct mixer mixer;
    int layer;
    struct tape *tape;
    struct loss *loss;
    struct probe_parts parts;
    struct parameters *parameters;
    struct tokenset set;
    struct positions positions;
    struct token_batch batch;
};

static void succeeds(enum status status) {
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

static void open_student(struct student *out, struct backend *backend, const char *directory,
                         int layer, bool recompute) {
    static uint32_t ids[TOKENS];
    const struct train_loss cross_entropy = {LOSS_CROSS_ENTROPY, 1};
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = (t * 97 + 13) % VOCABULARY;
    *out = (struct student){.layer = layer,
                            .set = {.rows = ROWS,
                                    .tokens = TOKENS,
                                    .row_offsets = row_offsets,
                                    .ids = ids,
                                    .vocab_size = VOCABULARY}};
    struct mixer_choices choices = choices_of("init=published align=gqa qkv-bias=drop d-state=8");
    choices.seed = 4;
    struct tape_options options = {
        .sequences = {.count = ROWS, .tokens = TOKENS, .longest = TOKENS}, .recompute = recompute};
    succeeds(model_open(&out->model, backend, directory, NULL));
    succeeds(model_keep_layers(out->model));
    succeeds(replacement_create(&out->mixer, out->model, layer, &choices));
    options.mixer = &out->mixer.sizes;
    succeeds(tape_open(&out->tape, out->model, &options));
    succeeds(loss_open(&out->loss, out->model, NULL, &cross_entropy, TOKENS));
    succeeds(probe_parts_from_name(&out->parts, "all", 0));
    succeeds(parameters_create(&out->parameters, out->model, out->parts.groups));
    succeeds(probe_parts_add(out->parameters, &out->parts, out->model, layer, &out->mixer, true));
    succeeds(parameters_allocate(out->parameters));
    succeeds(positions_create(&out->positions, &out->set, 0, ROWS));
    succeeds(token_batch_create(&out->batch, backend, ids, row_offsets, ROWS));
}

static void close_student(struct student *student) {
    struct backend *backend = student->model->backend;
    token_batch_free(&student->batch);
    positions_free(&student->positions);
    parameters_free(student->parameters);
    loss_close(student->loss);
    tape_close(student->tape);
    mixer_free(&student->mixer, backend);
    model_close(student->model);
}

/* Forward from the embeddings at the probed layer's input; gradients when asked for. */
static double loss_of(struct student *student, bool backward) {
    struct model *model = student->model;
    const struct loss_batch rows = {.positions = &student->positions, .slot = -1};
    const struct loss_sink frozen = {NULL, NULL}, trained = {student->parameters->head_gradient,
                                                             student->parameters->norm_gradient};
    double sum, counted = (double)loss_count(student->loss, &rows);
    if (backward) parameters_zero_gradients(student->parameters);
    model->backend->embedding->embed(model->backend, tape_stream(student->tape, student->layer),
                                     student->batch.ids, model->embedding, TOKENS,
                                     model->config->hidden_size);
    succeeds(
        tape_forward(student->tape, student->layer, &student->mixer, &student->batch.sequences));
    succeeds(loss_run(student->loss, &sum, tape_gradient(student->tape),
                      tape_stream(student->tape, model->config->n_layers), &rows, counted,
                      backward ? &trained : &frozen));
    if (backward)
        succeeds(tape_backward(student->tape, student->layer, student->parameters, false, NULL,
                               &student->batch.sequences));
    return sum / counted;
}

/* weight += share * direction */
static void move(float *weight, const float *direction, int64_t count, double share) {
    for (int64_t i = 0; i < count; i++)
        weight[i] = (float)((double)weight[i] + share * (double)direction[i]);
}

/* The loss rises along its gradient by the gradient's length. */
static void check(struct student *student, float *weight, const float *gradient, int64_t count,
                  const char *name, int layer) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += (double)gradient[i] * (double)gradient[i];
    double length = sqrt(squares), step = 2e-3 / length;
    ck_assert_msg(length > 1e-5, "layer %d, %s: no gradient", layer, name);
    float *kept = memory_calloc((size_t)count, sizeof *kept);
    memcpy(kept, weight, (size_t)count * sizeof *kept);
    move(weight, gradient, count, step);
    double above = loss_of(student, false);
    memcpy(weight, kept, (size_t)count * sizeof *kept);
    move(weight, gradient, count, -step);
    double below = loss_of(student, false);
    memcpy(weight, kept, (size_t)count * sizeof *kept);
    free(kept);
    double found = (above - below) / (2 * step * length);
    /* float32 losses carry an error of about 1e-7; the step along the gradient is 2e-3 long. */
    ck_assert_msg(fabs(found / length - 1) <= 0.02 + 1e-4 / length,
                  "layer %d, %s: the loss rises by %.6f, the gradient says %.6f", layer, name,
                  found, length);
}

/* BF16 carries 8 bits: a product's inputs are off by 2^-9 of themselves, and some ten products lie
 * between a weight and the loss. The gradient of a bias is a sum over tokens that nearly cancel:
 * that of dt_proj is off by 0.048 of itself on an H200, all others by less than 0.04. */
static const double DEVICE_LIMIT = 0.06;

/* A gradient of the device's student against the CPU's. */
static void compare(const struct student *device, const struct acc *found, const float *right,
                    int64_t count, const char *name, int layer) {
    struct backend *backend = device->model->backend;
    ck_assert_msg((found != NULL) == (right != NULL), "layer %d, %s", layer, name);
    if (!found) return;
    float *values = memory_calloc((size_t)count, sizeof *values);
    double error = 0, length = 0;
    backend->download(backend, values, DTYPE_F32, found, backend->acc, (size_t)count);
    succeeds(backend->sync(backend));
    for (int64_t i = 0; i < count; i++) {
        error += pow((double)values[i] - (double)right[i], 2);
        length += pow((double)right[i], 2);
    }
    free(values);
    ck_assert_msg(sqrt(error) <= DEVICE_LIMIT * sqrt(length),
                  "layer %d, %s: the gradients differ by %.4f of their length", layer, name,
                  sqrt(error / length));
}

/* The same student on the device and on the CPU. */
static void compare_all(const char *name, const char *directory, int layer, bool recompute) {
    struct backend *host, *backend;
    struct student right, device;
    succeeds(backend_open_cpu(&host));
    succeeds(backend_open(&backend, name));
    open_student(&right, host, directory, layer, recompute);
    open_student(&device, backend, directory, layer, recompute);
    const struct model_config *config = right.model->config;
    double expected = loss_of(&right, true), found = loss_of(&device, true);
    ck_assert_msg(fabs(found / expected - 1) <= DEVICE_LIMIT, "loss %.6f, not %.6f", found,
                  expected);
    for (int l = layer; l < config->n_layers; l++) {
        const struct layer *own;
        succeeds(model_layer(&own, right.model, l));
        const struct mixer_sizes *sizes = l == layer ? &right.mixer.sizes : &own->mixer.sizes;
        for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++)
            compare(&device, parameters_gradients(device.parameters, l)[weight],
                    parameters_gradients(right.parameters, l)[weight],
                    weight_shape(config, sizes, weight).count, weight_name(sizes, weight), l);
    }
    compare(&device, device.parameters->norm_gradient,
            (const float *)right.parameters->norm_gradient, config->hidden_size, "final norm", -1);
    compare(&device, device.parameters->head_gradient,
            (const float *)right.parameters->head_gradient,
            (int64_t)config->vocab_size * config->hidden_size, "head", -1);
    close_student(&device);
    close_student(&right);
    backend->close(backend);
    host->close(host);
}

static void check_all(const char *directory, int layer, bool recompute) {
    const char *name = getenv("TEST_DEVICE");
    if (name) {
        compare_all(name, directory, layer, recompute);
        return;
    }
    struct backend *backend;
    struct student student;
    succeeds(backend_open_cpu(&backend));
    open_student(&student, backend, directory, layer, recompute);
    struct model *model = student.model;
    const struct model_config *config = model->config;
    loss_of(&student, true);
    /* The gradients are wanted after other passes: copies. */
    int64_t numbers = parameters_count(student.parameters), checked = 0;
    for (int l = layer; l < config->n_layers; l++) {
        const struct layer *own;
        succeeds(model_layer(&own, model, l));
        const struct mixer *mixer = l == layer ? &student.mixer : &own->mixer;
        for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
            const float *gradient = parameters_gradients(student.parameters, l)[weight];
            float *live = weight_at(own, mixer, weight);
            ck_assert_msg((gradient != NULL) == (live != NULL), "layer %d, weight %d", l,
                          (int)weight);
            if (!live) continue;
            int64_t count = weight_shape(config, &mixer->sizes, weight).count;
            check(&student, live, gradient, count, weight_name(&mixer->sizes, weight), l);
            checked += count;
        }
    }
    check(&student, (float *)model->final_norm, (float *)student.parameters->norm_gradient,
          config->hidden_size, "final norm", -1);
    checked += config->hidden_size;
    int64_t head = (int64_t)config->vocab_size * config->hidden_size;
    if (!config->tie_word_embeddings) {
        check(&student, (float *)model->head, (float *)student.parameters->head_gradient, head,
              "head", -1);
        checked += head;
    } else {
        ck_assert_ptr_null(student.parameters->head_gradient);
    }
    for (int l = 0; l < layer; l++) ck_assert_ptr_null(parameters_gradients(student.parameters, l));
    ck_assert_int_eq(numbers, checked);
    ck_assert_uint_eq(state_bytes(student.parameters), 3 * sizeof(float) * (size_t)numbers);
    close_student(&student);
    backend->close(backend);
}

START_TEST(a_head_of_its_own) {
    check_all(MODELS "llama-f32-bare", 0, false);
}
END_TEST

START_TEST(a_tied_head_and_biases) {
    check_all(MODELS "qwen2-tied", 0, true);
}
END_TEST

START_TEST(head_norms) {
    check_all(MODELS "qwen3", 1, false);
}
END_TEST

START_TEST(a_hybrid) {
    check_all(MODELS "apriel-h1", 0, true);
}
END_TEST

CHECK_MAIN("tape", a_head_of_its_own, a_tied_head_and_biases, head_norms, a_hybrid)
