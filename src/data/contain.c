#define _GNU_SOURCE
#include "data/contain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

/* What comes first through the pipe; the result follows. */
struct header {
    enum status status;
    uint64_t message_bytes; /* with the terminator; only the message follows on failure */
};

bool contain_send(int pipe, const void *bytes, size_t length) {
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

bool contain_receive(int pipe, void *bytes, size_t length) {
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

static bool send_result(int pipe, const struct contain_task *task, enum status status) {
    struct header header = {.status = status,
                            .message_bytes = status ? strlen(status_message()) + 1 : 0};
    if (!contain_send(pipe, &header, sizeof header)) return false;
    if (status) return contain_send(pipe, status_message(), header.message_bytes);
    return task->send(pipe, task->context);
}

static _Noreturn void run_child(int pipe, const struct contain_task *task) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    struct stat about;
    rlim_t seconds = stat(task->path, &about) == 0 ? 5 + (rlim_t)about.st_size / 20000000 : 5;
    struct rlimit time = {seconds, seconds}; /* some damaged files make HDF5 loop for ever */
    setrlimit(RLIMIT_CPU, &time);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) dup2(nowhere, STDERR_FILENO); /* the C library's words on a broken heap */
    enum status status = task->work(task->context);
    _exit(send_result(pipe, task, status) ? 0 : 1); /* without HDF5's own clearing up */
}

static enum status receive_result(bool *broken, int pipe, const struct contain_task *task) {
    struct header header;
    *broken = !contain_receive(pipe, &header, sizeof header);
    if (*broken) return STATUS_OK;
    if (!header.status) return task->receive(broken, pipe, task->context);
    char *message = memory_calloc(header.message_bytes, 1);
    if (!message) return STATUS_FAILED;
    *broken = !contain_receive(pipe, message, header.message_bytes);
    enum status status = *broken ? STATUS_OK : status_set(header.status, "%s", message);
    free(message);
    return status;
}

enum status contain_run(const struct contain_task *task) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return status_fail("cannot read \"%s\": no pipe: %s", task->path, strerror(errno));
    pid_t child = fork();
    if (child == 0) run_child(ends[1], task);
    int reason = errno;
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return status_fail("cannot read \"%s\": no process: %s", task->path, strerror(reason));
    }
    bool broken;
    enum status status = receive_result(&broken, ends[0], task);
    close(ends[0]); /* before waiting: a child that still writes must not block */
    int code = 0;
    while (waitpid(child, &code, 0) < 0 && errno == EINTR) continue;
    if (!status && broken)
        status = status_fail("\"%s\" is damaged: the HDF5 library fails on it (%s)", task->path,
                             WIFSIGNALED(code) ? strsignal(WTERMSIG(code)) : "no reason given");
    return status;
}
