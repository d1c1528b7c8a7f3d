#include "cmd/plan_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "base/text.h"

/* ---- reading */

/* Words that the schedule gives the commands itself must not stand among the further ones: the last
 * of two would win. */
static enum status check_words(const struct words *more, const char *option,
                               const char *const *own) {
    for (size_t w = 1; w < more->count; w++)
        for (size_t i = 0; own[i]; i++) {
            const char *word = more->words[w];
            size_t length = strlen(own[i]);
            bool letter = own[i][0] == '-' && own[i][1] != '-'; /* its value may follow at once */
            if (strncmp(word, own[i], length) != 0) continue;
            if (letter || !word[length] || word[length] == '=')
                return status_set(STATUS_USAGE,
                                  "plan: %s: \"%s\" is not for a command of a schedule, which "
                                  "has its own",
                                  option, own[i]);
        }
    return STATUS_OK;
}

/* The further options of one command into the targets of its table. */
static enum status read_more(struct plan_step_options *out, const char *option, const char *text,
                             const char *const *own) {
    char source[40];
    snprintf(source, sizeof source, "plan: %s", option);
    words_add_copy(&out->more, out->line.command);
    enum status status = words_add_quoted(&out->more, text, source);
    if (!status) status = check_words(&out->more, option, own);
    if (!status)
        status = options_read(&out->arguments, &out->line, (int)out->more.count, out->more.words);
    if (!status && out->arguments.positional.count)
        status = status_set(STATUS_USAGE, "%s: \"%s\" is no option", source,
                            out->arguments.positional.values[0]);
    return status;
}

/* Probes and conversions must make the same mixers: what the conversions' format says of the kind
 * is said to all. */
static enum status settle_kind(struct plan_steps *steps) {
    const struct plan_command *command = steps->command;
    const char *format = steps->convert_values.format;
    struct mixer_choices choices;
    enum status status = STATUS_OK;
    struct mixer_values *own = &steps->convert_values.mixer;
    if (!format || mixer_option_word(own, "kind")) return STATUS_OK;
    const struct mixer_kind *usual;
    status = mixer_option_usual(&usual, own, command->model, NULL, format);
    if (!status) status = mixer_option_resolve(&choices, own, 0, usual);
    if (!status)
        steps->mixer.words[0] = steps->mmr_values.mixer.words[0] = own->words[0] =
            choices.sizes.kind->name;
    return status;
}

enum status plan_steps_read(struct plan_steps *out, struct schedule_settings *settings,
                            const struct plan_command *command) {
    static const char *const scores[] = {"--db",   "--data",     "--task", "--base", "--dry-run",
                                         "--json", "--run-file", "--help", "-h",     NULL};
    static const char *const convert[] = {"--plan",   "--stage",   "--layers", "--from",
                                          "--output", "--dry-run", "--json",   "--help",
                                          "-o",       "-h",        NULL};
    const struct schedule_values *values = &command->schedule;
    *out = (struct plan_steps){.command = command};
    *settings = (struct schedule_settings){.counts = values->counts,
                                           .group = values->group ? values->group : 5,
                                           .keep = command->keep,
                                           .work = values->work};
    out->loo.line = loo_options_line(out->loo_table, &out->loo_values);
    out->mmr.line = mmr_options_line(out->mmr_table, &out->mmr_values);
    out->convert.line = convert_options_line(out->convert_table, &out->convert_values);
    if (values->device) out->loo_values.device = out->mmr_values.device = values->device;
    out->mixer = out->mmr_values.mixer = out->convert_values.mixer = command->mixer;
    out->loo_values.data = out->mmr_values.data = values->data;
    out->loo_values.database = out->mmr_values.database = command->db;
    enum status status = read_more(&out->loo, "--loo-options", values->loo, scores);
    if (!status) status = read_more(&out->convert, "--convert-options", values->convert, convert);
    if (!status) status = settle_kind(out);
    if (!status) status = read_more(&out->mmr, "--mmr-options", values->mmr, scores);
    settings->kind_asked = mixer_option_word(&command->mixer, "kind") != NULL;
    if (!status)
        status = loo_options_settings(&settings->loo, &out->loo_values, command->model,
                                      out->loo.arguments.identity);
    if (!status)
        status = mmr_options_settings(&settings->mmr, &out->mmr_values, command->model,
                                      out->mmr.arguments.identity);
    if (!status)
        status = convert_options_settings(&settings->convert, &out->convert_values, command->model,
                                          out->convert.arguments.identity);
    return status;
}

static void free_options(struct plan_step_options *options) {
    if (options->line.options) options_free(&options->arguments, &options->line);
    words_free(&options->more);
}

