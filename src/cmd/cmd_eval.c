#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/record.h"
#include "base/json.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/layout_option.h"
#include "cli/memory_table.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cli/run_option.h"
#include "cmd/commands.h"
#include "cmd/eval_task.h"
#include "eval/compare.h"
#include "scores/metrics.h"

struct eval_options {
    const char *data, *teacher, *device, *database, *plan, *stage, *library, *kind;
    uint64_t device_memory;
    bool dry_run;
    int64_t rows, group_tokens, random_seed;
    struct string_list tasks;
    struct task_values task;
    struct eval_sampling sampling; /* its seed is that of `task` */
};

/* How a metric's unit is said. */
static const char *unit_of(enum metric metric) {
    const struct metric_row *row = metric_row_find(metric_name(metric));
    return !row ? "" : row->says ? row->says : row->unit;
}

static void print_metric(const char *name, const struct statistics *metric, int digits,
                         const char *unit) {
    if (!isfinite(metric->mean)) {
        printf("%-12s %12s\n", name, "-");
        return;
    }
    /* A divergence of zero may come out a rounding error below it. */
    bool zero = fabs(metric->mean) < 0.5 * pow(10, -digits);
    printf("%-12s %12.*f", name, digits, zero ? 0 : metric->mean);
    if (isfinite(metric->stderr_mean)) printf(" +- %-10.2g", metric->stderr_mean);
    printf(" %s\n", unit);
}

static void print_text(const struct compare_result *result, const char *model,
                       const char *teacher) {
    const struct statistics *metrics = result->metrics;
    if (result->run && result->rows_found == result->rows)
        printf("run %" PRId64 " was complete: nothing computed\n", result->run);
    else
        quote_print(stdout, "%s on %" PRId64 " rows, %" PRId64 " tokens, in %.1f s", model,
                    result->rows, result->tokens, result->seconds);
    print_metric(metric_name(METRIC_CE), &metrics[METRIC_CE], 6, unit_of(METRIC_CE));
    double perplexity = exp(metrics[METRIC_CE].mean);
    struct statistics shown = {.mean = perplexity,
                               .stderr_mean = perplexity * metrics[METRIC_CE].stderr_mean};
    print_metric("perplexity", &shown, 4, "");
    if (!teacher) return;
    quote_print(stdout, "against %s", teacher);
    print_metric("teacher ce", &result->teacher_ce, 6, unit_of(METRIC_CE));
    for (enum metric m = METRIC_KL; m < METRIC_COUNT; m++)
        print_metric(metric_name(m), &metrics[m], 6, unit_of(m));
}

static enum status print_json(const struct compare_result *result, const char *model,
                              const char *teacher) {
    struct json *document = document_begin("eval");
    js_set_string(document, "model", model);
    js_set_integer(document, "rows", result->rows);
    js_set_integer(document, "tokens", result->tokens);
    js_set_number(document, "seconds", result->seconds);
    if (result->run) js_set_integer(document, "run", result->run);
    if (result->run) js_set_integer(document, "rows_found", result->rows_found);
    js_set(document, "ce", statistics_to_json(&result->metrics[METRIC_CE]));
    double perplexity = exp(result->metrics[METRIC_CE].mean);
    js_set_number(document, "perplexity", perplexity);
    js_set_number(document, "perplexity_stderr",
                  perplexity * result->metrics[METRIC_CE].stderr_mean);
    if (teacher) {
        js_set_string(document, "teacher", teacher);
        js_set(document, "teacher_ce", statistics_to_json(&result->teacher_ce));
        for (int m = METRIC_KL; m < METRIC_COUNT; m++)
            js_set(document, metric_name((enum metric)m), statistics_to_json(&result->metrics[m]));
    }
    return document_print(document);
}

