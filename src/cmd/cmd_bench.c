#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/record.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "cli/document.h"
#include "cli/mixer_option.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cli/table.h"
#include "cmd/commands.h"
#include "generate/bench.h"
#include "model/replacement.h"
#include "plan/plan.h"

struct bench_command {
    const char *model, *plan, *layers, *batch, *prefill, *db, *device;
    int64_t prompt, output, random_seed;
    struct mixer_values mixer;
    uint64_t memory;
    bool json;
};

struct job {
    const struct bench_command *command;
    struct backend *backend;
    struct model *model;
    struct mixer_choices choices;
    int *order; /* [n_order] */
    size_t n_order;
    struct int_list counts;
    int64_t *batches, *prefills;
    size_t n_batches, n_prefills;
    uint64_t memory;
    struct bench_result result;
};

/* On the CPU what a person has in mind for a trial, elsewhere what the device has. */
static const uint64_t CPU_MEMORY = 2000000000;

enum { MOST_NUMBER = 1 << 24 }; /* tokens or sequences */

/* "auto,1,8" or "512,2048": numbers from 1, in the order given. The caller frees. */
static enum status parse_numbers(int64_t **out, size_t *count, const char *text, bool automatic,
                                 const char *option) {
    size_t commas = 0;
    for (const char *c = text; *c; c++) commas += *c == ',';
    *count = 0;
    *out = memory_calloc(commas + 1, sizeof **out);
    if (!*out) return STATUS_FAILED;
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        const char *end = at;
        uint64_t value = 0;
        bool word = automatic && strcspn(at, ",") == 4 && strncmp(at, "auto", 4) == 0;
        bool good = word || number_read(&value, &end, false) == NUMBER_GOOD;
        if (!good || (!word && (value < 1 || value > MOST_NUMBER || (*end && *end != ','))))
            return status_set(STATUS_USAGE, "bench: %s cannot be \"%s\" (%s)", option, text,
                              automatic ? "as in auto,1,8" : "as in 512,2048");
        (*out)[(*count)++] = word ? BENCH_AUTO : (int64_t)value;
    }
    return STATUS_OK;
}

/* The order of replacement: that of a plan, else from the last attention layer down. */
static enum status choose_order(struct job *job) {
    const struct model_config *config = job->model->config;
    struct plan plan = {0};
    size_t layers = (size_t)config->n_layers;
    job->order = memory_calloc(layers, sizeof *job->order);
    if (!job->order) return STATUS_FAILED;
    if (!job->command->plan) {
        for (int l = config->n_layers - 1; l >= 0; l--)
            if (config_is_attention(config, l)) job->order[job->n_order++] = l;
        return STATUS_OK;
    }
    enum status status = plan_read(&plan, job->command->plan);
    if (!status && plan.layers != config->n_layers)
        status = status_fail("\"%s\" is for %d layers, \"%s\" has %d", job->command->plan,
                             plan.layers, job->command->model, config->n_layers);
    for (size_t i = 0; !status && i < plan.base.count; i++)
        job->order[job->n_order++] = plan.base.values[i];
    for (size_t i = 0; !status && i < plan.n_ranked; i++)
        job->order[job->n_order++] = plan.ranking[i].layer;
    for (size_t i = 0; !status && i < job->n_order; i++)
        if (!config_is_attention(config, job->order[i]))
            status = status_fail("layer %d of \"%s\" has no attention to replace", job->order[i],
                                 job->command->model);
    /* Without --layers: nothing, then the stages. */
    if (!status && !job->command->layers) {
        job->counts.values = memory_calloc(plan.n_stages + 1, sizeof *job->counts.values);
        if (!job->counts.values) status = STATUS_FAILED;
        for (size_t i = 0; !status && i <= plan.n_stages; i++)
            job->counts.values[job->counts.count++] = i ? (int)plan.stages[i - 1].layers.count : 0;
    }
    plan_free(&plan);
    return status;
}

