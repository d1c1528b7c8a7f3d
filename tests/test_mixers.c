/* Every kind of mixer in the registry, by the rows of its table. A kind without a golden file, or
 * one that one of these tests cannot go through, fails: that is what is left to do when it is
 * added. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "golden_names.h"
#include "mixers/attention/attention.h"
#include "mixers/buffers.h"
#include "mixers/choices.h"
#include "mixers/past.h"
#include "mixers/sizes.h"
#include "model/sequences.h"

enum { MOST_TOKENS = 64 };

static void succeeds(enum status status) {
    ck_assert_msg(!status, "%s", status_message());
}

/* ---- the golden mixer of a kind */

struct fixture {
    const struct mixer_kind *kind;
    struct safetensors *file;
    struct backend *backend;
    struct mixer_host host;
    struct mixer mixer;
    int rows, length, tokens; /* B, T, B T */
    void *rope;
    double tolerance;
};

static double fact(const struct fixture *f, const char *name, double otherwise) {
    const char *text = js_string_or(js_member(safetensors_metadata(f->file), name), NULL);
    return text ? atof(text) : otherwise;
}

static const struct safetensors_entry *entry_of(const struct fixture *f, const char *group,
                                                const char *name) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", group, name);
    const struct safetensors_entry *entry = safetensors_find(f->file, full);
    ck_assert_msg(entry != NULL, "%s: the golden file has no \"%s\"", f->kind->name, full);
    return entry;
}

/* A golden tensor in float32; the caller frees. */
static float *values_of(const struct fixture *f, const char *group, const char *name) {
    const struct safetensors_entry *entry = entry_of(f, group, name);
    float *values = memory_calloc((size_t)entry->count, sizeof *values);
    dtype_to_f32(values, entry->data, entry->dtype, (size_t)entry->count);
    return values;
}

/* The sizes that the file's facts say; what a kind derives from its host, it derives. */
static struct mixer_sizes golden_sizes(const struct fixture *f) {
    struct mixer_sizes asked = {.kind = f->kind}, sizes;
    for (int i = 0; i < f->kind->n_sizes; i++)
        asked.value[i] = (int64_t)fact(f, f->kind->sizes[i].name, 0);
    if (f->kind->parameter >= 0) asked.value[f->kind->parameter] = (int64_t)fact(f, "parameter", 0);
    succeeds(mixer_sizes_new(&sizes, &asked, NULL, &f->host));
    return sizes;
}

static void fill_rope(struct fixture *f) {
    int half = f->host.head_dim / 2;
    double theta = fact(f, "theta", 10000);
    float *table = memory_calloc((size_t)MOST_TOKENS * 2 * (size_t)half, sizeof *table);
    for (int p = 0; p < MOST_TOKENS; p++)
        for (int i = 0; i < half; i++) {
            double angle = p * pow(theta, -2.0 * i / f->host.head_dim);
            table[(2 * p) * half + i] = (float)cos(angle);
            table[(2 * p + 1) * half + i] = (float)sin(angle);
        }
    size_t count = (size_t)MOST_TOKENS * 2 * (size_t)half;
    f->rope = f->backend->alloc(f->backend, count * dtype_size(f->backend->acc), "rope");
    f->backend->upload(f->backend, f->rope, f->backend->acc, table, DTYPE_F32, count);
    free(table);
}

/* A weight's values from the golden tensors that it consists of. */
static float *weight_values(const struct fixture *f, const char *group, int weight) {
    struct weight_shape shape = mixer_weight_shape(&f->mixer.sizes, &f->host, weight);
    float *values = memory_calloc((size_t)shape.count, sizeof *values), *to = values;
    for (int t = 0; t < f->kind->n_tensors; t++) {
        if (f->kind->tensors[t].weight != weight) continue;
        struct tensor_shape part = mixer_tensor_shape(&f->mixer.sizes, &f->host, t);
        const char *parts[GOLDEN_PARTS];
        float *end = to + tensor_shape_count(&part);
        golden_parts(parts, f->kind, t);
        for (int i = 0; parts[i]; i++) {
            float *tensor = values_of(f, group, parts[i]);
            int64_t count = entry_of(f, group, parts[i])->count;
            ck_assert_int_le(count, end - to);
            memcpy(to, tensor, (size_t)count * sizeof *to);
            to += count;
            free(tensor);
        }
        ck_assert_ptr_eq(to, end);
    }
    return values;
}