static enum status check(const struct eval_options *options,
                         const struct command_arguments *arguments) {
    if (!options->data == !options->tasks.count)
        return status_set(STATUS_USAGE, "eval: %s",
                          options->data ? "give --data or --task, not both"
                                        : "--data or --task is needed");
    if (options->tasks.count && (options->teacher || options->rows))
        return status_set(STATUS_USAGE, "eval: %s goes with --data, not with --task",
                          options->teacher ? "--teacher" : "--rows");
    if (options->tasks.count && (options->device_memory || options->dry_run))
        return status_set(STATUS_USAGE, "eval: %s goes with --data, not with --task",
                          options->dry_run ? "--dry-run" : "--device-memory");
    if (!options->plan != !options->library || (options->stage && !options->plan) ||
        (options->kind && !options->plan))
        return status_set(STATUS_USAGE, "eval: a layout is --plan PLAN.json and --library DIR, and "
                                        "--stage and --kind if need be");
    return STATUS_OK;
}

static struct checkpoint_options checkpoint_of(const struct eval_options *options) {
    return (struct checkpoint_options){.random_weights = options->random_seed >= 0,
                                       .seed = (uint64_t)options->random_seed};
}

static enum status evaluate_tasks(const struct eval_options *options,
                                  const struct command_arguments *arguments,
                                  const struct checkpoint_options *checkpoint) {
    struct eval_task_options settings = {.model = arguments->positional.values[0],
                                         .device = options->device,
                                         .database = options->database,
                                         .tasks = &options->tasks,
                                         .values = &options->task,
                                         .sampling = &options->sampling,
                                         .group_tokens = options->group_tokens,
                                         .checkpoint = *checkpoint,
                                         .identity = arguments->identity,
                                         .json = arguments->json};
    return eval_tasks(&settings);
}

static struct compare_settings settings_of(const struct eval_options *options,
                                           const struct command_arguments *arguments,
                                           const struct checkpoint_options *checkpoint) {
    const char *model = arguments->positional.values[0];
    return (struct compare_settings){.model = model,
                                     .teacher = options->teacher ? options->teacher
                                                : options->plan  ? model
                                                                 : NULL,
                                     .data = options->data,
                                     .device = options->device,
                                     .database = options->database,
                                     .group_tokens = options->group_tokens,
                                     .limit_rows = options->rows,
                                     .device_memory = options->device_memory,
                                     .identity = arguments->identity,
                                     .dry_run = options->dry_run,
                                     .checkpoint = *checkpoint};
}

static enum status compare(struct compare_result *result, const struct compare_settings *settings) {
    enum status status = compare_run(result, settings);
    status = record_tell_interrupt(status, "rows", result->run ? settings->database : NULL);
    return status;
}

static enum status evaluate(const struct eval_options *options,
                            const struct command_arguments *arguments,
                            const struct checkpoint_options *checkpoint) {
    const struct compare_settings settings = settings_of(options, arguments, checkpoint);
    struct compare_result result;
    enum status status = compare(&result, &settings);
    if (!status && options->dry_run)
        status = memory_table_print(&result.memory, "eval", arguments->json);
    else if (!status && arguments->json)
        status = print_json(&result, settings.model, settings.teacher);
    else if (!status)
        print_text(&result, settings.model, settings.teacher);
    if (!status && !options->dry_run && !options->plan) {
        struct text line;
        next_begin(&line, "eval");
        next_path(&line, NULL, settings.model);
        next_words(&line, "--task recall");
        next_print(&line, false);
    }
    return status;
}

/* ---- layouts of a plan */

static void print_stage(int number, const struct layout_use *use,
                        const struct compare_result *result) {
    const struct statistics *metrics = result->metrics;
    if (number == 1)
        printf("%5s %8s  %10s %8s  %10s  %10s  %6s  %s\n", "stage", "replaced", "kl", "+-", "rkl",
               "ce", "top1", "layout");
    char error[32] = "-";
    if (isfinite(metrics[METRIC_KL].stderr_mean))
        snprintf(error, sizeof error, "%.2g", metrics[METRIC_KL].stderr_mean);
    char *layout = plan_stage_layout(&use->plan, &use->plan.stages[number - 1]);
    printf("%5d %8zu  %10.6f %8s  %10.6f  %10.6f  %5.1f%%  %s\n", number,
           use->plan.stages[number - 1].layers.count, metrics[METRIC_KL].mean, error,
           metrics[METRIC_RKL].mean, metrics[METRIC_CE].mean, 100 * metrics[METRIC_TOP1].mean,
           layout ? layout : "");
    free(layout);
}

