#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/loo/loo.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/base_option.h"
#include "cli/document.h"
#include "cli/memory_table.h"
#include "cli/options.h"
#include "cli/score_list.h"
#include "cli/task_option.h"
#include "cmd/commands.h"
#include "scores/ranking.h"
#include "scores/store.h"

struct loo_options {
    const char *data, *database, *device, *ablate, *layers, *base, *estimate;
    const char *task;
    int64_t group_tokens, samples, random_seed;
    struct task_values task_values; /* its seed is --estimate fisher's too */
    uint64_t device_memory;
    bool dry_run;
};

static enum status to_settings(struct loo_settings *settings, const struct loo_options *options,
                               const struct command_arguments *arguments) {
    if (options->task && (options->data || options->estimate))
        return status_set(STATUS_USAGE, "loo: --task goes without %s",
                          options->data ? "--data" : "--estimate");
    if ((!options->data && !options->task) || (!options->database && !options->dry_run))
        return status_set(STATUS_USAGE, "loo: --data (or --task) and --db are needed");
    *settings = (struct loo_settings){.model = arguments->positional.values[0],
                                      .data = options->data,
                                      .database = options->database,
                                      .device = options->device,
                                      .layers = options->layers,
                                      .group_tokens = options->group_tokens,
                                      .samples = (int)options->samples,
                                      .seed = (uint64_t)options->task_values.seed,
                                      .device_memory = options->device_memory,
                                      .dry_run = options->dry_run,
                                      .identity = arguments->identity};
    settings->checkpoint.random_weights = options->random_seed >= 0;
    settings->checkpoint.seed = (uint64_t)options->random_seed;
    if (strcmp(options->ablate, "block") == 0) settings->ablation = ABLATE_BLOCK;
    if (options->estimate) {
        enum status status = estimate_from_name(&settings->estimate, options->estimate);
        if (status) return status;
    }
    bool seed = options->task_values.seed != 0 && !options->task;
    if (settings->estimate != ESTIMATE_FISHER && (options->samples != 1 || seed))
        return status_set(STATUS_USAGE, "loo: --samples and --seed belong to --estimate fisher%s",
                          seed ? " or --task recall" : "");
    if (!options->base) return STATUS_OK;
    return base_option_resolve(&settings->hybrid, &settings->removed, options->base,
                               settings->model, &settings->checkpoint);
}

static void print_table(const struct store_score_list *list, const char *base) {
    const struct store_score *trunk = score_list_find(list, STORE_TRUNK, "ce");
    if (trunk) quote_print(stdout, "%s: ce %.4f", base ? base : "unmodified model", trunk->value);
    printf("%5s  %8s  %10s %8s  %10s  %6s\n", "layer", "ce", "kl", "+-", "rkl", "top1");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *kl = &list->scores[i];
        if (kl->layer == STORE_TRUNK || strcmp(kl->metric, "kl") != 0) continue;
        const struct store_score *ce = score_list_find(list, kl->layer, "ce");
        const struct store_score *rkl = score_list_find(list, kl->layer, "rkl");
        const struct store_score *top1 = score_list_find(list, kl->layer, "top1");
        if (!rkl || !top1) continue;
        /* Rows of one token have no ce, a single row has no standard error. */
        char ce_text[32] = "-", error_text[32] = "-";
        if (ce) snprintf(ce_text, sizeof ce_text, "%.4f", ce->value);
        if (isfinite(kl->stderr_value))
            snprintf(error_text, sizeof error_text, "%.2g", kl->stderr_value);
        printf("%5d  %8s  %10.6f %8s  %10.6f  %5.1f%%\n", kl->layer, ce_text, kl->value, error_text,
               rkl->value, 100 * top1->value);
    }
}

/* What each layer's absence costs, by item. */
static void print_task(const struct store_score_list *list, const char *base) {
    const struct store_score *acc = score_list_find(list, STORE_TRUNK, "acc");
    const struct store_score *margin = score_list_find(list, STORE_TRUNK, "margin");
    if (!acc || !margin) return;
    quote_print(stdout, "%s: acc %.4f +- %.4f, margin %.4f", base ? base : "unmodified model",
                acc->value, acc->stderr_value, margin->value);
    printf("%5s  %8s  %9s %8s  %11s %8s\n", "layer", "acc", "acc drop", "+-", "margin drop", "+-");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *drop = &list->scores[i];
        if (drop->layer == STORE_TRUNK || strcmp(drop->metric, "margin_drop") != 0) continue;
        const struct store_score *acc_drop = score_list_find(list, drop->layer, "acc_drop");
        if (!acc_drop) continue;
        printf("%5d  %8.4f  %9.4f %8.2g  %11.4f %8.2g\n", drop->layer, acc->value - acc_drop->value,
               acc_drop->value, acc_drop->stderr_value, drop->value, drop->stderr_value);
    }
}