/* Without --layers and without a plan: the shares of the published hybrids. */
static enum status choose_counts(struct job *job) {
    static const int of_50[] = {0, 25, 27, 30, 34, 37, 40};
    enum { SHARES = sizeof of_50 / sizeof *of_50 };
    if (job->command->layers)
        return list_parse(&job->counts, job->command->layers, 0, (int)job->n_order,
                          "bench: --layers");
    if (job->counts.count) return STATUS_OK;
    job->counts.values = memory_calloc(SHARES, sizeof *job->counts.values);
    if (!job->counts.values) return STATUS_FAILED;
    for (int i = 0; i < SHARES; i++) {
        int count = (of_50[i] * (int)job->n_order + 25) / 50;
        if (!job->counts.count || job->counts.values[job->counts.count - 1] != count)
            job->counts.values[job->counts.count++] = count;
    }
    return STATUS_OK;
}

static enum status prepare(struct job *job) {
    const struct bench_command *command = job->command;
    struct checkpoint_options options = {.random_weights = command->random_seed >= 0,
                                         .seed = (uint64_t)command->random_seed};
    struct mixer_sizes mixer;
    enum status status =
        parse_numbers(&job->batches, &job->n_batches, command->batch, true, "--batch");
    if (!status && command->prefill)
        status =
            parse_numbers(&job->prefills, &job->n_prefills, command->prefill, false, "--prefill");
    const struct mixer_kind *usual = NULL;
    if (!status) status = mixer_option_usual(&usual, &command->mixer, command->model, NULL, NULL);
    if (!status) status = mixer_option_resolve(&job->choices, &command->mixer, 0, usual);
    if (!status) status = backend_open(&job->backend, command->device);
    if (status) return status;
    bool cpu = !job->backend->discrete;
    uint64_t left = job->backend->memory_free(job->backend);
    /* A fortieth for what the libraries take. */
    job->memory = command->memory ? command->memory : cpu ? CPU_MEMORY : left - left / 40;
    if (left && job->memory > left) {
        char wanted[32], had[32];
        return status_fail("--memory is %s, but only %s is free",
                           memory_format(wanted, job->memory), memory_format(had, left));
    }
    status = model_open(&job->model, job->backend, command->model, &options);
    if (!status) status = choose_order(job);
    if (!status) status = choose_counts(job);
    if (!status && job->counts.values[job->counts.count - 1] > 0)
        status = replacement_sizes(&mixer, job->model->config, &job->choices);
    return status;
}

/* ---- results */

static const double paper[][2] = {{25, 1.8}, {27, 1.9}, {30, 2.1}, {34, 2.5}, {37, 2.9}, {40, 3.4}};

/* The published speed-up of the same share of layers of 50; NAN when there is none. */
static double published(const struct job *job, int replaced) {
    for (size_t i = 0; i < sizeof paper / sizeof *paper; i++)
        if (replaced * 50 == (int)paper[i][0] * job->model->config->n_layers) return paper[i][1];
    return NAN;
}

static void cell_number(struct table *table, const char *format, double value) {
    char text[32];
    snprintf(text, sizeof text, format, value);
    table_cell(table, "%s", isfinite(value) ? text : "-");
}

static const char *count_format(double value) {
    return value < 10 ? "%.2f" : value < 1000 ? "%.1f" : "%.0f";
}

static void add_row(struct table *table, const struct job *job, const struct bench_row *row) {
    char size[32];
    double rate = row->tokens_per_second.middle;
    table_cell(table, "%d", row->replaced);
    if (!row->batch) {
        table_cell(table, "none fits");
        for (int i = 0; i < 10; i++) table_cell(table, "-");
        return;
    }
    table_cell(table, "%" PRId64 "%s", row->batch, row->automatic ? "" : " set");
    cell_number(table, count_format(rate), rate);
    cell_number(table, "%.0f%%", 100 * bench_spread(&row->tokens_per_second));
    cell_number(table, "%.2f", row->ratio.middle);
    cell_number(table, "%.1f", published(job, row->replaced));
    cell_number(table, count_format(row->roofline), row->roofline);
    table_cell(table, "%.0f%%", 100 * rate / row->roofline);
    cell_number(table, "%.3g ms", 1000 * row->step_seconds);
    cell_number(table, "%.3g ms", 1000 * row->first_token_seconds);
    table_cell(table, "%s", memory_format(size, (uint64_t)row->bytes_per_token));
    table_cell(table, "%s", memory_format(size, row->memory));
}

