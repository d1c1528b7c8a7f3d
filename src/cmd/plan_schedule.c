#include "cmd/plan_schedule.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/quote.h"
#include "base/text.h"
#include "cli/document.h"
#include "cli/next.h"
#include "cmd/convert_report.h"
#include "cmd/loo_report.h"
#include "cmd/mmr_report.h"
#include "cmd/plan_serving.h"
#include "cmd/plan_steps.h"
#include "cmd/plan_summary.h"
#include "schedule/schedule.h"

struct schedule_run {
    const struct command_arguments *arguments; /* of plan itself */
    struct schedule schedule;
    struct plan_steps steps;
    bool automatic, json;
    struct json *commands; /* array for --json, or NULL */
};

/* ---- the command lines */

/* Print a command, or keep it for the document, and free its words. `found`: by this call its
 * result was there. */
static enum status note(const struct schedule_run *run, struct words *words, bool found) {
    char *line = words->failed ? NULL : words_line(words);
    words_free(words);
    if (!line) return STATUS_FAILED;
    if (run->json) {
        struct json *command = js_new_object();
        js_set_string(command, "command", line);
        js_set_bool(command, "found", found);
        js_append(run->commands, command);
    } else if (found || run->automatic) { /* a comment keeps to its line */
        if (!found) puts("");
        quote_print(stdout, "%s%s", found ? "# done: " : "$ ", line);
    } else {
        puts(line);
    }
    free(line);
    fflush(stdout);
    return STATUS_OK;
}

/* What a shell needs before the commands. */
static enum status print_head(const char *directory) {
    struct text line = {0};
    quote_shell_path(&line, directory);
    char *work = text_finish(&line);
    if (!work) return STATUS_FAILED;
    printf("set -e\n");
    if (!file_is_directory(directory)) printf("mkdir -p %s\n", work);
    free(work);
    return STATUS_OK;
}

static void print_heading(const struct schedule_step *step) {
    if (step->before)
        printf("\n# %d to %d layers, by MMR on top of the hybrid of %d\n", step->before,
               step->after, step->before);
    else
        printf("# %d layers, by leave-one-out\n", step->after);
}

/* ---- the work */

/* --quiet and --threads as the command's own options have them, else as plan's. */
static enum status apply(const struct schedule_run *run, const struct plan_step_options *options) {
    struct command_arguments both = *run->arguments;
    both.quiet = both.quiet || options->arguments.quiet;
    if (options->arguments.threads) both.threads = options->arguments.threads;
    return options_apply(&both);
}

static enum status score(struct schedule_run *run, size_t index) {
    bool first = run->schedule.steps[index].before == 0;
    struct plan_steps *steps = &run->steps;
    struct schedule_outcome outcome;
    enum status status = apply(run, first ? &steps->loo : &steps->mmr);
    if (!status) status = schedule_score(&outcome, &run->schedule, index);
    if (status || run->json) return status;
    return first ? loo_report(&outcome.loo, &steps->loo_values, run->schedule.settings.loo.estimate,
                              false)
                 : mmr_report(&outcome.mmr, &steps->mmr_values, false);
}

static enum status show_plan(const struct schedule_run *run, const struct plan *plan, char *path) {
    const struct plan_mixers mixers = {.choices = run->schedule.settings.convert.choices};
    const struct serving_device device = serving_defaults();
    enum status status = path ? plan_summary_print(plan) : STATUS_FAILED;
    if (!status) status = plan_serving_print(plan, &mixers, &device);
    if (!status) quote_print(stdout, "written to %s", path);
    free(path);
    return status;
}

static enum status plan(struct schedule_run *run, size_t index) {
    struct schedule *schedule = &run->schedule;
    struct plan plan;
    enum status status = options_apply(run->arguments);
    if (status) return status;
    status = schedule_plan(&plan, schedule, index);
    if (!status && !run->json)
        status = show_plan(run, &plan, schedule_plan_path(schedule, schedule->steps[index].after));
    plan_free(&plan);
    return status;
}

static enum status convert(struct schedule_run *run, size_t index) {
    struct schedule_conversion conversion;
    enum status status = apply(run, &run->steps.convert);
    if (status) return status;
    status = schedule_convert(&conversion, &run->schedule, index);
    if (!status && !run->json) status = convert_report(&conversion.made, false, false);
    schedule_conversion_free(&conversion);
    return status;
}

