/* --run-file: the number of a run for a script, whether the run began now, continued or was there
 * complete: `plan --run "$(cat FILE)"`. */
#ifndef CLI_RUN_FILE_H
#define CLI_RUN_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"

/* A row of the table of options. */
#define RUN_FILE_OPTION(path)                                                                      \
    {                                                                                              \
        "run-file", OPTION_STRING, path, "FILE",                                                   \
            "write the run's number there when it is done, for plan --run \"$(cat FILE)\"",        \
            .group = GROUP_FILES, .completes = COMPLETE_FILE, .identity = OPTION_NO_NUMBER         \
    }

/* Before hours of work: that the file can be written; none is asked for where `path` is NULL.
 * STATUS_USAGE with --dry-run, which has no run. */
enum status run_file_check(const char *path, const char *command, bool dry_run) STATUS_CHECKED;

/* Replaces what is there; NULL: nothing. */
enum status run_file_write(const char *path, int64_t run) STATUS_CHECKED;

#endif
