#include "cmd/plan_command.h"

#include <string.h>

struct given {
    const char *name;
    bool given;
};

static const char *first_given(const struct given *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (rows[i].given) return rows[i].name;
    return NULL;
}

/* What a schedule cannot do without, and what has no meaning in it. */
static enum status check_schedule(const struct plan_command *command) {
    if (!command->model || !command->schedule.data || !command->db || !command->schedule.work)
        return status_set(STATUS_USAGE, "plan: --schedule needs --model, --data, --db and --work");
    if (command->plan || command->runs.count || command->signals.count || command->metric ||
        command->stages || command->unfinished || command->format || command->output)
        return status_set(STATUS_USAGE, "plan: --schedule chooses runs, stages and files itself: "
                                        "give it no --plan, --run, --signal, --metric, --stages, "
                                        "--unfinished, --format or -o");
    const struct given others[] = {{"stage", command->stage > 0},
                                   {"memory", command->memory != PLAN_NO_SIZE},
                                   {"bandwidth", command->bandwidth != PLAN_NO_SIZE}};
    const char *name = first_given(others, sizeof others / sizeof *others);
    if (name)
        return status_set(STATUS_USAGE,
                          "plan: --schedule shows no stage and no estimate: there is nothing for "
                          "--%s to say",
                          name);
    return STATUS_OK;
}

static enum status check_no_schedule(const struct plan_command *command) {
    const struct schedule_values *schedule = &command->schedule;
    const struct given rows[] = {
        {"auto", schedule->automatic},  {"work", schedule->work},
        {"data", schedule->data},       {"group", schedule->group},
        {"device", schedule->device},   {"loo-options", schedule->loo},
        {"mmr-options", schedule->mmr}, {"convert-options", schedule->convert},
    };
    const char *name = first_given(rows, sizeof rows / sizeof *rows);
    if (name) return status_set(STATUS_USAGE, "plan: --%s belongs to --schedule", name);
    return STATUS_OK;
}

/* Of the options of new mixers, those that a format, or the estimate, depends on: enum
 * choice_effect; 0 for none. */
static unsigned effects_shown(const struct plan_command *command, bool estimate) {
    if (command->format && strcmp(command->format, "fast-llm") == 0) return ENTERS_FAST_LLM;
    if (command->format && strcmp(command->format, "surgery") == 0) return ENTERS_SURGERY;
    return estimate ? ENTERS_ESTIMATE : 0;
}

static enum status check_mixers(const struct plan_command *command, bool estimate) {
    struct mixer_values values = command->mixer;
    struct option rows[MIXER_OPTIONS];
    unsigned shown = effects_shown(command, estimate);
    int count = mixer_option_all(rows, &values);
    for (int i = 0; i < count; i++) {
        bool enters = mixer_option_effect(rows[i].name) & shown;
        if (i == 0 && !command->plan) continue; /* the kind enters the plan itself */
        if (!mixer_option_is_given(&rows[i]) || enters) continue;
        if (command->format)
            return status_set(STATUS_USAGE,
                              "plan: --%s does not enter --format %s; give it to convert",
                              rows[i].name, command->format);
        return status_set(STATUS_USAGE,
                          "plan: --%s changes nothing that is shown; give it to convert",
                          rows[i].name);
    }
    const char *init = mixer_option_word(&command->mixer, MIXER_INIT);
    bool surgery = command->format && strcmp(command->format, "surgery") == 0;
    if (surgery && init && strcmp(init, "published") != 0)
        return status_set(STATUS_USAGE,
                          "plan: --init %s: Apriel2's surgery makes its mixers as "
                          "published",
                          init);
    return STATUS_OK;
}

/* What is shown decides which of these options are of use. */
static enum status check_shown(const struct plan_command *command, bool json) {
    bool estimate = !json && (!command->format || command->output);
    const char *format = command->format ? command->format : "plan";
    bool stage = strcmp(format, "plan") != 0 && strcmp(format, "csv") != 0;
    bool mixers = stage && strcmp(format, "hf") != 0;
    const struct given sizes[] = {{"memory", command->memory != PLAN_NO_SIZE},
                                  {"bandwidth", command->bandwidth != PLAN_NO_SIZE}};
    const char *name = estimate ? NULL : first_given(sizes, sizeof sizes / sizeof *sizes);
    if (json && command->format && !command->output)
        return status_set(STATUS_USAGE, "plan: --json shows the plan: name a file for --format as "
                                        "-o");
    if (name)
        return status_set(STATUS_USAGE,
                          "plan: --%s is for the estimate of serving, which is not "
                          "shown here",
                          name);
    if (command->stage && !stage)
        return status_set(STATUS_USAGE,
                          "plan: --stage is for --format hf, fast-llm and surgery; %s has all",
                          format);
    if (command->model && !mixers && !estimate)
        return status_set(STATUS_USAGE, "plan: --model is for --schedule and for --format "
                                        "fast-llm and surgery");
    return check_mixers(command, estimate);
}

enum status plan_check_command(const struct plan_command *command,
                               const struct command_arguments *arguments) {
    if (!command->bandwidth) return status_set(STATUS_USAGE, "plan: --bandwidth is 0, not above 0");
    if (arguments->positional.count)
        return status_set(STATUS_USAGE,
                          "plan: takes no argument; give the database as --db, a plan as --plan");
    if (command->schedule.counts) return check_schedule(command);
    enum status status = check_no_schedule(command);
    if (status) return status;
    if (!command->db == !command->plan)
        return status_set(STATUS_USAGE, "plan: %s",
                          command->db ? "give --db or --plan, not both"
                                      : "--db FILE (or --plan FILE) is missing");
    if (command->plan && (command->runs.count || command->signals.count || command->metric ||
                          command->stages || command->keep || command->unfinished))
        return status_set(STATUS_USAGE, "plan: --plan reads a plan as it is; to rank again give "
                                        "--db");
    return check_shown(command, arguments->json);
}