static struct json *stage_json(int number, const struct layout_use *use,
                               const struct compare_result *result) {
    struct json *stage = js_new_object();
    char *layout = plan_stage_layout(&use->plan, &use->plan.stages[number - 1]);
    js_set_integer(stage, "stage", number);
    js_set_integer(stage, "replaced", (int64_t)use->plan.stages[number - 1].layers.count);
    js_set_string(stage, "layout", layout);
    if (result->run) js_set_integer(stage, "run", result->run);
    for (int m = 0; m < METRIC_COUNT; m++)
        js_set(stage, metric_name((enum metric)m), statistics_to_json(&result->metrics[m]));
    free(layout);
    return stage;
}

/* Every stage of the plan: what is lost against the number replaced. */
static enum status evaluate_stages(const struct eval_options *options,
                                   const struct command_arguments *arguments,
                                   struct layout_use *use) {
    struct checkpoint_options checkpoint = checkpoint_of(options);
    struct json *stages = js_new_array();
    struct compare_settings settings = {0};
    enum status status = STATUS_OK;
    for (int number = 1; !status && number <= (int)use->plan.n_stages; number++) {
        struct compare_result result;
        status = layout_option_take(&checkpoint, use, number);
        settings = settings_of(options, arguments, &checkpoint);
        if (!status) status = compare(&result, &settings);
        if (!status && arguments->json) js_append(stages, stage_json(number, use, &result));
        if (!status && !arguments->json) print_stage(number, use, &result);
    }
    if (!status && arguments->json) {
        struct json *document = document_begin("eval");
        js_set_string(document, "model", settings.model);
        js_set_string(document, "teacher", settings.teacher);
        js_set_string(document, "library", options->library);
        js_set(document, "stages", stages);
        return document_print(document);
    }
    js_free(stages);
    return status;
}

static enum status stage_number(int *out, const char *text) {
    char *end = NULL;
    long number = text ? strtol(text, &end, 10) : 0;
    *out = (int)number;
    if (!text || (*text && !*end && number >= 1 && number <= 1000)) return STATUS_OK;
    return status_set(STATUS_USAGE,
                      "eval: --stage must be all or a number from 1 to 1000, not "
                      "\"%s\"",
                      text);
}

static enum status evaluate_layout(const struct eval_options *options,
                                   const struct command_arguments *arguments) {
    struct checkpoint_options checkpoint = checkpoint_of(options);
    struct layout_use use = {0};
    bool all = options->stage && strcmp(options->stage, "all") == 0;
    int stage = 0;
    enum status status = all ? STATUS_OK : stage_number(&stage, options->stage);
    if (!status && all && (!options->data || options->dry_run))
        status = status_set(STATUS_USAGE, "eval: --stage all goes with --data, without --dry-run");
    if (!status)
        status = layout_option_open(&use, arguments->positional.values[0], &checkpoint,
                                    options->plan, options->library, options->kind);
    if (!status && all)
        status = evaluate_stages(options, arguments, &use);
    else if (!status)
        status = layout_option_take(&checkpoint, &use, stage);
    if (!status && !all)
        status = options->data ? evaluate(options, arguments, &checkpoint)
                               : evaluate_tasks(options, arguments, &checkpoint);
    layout_option_close(&use);
    return status;
}

static enum status evaluate_any(const struct eval_options *options,
                                const struct command_arguments *arguments) {
    const struct checkpoint_options checkpoint = checkpoint_of(options);
    if (options->plan) return evaluate_layout(options, arguments);
    return options->data ? evaluate(options, arguments, &checkpoint)
                         : evaluate_tasks(options, arguments, &checkpoint);
}

enum { OWN_OPTIONS = 15 }; /* of the table below, before those of tasks */

