#include "cli/output_option.h"

#include <stdio.h>
#include <unistd.h>

void output_option_report(const char *path) {
    if (!path || !output_is_stdout(path)) return;
    fflush(stdout);
    dup2(STDERR_FILENO, STDOUT_FILENO);
}
