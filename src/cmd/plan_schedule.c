#include "cmd/plan_schedule.h"
#include "cli/document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "cli/next.h"
#include "cli/words.h"
#include "cmd/commands.h"
#include "cmd/schedule_check.h"
#include "convert/convert.h"
#include "plan/build.h"
#include "plan/plan.h"
#include "scores/store.h"

/* One step from `before` to `after` replaced layers. */
struct increment {
    int before, after; /* before is 0 for the first, which leave-one-out decides */
    bool ends_stage;
    int64_t run; /* that decided it; 0: not known yet */
};

struct schedule {
    const struct schedule_settings *settings;
    const char *format;           /* of convert; NULL: its own choice */
    struct increment *increments; /* [count] */
    size_t count;
    struct json *steps; /* array for --json, or NULL */
};

/* ---- paths in the work directory; the caller frees */

static char *plan_path(const struct schedule *schedule, int count) {
    return text_format("%s/plan-%d.json", schedule->settings->work, count);
}

static char *hybrid_path(const struct schedule *schedule, int count) {
    return text_format("%s/hybrid-%d", schedule->settings->work, count);
}

/* What the next step starts from: the distilled hybrid when there is one. */
static char *base_path(const struct schedule *schedule, int count) {
    char *distilled = text_format("%s/hybrid-%d-distilled", schedule->settings->work, count);
    if (distilled && file_is_directory(distilled)) return distilled;
    free(distilled);
    return hybrid_path(schedule, count);
}

/* ---- the commands of a step */

/* Probes and conversions must make the same mixers. */
static void add_mixer(struct words *words, const struct schedule_settings *settings) {
    struct mixer_values values = settings->mixer;
    struct option rows[MIXER_OPTIONS];
    mixer_option_all(rows, &values);
    for (int i = 0; i < MIXER_OPTIONS; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s", rows[i].name);
        if (!mixer_option_is_given(&rows[i])) continue;
        if (rows[i].kind == OPTION_COUNT)
            words_add_number(words, name, *(const int64_t *)rows[i].target);
        else
            words_add_option(words, name, *(const char *const *)rows[i].target);
    }
}

static void score_words(struct words *words, const struct schedule *schedule,
                        const struct increment *step) {
    const struct schedule_settings *settings = schedule->settings;
    bool first = step->before == 0;
    words_add_copy(words, first ? "loo" : "mmr");
    words_add_path(words, settings->model);
    words_add_path_option(words, "--data", settings->data);
    words_add_path_option(words, "--db", settings->database);
    if (!first) {
        words_add_copy(words, "--base");
        words_add_own_path(words, base_path(schedule, step->before));
        add_mixer(words, settings);
    }
    words_add_option(words, "--device", settings->device);
    words_add_split(words, first ? settings->loo : settings->mmr);
}

/* The run when it is known, else the latest of its kind. */
static void plan_words(struct words *words, const struct schedule *schedule,
                       const struct increment *step) {
    words_add_copy(words, "plan");
    words_add_path_option(words, "--db", schedule->settings->database);
    if (step->run)
        words_add_number(words, "--run", step->run);
    else
        words_add_option(words, "--signal", step->before ? "mmr" : "loo");
    words_add_number(words, "--stages", step->after);
    words_add_option(words, "--keep", schedule->settings->keep);
    words_add_copy(words, "-o");
    words_add_own_path(words, plan_path(schedule, step->after));
}

static void convert_words(struct words *words, const struct schedule *schedule,
                          const struct increment *step) {
    const struct schedule_settings *settings = schedule->settings;
    words_add_copy(words, "convert");
    words_add_path(words, settings->model);
    words_add_copy(words, "--plan");
    words_add_own_path(words, plan_path(schedule, step->after));
    if (step->before) {
        words_add_copy(words, "--from");
        words_add_own_path(words, base_path(schedule, step->before));
    }
    add_mixer(words, settings);
    words_add_option(words, "--format", schedule->format);
    words_add_split(words, settings->convert);
    words_add_copy(words, "-o");
    words_add_own_path(words, hybrid_path(schedule, step->after));
}