static enum status print_rows(const struct job *job) {
    static const char *const heading[] = {"replaced", "batch", "tokens/s",    "+-",
                                          "ratio",    "paper", "roofline",    "reached",
                                          "step",     "first", "bytes/token", "memory"};
    struct table table;
    table_begin(&table, "rrrrrrrrrrrr");
    for (size_t i = 0; i < sizeof heading / sizeof *heading; i++)
        table_cell(&table, "%s", heading[i]);
    for (size_t i = 0; i < job->result.n_rows; i++) add_row(&table, job, &job->result.rows[i]);
    return table_print(&table, stdout);
}

static enum status print_prefills(const struct job *job) {
    struct table table;
    if (!job->result.n_prefills) return STATUS_OK;
    puts("\nprefill of one prompt");
    table_begin(&table, "rrrr");
    table_cell(&table, "replaced");
    table_cell(&table, "tokens");
    table_cell(&table, "tokens/s");
    table_cell(&table, "seconds");
    for (size_t i = 0; i < job->result.n_prefills; i++) {
        const struct bench_prefill *prefill = &job->result.prefills[i];
        table_cell(&table, "%d", prefill->replaced);
        table_cell(&table, "%" PRId64, prefill->tokens);
        cell_number(&table, "%.0f", (double)prefill->tokens / prefill->seconds.middle);
        cell_number(&table, "%.3g", prefill->seconds.middle);
    }
    return table_print(&table, stdout);
}

static void warn(const struct bench_result *result) {
    struct bench_doubts doubts = bench_doubts(result);
    if (doubts.varied)
        log_warn(
            "the rates of %d of %zu rows vary between rounds by more than %.0f %% (%.0f %% with "
            "%d replaced): the machine has other work; their ratios are as uncertain",
            doubts.varied, result->n_rows, 100 * doubts.wide, 100 * doubts.widest,
            doubts.widest_replaced);
    if (doubts.impossible)
        log_warn(
            "%d of %zu rows are faster than the roofline measured before them: the machine was "
            "busy then; measure again",
            doubts.impossible, result->n_rows);
    if (doubts.best)
        log_warn("%d of %zu ratios are above what the roofline gives (%.2f, not %.2f, with %d "
                 "replaced): the transformer reached less of its roofline than the hybrid; on a "
                 "busy machine, measure again",
                 doubts.too_good, result->n_rows, doubts.best->ratio.middle,
                 doubts.best->roofline_ratio, doubts.best->replaced);
}

static enum status print_text(const struct job *job) {
    const struct bench_command *command = job->command;
    char memory[32], bandwidth[32];
    printf("%s on %s: %" PRId64 " tokens in, %" PRId64 " out, %s for weights, caches and states\n",
           command->model, job->backend->name, command->prompt, command->output,
           memory_format(memory, job->memory));
    printf("measured here: copies move %s/s (read and written), matrix products do %.3g TFLOP/s\n",
           memory_format(bandwidth, (uint64_t)job->result.device.bandwidth),
           job->result.device.operations / 1e12);
    if (command->output > 192)
        printf("steps timed at %d context lengths spread over the output; their mean is the mean "
               "step\n",
               BENCH_CONTEXTS);
    puts("");
    enum status status = print_rows(job);
    return status ? status : print_prefills(job);
}

/* NAME, NAME_low and NAME_high: the middle of the rounds, the least and the most. */
static void set_value(struct json *item, const char *name, const struct bench_value *value) {
    char key[64];
    js_set_number(item, name, value->middle);
    snprintf(key, sizeof key, "%s_low", name);
    js_set_number(item, key, value->low);
    snprintf(key, sizeof key, "%s_high", name);
    js_set_number(item, key, value->high);
}

static struct json *row_json(const struct job *job, const struct bench_row *row) {
    struct json *item = js_new_object();
    js_set_integer(item, "replaced", row->replaced);
    js_set_integer(item, "batch", row->batch);
    js_set_bool(item, "batch_by_memory", row->automatic);
    if (!row->batch) return item;
    set_value(item, "tokens_per_second", &row->tokens_per_second);
    set_value(item, "ratio", &row->ratio);
    js_set_number(item, "roofline_ratio", row->roofline_ratio);
    js_set_number(item, "paper_ratio", published(job, row->replaced));
    js_set_number(item, "roofline_tokens_per_second", row->roofline);
    js_set_number(item, "reached", row->tokens_per_second.middle / row->roofline);
    js_set_number(item, "step_seconds", row->step_seconds);
    js_set_integer(item, "steps_timed", row->steps);
    js_set_number(item, "first_token_seconds", row->first_token_seconds);
    js_set_number(item, "bytes_per_token", row->bytes_per_token);
    js_set_integer(item, "memory_bytes", (int64_t)row->memory);
    return item;
}

