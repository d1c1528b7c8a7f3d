#define _GNU_SOURCE
#include "data/contain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "data/confine.h"

/* What comes first through the pipe; the result follows. */
struct header {
    uint32_t failed;
    uint32_t message_bytes; /* with the terminator; only the message follows on failure */
};

enum { LONGEST_MESSAGE = 1 << 16, INTERRUPT_MS = 100 };

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
        struct pollfd wait = {.fd = pipe, .events = POLLIN};
        int ready = poll(&wait, 1, INTERRUPT_MS);
        if (interrupt_requested()) return false;
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        ssize_t got = read(pipe, next, length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        next += got;
        length -= (size_t)got;
    }
    return true;
}

static bool send_result(int pipe, const struct contain_task *task, enum status status) {
    struct header header = {.failed = status != STATUS_OK,
                            .message_bytes = status ? (uint32_t)strlen(status_message()) + 1 : 0};
    if (!contain_send(pipe, &header, sizeof header)) return false;
    if (status) return contain_send(pipe, status_message(), header.message_bytes);
    return task->send(pipe, task->context);
}

static uint64_t file_bytes(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && about.st_size > 0 ? (uint64_t)about.st_size : 0;
}

uint64_t contain_bytes(const char *path) {
    return (UINT64_C(512) << 20) + 32 * file_bytes(path);
}

/* Some damaged files make HDF5 loop for ever, or ask for more memory than there is. */
static struct confine_limits limits_for(const char *path) {
    return (struct confine_limits){.seconds = 5 + file_bytes(path) / 20000000,
                                   .bytes = contain_bytes(path)};
}

static _Noreturn void run_child(int pipe, const struct contain_task *task) {
    interrupt_release();
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) dup2(nowhere, STDERR_FILENO); /* the C library's words on a broken heap */
    if (!task->writes) {
        struct confine_limits limits = limits_for(task->path);
        pipe = confine_descriptors(pipe);
        (void)confine_process(pipe, &limits);
    }
    enum status status = task->work(task->context);
    _exit(send_result(pipe, task, status) ? 0 : 1); /* without HDF5's own clearing up */
}

enum status contain_receive_result(bool *broken, int pipe, const struct contain_task *task) {
    struct header header;
    *broken = !contain_receive(pipe, &header, sizeof header) || header.failed > 1;
    if (*broken) return STATUS_OK;
    if (!header.failed) return task->receive(broken, pipe, task->context);
    *broken = header.message_bytes == 0 || header.message_bytes > LONGEST_MESSAGE;
    if (*broken) return STATUS_OK;
    char *message = memory_calloc(header.message_bytes, 1);
    if (!message) return STATUS_FAILED;
    *broken = !contain_receive(pipe, message, header.message_bytes) ||
              memchr(message, 0, header.message_bytes) != message + header.message_bytes - 1;
    enum status status = *broken ? STATUS_OK : status_fail("%s", message);
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
    enum status status = contain_receive_result(&broken, ends[0], task);
    close(ends[0]); /* before waiting: a child that still writes must not block */
    bool interrupted = broken && interrupt_requested();
    if (broken || status) kill(child, SIGKILL); /* it may have been taken over, and wait */
    int code = 0;
    while (waitpid(child, &code, 0) < 0 && errno == EINTR) continue;
    if (!status && interrupted)
        status = status_set(STATUS_INTERRUPTED, "interrupted while reading \"%s\"", task->path);
    if (!status && broken)
        status = status_fail("\"%s\" is damaged: the HDF5 library fails on it (%s)", task->path,
                             WIFSIGNALED(code) ? strsignal(WTERMSIG(code)) : "no reason given");
    return status;
}
