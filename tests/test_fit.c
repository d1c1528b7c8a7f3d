/* New mixers that are fitted to data: golden starts, which another program fitted to the same rows,
 * and what the fit is for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/calibration.h"
#include "base/matrix.h"
#include "base/memory.h"
#include "base/random.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "golden_names.h"
#include "kernels/ops/embedding.h"
#include "mixer_choices.h"
#include "mixers/attention/attention.h"
#include "mixers/gdn/gdn.h"
#include "mixers/mamba2/mamba2.h"
#include "mixers/start.h"
#include "model/loading.h"
#include "model/sequences.h"

#define GOLDEN TEST_DATA "/golden/demo-llama-2.6m.mmr-"
#define DEMO_MODEL TEST_DATA "/../../recipes/demo-model"

static void succeeds(enum status status) {
    ck_assert_msg(!status, "%s", status_message());
}

/* ---- algebra */

static double *draw(int64_t count, int stream_number) {
    struct random_stream stream = random_stream_for(4, stream_number, "matrix");
    double *values = memory_calloc((size_t)count, sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = random_normal(&stream, (uint64_t)i);
    return values;
}

/* Sums against the plain loop; widths that are no multiple of a tile's. */
START_TEST(products_are_sums) {
    enum { ROWS = 37, A = 19, B = 131, STRIDE = 150 };
    float values[ROWS * STRIDE];
    double out[A * B];
    struct random_stream stream = random_stream_for(4, 9, "matrix");
    for (int i = 0; i < ROWS * STRIDE; i++) values[i] = (float)random_normal(&stream, (uint64_t)i);
    const struct matrix_view a = {values, A, STRIDE}, b = {values + A, B, STRIDE};
    matrix_products(out, &a, &b, ROWS);
    for (int i = 0; i < A; i++)
        for (int j = 0; j < B; j++) {
            double sum = 0;
            for (int t = 0; t < ROWS; t++)
                sum += (double)values[t * STRIDE + i] * (double)values[t * STRIDE + A + j];
            ck_assert_double_eq_tol(out[i * B + j], sum, 1e-12 * ROWS);
        }
}
END_TEST

START_TEST(systems_are_solved) {
    const int sizes[] = {1, 2, 63, 64, 65, 200};
    for (int s = 0; s < 6; s++) {
        int64_t n = sizes[s], columns = s == 5 ? 70 : 3;
        double *root = draw(n * n, 1), *x = draw(n * columns, 2);
        double *matrix = memory_calloc((size_t)(n * n), sizeof *matrix);
        double *b = memory_calloc((size_t)(n * columns), sizeof *b);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                for (int64_t k = 0; k < n; k++)
                    matrix[i * n + j] += root[i * n + k] * root[j * n + k] / (double)n;
                matrix[i * n + j] += i == j;
            }
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < columns; c++)
                for (int64_t k = 0; k < n; k++)
                    b[i * columns + c] += matrix[i * n + k] * x[k * columns + c];
        ck_assert(matrix_factor(matrix, n));
        matrix_solve(b, columns, matrix, n);
        for (int64_t i = 0; i < n * columns; i++) ck_assert_double_eq_tol(b[i], x[i], 1e-9);
        matrix[n * n - 1] = -1;
        ck_assert(n > 1 || !matrix_factor(matrix, n)); /* not positive definite */
        free(root);
        free(x);
        free(matrix);
        free(b);
    }
    double indefinite[] = {1, 0, 2, 1}, unknown[] = {NAN};
    ck_assert(!matrix_factor(indefinite, 2));
    ck_assert(!matrix_factor(unknown, 1));
}
END_TEST

/* u diag(values) v^T is the matrix, values descend, u and v have orthogonal columns: also where the
 * matrix has no full rank. */
START_TEST(matrices_are_decomposed) {
    const int sizes[] = {1, 2, 5, 32, 33};
    for (int s = 0; s < 5; s++)
        for (int lacks = 0; lacks < 2; lacks++) {
            int64_t n = sizes[s];
            size_t count = (size_t)(n * n);
            double *a = draw(n * n, 3), *u = memory_calloc(count, sizeof *u);
            double *v = memory_calloc(count, sizeof *v), *values = memory_calloc(count, sizeof *v);
            for (int64_t i = 0; i < n && lacks; i++) a[i * n + n - 1] = n > 1 ? a[i * n] : 0;
            succeeds(matrix_decompose(u, values, v, a, n));
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++) {
                    double value = 0, product = 0;
                    for (int64_t k = 0; k < n; k++) {
                        value += u[i * n + k] * values[k] * v[j * n + k];
                        product += v[k * n + i] * v[k * n + j];
                    }
                    ck_assert_double_eq_tol(value, a[i * n + j], 1e-11);
                    ck_assert_double_eq_tol(product, i == j, 1e-11);
                }
            for (int64_t k = 1; k < n; k++) ck_assert(values[k] <= values[k - 1]);
            ck_assert(!lacks || values[n - 1] < 1e-12);
            free(a);
            free(u);
            free(v);
            free(values);
        }
}
END_TEST