/* What makes two series comparable. The caller frees. */
static struct json *settings_json(const struct job *job) {
    struct json *settings = js_new_object();
    js_set_integer(settings, "prompt", job->command->prompt);
    js_set_integer(settings, "output", job->command->output);
    js_set_integer(settings, "memory", (int64_t)job->memory);
    js_set_number(settings, "copy_bytes_per_second", job->result.device.bandwidth);
    js_set_number(settings, "operations_per_second", job->result.device.operations);
    js_set_integer(settings, "layers", job->model->config->n_layers);
    return settings;
}

static enum status print_json(const struct job *job) {
    const struct bench_result *result = &job->result;
    struct json *document = document_begin("bench"), *rows = js_new_array(),
                *prefills = js_new_array();
    js_set_string(document, "model", job->command->model);
    js_set_string(document, "device", job->backend->name);
    js_set(document, "settings", settings_json(job));
    js_set_integer(document, "context_lengths", job->command->output > 192 ? BENCH_CONTEXTS : 1);
    for (size_t i = 0; i < result->n_rows; i++) js_append(rows, row_json(job, &result->rows[i]));
    for (size_t i = 0; i < result->n_prefills; i++) {
        struct json *item = js_new_object();
        js_set_integer(item, "replaced", result->prefills[i].replaced);
        js_set_integer(item, "tokens", result->prefills[i].tokens);
        js_set_number(item, "seconds", result->prefills[i].seconds.middle);
        js_append(prefills, item);
    }
    js_set(document, "rows", rows);
    js_set(document, "prefill", prefills);
    return document_print(document);
}

static enum status add_rows(struct store *store, const struct job *job, int64_t model,
                            const char *settings) {
    int64_t series = 0, id = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < job->result.n_rows; i++) {
        const struct bench_row *row = &job->result.rows[i];
        struct store_bench stored = {.series = series,
                                     .model = model,
                                     .device = (char *)(uintptr_t)job->backend->name,
                                     .settings = (char *)(uintptr_t)settings,
                                     .replaced = row->replaced,
                                     .batch = row->batch,
                                     .automatic = row->automatic,
                                     .memory = (int64_t)row->memory,
                                     .tokens_per_second = row->tokens_per_second.middle,
                                     .step_seconds = row->step_seconds,
                                     .first_token_seconds = row->first_token_seconds,
                                     .bytes_per_token = row->bytes_per_token,
                                     .roofline = row->roofline,
                                     .spread = bench_spread(&row->tokens_per_second)};
        if (!row->batch) continue;
        status = store_add_bench(&id, store, &stored);
        if (!series) series = id;
    }
    if (!status && series) log_note("series %" PRId64 " in %s", series, job->command->db);
    return status;
}

/* All rows or none. */
static enum status record(const struct job *job) {
    struct store *store = NULL;
    char fingerprint[SHA256_HEX_SIZE];
    struct json *settings = settings_json(job);
    char *text = js_print_sorted(settings), *shape = record_shape(job->model->checkpoint);
    int64_t model;
    js_free(settings);
    enum status status = text && shape ? STATUS_OK : STATUS_FAILED;
    if (!status) status = checkpoint_fingerprint(job->model->checkpoint, fingerprint);
    if (!status) status = store_open(&store, job->command->db, STORE_WRITE);
    if (!status) status = store_begin(store);
    if (!status) status = store_add_model(&model, store, fingerprint, job->command->model, shape);
    if (!status) status = add_rows(store, job, model, text);
    if (!status) status = store_commit(store);
    store_close(store);
    free(text);
    free(shape);
    return status;
}

