#include "cli/run_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/output.h"

enum status run_file_check(const char *path, const char *command, bool dry_run) {
    if (!path) return STATUS_OK;
    if (dry_run)
        return status_set(STATUS_USAGE, "%s: --dry-run makes no run that --run-file could name",
                          command);
    return output_check(path, OUTPUT_REPLACE);
}

enum status run_file_write(const char *path, int64_t run) {
    char text[32];
    if (!path) return STATUS_OK;
    snprintf(text, sizeof text, "%" PRId64 "\n", run);
    return output_write(path, text, strlen(text), OUTPUT_REPLACE);
}
