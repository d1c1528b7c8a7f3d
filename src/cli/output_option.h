/* -o and --force of the commands whose result is one file (data, plan) or a few (chart). */
#ifndef CLI_OUTPUT_OPTION_H
#define CLI_OUTPUT_OPTION_H

#include <stdbool.h>

#include "base/output.h"
#include "cli/options.h"

/* A row of the table of options. */
#define FORCE_OPTION(force)                                                                        \
    {                                                                                              \
        "force", OPTION_FLAG, force, NULL, "replace files that are there",                         \
            .group = GROUP_FILES, .identity = OPTION_NO_NUMBER                                     \
    }

static inline enum output_existing output_option_existing(bool force) {
    return force ? OUTPUT_REPLACE : OUTPUT_KEEP;
}

/* Before a command says what it has done: when the result itself went to standard output
 * (-o /dev/stdout), what is printed from now on goes to standard error. */
void output_option_report(const char *path);

#endif