static struct fixture open_fixture(int index) {
    struct fixture f = {.kind = mixer_kinds[index], .tolerance = 2e-5};
    char path[256];
    snprintf(path, sizeof path, TEST_DATA "/golden/%s_mixer.safetensors", f.kind->name);
    enum status status = safetensors_open(&f.file, path);
    ck_assert_msg(!status, "kind \"%s\" has no golden file: %s", f.kind->name, status_message());
    const struct safetensors_entry *u = entry_of(&f, "u", "");
    bool biases = fact(&f, "biases", 0) != 0;
    f.host = (struct mixer_host){.hidden = u->shape[2],
                                 .heads = (int)fact(&f, "heads", 0),
                                 .kv_heads = (int)fact(&f, "kv_heads", 0),
                                 .head_dim = (int)fact(&f, "head_dim", 0),
                                 .norm_eps = fact(&f, "eps", 0),
                                 .q_bias = biases,
                                 .k_bias = biases,
                                 .v_bias = biases,
                                 .o_bias = biases,
                                 .qk_norm = fact(&f, "norm_eps", 0) > 0,
                                 .q_norm_eps = fact(&f, "norm_eps", 0),
                                 .k_norm_eps = fact(&f, "norm_eps", 0)};
    f.rows = (int)u->shape[0];
    f.length = (int)u->shape[1];
    f.tokens = f.rows * f.length;
    succeeds(backend_open_cpu(&f.backend));
    f.mixer.sizes = golden_sizes(&f);
    succeeds(mixer_alloc(&f.mixer, f.backend, &f.host));
    for (int w = 0; w < f.kind->n_weights; w++) {
        if (!f.mixer.weights[w]) continue;
        float *values = weight_values(&f, "param.", w);
        mixer_set(&f.mixer, f.backend, &f.host, w, values);
        free(values);
    }
    fill_rope(&f);
    return f;
}

static void close_fixture(struct fixture *f) {
    mixer_free(&f->mixer, f->backend);
    f->backend->free(f->backend, f->rope);
    f->backend->close(f->backend);
    safetensors_close(f->file);
}

/* ---- passes */

struct run {
    struct token_batch batch;
    void *blocks[2]; /* the buffers of the forward and of the backward pass */
    struct mixer_pass pass;
};

static void *upload(const struct fixture *f, const float *values, int64_t count) {
    size_t size = (size_t)count;
    void *memory = f->backend->alloc(f->backend, size * dtype_size(f->backend->acc), "test");
    f->backend->upload(f->backend, memory, f->backend->acc, values, DTYPE_F32, size);
    return memory;
}

static float *download(const struct fixture *f, const void *memory, int64_t count) {
    float *values = memory_calloc((size_t)count, sizeof *values);
    f->backend->download(f->backend, values, DTYPE_F32, memory, f->backend->acc, (size_t)count);
    return values;
}

/* Rows of `length` tokens, with buffers filled with NaN: a pass must not read what it did not
 * write. */
static void open_run(struct run *run, const struct fixture *f, int length, bool gradients) {
    uint32_t ids[MOST_TOKENS] = {0};
    uint64_t offsets[MOST_TOKENS + 1];
    for (int i = 0; i <= f->rows; i++) offsets[i] = (uint64_t)i * (uint64_t)length;
    *run = (struct run){0};
    succeeds(token_batch_create(&run->batch, f->backend, ids, offsets, f->rows));
    run->pass = (struct mixer_pass){.backend = f->backend,
                                    .mixer = &f->mixer,
                                    .host = &f->host,
                                    .rope = f->rope,
                                    .sequences = &run->batch.sequences};
    const struct buffer_room room = {
        .backend = f->backend, .sequences = run->batch.sequences, .gradients = gradients};
    for (int backward = 0; backward < 1 + gradients; backward++) {
        size_t bytes = buffers_lay_out(NULL, NULL, f->kind->buffers, f->kind->n_buffers,
                                       &f->mixer.sizes, &f->host, &room, backward);
        run->blocks[backward] = f->backend->alloc(f->backend, bytes, "buffers");
        memset(run->blocks[backward], 0xff, bytes);
        buffers_lay_out(run->pass.buffer, run->blocks[backward], f->kind->buffers,
                        f->kind->n_buffers, &f->mixer.sizes, &f->host, &room, backward);
    }
}