/* All stages in one plan, once every run is known. */
static void final_words(struct words *words, const struct schedule *schedule) {
    words_add_copy(words, "plan");
    words_add_path_option(words, "--db", schedule->settings->database);
    for (size_t i = 0; i < schedule->count; i++) {
        const struct increment *step = &schedule->increments[i];
        words_add_copy(words, "--run");
        words_add(words, step->before ? text_format("%lld@%d", (long long)step->run, step->before)
                                      : text_format("%lld", (long long)step->run));
    }
    words_add_option(words, "--stages", schedule->settings->counts);
    words_add_option(words, "--keep", schedule->settings->keep);
    words_add_copy(words, "-o");
    words_add_own_path(words, text_format("%s/plan.json", schedule->settings->work));
    words_add_copy(words, "--force"); /* with more stages than that of an earlier call */
}

/* ---- printing and running */

/* The commands print results to stdout, which --json keeps for the document: they go to stderr. */
static enum status run_beside_json(enum status (*run)(struct command_use *, int, char **),
                                   struct command_use *use, struct words *words) {
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    if (kept < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        if (kept >= 0) close(kept);
        return status_fail("cannot redirect standard output: %s", strerror(errno));
    }
    enum status status = run(use, (int)words->count, words->words);
    fflush(stdout);
    if (dup2(kept, STDOUT_FILENO) < 0 && !status)
        status = status_fail("cannot restore standard output: %s", strerror(errno));
    close(kept);
    return status;
}

static enum status note_step(const struct schedule *schedule, const char *command, bool done) {
    if (!command) return STATUS_FAILED;
    bool automatic = schedule->settings->automatic;
    if (schedule->steps) {
        struct json *step = js_new_object();
        js_set_string(step, "command", command);
        js_set_bool(step, "found", done); /* by this call: its result was there */
        js_append(schedule->steps, step);
    } else if (done || automatic) { /* a comment keeps to its line */
        if (!done) puts("");
        quote_print(stdout, "%s%s", done ? "# done: " : "$ ", command);
    } else {
        puts(command);
    }
    return STATUS_OK;
}

/* Print a command and, with --auto, run it unless its result is there. Frees the words. */
static enum status take_step(const struct schedule *schedule, struct words *words, bool done,
                             enum status (*run)(struct command_use *, int, char **),
                             struct command_use *use) {
    const struct schedule_settings *settings = schedule->settings;
    char *line = words->failed ? NULL : words_line(words);
    enum status status = note_step(schedule, line, done);
    if (!status && settings->automatic && !done) {
        if (settings->quiet || settings->json) words_add_copy(words, "--quiet");
        fflush(stdout);
        if (words->failed)
            status = STATUS_FAILED;
        else if (settings->json)
            status = run_beside_json(run, use, words);
        else
            status = run(use, (int)words->count, words->words);
    }
    free(line);
    words_free(words);
    return status;
}

static enum status run_plan(struct command_use *use, int argc, char **argv) {
    (void)use;
    return cmd_plan(argc, argv);
}

/* ---- what is there already */

static bool has_base(const struct plan *plan, const struct int_list *expected) {
    return plan->base.count == expected->count &&
           (!expected->count || memcmp(plan->base.values, expected->values,
                                       expected->count * sizeof *expected->values) == 0);
}

/* A plan of an earlier call: its run, and whether it goes on from the step before. */
static enum status read_step_plan(struct schedule *schedule, size_t index) {
    struct increment *step = &schedule->increments[index];
    struct plan plan = {0}, before = {0};
    struct int_list nothing = {0};
    char *path = plan_path(schedule, step->after);
    char *path_before = step->before ? plan_path(schedule, step->before) : NULL;
    enum status status = path && (path_before || !step->before) ? STATUS_OK : STATUS_FAILED;
    if (!status) status = plan_read(&plan, path);
    if (!status && step->before) status = plan_read(&before, path_before);
    if (!status) {
        const struct int_list *base =
            before.n_stages ? &before.stages[before.n_stages - 1].layers : &nothing;
        const struct plan_stage *stage = plan.n_stages ? &plan.stages[plan.n_stages - 1] : NULL;
        if (!stage || stage->layers.count != (size_t)step->after || !plan.n_signals ||
            (step->before && !has_base(&plan, base)))
            status = status_fail("\"%s\" is not the step of %d to %d layers that the schedule has "
                                 "there: use another --work directory",
                                 path, step->before, step->after);
        else
            step->run = plan.signals[0].run;
    }
    plan_free(&plan);
    plan_free(&before);
    free(path);
    free(path_before);
    return status;
}