/* ---- starts */

struct fixture {
    struct backend *backend;
    struct model *model;
    struct safetensors *golden;
    struct tokenset *set; /* the first four training batches */
    struct calibration calibration;
};

static struct fixture open_fixture(const char *kind) {
    enum { ROWS = 32, LENGTH = 128 };
    struct fixture f = {0};
    char name[256];
    snprintf(name, sizeof name, GOLDEN "%s.safetensors", kind);
    succeeds(safetensors_open(&f.golden, name));
    succeeds(backend_open_cpu(&f.backend));
    succeeds(model_open(&f.model, f.backend, DEMO_MODEL, NULL));
    f.set = memory_calloc(1, sizeof *f.set);
    f.set->rows = ROWS;
    f.set->tokens = ROWS * LENGTH;
    f.set->row_offsets = memory_calloc(ROWS + 1, sizeof *f.set->row_offsets);
    f.set->ids = memory_calloc(f.set->tokens, sizeof *f.set->ids);
    for (uint64_t r = 0; r <= ROWS; r++) f.set->row_offsets[r] = r * LENGTH;
    memcpy(f.set->ids, safetensors_find(f.golden, "tokens")->data,
           f.set->tokens * sizeof *f.set->ids);
    f.calibration = (struct calibration){.set = f.set, .rows = ROWS, .tokens = ROWS * LENGTH};
    return f;
}

static void close_fixture(struct fixture *f) {
    free(f->set->row_offsets);
    free(f->set->ids);
    free(f->set);
    model_close(f->model);
    f->backend->close(f->backend);
    safetensors_close(f->golden);
}

static struct mixer_choices fitted(const char *words) {
    struct mixer_choices choices = choices_of(words);
    const struct mixer_data data = {"golden", MIXER_CALIBRATE_USUAL};
    succeeds(mixer_choices_calibrate(&choices, &data));
    return choices;
}

/* Some layers of the demo model; the caller frees. */
static struct calibration_task *fit(struct fixture *f, const struct mixer_choices *choices,
                                    const int *layers, size_t count) {
    struct calibration_task *tasks = memory_calloc(count, sizeof *tasks);
    for (size_t i = 0; i < count; i++) {
        tasks[i].layer = layers[i];
        tasks[i].choices = *choices;
    }
    succeeds(calibration_run(tasks, count, f->model, &f->calibration));
    for (size_t i = 0; i < count; i++) tasks[i].choices.fit = tasks[i].fit;
    return tasks;
}

static double largest_of(const float *values, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)values[i]));
    return largest;
}

/* A tensor of a fitted start beside the golden one, which is not rounded to BF16: nor were the
 * steps that its sizes make up for. */
static void compare_tensor(struct fixture *f, const struct calibration_task *task,
                           const struct mixer_sizes *sizes, int tensor) {
    const struct mixer_kind *kind = sizes->kind;
    struct tensor_shape shape = mixer_tensor_shape(sizes, &f->model->host, tensor);
    int64_t count = tensor_shape_count(&shape);
    if (!shape.present) return;
    struct replacement_source source;
    float *values = memory_calloc((size_t)count, sizeof *values), *next = values;
    const char *parts[GOLDEN_PARTS];
    succeeds(replacement_source_open(&source, f->model->checkpoint, task->layer));
    succeeds(mixer_init(values, tensor, sizes, &task->choices, &source.attention));
    golden_parts(parts, kind, tensor);
    for (int i = 0; parts[i]; i++) {
        char name[96];
        snprintf(name, sizeof name, "layer.%d.%s", task->layer, parts[i]);
        const struct safetensors_entry *entry = safetensors_find(f->golden, name);
        ck_assert_msg(entry != NULL, "%s is missing", name);
        const float *expected = entry->data;
        double limit = largest_of(expected, entry->count) / 100 + 1e-6;
        for (int64_t k = 0; k < entry->count; k++)
            ck_assert_msg(fabs((double)next[k] - (double)expected[k]) <= limit,
                          "%s %s [%d]: %g, expected %g", kind->name, name, (int)k, (double)next[k],
                          (double)expected[k]);
        next += entry->count;
    }
    ck_assert_ptr_eq(next, values + count);
    free(values);
}

