#include "cmd/plan_schedule.h"
#include "cmd/document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "cmd/commands.h"
#include "cmd/next.h"
#include "cmd/schedule_check.h"
#include "convert/convert.h"
#include "plan/build.h"
#include "plan/plan.h"

/* The words of one command, from its name on. */
struct words {
    char **words; /* [count], and NULL behind them */
    size_t count;
    bool failed; /* out of memory; checked once */
};

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

/* ---- words */

static void add(struct words *words, char *word) { /* takes the word over */
    char **more = memory_resize(words->words, words->count + 2, sizeof *words->words);
    if (!more || !word) {
        words->failed = true;
        if (more) words->words = more;
        free(word);
        return;
    }
    words->words = more;
    words->words[words->count++] = word;
    words->words[words->count] = NULL;
}

static void add_copy(struct words *words, const char *word) {
    add(words, memory_copy_string(word));
}

/* A path that nothing takes for an option. */
static void add_path(struct words *words, const char *path) {
    add(words, text_format("%s%s", *path == '-' ? "./" : "", path));
}

static void add_own_path(struct words *words, char *path) { /* takes the path over */
    if (path)
        add_path(words, path);
    else
        words->failed = true;
    free(path);
}

static void add_option(struct words *words, const char *name, const char *value) {
    if (!value) return;
    add_copy(words, name);
    add_copy(words, value);
}

static void add_path_option(struct words *words, const char *name, const char *path) {
    if (!path) return;
    add_copy(words, name);
    add_path(words, path);
}

static void add_number(struct words *words, const char *name, int64_t value) {
    if (!value) return;
    add_copy(words, name);
    add(words, text_format("%lld", (long long)value));
}

/* The words of `text`, which blanks separate. */
static void add_split(struct words *words, const char *text) {
    while (text && *text) {
        size_t length = strcspn(text, " \t\n");
        if (length) add(words, memory_copy_bytes(text, length));
        text += length;
        text += strspn(text, " \t\n");
    }
}

static void words_free(struct words *words) {
    for (size_t i = 0; i < words->count; i++) free(words->words[i]);
    free(words->words);
    *words = (struct words){0};
}

static char *command_line(const struct words *words) {
    struct text text = {0};
    text_append(&text, "apriel-tool");
    for (size_t i = 0; i < words->count; i++) {
        text_append(&text, " ");
        quote_shell(&text, words->words[i]);
    }
    return text_finish(&text);
}

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
            add_number(words, name, *(const int64_t *)rows[i].target);
        else
            add_option(words, name, *(const char *const *)rows[i].target);
    }
}

static void score_words(struct words *words, const struct schedule *schedule,
                        const struct increment *step) {
    const struct schedule_settings *settings = schedule->settings;
    bool first = step->before == 0;
    add_copy(words, first ? "loo" : "mmr");
    add_path(words, settings->model);
    add_path_option(words, "--data", settings->data);
    add_path_option(words, "--db", settings->database);
    if (!first) {
        add_copy(words, "--base");
        add_own_path(words, base_path(schedule, step->before));
        add_mixer(words, settings);
    }
    add_option(words, "--device", settings->device);
    add_split(words, first ? settings->loo : settings->mmr);
}

/* The run when it is known, else the latest of its kind. */
static void plan_words(struct words *words, const struct schedule *schedule,
                       const struct increment *step) {
    add_copy(words, "plan");
    add_path_option(words, "--db", schedule->settings->database);
    if (step->run)
        add_number(words, "--run", step->run);
    else
        add_option(words, "--signal", step->before ? "mmr" : "loo");
    add_number(words, "--stages", step->after);
    add_option(words, "--keep", schedule->settings->keep);
    add_copy(words, "-o");
    add_own_path(words, plan_path(schedule, step->after));
}

static void convert_words(struct words *words, const struct schedule *schedule,
                          const struct increment *step) {
    const struct schedule_settings *settings = schedule->settings;
    add_copy(words, "convert");
    add_path(words, settings->model);
    add_copy(words, "--plan");
    add_own_path(words, plan_path(schedule, step->after));
    if (step->before) {
        add_copy(words, "--from");
        add_own_path(words, base_path(schedule, step->before));
    }
    add_mixer(words, settings);
    add_option(words, "--format", schedule->format);
    add_split(words, settings->convert);
    add_copy(words, "-o");
    add_own_path(words, hybrid_path(schedule, step->after));
}

/* All stages in one plan, once every run is known. */
static void final_words(struct words *words, const struct schedule *schedule) {
    add_copy(words, "plan");
    add_path_option(words, "--db", schedule->settings->database);
    for (size_t i = 0; i < schedule->count; i++) {
        const struct increment *step = &schedule->increments[i];
        add_copy(words, "--run");
        add(words, step->before ? text_format("%lld@%d", (long long)step->run, step->before)
                                : text_format("%lld", (long long)step->run));
    }
    add_option(words, "--stages", schedule->settings->counts);
    add_option(words, "--keep", schedule->settings->keep);
    add_copy(words, "-o");
    add_own_path(words, text_format("%s/plan.json", schedule->settings->work));
    add_copy(words, "--force"); /* with more stages than that of an earlier call */
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
    char *line = words->failed ? NULL : command_line(words);
    enum status status = note_step(schedule, line, done);
    if (!status && settings->automatic && !done) {
        if (settings->quiet || settings->json) add_copy(words, "--quiet");
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
        if (!stage || stage->layers.count != (size_t)step->after || !has_base(&plan, base) ||
            !plan.n_signals)
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
        add_split(&words, rows[i].text);
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

/* The value of an option among words of a command line: "--format X" or "--format=X". */
static const char *find_option(const struct words *words, const char *name) {
    const char *found = NULL;
    size_t length = strlen(name);
    for (size_t i = 0; i < words->count; i++) {
        const char *word = words->words[i];
        if (strncmp(word, name, length) != 0) continue;
        if (word[length] == '=') found = word + length + 1;
        if (!word[length] && i + 1 < words->count) found = words->words[i + 1];
    }
    return found;
}

/* A format that holds the hybrids, before hours of runs: the one that is asked for, or the first
 * that can, named where convert would take another by itself. */
static enum status choose_format(struct schedule *schedule) {
    const struct schedule_settings *settings = schedule->settings;
    struct model_config *config = NULL;
    struct words words = {0};
    enum status status = checkpoint_read_config(&config, settings->model);
    if (status) return status;
    add_split(&words, settings->convert);
    const char *asked = find_option(&words, "--format"), *lacks = NULL;
    enum config_family format = convert_format_for(config);
    if (asked) status = convert_format_from_name(&format, asked);
    if (!status) lacks = convert_format_lacks(format, config);
    if (lacks)
        status = status_fail("\"%s\" has %s, which %s cannot express; use --convert-options "
                             "\"--format apriel2\"",
                             settings->model, lacks, convert_format_name(format));
    if (!status && !asked && format != FAMILY_APRIEL_H1)
        schedule->format = convert_format_name(format);
    config_free(config);
    words_free(&words);
    return status;
}

enum status schedule_run(const struct schedule_settings *settings) {
    struct schedule schedule = {.settings = settings};
    struct words words = {0};
    next_hold();
    enum status status = check_options(settings);
    if (!status) status = choose_format(&schedule);
    if (!status) status = make_increments(&schedule);
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
    if (!status && settings->json) status = print_document(&schedule);
    js_free(schedule.steps);
    free(schedule.increments);
    return status;
}