/* Before hours of runs: nothing stands behind a plan that is not there, which other steps made. */
static enum status check_order(const struct schedule *schedule) {
    enum status status = STATUS_OK;
    int missing = 0;
    for (size_t i = 0; !status && i < schedule->count; i++) {
        int after = schedule->increments[i].after;
        char *plan = plan_path(schedule, after), *hybrid = hybrid_path(schedule, after);
        if (!plan || !hybrid) {
            status = STATUS_FAILED;
        } else {
            bool planned = file_exists(plan), converted = file_is_directory(hybrid);
            if (!planned && !missing) missing = after;
            if (missing && (planned || converted))
                status = status_fail("\"%s\" is there without plan-%d.json: use another --work "
                                     "directory",
                                     planned ? plan : hybrid, missing);
        }
        free(plan);
        free(hybrid);
    }
    return status;
}

/* Whether the plan answers today's question: its run, and what was made of that. */
static enum status check_plan(struct schedule *schedule, size_t index, const char *path) {
    struct increment *step = &schedule->increments[index];
    struct words words = {0};
    enum status status = read_step_plan(schedule, index);
    if (status) return status;
    char *base = step->before ? base_path(schedule, step->before) : NULL;
    if (step->before && !base) status = STATUS_FAILED;
    if (base && !file_is_directory(base))
        status = status_fail("\"%s\", which \"%s\" was made of, is missing: --auto makes it again",
                             base, path);
    free(base);
    score_words(&words, schedule, step);
    if (!status && words.failed) status = STATUS_FAILED;
    if (!status)
        status = schedule_check_run(path, step->run, step->before ? mmr_command : loo_command,
                                    (int)words.count, words.words);
    if (!status)
        status = schedule_check_plan(path, schedule->settings->database, step->run, step->after,
                                     schedule->settings->keep);
    words_free(&words);
    return status;
}

static enum status check_hybrid(const struct schedule *schedule, const struct increment *step,
                                const char *path) {
    struct words words = {0};
    convert_words(&words, schedule, step);
    enum status status =
        words.failed ? STATUS_FAILED : schedule_check_hybrid(path, (int)words.count, words.words);
    words_free(&words);
    return status;
}

/* The further options of the commands leave alone what the schedule gives them. */
static enum status check_options(const struct schedule_settings *settings) {
    static const char *const scores[] = {"--db",      "--data", "--task", "--base",
                                         "--dry-run", "--help", "-h"};
    static const char *const convert[] = {"--plan",    "--stage", "--layers", "--from", "--output",
                                          "--dry-run", "--help",  "-o",       "-h"};
    const struct {
        const char *name, *text, *const *own;
        size_t count;
    } rows[] = {
        {"--loo-options", settings->loo, scores, sizeof scores / sizeof *scores},
        {"--mmr-options", settings->mmr, scores, sizeof scores / sizeof *scores},
        {"--convert-options", settings->convert, convert, sizeof convert / sizeof *convert}};
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof rows / sizeof *rows; i++) {
        struct words words = {0};
        words_add_split(&words, rows[i].text);
        if (words.failed) status = STATUS_FAILED;
        if (!status)
            status = schedule_check_words(rows[i].name, rows[i].own, rows[i].count, words.words);
        words_free(&words);
    }
    return status;
}

/* ---- the schedule */

static void print_heading(const struct schedule *schedule, const struct increment *step) {
    if (schedule->steps) return;
    if (step->before)
        printf("\n# %d to %d layers, by MMR on top of the hybrid of %d\n", step->before,
               step->after, step->before);
    else
        printf("# %d layers, by leave-one-out\n", step->after);
}

