/* The options of `loo`, for the command and for the first step of a schedule. */
#ifndef CMD_LOO_OPTIONS_H
#define CMD_LOO_OPTIONS_H

#include "analysis/loo/loo.h"
#include "cli/options.h"
#include "cli/task_option.h"

struct loo_values {
    const char *data, *database, *device, *ablate, *layers, *base, *estimate, *run_file, *library,
        *kind;
    const char *task;
    int64_t group_tokens, samples, random_seed;
    struct task_values task_values; /* its seed is --estimate fisher's too */
    uint64_t device_memory;
    bool dry_run;
};

/* The rows, whose targets are the defaults that `values` receives, and what else a command line
 * has. It borrows the table. */
enum { LOO_OPTIONS = 17 + TASK_OPTIONS };
struct command_line loo_options_line(struct option table[LOO_OPTIONS], struct loo_values *values);

/* What the values mean; everything is borrowed but `settings->removed`, the caller's to list_free.
 * The items of a task are the caller's to build. */
enum status loo_options_settings(struct loo_settings *settings, const struct loo_values *values,
                                 const char *model, const struct json *identity) STATUS_CHECKED;

#endif