static void close_run(struct run *run, const struct fixture *f) {
    for (int i = 0; i < 2; i++) f->backend->free(f->backend, run->blocks[i]);
    token_batch_free(&run->batch);
}

static void compare(const struct fixture *f, const char *what, const float *found,
                    const float *expected, int64_t count) {
    double largest = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        double difference = fabs((double)found[i] - (double)expected[i]);
        error = difference <= error ? error : difference; /* a NaN stays */
    }
    ck_assert_msg(error <= f->tolerance * largest, "%s: %s is off by %g of %g", f->kind->name, what,
                  error, largest);
}

/* What the mixer adds to zeros, for the golden input; freed by the backend. */
static void *run_forward(struct run *run, const struct fixture *f, void *input) {
    float *zeros = memory_calloc((size_t)(f->tokens * f->host.hidden), sizeof *zeros);
    void *h = upload(f, zeros, f->tokens * f->host.hidden);
    run->pass.input = input;
    f->kind->forward(&run->pass, h);
    free(zeros);
    return h;
}

START_TEST(golden_values_and_gradients) {
    for (int k = 0; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        struct run run;
        int64_t count = f.tokens * f.host.hidden;
        float *u = values_of(&f, "u", ""), *y = values_of(&f, "y", "");
        float *grad_y = values_of(&f, "grad_y", ""), *grad_u = values_of(&f, "grad.", "u");
        void *gradients[MIXER_MAX_WEIGHTS] = {0};
        open_run(&run, &f, f.length, true);
        void *input = upload(&f, u, count), *dout = upload(&f, grad_y, count);
        void *dinput = upload(&f, u, count), *h = run_forward(&run, &f, input);
        for (int w = 0; w < f.kind->n_weights; w++) {
            struct weight_shape shape = mixer_weight_shape(&f.mixer.sizes, &f.host, w);
            if (!shape.count) continue;
            float *zeros = memory_calloc((size_t)shape.count, sizeof *zeros);
            gradients[w] = upload(&f, zeros, shape.count);
            free(zeros);
        }
        f.kind->backward(&run.pass, dout, dinput, gradients);
        float *found = download(&f, h, count), *found_u = download(&f, dinput, count);
        compare(&f, "y", found, y, count);
        compare(&f, "the input's gradient", found_u, grad_u, count);
        for (int w = 0; w < f.kind->n_weights; w++) {
            if (!gradients[w]) continue;
            struct weight_shape shape = mixer_weight_shape(&f.mixer.sizes, &f.host, w);
            float *expected = weight_values(&f, "grad.", w);
            float *gradient = download(&f, gradients[w], shape.count);
            compare(&f, f.kind->weights[w].name, gradient, expected, shape.count);
            f.backend->free(f.backend, gradients[w]);
            free(expected);
            free(gradient);
        }
        void *memory[] = {input, dout, dinput, h};
        for (int i = 0; i < 4; i++) f.backend->free(f.backend, memory[i]);
        float *host[] = {u, y, grad_y, grad_u, found, found_u};
        for (int i = 0; i < 6; i++) free(host[i]);
        close_run(&run, &f);
        close_fixture(&f);
    }
}
END_TEST

/* The derivative of sum(y grad_y) along a random direction of the input and of every weight, by
 * differences, is what the backward pass says: without a golden gradient in between. */
START_TEST(gradients_are_differences) {
    const double step = 1e-3;
    for (int k = 0; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        float *u = values_of(&f, "u", ""), *grad_y = values_of(&f, "grad_y", "");
        float *grad_u = values_of(&f, "grad.", "u");
        int64_t count = f.tokens * f.host.hidden;
        struct random_stream stream = random_stream_for(3, k, "direction");
        double along = 0, sums[2] = {0, 0};
        float *direction = memory_calloc((size_t)count, sizeof *direction);
        for (int64_t i = 0; i < count; i++) {
            direction[i] = (float)random_normal(&stream, (uint64_t)i);
            along += (double)direction[i] * (double)grad_u[i];
        }
        for (int side = 0; side < 2; side++) {
            float *moved = memory_calloc((size_t)count, sizeof *moved);
            struct run run;
            for (int64_t i = 0; i < count; i++)
                moved[i] = (float)((double)u[i] + (side ? 1 : -1) * step * (double)direction[i]);
            open_run(&run, &f, f.length, false);
            void *input = upload(&f, moved, count), *h = run_forward(&run, &f, input);
            float *y = download(&f, h, count);
            for (int64_t i = 0; i < count; i++) sums[side] += (double)y[i] * (double)grad_y[i];
            f.backend->free(f.backend, input);
            f.backend->free(f.backend, h);
            free(y);
            free(moved);
            close_run(&run, &f);
        }
        double found = (sums[1] - sums[0]) / (2 * step);
        ck_assert_msg(fabs(found - along) <= 2e-3 * (fabs(along) + 1), "%s: %g along, %g found",
                      f.kind->name, along, found);
        free(direction);
        free(u);
        free(grad_y);
        free(grad_u);
        close_fixture(&f);
    }
}
END_TEST

