/* HDF5 1.10 crashes or hangs on some damaged files, and a program that loads models must not. So
 * the file is read in a child process, which hands the checked result over through a pipe; when the
 * child dies, that is one more way to say that the file is damaged. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/tokenset_internal.h"

/* What comes first through the pipe; the arrays follow in the order of the fields. */
struct header {
    enum status status;
    uint64_t message_bytes; /* with the terminator; nothing follows it on failure */
    uint64_t sources_bytes; /* with the terminator */
    bool has_mask;
    struct tokenset set; /* its pointers mean nothing */
};

static bool send_bytes(int pipe, const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t sent = write(pipe, next, length);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        next += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool receive_bytes(int pipe, void *bytes, size_t length) {
    char *next = bytes;
    while (length > 0) {
        ssize_t got = read(pipe, next, length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        next += got;
        length -= (size_t)got;
    }
    return true;
}

static bool send_set(int pipe, const struct tokenset *set, enum status status) {
    struct header header = {.status = status};
    if (status) {
        header.message_bytes = strlen(status_message()) + 1;
        return send_bytes(pipe, &header, sizeof header) &&
               send_bytes(pipe, status_message(), header.message_bytes);
    }
    header.set = *set;
    header.has_mask = set->loss_mask != NULL;
    header.sources_bytes = strlen(set->sources) + 1;
    return send_bytes(pipe, &header, sizeof header) &&
           send_bytes(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
           send_bytes(pipe, set->ids, set->tokens * sizeof *set->ids) &&
           (!set->loss_mask || send_bytes(pipe, set->loss_mask, set->tokens)) &&
           send_bytes(pipe, set->sources, header.sources_bytes);
}

static _Noreturn void run_child(int pipe, const char *path) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    struct stat about;
    rlim_t seconds = stat(path, &about) == 0 ? 5 + (rlim_t)about.st_size / 20000000 : 5;
    struct rlimit time = {seconds, seconds}; /* some damaged files make HDF5 loop for ever */
    setrlimit(RLIMIT_CPU, &time);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) dup2(nowhere, STDERR_FILENO); /* the C library's words on a broken heap */
    struct tokenset *set = NULL;
    enum status status = tokenset_read_here(&set, path);
    _exit(send_set(pipe, set, status) ? 0 : 1);
}

static enum status receive_set(struct tokenset *set, bool *broken, int pipe) {
    struct header header;
    *broken = true;
    if (!receive_bytes(pipe, &header, sizeof header)) return STATUS_OK;
    if (header.status) {
        char *message = memory_calloc(header.message_bytes, 1);
        if (!message) return STATUS_FAILED;
        *broken = !receive_bytes(pipe, message, header.message_bytes);
        enum status status = *broken ? STATUS_OK : status_set(header.status, "%s", message);
        free(message);
        return status;
    }
    *set = header.set;
    set->row_offsets = memory_calloc(set->rows + 1, sizeof *set->row_offsets);
    set->ids = memory_calloc(set->tokens, sizeof *set->ids);
    set->loss_mask = header.has_mask ? memory_calloc(set->tokens, 1) : NULL;
    set->sources = memory_calloc(header.sources_bytes, 1);
    if (!set->row_offsets || !set->ids || (header.has_mask && !set->loss_mask) || !set->sources)
        return STATUS_FAILED;
    *broken = !(receive_bytes(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
                receive_bytes(pipe, set->ids, set->tokens * sizeof *set->ids) &&
                (!set->loss_mask || receive_bytes(pipe, set->loss_mask, set->tokens)) &&
                receive_bytes(pipe, set->sources, header.sources_bytes));
    return STATUS_OK;
}

enum status tokenset_read(struct tokenset **out, const char *path) {
    int ends[2] = {-1, -1};
    struct tokenset *set = memory_calloc(1, sizeof *set);
    if (!set) return STATUS_FAILED;
    enum status status = STATUS_OK;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        status = status_fail("cannot read \"%s\": no pipe: %s", path, strerror(errno));
        goto done;
    }
    pid_t child = fork();
    if (child < 0) {
        status = status_fail("cannot read \"%s\": no process: %s", path, strerror(errno));
        goto done;
    }
    if (child == 0) run_child(ends[1], path);
    close(ends[1]);
    ends[1] = -1;
    bool broken;
    status = receive_set(set, &broken, ends[0]);
    close(ends[0]); /* before waiting: a child that still writes must not block */
    ends[0] = -1;
    int code = 0;
    while (waitpid(child, &code, 0) < 0 && errno == EINTR) continue;
    if (!status && broken)
        status = status_fail("\"%s\" is damaged: the HDF5 library fails on it (%s)", path,
                             WIFSIGNALED(code) ? strsignal(WTERMSIG(code)) : "no reason given");
    if (status) goto done;
    *out = set;
    set = NULL;
done:
    if (ends[0] >= 0) close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
    tokenset_free(set);
    return status;
}
