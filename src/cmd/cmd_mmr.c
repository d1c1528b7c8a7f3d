#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mmr/mmr.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/document.h"
#include "cli/memory_table.h"
#include "cli/mixer_option.h"
#include "cli/options.h"
#include "cli/score_list.h"
#include "cmd/commands.h"
#include "scores/store.h"

struct mmr_options {
    const char *data, *database, *device, *layers, *base, *loss, *schedule, *train, *cache;
    struct mixer_values mixer;
    int64_t steps, batch, heldout, seeds, seed, warmup, stable, group, together, limit, random_seed;
    uint64_t device_memory;
    bool dry_run, recompute;
    double lr, beta1, beta2, epsilon, decay, clip, temperature;
};

/* The index of `word` among `words`; STATUS_USAGE names the option. */
static enum status choose(int *out, const char *option, const char *word, const char *const *words,
                          int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "mmr: --%s cannot be \"%s\"", option, word);
}

static enum status to_probe(struct probe_settings *probe, const struct mmr_options *options) {
    static const char *const losses[] = {"rkl", "fkl", "ce"};
    static const char *const schedules[] = {"constant", "cosine"};
    struct probe_parts parts;
    int loss = 0, schedule = 0;
    enum status status = choose(&loss, "loss", options->loss, losses, 3);
    if (!status) status = choose(&schedule, "schedule", options->schedule, schedules, 2);
    if (!status) status = probe_parts_from_name(&parts, options->train, options->decay);
    if (status) return status;
    *probe = (struct probe_settings){.steps = options->steps,
                                     .batch = (int)options->batch,
                                     .heldout = options->heldout,
                                     .lr = options->lr,
                                     .optimizer = {.beta1 = options->beta1,
                                                   .beta2 = options->beta2,
                                                   .epsilon = options->epsilon,
                                                   .clip = options->clip},
                                     .warmup = options->warmup,
                                     .schedule = (enum learning_rate_schedule)schedule,
                                     .loss = (enum loss_kind)loss,
                                     .temperature = options->temperature,
                                     .parts = parts};
    if (probe->lr <= 0 || probe->temperature <= 0 || probe->optimizer.beta1 < 0 ||
        probe->optimizer.beta1 >= 1 || probe->optimizer.beta2 < 0 || probe->optimizer.beta2 >= 1)
        return status_set(STATUS_USAGE, "mmr: --lr and --temperature must be positive, --beta1 and "
                                        "--beta2 at least 0 and below 1");
    return mixer_option_resolve(&probe->mil, &options->mixer);
}

static enum status to_settings(struct mmr_settings *settings, const struct mmr_options *options,
                               const struct command_arguments *arguments) {
    if (!options->data || (!options->database && !options->dry_run))
        return status_set(STATUS_USAGE, "mmr: --data and --db are needed");
    if (options->base && !file_is_directory(options->base))
        return status_set(
            STATUS_USAGE,
            "mmr: --base \"%s\" is no directory: convert the plan into a hybrid first",
            options->base);
    *settings = (struct mmr_settings){.model = arguments->positional.values[0],
                                      .hybrid = options->base,
                                      .data = options->data,
                                      .database = options->database,
                                      .device = options->device,
                                      .layers = options->layers,
                                      .seeds = (int)options->seeds,
                                      .seed = (uint64_t)options->seed,
                                      .stable_steps = options->stable,
                                      .group = (int)options->group,
                                      .together = (int)options->together,
                                      .limit_steps = options->limit,
                                      .recompute = options->recompute,
                                      .device_memory = options->device_memory,
                                      .dry_run = options->dry_run,
                                      .cache_directory = options->cache,
                                      .identity = arguments->identity};
    settings->checkpoint.random_weights = options->random_seed >= 0;
    settings->checkpoint.seed = (uint64_t)options->random_seed;
    enum status status = to_probe(&settings->probe, options);
    if (!status && options->together > 1 && settings->probe.parts.count > PROBE_MIXER + 1)
        status = status_set(STATUS_USAGE,
                            "mmr: --together %lld needs --train mixer: what else "
                            "trains is every probe's own",
                            (long long)options->together);
    return status;
}