/* ---- decoding */

/* Token `at` of every row; the caller frees. */
static float *tokens_at(const struct fixture *f, const float *u, int from, int length) {
    int64_t width = f->host.hidden;
    float *part = memory_calloc((size_t)(f->rows * length) * (size_t)width, sizeof *part);
    for (int row = 0; row < f->rows; row++)
        memcpy(part + (int64_t)row * length * width, u + ((int64_t)row * f->length + from) * width,
               (size_t)(length * width) * sizeof *part);
    return part;
}

/* A prompt of some tokens, then token by token: what the parallel form gives. */
START_TEST(steps_equal_the_parallel_form) {
    for (int k = 0; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        float *u = values_of(&f, "u", ""), *y = values_of(&f, "y", "");
        int64_t width = f.host.hidden;
        struct layer_past past;
        int32_t slots[MOST_TOKENS];
        for (int i = 0; i < f.rows; i++) slots[i] = f.rows - 1 - i;
        succeeds(past_alloc(&past, f.backend, &f.mixer.sizes, &f.host, f.rows, f.length));
        int prompt = f.length / 3;
        for (int from = 0, length = prompt; from < f.length; from += length, length = 1) {
            struct run run;
            const struct past_use use = {&past, slots, from > 0, from + length};
            int32_t positions[MOST_TOKENS];
            open_run(&run, &f, length, false);
            for (int i = 0; i < f.rows; i++) positions[i] = from;
            struct sequences sequences = run.batch.sequences;
            if (from) sequences.positions = positions;
            run.pass.sequences = &sequences;
            run.pass.past = &use;
            float *part = tokens_at(&f, u, from, length),
                  *expected = tokens_at(&f, y, from, length);
            void *input = upload(&f, part, f.rows * length * width);
            void *h = run_forward(&run, &f, input);
            float *found = download(&f, h, f.rows * length * width);
            compare(&f, from ? "a step" : "the prompt", found, expected, f.rows * length * width);
            f.backend->free(f.backend, input);
            f.backend->free(f.backend, h);
            free(part);
            free(expected);
            free(found);
            close_run(&run, &f);
        }
        past_free(&past, f.backend);
        free(u);
        free(y);
        close_fixture(&f);
    }
}
END_TEST

/* ---- bytes */

static void *(*real_alloc)(struct backend *, size_t, const char *);
static uint64_t allocated;

static void *counting_alloc(struct backend *backend, size_t bytes, const char *what) {
    allocated += bytes;
    return real_alloc(backend, bytes, what);
}

START_TEST(bytes_are_those_allocated) {
    for (int k = 0; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        struct mixer again = {.sizes = f.mixer.sizes};
        struct layer_past past;
        size_t act = dtype_size(f.backend->act), acc = dtype_size(f.backend->acc);
        real_alloc = f.backend->alloc;
        f.backend->alloc = counting_alloc;
        allocated = 0;
        succeeds(mixer_alloc(&again, f.backend, &f.host));
        ck_assert_uint_eq(allocated, mixer_bytes(&f.mixer.sizes, f.backend, &f.host));
        for (int64_t tokens = 1; tokens < 40; tokens += 7) {
            allocated = 0;
            succeeds(past_alloc(&past, f.backend, &f.mixer.sizes, &f.host, 3, tokens));
            uint64_t one = past_bytes(&f.mixer.sizes, &f.host, tokens, act, acc);
            ck_assert_msg(allocated == 3 * one, "%s: %llu bytes of %lld tokens", f.kind->name,
                          (unsigned long long)allocated, (long long)tokens);
            past_free(&past, f.backend);
        }
        uint64_t first = past_bytes(&f.mixer.sizes, &f.host, 1, act, acc);
        ck_assert_uint_eq(past_bytes(&f.mixer.sizes, &f.host, 2, act, acc) - first,
                          past_token_bytes(&f.mixer.sizes, &f.host, act, acc));
        f.backend->alloc = real_alloc;
        mixer_free(&again, f.backend);
        close_fixture(&f);
    }
}
END_TEST

