/* Nothing under the final name until all of it is there: a temporary directory beside the output,
 * renamed when complete. It is locked (flock) by the process that fills it, so that a later run can
 * tell a killed run's directory from a living one's, whatever process numbers say. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "convert/convert_internal.h"

/* Hidden, and no suffix that a program would take for a model. */
static char *staging_prefix(const char *output) {
    return text_format(".%s.unfinished-", file_name(output));
}

static void remove_if_stale(const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
        if (file_remove_directory(path))
            log_warn("\"%s\" was left by a run that was killed and cannot be removed: %s", path,
                     status_message());
        else
            log_note("removed \"%s\", left by a run that was killed", path);
    }
    close(descriptor);
}

static enum status remove_stale(const char *parent, const char *prefix, const char *output) {
    DIR *directory = opendir(parent);
    if (!directory) return status_fail("cannot make \"%s\": %s", output, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
        char *path = file_join(parent, entry->d_name);
        if (path) remove_if_stale(path);
        free(path);
    }
    closedir(directory);
    return STATUS_OK;
}

static enum status check_output(const char *output) {
    size_t length = strlen(output);
    if (length == 0 || output[length - 1] == '/' || strcmp(file_name(output), ".") == 0 ||
        strcmp(file_name(output), "..") == 0)
        return status_set(STATUS_USAGE, "\"%s\" is not a name for a new directory", output);
    struct stat about;
    if (lstat(output, &about) == 0)
        return status_fail("\"%s\" exists already; remove it or choose another name", output);
    return STATUS_OK;
}

enum status staging_begin(struct staging *staging, const char *output) {
    *staging = (struct staging){.lock = -1};
    enum status status = check_output(output);
    if (status) return status;
    status = STATUS_FAILED;
    char *parent = file_parent(output), *prefix = staging_prefix(output), *path = NULL;
    if (!parent || !prefix) goto done;
    status = remove_stale(parent, prefix, output);
    if (status) goto done;
    path = text_format("%s/%s%ld", parent, prefix, (long)getpid());
    if (!path || mkdir(path, 0777) != 0) {
        status =
            path ? status_fail("cannot make \"%s\": %s", output, strerror(errno)) : STATUS_FAILED;
        goto done;
    }
    staging->path = path;
    path = NULL;
    staging->lock = open(staging->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (staging->lock < 0 || flock(staging->lock, LOCK_EX | LOCK_NB) != 0)
        status = status_fail("cannot lock \"%s\": %s", staging->path, strerror(errno));
done:
    free(parent);
    free(prefix);
    free(path);
    if (status) staging_end(staging);
    return status;
}

enum status staging_commit(struct staging *staging, const char *output) {
    enum status status = file_sync_directory(staging->path);
    if (status) return status;
    /* some file systems do not know RENAME_NOREPLACE; rename refuses a directory with files in it
     */
    int failed = renameat2(AT_FDCWD, staging->path, AT_FDCWD, output, RENAME_NOREPLACE);
    if (failed && errno == EINVAL) failed = rename(staging->path, output);
    if (failed)
        return status_fail("cannot rename \"%s\" to \"%s\": %s", staging->path, output,
                           strerror(errno));
    free(staging->path);
    staging->path = NULL;
    char *parent = file_parent(output);
    if (!parent) return STATUS_FAILED;
    status = file_sync_directory(parent);
    free(parent);
    return status;
}

void staging_end(struct staging *staging) {
    char *message = text_format("%s", status_message()); /* of the failure that led here */
    if (staging->path && file_remove_directory(staging->path))
        log_warn("\"%s\" cannot be removed: %s", staging->path, status_message());
    if (staging->path && message) (void)status_fail("%s", message);
    free(message);
    free(staging->path);
    if (staging->lock >= 0) close(staging->lock);
    *staging = (struct staging){.lock = -1};
}
