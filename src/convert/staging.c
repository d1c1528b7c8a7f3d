/* Nothing under the final name until all of it is there: a temporary directory beside the output,
 * renamed when complete. It is locked (flock) by the process that fills it, so that a later run can
 * tell a killed run's directory from a living one's, whatever process numbers say, and it holds a
 * file that marks it as ours: what only has such a name is somebody's own. */
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
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "convert/convert_internal.h"

/* From the first moment on the directory has the sticky bit, which directories of people hardly
 * ever have: a run that is killed before the mark is there leaves nothing else in it. */
#define MARK ".apriel-tool-unfinished"

/* Hidden, and no suffix that a program would take for a model. A number follows. */
static char *staging_prefix(const char *output) {
    enum { MOST = 200 }; /* of the 255 that a name may have */
    const char *name = file_name(output);
    size_t length = strlen(name);
    if (length > MOST) length = utf8_before(name, MOST + 1);
    return text_format(".%.*s.unfinished-", (int)length, name);
}

/* ---- what killed runs left */

/* Is the open directory one of ours? Otherwise `*why` says what it is. `*marked`: it may have
 * files. */
static bool is_ours(bool *marked, int directory, const char **why) {
    struct stat about, mark;
    *marked = fstatat(directory, MARK, &mark, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(mark.st_mode) &&
              mark.st_uid == geteuid();
    if (fstat(directory, &about) != 0 || about.st_uid != geteuid())
        *why = "belongs to somebody else";
    else if (!*marked && !(about.st_mode & S_ISVTX))
        *why = "was not made by this program";
    else
        return true;
    return false;
}

/* Everything by descriptors and without following links: a name may lead elsewhere at any time. */
static void remove_if_left(int parent, const char *name, const char *path) {
    const char *why = NULL;
    bool marked;
    int directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0 && errno == ENOENT) return;
    if (directory < 0)
        why = errno == ELOOP || errno == ENOTDIR ? "is no directory" : strerror(errno);
    else if (is_ours(&marked, directory, &why) && flock(directory, LOCK_EX | LOCK_NB) == 0) {
        enum status status = marked ? file_remove_files(directory, path, MARK) : STATUS_OK;
        if (!status && ((marked && unlinkat(directory, MARK, 0) != 0) ||
                        unlinkat(parent, name, AT_REMOVEDIR) != 0))
            status = status_fail("%s", strerror(errno));
        if (status)
            log_warn("\"%s\" was left by a run that was killed and cannot be removed: %s", path,
                     status_message());
        else
            log_note("removed \"%s\", left by a run that was killed", path);
    }
    if (why)
        log_warn("\"%s\" has the name of an unfinished hybrid but %s: it stays as it is", path,
                 why);
    if (directory >= 0) close(directory);
}

static enum status remove_left(const char *parent, const char *prefix, const char *output) {
    DIR *directory = opendir(parent);
    if (!directory) return status_fail("cannot make \"%s\": %s", output, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));) {
        const char *number = entry->d_name + strlen(prefix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
        if (!*number || number[strspn(number, "0123456789")]) continue;
        char *path = file_join(parent, entry->d_name);
        if (path) remove_if_left(dirfd(directory), entry->d_name, path);
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

/* A new directory; something else may have the name already. The caller frees the path. */
static enum status make_directory(char **out, const char *parent, const char *prefix,
                                  const char *output) {
    enum { TRIES = 100, STEP = 100000000 };
    for (int i = 0; i < TRIES; i++) {
        char *path =
            text_format("%s/%s%lld", parent, prefix, (long long)getpid() + i * (long long)STEP);
        if (!path) return STATUS_FAILED;
        if (mkdir(path, 01777) == 0) {
            *out = path;
            return STATUS_OK;
        }
        int reason = errno;
        free(path);
        if (reason != EEXIST)
            return status_fail("cannot make \"%s\": %s", output, strerror(reason));
    }
    return status_fail("cannot make \"%s\": too many unfinished hybrids beside it", output);
}

/* Locked first, marked then: what is marked and not locked was left. Where there are no locks
 * nothing is ever removed. */
static enum status lock_and_mark(struct staging *staging) {
    staging->lock = open(staging->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (staging->lock < 0)
        return status_fail("cannot open \"%s\": %s", staging->path, strerror(errno));
    if (flock(staging->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return status_fail("cannot lock \"%s\": %s", staging->path, strerror(errno));
    int mark =
        openat(staging->lock, MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    struct stat about;
    if (mark < 0 || close(mark) != 0 || fstat(staging->lock, &about) != 0 ||
        fchmod(staging->lock, about.st_mode & 0777) != 0)
        return status_fail("cannot write into \"%s\": %s", staging->path, strerror(errno));
    return STATUS_OK;
}

/* "dir" of "dir/", as shells complete it. The caller frees. */
static char *without_slashes(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return memory_copy_bytes(path, length);
}

enum status staging_begin(struct staging *staging, const char *path) {
    *staging = (struct staging){.lock = -1, .output = without_slashes(path)};
    const char *output = staging->output;
    enum status status = output ? check_output(output) : STATUS_FAILED;
    if (status) {
        staging_end(staging);
        return status;
    }
    char *parent = file_parent(output), *prefix = staging_prefix(output);
    status = parent && prefix ? remove_left(parent, prefix, output) : STATUS_FAILED;
    if (!status) status = make_directory(&staging->path, parent, prefix, output);
    if (!status) status = lock_and_mark(staging);
    free(parent);
    free(prefix);
    if (status) staging_end(staging);
    return status;
}

enum status staging_commit(struct staging *staging) {
    const char *output = staging->output;
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
    if (unlinkat(staging->lock, MARK, 0) != 0)
        log_warn("\"%s/%s\" cannot be removed: %s", output, MARK, strerror(errno));
    char *parent = file_parent(output);
    if (parent) (void)!file_sync_directory(parent); /* it is there, whatever a crash brings */
    free(parent);
    return STATUS_OK;
}

void staging_end(struct staging *staging) {
    char *message = text_format("%s", status_message()); /* of the failure that led here */
    if (staging->path && staging->lock >= 0) {
        enum status status = file_remove_files(staging->lock, staging->path, MARK);
        if (!status) (void)unlinkat(staging->lock, MARK, 0);
        if (!status && rmdir(staging->path) != 0) status = status_fail("%s", strerror(errno));
        if (status) log_warn("\"%s\" cannot be removed: %s", staging->path, status_message());
    } else if (staging->path) {
        (void)rmdir(staging->path);
    }
    if (staging->path && message) (void)status_fail("%s", message);
    free(message);
    free(staging->path);
    free(staging->output);
    if (staging->lock >= 0) close(staging->lock);
    *staging = (struct staging){.lock = -1};
}
