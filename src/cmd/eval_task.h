/* `eval --task`: the tasks of one model. */
#ifndef CMD_EVAL_TASK_H
#define CMD_EVAL_TASK_H

#include "checkpoint/checkpoint.h"
#include "cmd/task_option.h"

struct eval_task_options {
    const char *model, *device, *database; /* database NULL: nothing is kept */
    const struct string_list *tasks;       /* as task_option_split takes them */
    const struct task_values *values;
    int64_t group_tokens;
    struct checkpoint_options checkpoint;
    bool json;
};

/* Run every task and print its result as soon as it is there (with json: one document at the end).
 */
enum status eval_tasks(const struct eval_task_options *options) STATUS_CHECKED;

#endif