/* One column for each metric of the estimate. */
static void print_estimates(const struct store_score_list *list, enum estimate estimate) {
    const char *main = ranking_default_metric(estimate_kind(estimate));
    printf("an estimate of what apriel-tool loo without --estimate measures\n");
    printf("%5s  %12s %8s", "layer", main, "+-");
    for (int m = 0; estimate_metric(estimate, m); m++)
        if (strcmp(estimate_metric(estimate, m), main) != 0)
            printf("  %14s", estimate_metric(estimate, m));
    puts("");
    for (size_t i = 0; i < list->count; i++) {
        const struct store_score *score = &list->scores[i];
        char error[32] = "-"; /* a single row has no standard error */
        if (strcmp(score->metric, main) != 0) continue;
        if (isfinite(score->stderr_value))
            snprintf(error, sizeof error, "%.2g", score->stderr_value);
        printf("%5d  %12.6f %8s", score->layer, score->value, error);
        for (int m = 0; estimate_metric(estimate, m); m++) {
            const char *metric = estimate_metric(estimate, m);
            const struct store_score *other = score_list_find(list, score->layer, metric);
            if (strcmp(metric, main) != 0 && other) printf("  %14.6f", other->value);
        }
        puts("");
    }
}

static enum status print_json(const struct loo_outcome *outcome, const struct loo_options *options,
                              struct store *store, const struct store_score_list *list) {
    struct json *document = document_begin("loo");
    js_set_integer(document, "run", outcome->run);
    js_set_string(document, "ablate", options->ablate);
    if (options->estimate) js_set_string(document, "estimate", options->estimate);
    if (options->task) js_set_string(document, "task", options->task);
    enum status status = score_list_set_base(document, store, outcome->run, options->base);
    if (status) {
        js_free(document);
        return status;
    }
    js_set_integer(document, "rows", outcome->rows);
    js_set_integer(document, "rows_found", outcome->rows_before);
    js_set_integer(document, "tokens", outcome->tokens);
    js_set_integer(document, "layers", outcome->branches);
    js_set_number(document, "seconds", outcome->seconds);
    js_set_integer(document, "planned_bytes", (int64_t)outcome->memory.device);
    if (outcome->peak_bytes) js_set_integer(document, "peak_bytes", (int64_t)outcome->peak_bytes);
    js_set(document, "scores", score_list_to_json(list));
    return document_print(document);
}

static enum status report(const struct loo_outcome *outcome, const struct loo_options *options,
                          enum estimate estimate, bool json) {
    struct store *store = NULL;
    struct store_score_list list = {0};
    enum status status = store_open(&store, options->database, STORE_READ);
    if (!status) status = store_get_scores(&list, store, outcome->run);
    if (!status && json) status = print_json(outcome, options, store, &list);
    if (!status && !json) {
        if (outcome->rows_before == outcome->rows)
            printf("run %" PRId64 " was complete: nothing computed\n", outcome->run);
        else
            printf("run %" PRId64 ": %d layers %s (%s) on %" PRId64 " %s, %" PRId64
                   " tokens, in %.1f s\n",
                   outcome->run, outcome->branches, options->estimate ? "estimated" : "ablated",
                   options->ablate, outcome->rows, options->task ? "items" : "rows",
                   outcome->tokens, outcome->seconds);
        if (options->task)
            print_task(&list, options->base);
        else if (estimate)
            print_estimates(&list, estimate);
        else
            print_table(&list, options->base);
        score_list_print_next(options->database, outcome->run);
    }
    store_score_list_free(&list);
    store_close(store);
    return status;
}