/* ---- the schedule */

/* The script names the run by its number where there is one, else by a file that the run writes. */
static enum status note_score_and_plan(struct schedule_run *run, size_t index) {
    struct schedule *schedule = &run->schedule;
    struct schedule_step *step = &schedule->steps[index];
    struct words words = {0};
    char *run_file = NULL;
    enum status status = schedule_find_run(schedule, index);
    if (!status && !step->run &&
        !(run_file = text_format("%s/run-%d", schedule->settings.work, step->after)))
        status = STATUS_FAILED;
    if (!status) plan_steps_score_words(&words, schedule, &run->steps, step, run_file);
    if (!status) status = note(run, &words, false);
    if (!status) plan_steps_plan_words(&words, schedule, step, run_file);
    if (!status) status = note(run, &words, false);
    free(run_file);
    return status;
}

static enum status score_and_plan(struct schedule_run *run, size_t index) {
    struct schedule *schedule = &run->schedule;
    const struct schedule_step *step = &schedule->steps[index];
    struct words words = {0};
    if (!step->planned && !run->automatic) return note_score_and_plan(run, index);
    plan_steps_score_words(&words, schedule, &run->steps, step, NULL);
    enum status status = note(run, &words, step->planned);
    if (!status && !step->planned) status = score(run, index);
    if (status) return status;
    plan_steps_plan_words(&words, schedule, step, NULL);
    status = note(run, &words, step->planned);
    return status || step->planned ? status : plan(run, index);
}

static enum status take_step(struct schedule_run *run, size_t index) {
    struct schedule *schedule = &run->schedule;
    const struct schedule_step *step = &schedule->steps[index];
    struct words words = {0};
    enum status status = schedule_look(schedule, index);
    if (status) return status;
    if (!run->json) print_heading(step);
    status = score_and_plan(run, index);
    if (status) return status;
    plan_steps_convert_words(&words, schedule, &run->steps, step);
    status = note(run, &words, step->converted);
    if (!status && run->automatic && !step->converted) status = convert(run, index);
    bool last = index + 1 == schedule->count;
    if (!status && !run->automatic && !run->json && step->ends_stage && !last)
        quote_print(stdout,
                    "# Apriel-H1 distils here: %s/hybrid-%d-distilled, when it is there, is the "
                    "next base",
                    schedule->settings.work, step->after);
    return status;
}

/* All stages in one plan. */
static enum status take_all(struct schedule_run *run) {
    struct words words = {0};
    struct plan plan = {0};
    if (!run->json) printf("\n# all stages in one plan\n");
    plan_steps_all_words(&words, &run->schedule);
    enum status status = note(run, &words, false);
    if (!status) status = options_apply(run->arguments);
    if (!status) status = schedule_plan_all(&plan, &run->schedule);
    if (!status && !run->json)
        status = show_plan(run, &plan, schedule_plan_all_path(&run->schedule));
    plan_free(&plan);
    return status;
}

static enum status print_document(struct schedule_run *run) {
    struct json *document = document_begin("plan-schedule");
    js_set(document, "steps", run->commands);
    run->commands = NULL;
    return document_print(document);
}

enum status plan_schedule(const struct plan_command *command,
                          const struct command_arguments *arguments) {
    struct schedule_run run = {
        .arguments = arguments, .automatic = command->schedule.automatic, .json = arguments->json};
    struct schedule_settings settings;
    next_hold();
    enum status status = plan_steps_read(&run.steps, &settings, command);
    if (!status) status = schedule_open(&run.schedule, &settings);
    if (!status && run.automatic) status = schedule_make_directory(&run.schedule);
    if (!status && !run.automatic && !run.json) status = print_head(settings.work);
    if (!status && run.json && !(run.commands = js_new_array())) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < run.schedule.count; i++) status = take_step(&run, i);
    if (!status && run.automatic) status = take_all(&run);
    if (!status && run.json) status = print_document(&run);
    js_free(run.commands);
    schedule_close(&run.schedule);
    plan_steps_free(&run.steps);
    return status;
}
