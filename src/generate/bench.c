#include "generate/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "generate/decoder.h"
#include "kernels/ops/products.h"
#include "model/replacement.h"

/* At each context: steps before the timing, at least and at most so many timed, for so long. */
enum { WARM_STEPS = 2, LEAST_STEPS = 3, MOST_STEPS = 32, PREFILL_TOKENS = 8192 };
static const double LONG_ENOUGH = 0.1; /* seconds, in each round */

struct bench {
    struct model *model;
    const struct bench_settings *settings;
    struct bench_result *result;
    struct mixer *mixers;       /* [L] new ones */
    const struct mixer **table; /* [L] */
    bool *replaced;             /* [L] */
    size_t n_made;              /* mixers */
    struct cost_model cost;
    struct decoder *decoder;
    int slots;
    int *slot;        /* [slots]: 0, 1, 2 … */
    uint32_t *ids;    /* [slots] */
    uint32_t *tokens; /* prompts of one prefill */
    uint64_t *offsets;
};

/* ---- the device */

static enum status time_copies(double *bandwidth, struct backend *backend, size_t bytes) {
    void *from = backend->alloc(backend, bytes, "the bandwidth test");
    void *to = from ? backend->alloc(backend, bytes, "the bandwidth test") : NULL;
    enum status status = to ? STATUS_OK : STATUS_FAILED;
    double best = INFINITY;
    if (!status) backend->zero(backend, from, bytes);
    for (int repeat = 0; !status && repeat < 6; repeat++) {
        double start = log_seconds();
        for (int k = 0; k < 4; k++) backend->copy(backend, to, from, bytes);
        status = backend->sync(backend);
        best = fmin(best, log_seconds() - start);
    }
    backend->free(backend, from);
    backend->free(backend, to);
    *bandwidth = 8 * (double)bytes / best;
    return status;
}

static enum status time_products(double *operations, struct backend *backend, int64_t size) {
    size_t bytes = (size_t)(size * size) * dtype_size(backend->act);
    void *memory[3] = {NULL};
    enum status status = STATUS_OK;
    double best = INFINITY;
    for (int i = 0; !status && i < 3; i++) {
        memory[i] = backend->alloc(backend, bytes, "the matrix product test");
        if (memory[i])
            backend->zero(backend, memory[i], bytes);
        else
            status = STATUS_FAILED;
    }
    for (int repeat = 0; !status && repeat < 4; repeat++) {
        double start = log_seconds();
        for (int k = 0; k < 2; k++)
            backend->products->matmul(backend, into_act(memory[0]), memory[1], size, memory[2],
                                      NULL, size, size, size);
        status = backend->sync(backend);
        best = fmin(best, log_seconds() - start);
    }
    for (int i = 0; i < 3; i++) backend->free(backend, memory[i]);
    *operations = 4 * (double)size * (double)size * (double)size / best;
    return status;
}

/* The best of all rounds. */
static enum status measure_device(struct bench *bench) {
    struct backend *backend = bench->model->backend;
    struct cost_device *best = &bench->result->device, now = {0};
    bool small = !backend->discrete;
    enum status status =
        time_copies(&now.bandwidth, backend, small ? (size_t)128 << 20 : (size_t)1 << 30);
    if (!status) status = time_products(&now.operations, backend, small ? 1024 : 8192);
    best->bandwidth = fmax(best->bandwidth, now.bandwidth);
    best->operations = fmax(best->operations, now.operations);
    return status;
}

/* ---- hybrids */

static enum status make_mixer(struct bench *bench, int layer) {
    const struct bench_settings *settings = bench->settings;
    struct mixer *mixer = &bench->mixers[layer];
    int first = settings->order[0];
    enum status status =
        layer == first
            ? replacement_create(mixer, bench->model, layer, settings->choices)
            : mixer_copy(mixer, bench->model->backend, &bench->model->host, &bench->mixers[first]);
    if (!status) bench->cost.mixer = mixer->sizes;
    return status;
}

/* On a device of its own the attention weights of replaced layers make room for what a hybrid
 * needs, and new mixers are not there beside the attention that they replace. */
