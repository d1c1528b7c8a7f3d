#define _POSIX_C_SOURCE 200809L
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/quote.h"

static bool quiet;
static bool line_open;    /* a progress line on the terminal awaits its newline */
static char waiting[512]; /* the note of log_note_at_work */

void log_set_quiet(bool value) {
    quiet = value;
}

static void close_line(void) {
    if (line_open) fputc('\n', stderr);
    line_open = false;
}

void log_note(const char *format, ...) {
    if (quiet) return;
    close_line();
    va_list arguments;
    va_start(arguments, format);
    quote_vprint(stderr, format, arguments);
    va_end(arguments);
}

void log_note_at_work(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(waiting, sizeof waiting, format, arguments);
    va_end(arguments);
}

void log_begin_work(void) {
    if (*waiting) log_note("%s", waiting);
    *waiting = '\0';
}

void log_warn(const char *format, ...) {
    close_line();
    fputs("warning: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    quote_vprint(stderr, format, arguments);
    va_end(arguments);
}

double log_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_begin(struct progress *progress, const char *what, const char *unit, double total,
                    double already_done) {
    log_begin_work();
    *progress = (struct progress){.what = what, .unit = unit, .total = total, .first = already_done};
    progress->start = progress->last_shown = log_seconds();
}

static void format_duration(char out[32], double seconds) {
    long whole = (long)(seconds + 0.5);
    if (whole < 60)
        snprintf(out, 32, "%lds", whole);
    else if (whole < 3600)
        snprintf(out, 32, "%ldm%02lds", whole / 60, whole % 60);
    else
        snprintf(out, 32, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
}

void progress_update(struct progress *progress, double done) {
    double now = log_seconds(), elapsed = now - progress->start;
    bool terminal = isatty(STDERR_FILENO);
    if (quiet || now - progress->last_shown < (terminal ? 0.2 : 10.0) || elapsed <= 0) return;
    progress->last_shown = now;
    double rate = (done - progress->first) / elapsed;
    char left[32] = "?";
    if (rate > 0) format_duration(left, (progress->total - done) / rate);
    fprintf(stderr, "%s%s: %.0f/%.0f %s, %.3g %s/s, %s left%s", terminal ? "\r" : "", progress->what,
            done, progress->total, progress->unit, rate, progress->unit, left,
            terminal ? "\x1b[K" : "\n");
    fflush(stderr);
    line_open = terminal;
    progress->shown = true;
}

void progress_end(struct progress *progress) {
    if (line_open && progress->shown) {
        fputs("\r\x1b[K", stderr);
        line_open = false;
    }
}