static void print_hint(const struct schedule *schedule, const struct increment *step, bool last) {
    if (schedule->steps || schedule->settings->automatic || last || !step->ends_stage) return;
    quote_print(stdout,
                "# Apriel-H1 distils here: %s/hybrid-%d-distilled, when it is there, is the next "
                "base",
                schedule->settings->work, step->after);
}

/* Score and plan. */
static enum status take_plan(struct schedule *schedule, size_t index, bool planned) {
    struct increment *step = &schedule->increments[index];
    struct words words = {0};
    struct command_use use = {.run = step->run};
    score_words(&words, schedule, step);
    enum status status =
        take_step(schedule, &words, planned, step->before ? mmr_command : loo_command, &use);
    step->run = use.run;
    if (status) return status;
    plan_words(&words, schedule, step);
    status = take_step(schedule, &words, planned, run_plan, &use);
    if (!status && !planned && schedule->settings->automatic)
        status = read_step_plan(schedule, index); /* goes on from the plan before? */
    return status;
}

/* Score, plan, convert. */
static enum status take_increment(struct schedule *schedule, size_t index) {
    struct increment *step = &schedule->increments[index];
    struct words words = {0};
    struct command_use use = {0};
    char *plan = plan_path(schedule, step->after), *hybrid = hybrid_path(schedule, step->after);
    bool planned = plan && file_exists(plan), converted = hybrid && file_is_directory(hybrid);
    enum status status = plan && hybrid ? STATUS_OK : STATUS_FAILED;
    if (!status && planned) status = check_plan(schedule, index, plan);
    if (!status && converted) status = check_hybrid(schedule, step, hybrid);
    free(plan);
    free(hybrid);
    if (status) return status;
    print_heading(schedule, step);
    status = take_plan(schedule, index, planned);
    if (!status) {
        convert_words(&words, schedule, step);
        status = take_step(schedule, &words, converted, convert_command, &use);
    }
    if (!status) print_hint(schedule, step, index + 1 == schedule->count);
    return status;
}

/* Cut the stages after the first into steps of `group` layers. */
static enum status make_increments(struct schedule *schedule) {
    struct int_list counts;
    enum status status = plan_parse_stages(&counts, schedule->settings->counts, "--schedule");
    if (status) return status;
    int group = (int)schedule->settings->group, last = counts.values[counts.count - 1];
    schedule->increments = memory_calloc((size_t)last, sizeof *schedule->increments);
    if (!schedule->increments) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < counts.count; i++) {
        int before = i ? counts.values[i - 1] : 0, end = counts.values[i];
        while (before < end) {
            int after = i == 0 || end - before <= group ? end : before + group;
            schedule->increments[schedule->count++] =
                (struct increment){.before = before, .after = after, .ends_stage = after == end};
            before = after;
        }
    }
    list_free(&counts);
    return status;
}

static enum status make_directory(const char *path) {
    if (file_is_directory(path) && access(path, W_OK | X_OK) != 0)
        return status_fail("cannot write into \"%s\": %s", path, strerror(errno));
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && file_is_directory(path))) return STATUS_OK;
    return status_fail("cannot make the directory \"%s\": %s", path, strerror(errno));
}

/* What a shell needs before the commands. */
static enum status print_head(const struct schedule_settings *settings) {
    struct text line = {0};
    quote_shell_path(&line, settings->work);
    char *work = text_finish(&line);
    if (!work) return STATUS_FAILED;
    printf("set -e\n");
    if (!file_is_directory(settings->work)) printf("mkdir -p %s\n", work);
    free(work);
    return STATUS_OK;
}

static enum status print_document(struct schedule *schedule) {
    struct json *document = document_begin("plan-schedule");
    js_set(document, "steps", schedule->steps);
    schedule->steps = NULL;
    return document_print(document);
}

/* A format that holds the hybrids: the one that is asked for, or the first that can, named where
 * convert would take another by itself. */