static enum status make_next(struct bench *bench) {
    struct model *model = bench->model;
    int layer = bench->settings->order[bench->n_made];
    enum status status = make_mixer(bench, layer);
    if (!status && model->backend->discrete) status = model_drop_mixer(model, layer);
    bench->n_made += !status;
    return status;
}

static enum status take_back(struct bench *bench) {
    struct model *model = bench->model;
    const struct layer *unused;
    int layer = bench->settings->order[--bench->n_made];
    mixer_free(&bench->mixers[layer], model->backend);
    model_forget_layer(model, layer);
    return model_layer(&unused, model, layer);
}

/* The first `count` layers of the order are replaced, the others are not. */
static enum status replace(struct bench *bench, size_t count) {
    struct model *model = bench->model;
    const struct bench_settings *settings = bench->settings;
    enum status status = STATUS_OK;
    while (!status && bench->n_made < count) {
        status = interrupt_check();
        if (!status) status = make_next(bench);
    }
    while (!status && bench->n_made > count && model->backend->discrete) {
        status = interrupt_check();
        if (!status) status = take_back(bench);
    }
    for (size_t i = 0; i < settings->n_order; i++) {
        int layer = settings->order[i];
        bench->table[layer] = i < count ? &bench->mixers[layer] : NULL;
        bench->replaced[layer] = i < count;
    }
    return status ? status : model->backend->sync(model->backend);
}

/* ---- memory */

static struct decoder_options options_for(const struct bench *bench, int64_t slots, int64_t tokens,
                                          int64_t prompt) {
    int64_t together = slots * prompt < PREFILL_TOKENS ? slots * prompt : PREFILL_TOKENS;
    return (struct decoder_options){.slots = (int)slots,
                                    .tokens = tokens,
                                    .prefill_tokens = together > prompt ? together : prompt,
                                    .mixers = bench->table};
}

static uint64_t bytes_for(const struct bench *bench, int64_t slots, int64_t tokens,
                          int64_t prompt) {
    struct cost_parts parts;
    struct decoder_options options = options_for(bench, slots, tokens, prompt);
    cost_measure(&parts, &bench->cost);
    return parts.weights + decoder_bytes(bench->model, &options, NULL);
}