static double value_of(const struct store_score_list *list, int layer, const char *metric) {
    const struct store_score *score = score_list_find(list, layer, metric);
    return score ? score->value : NAN;
}

static void print_table(const struct store_score_list *list, const char *loss) {
    char first[32], last[32];
    snprintf(first, sizeof first, "train_%s_first", loss);
    snprintf(last, sizeof last, "train_%s_last", loss);
    printf("%5s  %10s %10s  %12s  %12s %8s  %6s\n", "layer", "first loss", "last loss",
           "rkl untrained", "rkl trained", "+-", "top1");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *before = &list->scores[i];
        if (strcmp(before->metric, "heldout_rkl_before") != 0) continue;
        int layer = before->layer;
        const struct store_score *after = score_list_find(list, layer, "heldout_rkl_after");
        printf("%5d  %10.6f %10.6f  %13.6f  ", layer, value_of(list, layer, first),
               value_of(list, layer, last), before->value);
        char error[32] = "-"; /* a single row has no standard error */
        if (after && isfinite(after->stderr_value))
            snprintf(error, sizeof error, "%.2g", after->stderr_value);
        if (after)
            printf("%12.6f %8s  %5.1f%%\n", after->value, error,
                   100 * value_of(list, layer, "heldout_top1_after"));
        else
            printf("diverged at step %.0f\n", value_of(list, layer, "diverged_at_step"));
    }
}

static enum status print_json(const struct mmr_outcome *outcome, const struct mmr_options *options,
                              struct store *store, const struct store_score_list *list) {
    struct json *document = document_begin("mmr");
    js_set_integer(document, "run", outcome->run);
    enum status status = score_list_set_base(document, store, outcome->run, options->base);
    if (status) {
        js_free(document);
        return status;
    }
    js_set_integer(document, "layers", outcome->layers);
    js_set_integer(document, "layers_found", outcome->layers_before);
    js_set_integer(document, "diverged", outcome->diverged);
    js_set_integer(document, "steps", outcome->steps);
    js_set_integer(document, "steps_saved", outcome->steps_saved);
    js_set_number(document, "seconds", outcome->seconds);
    js_set_integer(document, "loaded_bytes", (int64_t)outcome->loaded_bytes);
    js_set_integer(document, "predicted_bytes", (int64_t)outcome->predicted_bytes);
    js_set_bool(document, "recomputed", outcome->recomputed);
    js_set_integer(document, "together", outcome->together);
    js_set_integer(document, "peak_bytes", (int64_t)memory_peak());
    if (outcome->device_peak)
        js_set_integer(document, "device_peak_bytes", (int64_t)outcome->device_peak);
    js_set(document, "scores", score_list_to_json(list));
    return document_print(document);
}

static enum status report(const struct mmr_outcome *outcome, const struct mmr_options *options,
                          bool json) {
    struct store *store = NULL;
    struct store_score_list list = {0};
    enum status status = store_open(&store, options->database, STORE_READ);
    if (!status) status = store_get_scores(&list, store, outcome->run);
    if (!status && json) status = print_json(outcome, options, store, &list);
    if (!status && !json) {
        if (outcome->layers_before == outcome->layers)
            printf("run %" PRId64 " was complete: nothing computed\n", outcome->run);
        else
            printf("run %" PRId64 ": %d layers probed, %" PRId64 " steps in %.1f s (%.3f s a "
                   "step)\n",
                   outcome->run, outcome->layers - outcome->layers_before, outcome->steps,
                   outcome->seconds,
                   outcome->steps ? outcome->seconds / (double)outcome->steps : 0);
        if (outcome->steps_saved)
            printf("stopping early saved %" PRId64 " steps\n", outcome->steps_saved);
        print_table(&list, options->loss);
        score_list_print_next(options->database, outcome->run);
    }
    store_score_list_free(&list);
    store_close(store);
    return status;
}

