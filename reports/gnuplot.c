#define _GNU_SOURCE
#include "reports/gnuplot.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/quote.h"

enum { OUTPUT, ERRORS, PIPES };

/* What in a shell's profile would choose another terminal (GNUTERM, which gnuplot breaks on when it
 * has not got it), other files or another decimal point. */
static void clean_environment(void) {
    static const char *const prefixes[] = {"GNU", "FIT_", "GDFONTPATH"};
    for (char **at = environ; at && *at;) {
        char name[256];
        size_t length = strcspn(*at, "=");
        bool ours = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            ours = ours || strncmp(*at, prefixes[i], strlen(prefixes[i])) == 0;
        if (!ours || length >= sizeof name) {
            at++;
            continue;
        }
        memcpy(name, *at, length);
        name[length] = '\0';
        unsetenv(name); /* moves the rest up to `at` */
    }
    setenv("LC_ALL", "C.UTF-8", 1);
}

/* In the child: never returns. */
static void execute(const char *directory, const char *settings, const char *script,
                    int pipes[PIPES][2]) {
    interrupt_release();
    clean_environment();
    if (chdir(directory) != 0 || dup2(pipes[OUTPUT][1], STDOUT_FILENO) < 0 ||
        dup2(pipes[ERRORS][1], STDERR_FILENO) < 0)
        _exit(126);
    execlp("gnuplot", "gnuplot", "-d", "-e", settings, script, (char *)NULL);
    _exit(errno == ENOENT ? 127 : 126);
}

/* Everything that the child writes; `texts` in the order of the pipes. Ends early when a signal
 * asks for it. */
static void read_all(struct text texts[PIPES], int pipes[PIPES][2]) {
    static char block[1 << 16];
    struct pollfd polled[PIPES];
    for (int i = 0; i < PIPES; i++)
        polled[i] = (struct pollfd){.fd = pipes[i][0], .events = POLLIN};
    for (int open = PIPES; open && !interrupt_requested();) {
        if (poll(polled, PIPES, 100) < 0 && errno != EINTR) return;
        for (int i = 0; i < PIPES; i++) {
            if (polled[i].fd < 0 || !polled[i].revents) continue;
            ssize_t got = read(polled[i].fd, block, sizeof block);
            if (got > 0) text_append_bytes(&texts[i], block, (size_t)got);
            if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN))) continue;
            polled[i].fd = -1;
            open--;
        }
    }
}

static void close_pipes(int pipes[PIPES][2], int end) {
    for (int i = 0; i < PIPES; i++) {
        if (pipes[i][end] >= 0) close(pipes[i][end]);
        pipes[i][end] = -1;
    }
}

/* `*code` is 127 when gnuplot is not installed. */
static enum status run(int *code, struct text texts[PIPES], const char *directory,
                       const char *settings, const char *script) {
    int pipes[PIPES][2] = {{-1, -1}, {-1, -1}}, wait_status = 0;
    pid_t child = -1;
    if (pipe2(pipes[OUTPUT], O_CLOEXEC) == 0 && pipe2(pipes[ERRORS], O_CLOEXEC) == 0) {
        fflush(NULL);
        child = fork();
    }
    int reason = errno;
    if (child == 0) execute(directory, settings, script, pipes);
    close_pipes(pipes, 1);
    if (child > 0) {
        read_all(texts, pipes);
        if (interrupt_requested()) kill(child, SIGKILL);
        while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR) continue;
    }
    close_pipes(pipes, 0);
    if (child < 0) return status_fail("cannot run gnuplot: %s", strerror(reason));
    if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
    *code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    return STATUS_OK;
}

/* gnuplot's complaint: its last line; the ones before repeat the statement. */
static const char *last_line(struct text *said) {
    while (said->length && isspace((unsigned char)said->bytes[said->length - 1]))
        said->bytes[--said->length] = '\0';
    if (!said->length) return "it said nothing";
    const char *line = strrchr(said->bytes, '\n');
    return line ? line + 1 : said->bytes;
}

static enum status fail_missing(const char *script_path, const char *data_path,
                                const char *directory, const char *script) {
    struct text command = {0};
    text_append(&command, "cd ");
    quote_shell_path(&command, directory);
    text_append(&command, " && gnuplot ");
    quote_shell_path(&command, script);
    char *line = text_finish(&command);
    enum status status =
        line ? status_fail("gnuplot is not installed: wrote \"%s\" and \"%s\" only; install it and "
                           "run: %s",
                           data_path, script_path, line)
             : STATUS_FAILED;
    free(line);
    return status;
}

/* What it says of a script that has another name: without the name. */
static const char *without_name(const char *line) {
    const char *place = *line == '"' ? strstr(line, "\" line ") : NULL;
    return place ? place + 2 : line;
}

/* The statements that come before the script. The caller frees; NULL when out of memory. */
static char *settings_for(const char *data) {
    struct text settings = {0};
    text_append(&settings, "to_pipe = 1; data = ");
    quote_gnuplot(&settings, data);
    return text_finish(&settings);
}

enum status gnuplot_draw(struct text *drawn, const struct gnuplot_files *files) {
    struct text texts[PIPES] = {0};
    int code = 0;
    const char *script_path = files->script_path;
    char *directory = file_parent(script_path), *settings = NULL;
    char *script = realpath(files->script, NULL), *data = realpath(files->data, NULL);
    enum status status = STATUS_OK;
    if (!script || !data)
        status = status_fail("cannot read \"%s\": %s", script ? files->data : files->script,
                             strerror(errno));
    if (!status) settings = settings_for(data);
    if (!status && !(settings && directory)) status = STATUS_FAILED;
    if (!status) status = run(&code, texts, directory, settings, script);
    if (!status && code == 127)
        status = fail_missing(script_path, files->data_path, directory, file_name(script_path));
    else if (!status && code)
        status = status_fail("gnuplot failed on \"%s\": %s", script_path,
                             without_name(last_line(&texts[ERRORS])));
    else if (!status && texts[ERRORS].bytes &&
             strstr(texts[ERRORS].bytes, "Cannot find or open file"))
        /* it draws on, without the marks that it cannot read */
        status = status_fail("gnuplot cannot read \"%s\"", files->data_path);
    else if (!status && texts[OUTPUT].failed)
        status = status_fail("out of memory while drawing a chart");
    if (!status) {
        *drawn = texts[OUTPUT];
        texts[OUTPUT] = (struct text){0};
    }
    for (int i = 0; i < PIPES; i++) text_free(&texts[i]);
    free(directory);
    free(settings);
    free(script);
    free(data);
    return status;
}