enum status cmd_eval(int argc, char **argv) {
    struct eval_options values = {.device = "auto",
                                  .random_seed = -1,
                                  .task = TASK_DEFAULTS,
                                  .sampling = EVAL_SAMPLING_DEFAULTS};
    struct option table[OWN_OPTIONS + TASK_OPTIONS + EVAL_SAMPLING_OPTIONS] = {
        run_option_data(&values.data),
        {"teacher", OPTION_STRING, &values.teacher, "MODEL",
         "also measure kl, rkl and top1 against this model", .group = GROUP_FILES,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"plan", OPTION_STRING, &values.plan, "PLAN.json",
         "measure MODEL as a stage of this plan makes it, with the mixers of --library in its "
         "memory: nothing is written, and the teacher is MODEL",
         .group = GROUP_FILES, .completes = "*.json", .identity = OPTION_RESOLVED},
        {"stage", OPTION_STRING, &values.stage, "K|all",
         "stage of the plan, from 1, or a line for each (the last)", .group = GROUP_FILES,
         .identity = OPTION_RESOLVED},
        {"library", OPTION_STRING, &values.library, "DIR", "mixers for --plan (see align)",
         .group = GROUP_FILES, .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
        {"kind", OPTION_STRING, &values.kind, "KIND",
         "which of them, where the plan does not say and a layer has several", .group = GROUP_FILES,
         .identity = OPTION_RESOLVED},
        {"rows", OPTION_COUNT, &values.rows, "N", "only the first N rows (all)", .low = 1,
         .high = INT64_MAX, .group = GROUP_SCOPE, .identity = OPTION_RESOLVED},
        {"task", OPTION_LIST, &values.tasks, "NAME=FILE|recall",
         "instead of --data: a benchmark's .jsonl file, or the recall probe (may be repeated)",
         .group = GROUP_TASKS, .choices = TASK_CHOICES "|" TASK_ANSWERS, .completes = "*.jsonl",
         .identity = OPTION_RESOLVED},
        {"db", OPTION_STRING, &values.database, "FILE.db",
         "keep rows and items here, and continue from what is there", .group = GROUP_FILES,
         .completes = "*.db", .identity = OPTION_NO_NUMBER},
        {"seed", OPTION_INTEGER, &values.task.seed, "SEED",
         "recall: which words are drawn; generated answers: which samples (0)", .high = INT64_MAX,
         .group = GROUP_TASKS, .identity = OPTION_RESOLVED},
        run_option_device(&values.device),
        {"group-tokens", OPTION_COUNT, &values.group_tokens, "N", "tokens at a time (4096)",
         .low = 1, .high = INT32_MAX, .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"device-memory", OPTION_SIZE, &values.device_memory, "SIZE",
         "with --data: most memory to use on the device, like 24G (what is free)",
         .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"dry-run", OPTION_FLAG, &values.dry_run, NULL,
         "with --data: print what memory and time the run would take, and stop",
         .group = GROUP_MACHINE, .identity = OPTION_NO_NUMBER},
        {"random-weights", OPTION_INTEGER, &values.random_seed, "SEED",
         "draw MODEL's weights from N(0, 0.02): it needs only config.json", .high = INT64_MAX,
         .group = GROUP_FILES, .identity = OPTION_RESOLVED},
    };
    struct command_line line = {
        .command = "eval",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL [--teacher MODEL] --data FILE.h5 | --task NAME=FILE [options]",
        .about =
            "Evaluate a transformer or a hybrid: cross-entropy and perplexity of the token set's "
            "rows,\nand, against a teacher, both KL divergences and the share of equal first "
            "choices; or the\nchoices of benchmarks and of a probe of recall, with the prompts "
            "and metrics of\nlm-evaluation-harness; or answers that it generates. Tasks: recall; "
            "arc_easy, arc_challenge,\npiqa, hellaswag, winogrande, mmlu, choice; gsm8k, math500, "
            "aime, amc. Standard errors are over\nrows, items or problems.",
        .options = table,
        .count = sizeof table / sizeof *table,
        .epilogue = "examples:\n"
                    "  apriel-tool eval hybrid --teacher recipes/demo-model --data tokens.h5\n"
                    "  apriel-tool eval hybrid --task arc_easy=arc_easy.jsonl --task recall \\\n"
                    "      --db scores.db",
    };
    struct command_arguments arguments;
    task_option_table(table + OWN_OPTIONS, &values.task);
    eval_sampling_table(table + OWN_OPTIONS + TASK_OPTIONS, &values.sampling);
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (status || arguments.help) goto done;
    status = check(&values, &arguments);
    values.sampling.seed = values.task.seed;
    if (!status) status = evaluate_any(&values, &arguments);
done:
    options_free(&arguments, &line);
    return status;
}
