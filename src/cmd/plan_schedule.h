/* plan --schedule: the steps of schedule/schedule.h as commands, printed as a shell script or, with
 * --auto, taken one after another. */
#ifndef CMD_PLAN_SCHEDULE_H
#define CMD_PLAN_SCHEDULE_H

#include "cmd/plan_command.h"

enum status plan_schedule(const struct plan_command *command,
                          const struct command_arguments *arguments) STATUS_CHECKED;

#endif