/* The most sequences that the budget holds. */
static int64_t find_batch(const struct bench *bench) {
    const struct bench_settings *settings = bench->settings;
    int64_t tokens = settings->prompt + settings->output, low = 0, high = 1 << 16;
    while (low + 1 < high) {
        int64_t middle = low + (high - low) / 2;
        if (bytes_for(bench, middle, tokens, settings->prompt) <= settings->memory)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void close_decoder(struct bench *bench) {
    decoder_close(bench->decoder);
    free(bench->slot);
    free(bench->ids);
    free(bench->tokens);
    free(bench->offsets);
    bench->decoder = NULL;
    bench->slot = NULL;
    bench->ids = bench->tokens = NULL;
    bench->offsets = NULL;
}

static enum status open_decoder(struct bench *bench, int64_t slots, int64_t tokens,
                                int64_t prompt) {
    struct decoder_options options = options_for(bench, slots, tokens, prompt);
    size_t count = (size_t)slots, most = (size_t)options.prefill_tokens;
    bench->slots = (int)slots;
    bench->slot = memory_calloc(count, sizeof *bench->slot);
    bench->ids = memory_calloc(count, sizeof *bench->ids);
    bench->tokens = memory_calloc(most, sizeof *bench->tokens);
    bench->offsets = memory_calloc(count + 1, sizeof *bench->offsets);
    enum status status =
        bench->slot && bench->ids && bench->tokens && bench->offsets ? STATUS_OK : STATUS_FAILED;
    if (!status) status = decoder_open(&bench->decoder, bench->model, &options);
    if (status) {
        close_decoder(bench);
        return status;
    }
    uint32_t vocabulary = (uint32_t)bench->model->config->vocab_size;
    struct random_stream stream = random_stream_for(0, -1, "bench");
    for (size_t i = 0; i < count; i++) bench->slot[i] = (int)i;
    for (size_t i = 0; i < most; i++)
        bench->tokens[i] = (uint32_t)(random_uniform(&stream, i) * vocabulary);
    return STATUS_OK;
}

/* The budget is an estimate: an automatic batch gives way when the device has less. */
static enum status open_batch(struct bench *bench, struct bench_row *row) {
    const struct bench_settings *settings = bench->settings;
    int64_t tokens = settings->prompt + settings->output;
    for (;;) {
        enum status status = open_decoder(bench, row->batch, tokens, settings->prompt);
        if (!status || !row->automatic || row->batch < 2) return status;
        int64_t fewer = row->batch * 15 / 16;
        log_note("%" PRId64 " sequences do not fit: %s; trying %" PRId64, row->batch,
                 status_message(), fewer);
        row->batch = fewer;
    }
}

/* ---- timing */

/* Prompts of `prompt` tokens into all slots, until each has a first token. */
static enum status prefill(double *seconds, struct bench *bench, int64_t prompt) {
    int64_t most = options_for(bench, bench->slots, prompt, prompt).prefill_tokens;
    int together = (int)(most / prompt);
    enum status status = STATUS_OK;
    double start = log_seconds();
    for (int first = 0; !status && first < bench->slots; first += together) {
        int count = bench->slots - first < together ? bench->slots - first : together;
        for (int i = 0; i <= count; i++) bench->offsets[i] = (uint64_t)(i * prompt);
        status = decoder_prefill(bench->decoder, bench->slot + first, bench->tokens, bench->offsets,
                                 count);
        if (!status) status = decoder_argmax(bench->decoder, bench->ids + first, count);
    }
    *seconds = log_seconds() - start;
    return status;
}

static enum status step(struct bench *bench) {
    enum status status = decoder_step(bench->decoder, bench->slot, bench->ids, bench->slots);
    return status ? status : decoder_argmax(bench->decoder, bench->ids, bench->slots);
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* `*seconds` of the median step from `context` on: at least and at most so many are timed, `*steps`
 * counts them. */
static enum status time_steps(double *seconds, int64_t *steps, struct bench *bench, int64_t context,
                              int64_t least, int64_t most) {
    enum status status = STATUS_OK;
    double times[BENCH_CONTEXTS * MOST_STEPS], taken = 0;
    int64_t first = context > WARM_STEPS ? context - WARM_STEPS : 0, done = 0;
    for (int s = 0; s < bench->slots; s++) decoder_pretend(bench->decoder, s, first);
    for (int64_t warm = first; !status && warm < context; warm++) status = step(bench);
    while (!status && done < most && (done < least || taken < LONG_ENOUGH)) {
        double start = log_seconds();
        status = step(bench);
        times[done] = log_seconds() - start;
        taken += times[done++];
    }
    if (status) return status;
    qsort(times, (size_t)done, sizeof *times, by_value);
    *seconds = (times[(done - 1) / 2] + times[done / 2]) / 2;
    *steps += done;
    return STATUS_OK;
}

/* The mean step over the output, and what the cost model says of the same contexts. */
static enum status time_output(struct bench *bench, struct bench_row *row) {
    const struct bench_settings *settings = bench->settings;
    int64_t contexts = BENCH_CONTEXTS, least = LEAST_STEPS, most = MOST_STEPS;
    double sum = 0, bytes = 0, floor = 0;
    enum status status = decoder_fill(bench->decoder);
    if (settings->output <= BENCH_CONTEXTS * MOST_STEPS) { /* all of it */
        contexts = 1;
        least = most = settings->output;
    }
    for (int64_t k = 0; !status && k < contexts; k++) {
        double part = (double)settings->output / (double)contexts, seconds = 0;
        int64_t middle = settings->prompt + (int64_t)(((double)k + 0.5) * part);
        int64_t from = contexts == 1 ? settings->prompt : middle - most / 2;
        status = time_steps(&seconds, &row->steps, bench, from, least, most);
        sum += seconds;
        bytes += cost_step_bytes(&bench->cost, row->batch, middle);
        floor += cost_step_seconds(&bench->cost, &bench->result->device, row->batch, middle);
    }
    double batch = (double)row->batch, parts = (double)contexts;
    if (status) return status;
    row->rates[row->rounds] = batch / (sum / parts);
    row->bytes_per_token = bytes / parts / batch;
    row->roofline = batch / (floor / parts);
    return STATUS_OK;
}

static struct bench_value summarise(const double *values, int count) {
    double sorted[BENCH_ROUNDS];
    if (count < 1) return (struct bench_value){NAN, NAN, NAN};
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    double middle = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    return (struct bench_value){middle, sorted[0], sorted[count - 1]};
}

/* The batch of a row that is measured for the first time; 0 where it does not fit. */
static void begin_row(struct bench *bench, struct bench_row *row, int replaced, int64_t batch) {
    const struct bench_settings *settings = bench->settings;
    int64_t tokens = settings->prompt + settings->output;
    *row = (struct bench_row){.replaced = replaced,
                              .automatic = batch == BENCH_AUTO,
                              .batch = batch == BENCH_AUTO ? find_batch(bench) : batch};
    if (row->batch && bytes_for(bench, row->batch, tokens, settings->prompt) > settings->memory)
        row->batch = 0;
}

/* One more round of a row. */
static enum status measure_row(struct bench *bench, struct bench_row *row) {
    const struct bench_settings *settings = bench->settings;
    int64_t tokens = settings->prompt + settings->output;
    double unused;
    if (!row->batch) return STATUS_OK;
    enum status status = open_batch(bench, row);
    row->memory = bytes_for(bench, row->batch, tokens, settings->prompt);
    if (!status && row->rounds == 0) status = prefill(&unused, bench, settings->prompt);
    if (!status) status = prefill(&row->first[row->rounds], bench, settings->prompt);
    if (!status) status = time_output(bench, row);
    row->rounds += !status;
    close_decoder(bench);
    return status;
}

static enum status measure_prefill(struct bench *bench, struct bench_prefill *out) {
    if (bytes_for(bench, 1, out->tokens, out->tokens) > bench->settings->memory) {
        log_note("a prompt of %" PRId64 " tokens does not fit into the memory", out->tokens);
        return STATUS_OK;
    }
    enum status status = open_decoder(bench, 1, out->tokens, out->tokens);
    double unused;
    if (!status && out->rounds == 0) status = prefill(&unused, bench, out->tokens);
    if (!status) status = prefill(&out->times[out->rounds], bench, out->tokens);
    out->rounds += !status;
    close_decoder(bench);
    return status;
}

/* What the rounds gave. `teacher` (or NULL) is the row of the same batch with nothing replaced. */
static void finish_row(struct bench_row *row, const struct bench_row *teacher) {
    double ratios[BENCH_ROUNDS];
    int both = teacher && teacher->rounds < row->rounds ? teacher->rounds : row->rounds;
    for (int i = 0; i < both && teacher; i++) ratios[i] = row->rates[i] / teacher->rates[i];
    row->ratio = summarise(ratios, teacher ? both : 0);
    row->roofline_ratio = teacher ? row->roofline / teacher->roofline : NAN;
    row->tokens_per_second = summarise(row->rates, row->rounds);
    row->step_seconds = (double)row->batch / row->tokens_per_second.middle;
    row->first_token_seconds = summarise(row->first, row->rounds).middle;
}

/* Of an interrupted call only what was measured stays. */
static void finish(struct bench *bench) {
    const struct bench_settings *settings = bench->settings;
    struct bench_result *result = bench->result;
    size_t batches = settings->n_batches, prefills = 0, rows = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const struct bench_row *teacher = &result->rows[i % batches];
        bool whole = teacher->replaced == 0 && teacher->batch;
        finish_row(&result->rows[i], whole ? teacher : NULL);
    }
    for (size_t i = 0; i < result->n_rows; i++)
        if (result->rows[i].rounds || !result->rows[i].batch)
            result->rows[rows++] = result->rows[i];
    result->n_rows = rows;
    for (size_t i = 0; i < result->n_prefills; i++) {
        struct bench_prefill *prefill = &result->prefills[i];
        prefill->seconds = summarise(prefill->times, prefill->rounds);
        if (prefill->rounds) result->prefills[prefills++] = *prefill;
    }
    result->n_prefills = prefills;
}

static enum status allocate(struct bench *bench) {
    const struct bench_settings *settings = bench->settings;
    struct bench_result *result = bench->result;
    size_t layers = (size_t)bench->model->config->n_layers;
    bench->mixers = memory_calloc(layers, sizeof *bench->mixers);
    bench->table = memory_calloc(layers, sizeof *bench->table);
    bench->replaced = memory_calloc(layers, sizeof *bench->replaced);
    result->rows = memory_calloc(settings->n_counts * settings->n_batches, sizeof *result->rows);
    result->prefills =
        memory_calloc(settings->n_counts * settings->n_prefills, sizeof *result->prefills);
    bench->cost.replaced = bench->replaced;
    return bench->mixers && bench->table && bench->replaced && result->rows && result->prefills
               ? STATUS_OK
               : STATUS_FAILED;
}

/* Part `k` of the configuration: a batch, or a length of a prefill. */
static enum status measure_part(struct bench *bench, size_t configuration, size_t k, bool first) {
    const struct bench_settings *settings = bench->settings;
    struct bench_result *result = bench->result;
    int replaced = settings->counts[configuration];
    if (k < settings->n_batches) {
        struct bench_row *row = &result->rows[configuration * settings->n_batches + k];
        if (first) begin_row(bench, row, replaced, settings->batches[k]);
        result->n_rows += first;
        return measure_row(bench, row);
    }
    k -= settings->n_batches;
    struct bench_prefill *prefill = &result->prefills[configuration * settings->n_prefills + k];
    if (first)
        *prefill = (struct bench_prefill){.replaced = replaced, .tokens = settings->prefills[k]};
    result->n_prefills += first;
    return measure_prefill(bench, prefill);
}

enum status bench_run(struct bench_result *out, struct model *model,
                      const struct bench_settings *settings) {
    struct backend *backend = model->backend;
    struct bench bench = {.model = model,
                          .settings = settings,
                          .result = out,
                          .cost = {.config = model->config,
                                   .act_bytes = (int)dtype_size(backend->act),
                                   .acc_bytes = (int)dtype_size(backend->acc)}};
    *out = (struct bench_result){0};
    struct progress progress;
    size_t parts = settings->n_batches + settings->n_prefills;
    double done = 0;
    progress_begin(&progress, "bench", "measurements",
                   (double)(settings->n_counts * parts) * BENCH_ROUNDS, 0);
    enum status status = allocate(&bench);
    for (int round = 0; !status && round < BENCH_ROUNDS; round++) {
        progress_within(0, "the device, round %d", round + 1);
        status = measure_device(&bench);
        for (size_t n = 0; !status && n < settings->n_counts; n++) {
            /* there and back: what was taken away on the way is put back one by one */
            size_t i = round % 2 ? settings->n_counts - 1 - n : n;
            status = replace(&bench, (size_t)settings->counts[i]);
            for (size_t k = 0; !status && k < parts; k++) {
                progress_within(0, "%d replaced, round %d", settings->counts[i], round + 1);
                status = measure_part(&bench, i, k, round == 0);
                progress_update(&progress, ++done);
                if (!status) status = interrupt_check();
            }
        }
    }
    if (!status || status == STATUS_INTERRUPTED) finish(&bench);
    progress_end(&progress);
    for (int l = 0; bench.mixers && l < model->config->n_layers; l++)
        mixer_free(&bench.mixers[l], backend);
    free(bench.mixers);
    free(bench.table);
    free(bench.replaced);
    return status;
}

void bench_free(struct bench_result *result) {
    free(result->rows);
    free(result->prefills);
    *result = (struct bench_result){0};
}
