/* What plan --schedule asks of its commands: read from --loo-options, --mmr-options and
 * --convert-options by the tables of options of these commands themselves. */
#ifndef CMD_PLAN_STEPS_H
#define CMD_PLAN_STEPS_H

#include "cli/words.h"
#include "cmd/convert_options.h"
#include "cmd/loo_options.h"
#include "cmd/mmr_options.h"
#include "cmd/plan_command.h"
#include "schedule/schedule.h"

/* Of one command. */
struct plan_step_options {
    struct words more; /* as they are given; the first word is the name of the command */
    struct command_line line;
    struct command_arguments arguments;
};

struct plan_steps {
    const struct plan_command *command; /* borrowed */
    struct mixer_values mixer;          /* of all of them: the command's, with the kind settled */
    struct plan_step_options loo, mmr, convert;
    struct option loo_table[LOO_OPTIONS], mmr_table[MMR_OPTIONS], convert_table[CONVERT_OPTIONS];
    struct loo_values loo_values;
    struct mmr_values mmr_values;
    struct convert_values convert_values;
};

/* STATUS_USAGE for a wrong option, and for one that the schedule gives the commands itself. What
 * `settings` receives is borrowed from `out` and `command`. The caller frees with plan_steps_free,
 * after a failure too; `out` must stay where it is. */
enum status plan_steps_read(struct plan_steps *out, struct schedule_settings *settings,
                            const struct plan_command *command) STATUS_CHECKED;
void plan_steps_free(struct plan_steps *steps);

/* The command lines of a step. `run_file` (or NULL): where the run's number is to be written. */
void plan_steps_score_words(struct words *words, const struct schedule *schedule,
                            const struct plan_steps *steps, const struct schedule_step *step,
                            const char *run_file);
/* By step->run, or the number in `run_file`. */
void plan_steps_plan_words(struct words *words, const struct schedule *schedule,
                           const struct schedule_step *step, const char *run_file);
void plan_steps_convert_words(struct words *words, const struct schedule *schedule,
                              const struct plan_steps *steps, const struct schedule_step *step);
/* And of the plan of all stages. */
void plan_steps_all_words(struct words *words, const struct schedule *schedule);

#endif
