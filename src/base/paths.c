#define _GNU_SOURCE
#include "base/paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/paths_config.h"
#include "base/text.h"

enum { PROGRAM_PATH_SIZE = 4096 };

/* The directory of the running program; the caller frees. */
static char *program_directory(void) {
    char path[PROGRAM_PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) {
        (void)status_fail("cannot read \"/proc/self/exe\": %s", strerror(errno));
        return NULL;
    }
    path[length] = '\0';
    return file_parent(path);
}

static bool is_inside(const char *path, const char *directory) {
    char *real = realpath(directory, NULL); /* as /proc/self/exe gives it: without symbolic links */
    if (!real) return false;
    size_t length = strlen(real);
    bool inside = strncmp(path, real, length) == 0 && (path[length] == '\0' || path[length] == '/');
    free(real);
    return inside;
}

enum status paths_find_data(char **out, const char *name) {
    enum status status = STATUS_FAILED;
    char *directory = program_directory(), *first = NULL, *second = NULL;
    if (!directory) return STATUS_FAILED;
    if (is_inside(directory, PATHS_BUILD_DIRECTORY)) {
        first = file_join(PATHS_SOURCE_DIRECTORY, name);
    } else {
        first = text_format("%s/../share/apriel-tool/%s", directory, name);
        second = file_join(PATHS_DATA_DIRECTORY, name);
        if (!second) goto done;
    }
    if (!first) goto done;
    char **found = file_exists(first) ? &first : second && file_exists(second) ? &second : NULL;
    if (found) {
        *out = *found;
        *found = NULL;
        status = STATUS_OK;
    } else if (second) {
        status = status_fail("cannot find \"%s\" of this installation: neither \"%s\" nor \"%s\" "
                             "is there",
                             name, first, second);
    } else {
        status =
            status_fail("cannot find \"%s\" of this source tree: \"%s\" is not there", name, first);
    }
done:
    free(directory);
    free(first);
    free(second);
    return status;
}