enum status loo_command(struct command_use *use, int argc, char **argv) {
    struct loo_options values = {.device = "auto",
                                 .ablate = "mixer",
                                 .samples = 1,
                                 .random_seed = -1,
                                 .task_values = TASK_DEFAULTS};
    struct option table[14 + TASK_OPTIONS] = {
        {"data", OPTION_STRING, &values.data, "FILE.h5", "token set (see apriel-tool data)",
         .group = GROUP_FILES, .completes = "*.h5", .identity = OPTION_RESOLVED},
        {"task", OPTION_STRING, &values.task, "NAME=FILE|recall",
         "instead of --data: how much of a task's score each layer carries (see eval)",
         .group = GROUP_FILES, .choices = TASK_CHOICES, .completes = "*.jsonl",
         .identity = OPTION_RESOLVED},
        {"db", OPTION_STRING, &values.database, "FILE.db", "score database, created when absent",
         .group = GROUP_FILES, .completes = "*.db", .identity = OPTION_NO_NUMBER},
        {"ablate", OPTION_CHOICE, &values.ablate, NULL, "what a layer goes without (mixer)",
         .group = GROUP_SCOPE, .choices = "mixer|block", .identity = OPTION_RESOLVED},
        {"estimate", OPTION_CHOICE, &values.estimate, NULL,
         "estimate all layers from one pass instead of ablating each (see below)",
         .group = GROUP_SCOPE, .choices = "first-order|fisher|cosine", .identity = OPTION_RESOLVED},
        {"samples", OPTION_COUNT, &values.samples, "N",
         "of --estimate fisher: backward passes, whose mean is taken (1)", .low = 1, .high = 10000,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"seed", OPTION_INTEGER, &values.task_values.seed, "SEED",
         "of --estimate fisher's draws, or of --task recall's words (0)", .high = INT64_MAX,
         .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"layers", OPTION_STRING, &values.layers, "LIST",
         "layers to score, like 0-11,13 (all with attention)", .group = GROUP_SCOPE,
         .identity = OPTION_RESOLVED},
        {"base", OPTION_STRING, &values.base, "PLAN[:STAGE]|HYBRID",
         "score on top of a plan (its layers go without their mixer) or of a hybrid checkpoint",
         .group = GROUP_SCOPE, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"device", OPTION_STRING, &values.device, "auto|cpu|cuda[:N]", "where to compute (auto)",
         .group = GROUP_MACHINE, .choices = "auto|cpu|cuda", .identity = OPTION_RESOLVED},
        {"group-tokens", OPTION_COUNT, &values.group_tokens, "N",
         "tokens computed and saved at a time (4096, on a GPU 16384, less when memory is short)",
         .low = 1, .high = INT32_MAX, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"device-memory", OPTION_SIZE, &values.device_memory, "SIZE",
         "most memory to use on the device, like 24G (what is free)", .group = GROUP_MACHINE,
         .identity = OPTION_NO_NUMBER},
        {"dry-run", OPTION_FLAG, &values.dry_run, NULL,
         "print what memory and time the run would take, and stop", .group = GROUP_MACHINE,
         .identity = OPTION_NO_NUMBER},
        {"random-weights", OPTION_INTEGER, &values.random_seed, "SEED",
         "draw the weights from N(0, 0.02): MODEL needs only config.json", .high = INT64_MAX,
         .group = GROUP_FILES, .identity = OPTION_RESOLVED},
    };
    struct command_line line = {
        .command = "loo",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --data FILE.h5|--task NAME=FILE --db FILE.db [options]",
        .about = "Score layers by leave-one-out ablation: how far the model's predictions move "
                 "when a\nlayer's attention (or the whole layer) is taken away. Scores and "
                 "per-sequence values go\nto the database group by group; the same command "
                 "continues where it was stopped.",
        .options = table,
        .count = sizeof table / sizeof *table,
        .epilogue =
            "--estimate is stored as a run of its own kind, estimate-NAME, with metrics est_*\n"
            "  first-order  gradient of the cross-entropy times what the layer adds to the\n"
            "               stream: est_ce_abs per sequence without its sign,\n"
            "               est_ce_change with it\n"
            "  fisher       est_kl, the second-order term of the kl, from targets that the\n"
            "               model draws itself (the kl has no first-order term)\n"
            "  cosine       est_cosine, 1 - cos(stream before, stream after): block\n"
            "               influence\n\n"
            "examples:\n  apriel-tool loo recipes/demo-model --data tokens.h5 --db scores.db\n"
            "  apriel-tool loo recipes/demo-model --data tokens.h5 --db scores.db \\\n"
            "      --estimate fisher --samples 4\n"
            "  apriel-tool loo recipes/demo-model --task recall --lengths 32 --db scores.db",
    };
    struct command_arguments arguments;
    struct loo_settings settings = {0};
    struct loo_outcome outcome = {0};
    struct task_items items = {0};
    task_option_table(table + 14, &values.task_values);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (status || arguments.help) goto done;
    status = to_settings(&settings, &values, &arguments);
    if (!status && values.task) {
        status = task_option_build_for(&items, values.task, &values.task_values, settings.model);
        settings.items = items.set;
        settings.item_parameters = items.parameters;
        settings.data = items.path;
        settings.seed = (uint64_t)items.seed;
    }
    if (use->compare) settings.compare = use->run;
    if (!status) status = loo_run(&outcome, &settings);
    if (status == STATUS_INTERRUPTED)
        status = status_set(status,
                            "interrupted; finished rows are saved in \"%s\": run the same "
                            "command to continue",
                            values.database);
    use->differs = outcome.differs;
    if (!use->compare) use->run = outcome.run;
    if (!status && !use->compare)
        status = values.dry_run ? memory_table_print(&outcome.memory, "loo", arguments.json)
                                : report(&outcome, &values, settings.estimate, arguments.json);
done:
    list_free(&settings.removed);
    task_items_free(&items);
    options_free(&arguments, &line);
    return status;
}

enum status cmd_loo(int argc, char **argv) {
    struct command_use use = {0};
    return loo_command(&use, argc, argv);
}
