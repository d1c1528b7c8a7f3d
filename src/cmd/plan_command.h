/* What the command line of `plan` says, and whether its options go together. */
#ifndef CMD_PLAN_COMMAND_H
#define CMD_PLAN_COMMAND_H

#include "cli/mixer_option.h"
#include "cli/options.h"
#include "plan/serving.h"

#define PLAN_NO_SIZE UINT64_MAX /* of memory and bandwidth: not given */

/* Of --schedule. */
struct schedule_values {
    const char *counts, *data, *work, *device; /* device NULL: that of its commands */
    const char *loo, *mmr, *convert;           /* more options of these commands, or NULL */
    int64_t group;
    bool automatic; /* run the commands */
};

struct plan_command {
    const char *db, *plan, *metric, *stages, *keep, *output, *format;
    const char *model; /* of --schedule and of --format */
    struct string_list runs, signals;
    bool unfinished, force;
    struct schedule_values schedule;
    int64_t stage;
    struct mixer_values mixer;
    uint64_t memory, bandwidth; /* bytes, bytes a second; or PLAN_NO_SIZE */
};

/* STATUS_USAGE for an option that is missing, or that would be ignored beside the others. */
enum status plan_check_command(const struct plan_command *command,
                               const struct command_arguments *arguments) STATUS_CHECKED;

#endif