static enum status choose_format(struct schedule *schedule, const struct model_config *config) {
    const struct schedule_settings *settings = schedule->settings;
    struct words words = {0};
    words_add_split(&words, settings->convert);
    const char *asked = words_find(&words, "--format"), *lacks = NULL;
    enum config_family format = convert_format_for(config);
    enum status status = asked ? convert_format_from_name(&format, asked) : STATUS_OK;
    if (!status) lacks = convert_format_lacks(format, config);
    if (lacks)
        status = status_fail("\"%s\" has %s, which %s cannot express; use --convert-options "
                             "\"--format apriel2\"",
                             settings->model, lacks, convert_format_name(format));
    if (!status && !asked && format != FAMILY_APRIEL_H1)
        schedule->format = convert_format_name(format);
    words_free(&words);
    return status;
}

/* The stages must lie between what the model has replaced already and what may be replaced. */
static enum status check_stages(const struct schedule *schedule,
                                const struct model_config *config) {
    const struct schedule_settings *settings = schedule->settings;
    struct int_list keep = {0};
    int first = schedule->increments[0].after;
    int last = schedule->increments[schedule->count - 1].after;
    int replaced = config->n_layers - config_attention_layers(config);
    enum status status = STATUS_OK;
    if (settings->keep)
        status = list_parse(&keep, settings->keep, 0, config->n_layers - 1, "--keep");
    if (!status && last > config->n_layers - (int)keep.count)
        status = status_set(STATUS_USAGE,
                            "--schedule: a stage of %d layers: \"%s\" has %d, %zu of them kept",
                            last, settings->model, config->n_layers, keep.count);
    if (!status && first <= replaced)
        status = status_set(STATUS_USAGE,
                            "--schedule: a stage of %d layers: \"%s\" has %d replaced already",
                            first, settings->model, replaced);
    list_free(&keep);
    return status;
}

/* What the model says of the schedule, before hours of runs. */
static enum status check_model(struct schedule *schedule) {
    struct model_config *config = NULL;
    enum status status = checkpoint_read_config(&config, schedule->settings->model);
    if (status) return status;
    status = choose_format(schedule, config);
    if (!status) status = check_stages(schedule, config);
    config_free(config);
    return status;
}

/* A printed script cannot know the numbers of its runs: where loo or mmr find theirs in the
 * database, it need not be the latest of its kind, which plan --signal takes. */
static void warn_of_runs(const struct schedule_settings *settings) {
    struct store *store = NULL;
    struct store_run_list list = {0};
    bool found = false;
    if (!file_exists(settings->database) || file_is_directory(settings->database)) return;
    enum status status = store_open(&store, settings->database, STORE_READ);
    if (!status) status = store_list_runs(&list, store);
    for (size_t i = 0; !status && i < list.count; i++)
        found =
            found || strcmp(list.runs[i].kind, "loo") == 0 || strcmp(list.runs[i].kind, "mmr") == 0;
    if (found)
        log_note("\"%s\" has runs already, and plan takes the latest of a kind: give the script a "
                 "database of its own, or use --auto, which takes the runs that it asked for",
                 settings->database);
    store_run_list_free(&list);
    store_close(store);
}

enum status schedule_run(const struct schedule_settings *settings) {
    struct schedule schedule = {.settings = settings};
    struct words words = {0};
    next_hold();
    enum status status = check_options(settings);
    if (!status) status = make_increments(&schedule);
    if (!status) status = check_model(&schedule);
    if (!status) status = check_order(&schedule);
    if (!status && settings->automatic) status = make_directory(settings->work);
    if (!status && !settings->automatic && !settings->json) status = print_head(settings);
    if (!status && settings->json && !(schedule.steps = js_new_array())) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < schedule.count; i++) status = take_increment(&schedule, i);
    if (!status && settings->automatic) {
        if (!settings->json) printf("\n# all stages in one plan\n");
        final_words(&words, &schedule);
        struct command_use use = {0};
        status = take_step(&schedule, &words, false, run_plan, &use);
    }
    if (!status && !settings->automatic && !schedule.increments[schedule.count - 1].run)
        warn_of_runs(settings);
    if (!status && settings->json) status = print_document(&schedule);
    js_free(schedule.steps);
    free(schedule.increments);
    return status;
}
