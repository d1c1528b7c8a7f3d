#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/path_hint.h"
#include "base/text.h"

static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

enum status file_open(FILE **out, const char *path) {
    struct stat about;
    /* A pipe that nobody writes to must not block. */
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    *out = NULL;
    if (descriptor < 0) return path_fail(path, errno);
    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(descriptor);
        return status_fail("\"%s\" is %s, not a file", path, kind_of(about.st_mode));
    }
    *out = fdopen(descriptor, "rb");
    if (*out) return STATUS_OK;
    close(descriptor);
    return status_fail("cannot open \"%s\": %s", path, strerror(errno));
}

static enum status read_all(char **out, size_t *size, FILE *file, const char *path) {
    char *bytes = NULL;
    size_t length = 0, capacity = 0;
    enum status status = STATUS_OK;
    struct stat about = {0};
    if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        status = status_fail("\"%s\" is a directory, not a file", path);
        goto done;
    }
    do {
        if (length + 1 >= capacity) {
            size_t wanted = capacity ? 2 * capacity : (size_t)about.st_size + 2;
            char *more = memory_resize(bytes, wanted, 1);
            if (!more) {
                status = STATUS_FAILED;
                goto done;
            }
            bytes = more;
            capacity = wanted;
        }
        length += fread(bytes + length, 1, capacity - length - 1, file);
    } while (!feof(file) && !ferror(file));
    if (ferror(file)) {
        status = status_fail("cannot read \"%s\": %s", path, strerror(errno));
        goto done;
    }
    bytes[length] = '\0';
    *out = bytes;
    *size = length;
    bytes = NULL;
done:
    free(bytes);
    fclose(file);
    return status;
}

enum status file_read(char **out, size_t *size, const char *path) {
    FILE *file;
    enum status status = file_open(&file, path);
    return status ? status : read_all(out, size, file, path);
}

enum status file_read_stream(char **out, size_t *size, const char *path) {
    FILE *file = fopen(path, "rbe");
    if (!file) return path_fail(path, errno);
    return read_all(out, size, file, path);
}

enum status file_copy(const char *to, const char *from) {
    FILE *in;
    enum status status = file_open(&in, from);
    if (status) return status;
    FILE *out = fopen(to, "wb");
    if (!out) {
        status = status_fail("cannot write \"%s\": %s", to, strerror(errno));
        fclose(in);
        return status;
    }
    char block[1 << 14]; /* a thread may have a stack of 64 KiB */
    size_t got;
    while (!status && (got = fread(block, 1, sizeof block, in)) > 0)
        if (fwrite(block, 1, got, out) != got)
            status = status_fail("cannot write \"%s\": %s", to, strerror(errno));
    if (!status && ferror(in))
        status = status_fail("cannot read \"%s\": %s", from, strerror(errno));
    if (!status && (fflush(out) != 0 || fsync(fileno(out)) != 0))
        status = status_fail("cannot write \"%s\": %s", to, strerror(errno));
    fclose(in);
    if (fclose(out) != 0 && !status)
        status = status_fail("cannot write \"%s\": %s", to, strerror(errno));
    return status;
}

bool file_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

bool file_free_bytes(uint64_t *out, const char *path) {
    struct statvfs about;
    char *parent = file_parent(path);
    bool known = statvfs(path, &about) == 0 || (parent && statvfs(parent, &about) == 0);
    if (known) *out = (uint64_t)about.f_bavail * about.f_frsize;
    free(parent);
    return known;
}

bool file_is_directory(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

char *file_join(const char *directory, const char *name) {
    size_t length = strlen(directory);
    return text_format("%s%s%s", directory, length && directory[length - 1] == '/' ? "" : "/",
                       name);
}

const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *file_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return memory_copy_string(".");
    return memory_copy_bytes(path, slash == path ? 1 : (size_t)(slash - path));
}

enum status file_sync_directory(const char *path) {
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    enum status status = STATUS_OK;
    if (fsync(directory) != 0 && errno != EINVAL)
        status = status_fail("cannot sync \"%s\": %s", path, strerror(errno));
    close(directory);
    return status;
}

enum status file_remove_directory(const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        if (errno == ENOENT) return STATUS_OK;
        return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    }
    enum status status = file_remove_files(descriptor, path, NULL);
    close(descriptor);
    if (!status && rmdir(path) != 0)
        status = status_fail("cannot remove \"%s\": %s", path, strerror(errno));
    return status;
}

enum status file_remove_files(int descriptor, const char *path, const char *kept) {
    int again = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = again < 0 ? NULL : fdopendir(again);
    if (!directory) {
        if (again >= 0) close(again);
        return status_fail("cannot read \"%s\": %s", path, strerror(errno));
    }
    enum status status = STATUS_OK;
    for (struct dirent *entry; !status && (entry = readdir(directory));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (kept && strcmp(name, kept) == 0) continue;
        if (unlinkat(descriptor, name, 0) != 0)
            status = status_fail("cannot remove \"%s/%s\": %s", path, name, strerror(errno));
    }
    closedir(directory);
    return status;
}