static enum status run(struct command_use *use, struct mmr_options *options,
                       struct command_arguments *arguments) {
    struct mmr_settings settings;
    struct mmr_outcome outcome = {0};
    enum status status = to_settings(&settings, options, arguments);
    if (use->compare) settings.compare = use->run;
    if (!status) status = mmr_run(&outcome, &settings);
    use->differs = outcome.differs;
    if (use->compare) return status;
    if (status == STATUS_INTERRUPTED)
        status = status_set(status,
                            "interrupted; finished layers and steps are saved in \"%s\": "
                            "run the same command to continue",
                            options->database);
    use->run = outcome.run;
    if (!status && options->dry_run)
        return memory_table_print(&outcome.memory, "mmr", arguments->json);
    return status ? status : report(&outcome, options, arguments->json);
}

enum { OWN_OPTIONS = 30 };

enum status mmr_command(struct command_use *use, int argc, char **argv) {
    struct mmr_options v = {.device = "auto",
                            .loss = "rkl",
                            .schedule = "constant",
                            .train = "mixer",
                            .steps = 100,
                            .batch = 8,
                            .heldout = 16,
                            .seeds = 1,
                            .group = 5,
                            .random_seed = -1,
                            .lr = 1e-3,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .epsilon = 1e-8,
                            .temperature = 1};
    struct option table[OWN_OPTIONS + MIXER_CHOICES + MIXER_SIZES] = {
        {"data", OPTION_STRING, &v.data, "FILE.h5", "token set (see apriel-tool data)",
         .group = GROUP_FILES, .completes = "*.h5", .identity = OPTION_RESOLVED},
        {"db", OPTION_STRING, &v.database, "FILE.db", "score database, created when absent",
         .group = GROUP_FILES, .completes = "*.db", .identity = OPTION_NO_NUMBER},
        {"steps", OPTION_COUNT, &v.steps, "N", "training steps of a probe (100)", .low = 1,
         .high = 1000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"lr", OPTION_NUMBER, &v.lr, "RATE", "learning rate (0.001)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"batch", OPTION_COUNT, &v.batch, "ROWS", "rows a step, in order, wrapping (8)", .low = 1,
         .high = 65536, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"heldout", OPTION_COUNT, &v.heldout, "ROWS",
         "the last rows: never trained on, measured before and after (16)", .low = 1,
         .high = INT32_MAX, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seeds", OPTION_COUNT, &v.seeds, "N", "initialisations per layer (1)", .low = 1,
         .high = 1000, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &v.seed, "SEED", "the first of them (0)", .high = INT64_MAX,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &v.layers, "LIST",
         "layers to probe, like 0-11,13 (all with attention)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"base", OPTION_STRING, &v.base, "HYBRID",
         "probes start from this hybrid; the teacher stays MODEL", .group = GROUP_SCOPE,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"loss", OPTION_CHOICE, &v.loss, NULL, "what a probe minimises (rkl)",
         .group = GROUP_TRAINING, .choices = "rkl|fkl|ce", .identity = OPTION_RESOLVED},
        {"temperature", OPTION_NUMBER, &v.temperature, "T", "of both distributions (1)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"train", OPTION_CHOICE, &v.train, NULL,
         "what trains: the new mixer; its layer's MLP and norms too; or all from that layer on, "
         "with the final norm and an untied head (mixer)",
         .group = GROUP_TRAINING, .choices = "mixer|layer|all", .identity = OPTION_RESOLVED},
        {"schedule", OPTION_CHOICE, &v.schedule, NULL, "learning rate after the warm-up (constant)",
         .group = GROUP_TRAINING, .choices = "constant|cosine", .identity = OPTION_RESOLVED},
        {"warmup", OPTION_COUNT, &v.warmup, "STEPS", "linear warm-up (0)", .high = 1000000,
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"clip", OPTION_NUMBER, &v.clip, "NORM", "limit of the gradient's norm (0: none)",
         .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"weight-decay", OPTION_NUMBER, &v.decay, "X", "of matrices (0)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"beta1", OPTION_NUMBER, &v.beta1, "X", "of AdamW (0.9)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"beta2", OPTION_NUMBER, &v.beta2, "X", "of AdamW (0.95)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"epsilon", OPTION_NUMBER, &v.epsilon, "X", "of AdamW (1e-8)", .group = GROUP_TRAINING,
         .identity = OPTION_RESOLVED},
        {"stop-when-stable", OPTION_COUNT, &v.stable, "STEPS",
         "advance all probes together and stop when the best --group layers stay the same so long",
         .low = 1, .high = 1000000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"group", OPTION_COUNT, &v.group, "K", "how many layers that set has (5)", .low = 1,
         .high = 10000, .group = GROUP_TRAINING, .identity = OPTION_RESOLVED},
        {"limit-steps", OPTION_COUNT, &v.limit, "N",
         "stop after N steps in this call, as Ctrl-C would: for jobs of limited time (no limit)",
         .low = 1, .high = INT64_MAX, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"together", OPTION_COUNT, &v.together, "K",
         "train K probes in lock step, in each round too: a layer that must be loaded is loaded "
         "once for all of them (as many as fit when layers are not kept, else 1)",
         .low = 1, .high = 100000, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"recompute", OPTION_FLAG, &v.recompute, NULL,
         "run each block again in the backward pass instead of keeping its activations (chosen "
         "when these do not fit)",
         .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"cache-dir", OPTION_STRING, &v.cache, "DIR",
         "keep the shared inputs and the teacher's states in HDF5 files there, not in memory; the "
         "teacher's stay for other runs: delete apriel-tool-*.h5 when none needs them",
         .group = GROUP_MACHINE, .completes = COMPLETE_DIRECTORY, .identity = OPTION_NO_NUMBER},
        {"device", OPTION_STRING, &v.device, "auto|cpu|cuda[:N]", "where to compute (auto)",
         .group = GROUP_MACHINE, .choices = "auto|cpu|cuda", .identity = OPTION_RESOLVED},
        {"device-memory", OPTION_SIZE, &v.device_memory, "SIZE",
         "most memory to use on the device, like 24G (what is free)", .group = GROUP_MACHINE,
         .identity = OPTION_NO_NUMBER},
        {"dry-run", OPTION_FLAG, &v.dry_run, NULL,
         "print what memory and time the run would take, and stop", .group = GROUP_MACHINE,
         .identity = OPTION_NO_NUMBER},
        {"random-weights", OPTION_INTEGER, &v.random_seed, "SEED",
         "draw the weights from N(0, 0.02): MODEL needs only config.json", .high = INT64_MAX,
         .group = GROUP_FILES, .identity = OPTION_RESOLVED},
    };
    struct command_line line = {
        .command = "mmr",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --data FILE.h5 --db FILE.db [options]",
        .about = "Score layers by short distillation probes: a Mamba mixer, initialised from a "
                 "layer's\nattention, takes its place and trains for some steps against the "
                 "unmodified model. The\nlower the held-out reverse KL after training, the easier "
                 "the layer is to replace. The\nsame command continues where it was stopped.",
        .options = table,
        .count = sizeof table / sizeof *table,
        .epilogue = "example:\n  apriel-tool mmr recipes/demo-model --data tokens.h5 --db "
                    "scores.db",
    };
    struct command_arguments arguments;
    mixer_option_choices(table + OWN_OPTIONS, &v.mixer);
    mixer_option_sizes(table + OWN_OPTIONS + MIXER_CHOICES, &v.mixer);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = run(use, &v, &arguments);
    options_free(&arguments, &line);
    return status;
}

enum status cmd_mmr(int argc, char **argv) {
    struct command_use use = {0};
    return mmr_command(&use, argc, argv);
}