/* ---- how a mixer begins */

/* Attention of made-up weights. */
static enum status read_made_up(void *context, int tensor, int64_t first, int64_t count,
                                float *out) {
    struct random_stream stream = random_stream_for(9, tensor, "attention");
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)random_normal(&stream, (uint64_t)(first + i));
    return STATUS_OK;
}

static enum status read_made_up_norm(void *context, float *out) {
    const struct attention_source *source = context;
    return read_made_up(NULL, ATTENTION_TENSORS, 0, source->host->hidden, out);
}

static const char *name_made_up(void *context, int tensor) {
    const struct attention_source *source = context;
    const struct mixer_sizes attention = {.kind = mixer_kinds[0]};
    return mixer_tensor_shape(&attention, source->host, tensor).present ? "made up" : NULL;
}

START_TEST(beginnings_are_repeatable) {
    for (int k = 1; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        char text[MIXER_TEXT_SIZE];
        struct mixer_choices choices;
        struct mixer_sizes sizes;
        const struct mixer_host host = {.hidden = 24, .heads = 4, .kv_heads = 2, .head_dim = 16};
        struct attention_source source = {.host = &host,
                                          .dtype = DTYPE_F32,
                                          .read = read_made_up,
                                          .input_norm = read_made_up_norm,
                                          .name = name_made_up};
        source.context = &source;
        succeeds(mixer_choices_begin(&choices, mixer_text(text, &f.mixer.sizes)));
        succeeds(mixer_sizes_new(&sizes, &choices.sizes, NULL, &host));
        if (f.kind->settle) f.kind->settle(&sizes, &choices, &host);
        bool varied = false;
        for (int t = 0; t < f.kind->n_tensors; t++) {
            struct tensor_shape shape = mixer_tensor_shape(&sizes, &host, t);
            if (!shape.present) continue;
            size_t count = (size_t)tensor_shape_count(&shape), bytes = count * sizeof(float);
            float *values[3];
            for (int i = 0; i < 3; i++) {
                values[i] = memory_calloc(count, sizeof(float));
                memset(values[i], 0xff, bytes);
                choices.seed = i < 2 ? 1 : 2;
                succeeds(mixer_init(values[i], t, &sizes, &choices, &source));
                for (size_t n = 0; n < count; n++)
                    ck_assert_msg(isfinite(values[i][n]), "%s: %s is not filled", f.kind->name,
                                  f.kind->tensors[t].name);
            }
            ck_assert_mem_eq(values[0], values[1], bytes);
            varied = varied || memcmp(values[0], values[2], bytes) != 0;
            char *origin = mixer_origin(t, &sizes, &choices, &source);
            ck_assert(origin && *origin);
            free(origin);
            for (int i = 0; i < 3; i++) free(values[i]);
        }
        ck_assert_msg(!varied || !mixer_is_copy(f.kind), "%s: what does the seed do?",
                      f.kind->name);
        close_fixture(&f);
    }
}
END_TEST

/* What messages and tables print of a kind. */
START_TEST(kinds_have_words) {
    for (int k = 0; mixer_kinds[k]; k++) {
        const struct mixer_kind *kind = mixer_kinds[k];
        ck_assert(kind->name && kind->singular && kind->adjective && kind->plural);
        ck_assert(kind->letter && (kind->unequal || !kind->type[MIXER_APRIEL_H1]));
        for (int other = 0; other < k; other++) {
            ck_assert_str_ne(mixer_kinds[other]->name, kind->name);
            ck_assert_int_ne(mixer_kinds[other]->letter, kind->letter);
        }
    }
}
END_TEST

