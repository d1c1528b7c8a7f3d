/* Loaded before the program (LD_PRELOAD), this makes disks odd, as ODD_DISK says in words:
 *   nolocks       POSIX locks fail with ODD_REASON (a number; ENOLCK)
 *   noshm         files that end in -shm cannot be mapped (9p, virtiofs, cluster file systems)
 *   noshmfile     they cannot even be made
 *   noflock       flock() fails with ODD_REASON
 *   nfs           statfs() says that every disk is NFS */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* both names of each call are made here */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int is(const char *word) {
    const char *words = getenv("ODD_DISK"), *found = words ? strstr(words, word) : NULL;
    return found && (found[strlen(word)] == '\0' || found[strlen(word)] == ' ');
}

static int fail(void) {
    const char *reason = getenv("ODD_REASON");
    errno = reason ? atoi(reason) : ENOLCK;
    return -1;
}

static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

int fcntl(int file, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (is("nolocks") && (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK))
        return fail();
    return (int)syscall(SYS_fcntl, file, command, argument);
}

int fcntl64(int file, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(file, command, argument);
}

int flock(int file, int operation) {
    return is("noflock") ? fail() : (int)syscall(SYS_flock, file, operation);
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = file >= 0 && is("noshm") ? readlink(link, path, sizeof path - 1) : -1;
    if (size > 0) {
        path[size] = '\0';
        if (is_shared_memory(path)) {
            errno = ENODEV;
            return MAP_FAILED;
        }
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return mmap(address, length, protection, flags, file, offset);
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    if (is("noshmfile") && is_shared_memory(path)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    return open(path, flags, mode);
}

int statfs(const char *path, struct statfs *about) {
    int result = (int)syscall(SYS_statfs, path, about);
    if (result == 0 && is("nfs")) about->f_type = 0x6969;
    return result;
}

int statfs64(const char *path, struct statfs64 *about) {
    return statfs(path, (struct statfs *)(void *)about);
}