/* Every tensor of these layers, but for those that the other program drew. */
static void compare_starts(const char *file, const char *kind, const int *layers, size_t count,
                           int drawn, double norm_eps) {
    struct fixture f = open_fixture(file);
    f.model->host.norm_eps = norm_eps; /* the golden mixer's */
    struct mixer_sizes sizes;
    struct mixer_choices choices = fitted(kind);
    struct calibration_task *tasks = fit(&f, &choices, layers, count);
    succeeds(replacement_sizes(&sizes, f.model->config, &choices));
    for (size_t i = 0; i < count; i++)
        for (int t = 0; t < sizes.kind->n_tensors; t++)
            if (t != drawn) compare_tensor(&f, &tasks[i], &sizes, t);
    calibration_tasks_free(tasks, count);
    close_fixture(&f);
}

START_TEST(mamba2_starts_as_the_golden_fit) {
    const int layers[] = {0, 5};
    compare_starts("mamba2", "kind=mamba2", layers, 2, -1, 1e-5);
}
END_TEST

START_TEST(m2_starts_as_the_golden_fit) {
    const int layers[] = {0, 5};
    compare_starts("m2-fitted", "kind=m2", layers, 2, M2_T_DT_IN_PROJ, 1e-5);
}
END_TEST

START_TEST(gdn_starts_as_the_golden_fit) {
    const int layers[] = {5};
    compare_starts("gdn", "kind=gdn", layers, 1, -1, 1e-6);
}
END_TEST

/* The inputs of the first layer have no direction that is constant: the gate is drawn. */
START_TEST(a_gate_opens_where_the_inputs_allow_it) {
    const int layers[] = {0, 1};
    struct fixture f = open_fixture("gdn");
    struct mixer_choices choices = fitted("kind=gdn");
    choices.word[GDN_MEMORY] = choices.word[GDN_SCALE] = 0;
    struct calibration_task *tasks = fit(&f, &choices, layers, 2);
    ck_assert(tasks[0].fit->constant && !mixer_fit_has_constant(tasks[0].fit));
    ck_assert_double_gt(tasks[0].fit->constant_explains, 0.3);
    ck_assert(mixer_fit_has_constant(tasks[1].fit));
    ck_assert_double_gt(tasks[1].fit->constant_explains, 0.9);
    calibration_tasks_free(tasks, 2);
    close_fixture(&f);
}
END_TEST

/* ---- fewer keys and queries */

/* Attention of made-up weights and biases. */
static enum status read_made_up(void *context, int tensor, int64_t first, int64_t count,
                                float *out) {
    struct random_stream stream = random_stream_for(5, tensor, "attention");
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)random_normal(&stream, (uint64_t)(first + i));
    return STATUS_OK;
}

static const char *name_made_up(void *context, int tensor) {
    return tensor == ATTENTION_Q_NORM || tensor == ATTENTION_K_NORM ? NULL : "made up";
}

enum { WIDTH = 23, HEADS = 6, KEY_HEADS = 3, HEAD = 8, SIDE = WIDTH + 1 };
static const struct mixer_host made_up_host = {.hidden = WIDTH,
                                               .heads = HEADS,
                                               .kv_heads = KEY_HEADS,
                                               .head_dim = HEAD,
                                               .q_bias = true,
                                               .k_bias = true};
static const struct attention_source made_up = {
    .host = &made_up_host, .dtype = DTYPE_F32, .read = read_made_up, .name = name_made_up};

/* All products of a query and a key of a group, [D + 1, D + 1], of `states` rows in each; the last
 * column is the bias. */
static void products_of(double *out, int64_t groups, int64_t states, int64_t group) {
    static float q[HEADS * HEAD * WIDTH], k[HEADS * HEAD * WIDTH];
    static float qb[HEADS * HEAD], kb[HEADS * HEAD];
    succeeds(start_keys(q, k, groups, states, false, &made_up));
    succeeds(start_keys(qb, kb, groups, states, true, &made_up));
    for (int64_t i = 0; i < SIDE; i++)
        for (int64_t j = 0; j < SIDE; j++) {
            double sum = 0;
            for (int64_t s = group * states; s < (group + 1) * states; s++)
                sum += (double)(i < WIDTH ? q[s * WIDTH + i] : qb[s]) *
                       (double)(j < WIDTH ? k[s * WIDTH + j] : kb[s]);
            out[i * SIDE + j] = sum;
        }
}

