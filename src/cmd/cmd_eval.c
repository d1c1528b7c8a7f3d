#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/memory_table.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cli/run_option.h"
#include "cmd/commands.h"
#include "cmd/eval_task.h"
#include "eval/compare.h"
#include "scores/metrics.h"

struct eval_options {
    const char *data, *teacher, *device, *database;
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

static void set_statistics(struct json *object, const char *name,
                           const struct statistics *statistics) {
    struct json *item = js_new_object();
    js_set_number(item, "value", statistics->mean);
    js_set_number(item, "stderr", statistics->stderr_mean);
    js_set_integer(item, "n", statistics->n);
    js_set(object, name, item);
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
    set_statistics(document, "ce", &result->metrics[METRIC_CE]);
    double perplexity = exp(result->metrics[METRIC_CE].mean);
    js_set_number(document, "perplexity", perplexity);
    js_set_number(document, "perplexity_stderr",
                  perplexity * result->metrics[METRIC_CE].stderr_mean);
    if (teacher) {
        js_set_string(document, "teacher", teacher);
        set_statistics(document, "teacher_ce", &result->teacher_ce);
        for (int m = METRIC_KL; m < METRIC_COUNT; m++)
            set_statistics(document, metric_name((enum metric)m), &result->metrics[m]);
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
    return STATUS_OK;
}

static enum status evaluate_tasks(const struct eval_options *options,
                                  const struct command_arguments *arguments) {
    struct eval_task_options settings = {.model = arguments->positional.values[0],
                                         .device = options->device,
                                         .database = options->database,
                                         .tasks = &options->tasks,
                                         .values = &options->task,
                                         .sampling = &options->sampling,
                                         .group_tokens = options->group_tokens,
                                         .checkpoint = {.random_weights = options->random_seed >= 0,
                                                        .seed = (uint64_t)options->random_seed},
                                         .identity = arguments->identity,
                                         .json = arguments->json};
    return eval_tasks(&settings);
}

static enum status evaluate(const struct eval_options *options,
                            const struct command_arguments *arguments) {
    struct compare_settings settings = {.model = arguments->positional.values[0],
                                        .teacher = options->teacher,
                                        .data = options->data,
                                        .device = options->device,
                                        .database = options->database,
                                        .group_tokens = options->group_tokens,
                                        .limit_rows = options->rows,
                                        .device_memory = options->device_memory,
                                        .identity = arguments->identity,
                                        .dry_run = options->dry_run,
                                        .checkpoint = {.random_weights = options->random_seed >= 0,
                                                       .seed = (uint64_t)options->random_seed}};
    struct compare_result result;
    enum status status = compare_run(&result, &settings);
    if (status == STATUS_INTERRUPTED && result.run)
        status = status_set(status,
                            "interrupted; finished rows are saved in \"%s\": run the same command "
                            "to continue",
                            options->database);
    if (!status && options->dry_run)
        status = memory_table_print(&result.memory, "eval", arguments->json);
    else if (!status && arguments->json)
        status = print_json(&result, settings.model, settings.teacher);
    else if (!status)
        print_text(&result, settings.model, settings.teacher);
    if (!status && !options->dry_run) {
        struct text line;
        next_begin(&line, "eval");
        next_path(&line, NULL, settings.model);
        next_words(&line, "--task recall");
        next_print(&line, false);
    }
    return status;
}

enum { OWN_OPTIONS = 11 }; /* of the table below, before those of tasks */

enum status cmd_eval(int argc, char **argv) {
    struct eval_options values = {.device = "auto",
                                  .random_seed = -1,
                                  .task = TASK_DEFAULTS,
                                  .sampling = EVAL_SAMPLING_DEFAULTS};
    struct option table[OWN_OPTIONS + TASK_OPTIONS + EVAL_SAMPLING_OPTIONS] = {
        {"data", OPTION_STRING, &values.data, "FILE.h5", "token set (see apriel-tool data)",
         .group = GROUP_FILES, .completes = "*.h5", .identity = OPTION_RESOLVED},
        {"teacher", OPTION_STRING, &values.teacher, "MODEL",
         "also measure kl, rkl and top1 against this model", .group = GROUP_FILES,
         .completes = COMPLETE_DIRECTORY, .identity = OPTION_RESOLVED},
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
    if (!status)
        status = values.data ? evaluate(&values, &arguments) : evaluate_tasks(&values, &arguments);
done:
    options_free(&arguments, &line);
    return status;
}