/* Each choice in each of its words, and each size, stands in the JSON of a run. */
START_TEST(options_round_trip_to_json) {
    for (int k = 1; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        char text[MIXER_TEXT_SIZE];
        const struct mixer_kind *kind = f.kind;
        struct mixer_choices begun;
        succeeds(mixer_choices_begin(&begun, mixer_text(text, &f.mixer.sizes)));
        for (int i = 0; i < kind->n_choices; i++) {
            const struct choice_row *row = &kind->choices[i];
            for (int word = 0; word < 2; word++) {
                struct mixer_choices choices = begun;
                ck_assert(mixer_has_option(kind, row->option));
                if (row->words[0])
                    succeeds(mixer_choices_set(&choices, row->option, row->words[word]));
                else
                    succeeds(mixer_choices_set(&choices, row->option, word ? "0.5,1" : "0.25,4"));
                struct json *json = mixer_choices_to_json(&choices, &f.mixer.sizes);
                if (row->words[0] && !(row->quiet && word == row->usual)) {
                    ck_assert_str_eq(js_string_or(js_member(json, row->name), ""),
                                     row->words[word]);
                } else if (!row->words[0]) {
                    ck_assert(js_number_or(js_member(json, row->low_name), 0) ==
                              (word ? 0.5 : 0.25));
                    ck_assert(js_number_or(js_member(json, row->high_name), 0) == (word ? 1 : 4));
                }
                js_free(json);
            }
        }
        for (int i = 0; i < kind->n_sizes; i++) {
            const struct size_row *row = &kind->sizes[i];
            if (!row->option) continue;
            struct mixer_choices choices = begun;
            succeeds(mixer_choices_size(&choices, row->option, row->low));
            struct json *json = mixer_choices_to_json(&choices, &choices.sizes);
            ck_assert_int_eq(js_integer_or(js_member(json, row->name), -1), row->low);
            js_free(json);
        }
        close_fixture(&f);
    }
}
END_TEST

/* ---- what is written is read */

static void check_same(const struct mixer_sizes *a, const struct mixer_sizes *b, const char *what) {
    ck_assert_msg(mixer_same(a, b), "%s: %s gives other sizes back", a->kind->name, what);
    for (int i = 0; i < a->kind->n_sizes; i++)
        if (a->kind->sizes[i].type == SIZE_REAL) ck_assert(a->real[i] == b->real[i]);
}

START_TEST(formats_give_the_sizes_back) {
    static const enum mixer_format formats[] = {MIXER_APRIEL_H1, MIXER_APRIEL2};
    for (int k = 0; mixer_kinds[k]; k++) {
        struct fixture f = open_fixture(k);
        struct mixer_sizes sizes = f.mixer.sizes, back;
        char name[MIXER_BLOCK_SIZE], text[MIXER_TEXT_SIZE];
        for (int i = 0; i < f.kind->n_sizes; i++) /* nothing as it is by default */
            if (f.kind->sizes[i].type == SIZE_REAL)
                sizes.real[i] = 0.5 + i;
            else if (f.kind->sizes[i].type == SIZE_FLAG)
                sizes.value[i] = !sizes.value[i];
            else if (f.kind->sizes[i].may_be_zero)
                sizes.value[i] = 7;
        struct json *shape = mixer_sizes_to_json(&sizes);
        succeeds(mixer_sizes_read(&back, f.kind, shape, "shape"));
        check_same(&sizes, &back, "a shape");
        js_free(shape);
        mixer_block_name(name, &sizes, 1);
        for (int i = 0; i < 2; i++) {
            enum mixer_format format = formats[i];
            const char *type = f.kind->type[format];
            if (!type) continue;
            ck_assert(f.kind->owner[format] != NULL);
            ck_assert_ptr_eq(mixer_kind_of_type(format, type, name), f.kind);
            if (!f.kind->config[format]) continue;
            struct json *config = js_new_object();
            mixer_config_write(config, &sizes, &f.host, format);
            succeeds(mixer_config_read(&back, f.kind, config, &f.host, format, "config"));
            check_same(&sizes, &back, type);
            js_free(config);
        }
        succeeds(mixer_from_text(&back, mixer_text(text, &sizes), "--kind"));
        ck_assert_ptr_eq(back.kind, f.kind);
        if (f.kind->parameter >= 0)
            ck_assert_int_eq(back.value[f.kind->parameter], sizes.value[f.kind->parameter]);
        ck_assert_ptr_eq(mixer_kind_of_letter(f.kind->letter), f.kind);
        close_fixture(&f);
    }
}
END_TEST

CHECK_MAIN("mixers", golden_values_and_gradients, gradients_are_differences,
           steps_equal_the_parallel_form, bytes_are_those_allocated, beginnings_are_repeatable,
           kinds_have_words, options_round_trip_to_json, formats_give_the_sizes_back)