void plan_steps_free(struct plan_steps *steps) {
    free_options(&steps->loo);
    free_options(&steps->mmr);
    free_options(&steps->convert);
}

/* ---- the same as command lines */

static void add_more(struct words *words, const struct plan_step_options *options) {
    for (size_t i = 1; i < options->more.count; i++) words_add_copy(words, options->more.words[i]);
}

/* The options of the schedule's own, without what its commands were given further. */
static void add_mixer(struct words *words, const struct mixer_values *mixer) {
    struct mixer_values values = *mixer;
    struct option rows[MIXER_OPTIONS];
    int count = mixer_option_all(rows, &values);
    for (int i = 0; i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s", rows[i].name);
        if (!mixer_option_is_given(&rows[i])) continue;
        if (rows[i].kind == OPTION_COUNT)
            words_add_number(words, name, *(const int64_t *)rows[i].target);
        else if (rows[i].kind == OPTION_FLAG)
            words_add_copy(words, name);
        else
            words_add_option(words, name, *(const char *const *)rows[i].target);
    }
}

void plan_steps_score_words(struct words *words, const struct schedule *schedule,
                            const struct plan_steps *steps, const struct schedule_step *step,
                            const char *run_file) {
    const struct plan_command *command = steps->command;
    bool first = step->before == 0;
    words_add_copy(words, first ? "loo" : "mmr");
    words_add_path(words, command->model);
    words_add_path_option(words, "--data", command->schedule.data);
    words_add_path_option(words, "--db", command->db);
    if (!first) {
        words_add_copy(words, "--base");
        words_add_own_path(words, schedule_base_path(schedule, step->before));
        add_mixer(words, &steps->mixer);
    }
    words_add_option(words, "--device", command->schedule.device);
    add_more(words, first ? &steps->loo : &steps->mmr);
    words_add_path_option(words, "--run-file", run_file);
}

/* "$(cat run-2)", which a shell makes the number of the run. */
static char *number_in(const char *run_file) {
    struct text text = {0};
    text_append(&text, "\"$(cat ");
    quote_shell_path(&text, run_file);
    text_append(&text, ")\"");
    return text_finish(&text);
}

void plan_steps_plan_words(struct words *words, const struct schedule *schedule,
                           const struct schedule_step *step, const char *run_file) {
    char kind[MIXER_TEXT_SIZE];
    words_add_copy(words, "plan");
    words_add_path_option(words, "--db", schedule->settings.loo.database);
    if (step->run) {
        words_add_number(words, "--run", step->run);
    } else {
        words_add_copy(words, "--run");
        words_add_shell(words, number_in(run_file));
    }
    words_add_number(words, "--stages", step->after);
    words_add_option(words, "--keep", schedule->settings.keep);
    words_add_option(words, "--kind", schedule_kind(kind, schedule));
    words_add_copy(words, "-o");
    words_add_own_path(words, schedule_plan_path(schedule, step->after));
}

void plan_steps_convert_words(struct words *words, const struct schedule *schedule,
                              const struct plan_steps *steps, const struct schedule_step *step) {
    const char *asked = steps->convert_values.format, *format = schedule->settings.convert.format;
    words_add_copy(words, "convert");
    words_add_path(words, steps->command->model);
    words_add_copy(words, "--plan");
    words_add_own_path(words, schedule_plan_path(schedule, step->after));
    if (step->before) {
        words_add_copy(words, "--from");
        words_add_own_path(words, schedule_base_path(schedule, step->before));
    }
    add_mixer(words, &steps->mixer);
    if (!asked) words_add_option(words, "--format", format);
    add_more(words, &steps->convert);
    words_add_copy(words, "-o");
    words_add_own_path(words, schedule_hybrid_path(schedule, step->after));
}

void plan_steps_all_words(struct words *words, const struct schedule *schedule) {
    char kind[MIXER_TEXT_SIZE];
    words_add_copy(words, "plan");
    words_add_path_option(words, "--db", schedule->settings.loo.database);
    for (size_t i = 0; i < schedule->count; i++) {
        const struct schedule_step *step = &schedule->steps[i];
        words_add_copy(words, "--run");
        words_add(words, step->before ? text_format("%lld@%d", (long long)step->run, step->before)
                                      : text_format("%lld", (long long)step->run));
    }
    words_add_option(words, "--stages", schedule->settings.counts);
    words_add_option(words, "--keep", schedule->settings.keep);
    words_add_option(words, "--kind", schedule_kind(kind, schedule));
    words_add_copy(words, "-o");
    words_add_own_path(words, schedule_plan_all_path(schedule));
    words_add_copy(words, "--force"); /* with more stages than that of an earlier call */
}