/* What is lost is what the smallest singular values of the products hold, and nothing more. */
START_TEST(fewer_states_keep_the_best_of_the_products) {
    static double whole[SIDE * SIDE], part[SIDE * SIDE];
    static double u[SIDE * SIDE], v[SIDE * SIDE], values[SIDE];
    const int groups[] = {6, 3, 2, 1}, states[] = {1, 3, 4, 7, 8};
    for (int g = 0; g < 4; g++)
        for (int s = 0; s < 5; s++)
            for (int64_t group = 0; group < groups[g]; group++) {
                double lost = 0, least = 0;
                products_of(whole, groups[g], HEAD, group);
                products_of(part, groups[g], states[s], group);
                succeeds(matrix_decompose(u, values, v, whole, SIDE));
                for (int i = states[s]; i < SIDE; i++) least += values[i] * values[i];
                for (int i = 0; i < SIDE * SIDE; i++) lost += pow(whole[i] - part[i], 2);
                ck_assert_double_eq_tol(sqrt(lost), sqrt(least), 1e-4);
            }
}
END_TEST

/* Fewer groups take means over their heads. */
START_TEST(groups_are_means_of_heads) {
    static float heads[2][HEADS * HEAD * WIDTH], means[2][HEADS * HEAD * WIDTH];
    succeeds(start_heads(heads[0], ATTENTION_Q, WIDTH, &made_up));
    succeeds(start_heads(heads[1], ATTENTION_K, WIDTH, &made_up));
    succeeds(start_keys(means[0], means[1], HEADS, HEAD, false, &made_up));
    for (int i = 0; i < 2; i++) ck_assert_mem_eq(means[i], heads[i], sizeof heads[i]);
    for (int groups = 1; groups < HEADS; groups++) {
        int each = HEADS / groups;
        if (HEADS % groups) continue;
        succeeds(start_keys(means[0], means[1], groups, HEAD, false, &made_up));
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < groups * HEAD * WIDTH; k++) {
                double sum = 0;
                int group = k / (HEAD * WIDTH), at = k % (HEAD * WIDTH);
                for (int h = 0; h < each; h++)
                    sum += (double)heads[i][(group * each + h) * HEAD * WIDTH + at];
                ck_assert_double_eq_tol((double)means[i][k], sum / each, 1e-6);
            }
    }
}
END_TEST

START_TEST(impossible_sizes_are_named) {
    const struct {
        int groups, states;
        const char *message;
    } cases[] = {{4, 8, "--groups 4 must divide the attention's 6 heads"},
                 {12, 8, "--groups 12 must divide the attention's 6 heads"},
                 {6, 9, "--d-state 9 is more than the attention's head size 8"},
                 {5, 4, "--groups 5 must divide the attention's 6 heads"},
                 {1, 65536, "--d-state 65536 is more than the attention's head size 8"}};
    const char *const kinds[] = {"mamba2", "gdn"};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 5; i++) {
            struct mixer_choices choices;
            struct mixer_sizes sizes;
            succeeds(mixer_choices_begin(&choices, kinds[k]));
            succeeds(mixer_choices_size(&choices, "groups", cases[i].groups));
            succeeds(mixer_choices_size(&choices, "d-state", cases[i].states));
            ck_assert_int_eq(mixer_sizes_new(&sizes, &choices.sizes, NULL, &made_up_host),
                             STATUS_USAGE);
            ck_assert_str_eq(status_message(), cases[i].message);
        }
}
END_TEST

/* ---- what it is for */

/* What a mixer, or (NULL) its attention, adds to the embeddings in the first layer [n, D]; the
 * caller frees. */
static float *first_layer(struct fixture *f, const struct mixer *mixer) {
    struct token_batch batch;
    struct trace trace;
    const struct layer *layer;
    int64_t width = f->model->config->hidden_size;
    size_t values = (size_t)((int64_t)f->set->tokens * width);
    succeeds(token_batch_create(&batch, f->backend, f->set->ids, f->set->row_offsets,
                                (int)f->set->rows));
    const struct sequences *rows = &batch.sequences;
    struct trace_needs needs = trace_needs_of(f->model, rows->count, rows->tokens, rows->longest);
    if (mixer) trace_needs_add(&needs, f->model, &mixer->sizes);
    succeeds(trace_alloc(&trace, f->model, &needs));
    struct acc *from = f->backend->alloc(f->backend, values * sizeof(float), "test");
    struct acc *to = f->backend->alloc(f->backend, values * sizeof(float), "test");
    float *host = memory_calloc(values, sizeof *host);
    succeeds(model_layer(&layer, f->model, 0));
    f->backend->embedding->embed(f->backend, from, batch.ids, f->model->embedding, rows->tokens,
                                 width);
    f->backend->zero(f->backend, to, values * sizeof(float));
    block_mix(f->model, layer, mixer ? mixer : &layer->mixer, &trace, to, from, rows);
    f->backend->download(f->backend, host, DTYPE_F32, to, f->backend->acc, values);
    f->backend->free(f->backend, from);
    f->backend->free(f->backend, to);
    trace_free(&trace, f->backend);
    token_batch_free(&batch);
    return host;
}