static enum status bench(const struct bench_command *command) {
    struct job job = {.command = command};
    enum status status = prepare(&job);
    struct bench_settings settings = {.order = job.order,
                                      .counts = job.counts.values,
                                      .batches = job.batches,
                                      .prefills = job.prefills,
                                      .n_order = job.n_order,
                                      .n_counts = job.counts.count,
                                      .n_batches = job.n_batches,
                                      .n_prefills = job.n_prefills,
                                      .prompt = command->prompt,
                                      .output = command->output,
                                      .memory = job.memory,
                                      .choices = &job.choices};
    if (!status) status = bench_run(&job.result, job.model, &settings);
    /* What is finished is worth keeping. */
    enum status shown = STATUS_OK;
    if (job.result.n_rows && (!status || status == STATUS_INTERRUPTED)) {
        if (command->db) shown = record(&job);
        warn(&job.result);
        if (!shown) shown = command->json ? print_json(&job) : print_text(&job);
        if (!shown && command->db) {
            struct text line;
            next_begin(&line, "chart --kind throughput");
            next_path(&line, "--db", command->db);
            next_words(&line, "-o throughput.svg");
            next_print(&line, false);
        }
    }
    if (!status) status = shown;
    bench_free(&job.result);
    model_close(job.model);
    if (job.backend) job.backend->close(job.backend);
    list_free(&job.counts);
    free(job.order);
    free(job.batches);
    free(job.prefills);
    return status;
}

enum { OWN_OPTIONS = 10 };

enum status cmd_bench(int argc, char **argv) {
    struct bench_command values = {
        .device = "auto", .batch = "auto", .prompt = 1, .output = 16384, .random_seed = -1};
    enum { MOST = 1 << 20 };
    struct option table[OWN_OPTIONS + MIXER_OPTIONS] = {
        {"layers", OPTION_STRING, &values.layers, "LIST",
         "numbers of replaced layers, as in 0,25,30 (0 and the plan's stages; else 0 and the "
         "published shares)",
         .group = GROUP_SCOPE},
        {"plan", OPTION_STRING, &values.plan, "FILE",
         "replace layers in the order of this plan.json (from the last layer down)",
         .group = GROUP_SCOPE, .completes = "*.json"},
        {"prompt", OPTION_COUNT, &values.prompt, "N", "tokens of a prompt (1)", .low = 1,
         .high = MOST, .group = GROUP_SCOPE},
        {"output", OPTION_COUNT, &values.output, "N", "new tokens (16384)", .low = 1,
         .high = 1 << 24, .group = GROUP_SCOPE},
        {"memory", OPTION_SIZE, &values.memory, "SIZE",
         "for weights, caches and states (all that is free; 2G on the CPU)",
         .group = GROUP_MACHINE},
        {"batch", OPTION_STRING, &values.batch, "LIST",
         "sequences at a time: auto (what the memory holds) or numbers, as in auto,1,8 (auto)",
         .group = GROUP_SCOPE, .choices = "auto"},
        {"prefill", OPTION_STRING, &values.prefill, "LIST",
         "also time the prefill of one prompt of so many tokens, as in 512,8192",
         .group = GROUP_SCOPE},
        {"db", OPTION_STRING, &values.db, "FILE.db", "add the rows to this database",
         .group = GROUP_FILES, .completes = "*.db"},
        {"device", OPTION_STRING, &values.device, "auto|cpu|cuda[:N]", "where to compute (auto)",
         .group = GROUP_MACHINE, .choices = "auto|cpu|cuda"},
        {"random-weights", OPTION_INTEGER, &values.random_seed, "SEED",
         "draw MODEL's weights from N(0, 0.02): it needs only config.json", .high = INT64_MAX,
         .group = GROUP_FILES},
    };
    struct command_line line = {
        .command = "bench",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL [--layers 0,25,30] [--prompt 1] [--output 16384] [options]",
        .about =
            "Measure how fast a model generates with some of its attention layers replaced, each "
            "time with\nas many sequences as the memory holds. No trained hybrid is needed: what "
            "is "
            "in a mixer does not\nchange its speed. The roofline is what the measured copy "
            "bandwidth and the rate of matrix\nproducts allow for the bytes and operations of a "
            "step.",
        .options = table,
        .epilogue = "example:\n  apriel-tool bench recipes/demo-model --output 1024 --memory 200M",
    };
    struct command_arguments arguments;
    line.count = OWN_OPTIONS + (size_t)mixer_option_sizes(table + OWN_OPTIONS, &values.mixer);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) {
        values.model = arguments.positional.values[0];
        values.json = arguments.json;
        status = bench(&values);
    }
    options_free(&arguments, &line);
    return status;
}