/* sum |m(u) - a|^2 / sum |a|^2 of a new mixer in the first layer, on the rows it was fitted to. */
static double first_error(struct fixture *f, const struct mixer_choices *choices) {
    const int layers[] = {0};
    struct mixer mixer;
    struct calibration_task *tasks = fit(f, choices, layers, 1);
    succeeds(replacement_create(&mixer, f->model, 0, &tasks[0].choices));
    float *attention = first_layer(f, NULL), *found = first_layer(f, &mixer);
    double error = 0, all = 0;
    for (int64_t i = 0; i < (int64_t)f->set->tokens * f->model->config->hidden_size; i++) {
        double value = (double)attention[i], rest = value - (double)found[i];
        error += rest * rest;
        all += value * value;
    }
    free(attention);
    free(found);
    mixer_free(&mixer, f->backend);
    calibration_tasks_free(tasks, 1);
    return error / all;
}

/* Each step closer to the attention's outputs. */
START_TEST(data_bring_a_start_closer) {
    const char *const kinds[] = {"kind=mamba2", "kind=m2", "kind=gdn"};
    struct fixture f = open_fixture("mamba2");
    f.set->rows = 8;
    f.set->tokens = f.calibration.tokens = 1024;
    for (int k = 0; k < 3; k++) {
        struct mixer_choices plain = choices_of(kinds[k]), data = fitted(kinds[k]), whole = data;
        succeeds(mixer_choices_flag(&whole, "fit-out"));
        double none = first_error(&f, &plain), some = first_error(&f, &data);
        double all = first_error(&f, &whole);
        ck_assert_msg(all < 0.9 * some && all < 0.9 * none && all > 0,
                      "%s: %g without data, %g with, %g with the projection too", kinds[k], none,
                      some, all);
        if (k < 2) ck_assert_msg(some < none, "%s: %g without data, %g with", kinds[k], none, some);
    }
    close_fixture(&f);
}
END_TEST

/* A mixer that was to be fitted does not begin without. */
START_TEST(nothing_begins_unfitted) {
    struct fixture f = open_fixture("mamba2");
    struct mixer_choices choices = fitted("kind=mamba2");
    struct mixer mixer;
    ck_assert_int_eq(replacement_create(&mixer, f.model, 3, &choices), STATUS_FAILED);
    ck_assert_str_eq(status_message(), "layer 3: a new Mamba-2 mixer was not fitted to data");
    mixer_choices_forget_data(&choices);
    succeeds(replacement_create(&mixer, f.model, 3, &choices));
    mixer_free(&mixer, f.backend);
    const char *const words[][2] = {{"kind=m2 memory=fitted", "--memory fitted"},
                                    {"kind=mamba2 scale=fitted", "--scale fitted"},
                                    {"kind=gdn gate=open", "--gate open"},
                                    {"kind=gdn fit-out", "--fit-out"}};
    for (int i = 0; i < 4; i++) {
        char expected[96];
        struct mixer_choices unfounded = choices_of(words[i][0]);
        ck_assert_int_eq(mixer_choices_check(&unfounded), STATUS_USAGE);
        snprintf(expected, sizeof expected, "%s needs data: give --calibrate FILE.h5", words[i][1]);
        ck_assert_str_eq(status_message(), expected);
    }
    struct mixer_choices window = choices_of("kind=window:8");
    const struct mixer_data data = {"golden", 16};
    ck_assert_int_eq(mixer_choices_calibrate(&window, &data), STATUS_USAGE);
    ck_assert_str_eq(status_message(), "--calibrate says nothing about window mixers");
    close_fixture(&f);
}
END_TEST

CHECK_MAIN("fit", products_are_sums, systems_are_solved, matrices_are_decomposed,
           mamba2_starts_as_the_golden_fit, m2_starts_as_the_golden_fit,
           gdn_starts_as_the_golden_fit, a_gate_opens_where_the_inputs_allow_it,
           fewer_states_keep_the_best_of_the_products, groups_are_means_of_heads,
           impossible_sizes_are_named, data_bring_a_start_closer, nothing_begins_unfitted)
