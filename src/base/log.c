#define _POSIX_C_SOURCE 200809L
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/quote.h"

static bool quiet;
static bool line_open;           /* a progress line on the terminal awaits its newline */
static struct progress *current; /* the innermost that is under way */
static char waiting[512];        /* the note of log_note_at_work */

void log_set_quiet(bool value) {
    quiet = value;
}

static void close_line(void) {
    if (line_open) fputc('\n', stderr);
    line_open = false;
}

void log_note(const char *format, ...) {
    if (quiet) return;
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr); /* notes come from the thread that takes signals, too */
    close_line();
    quote_vprint(stderr, format, arguments);
    funlockfile(stderr);
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

static double began;

__attribute__((constructor)) static void begin(void) {
    began = log_seconds();
}

double log_elapsed(void) {
    return log_seconds() - began;
}

void progress_begin(struct progress *progress, const char *what, const char *unit, double total,
                    double already_done) {
    log_begin_work();
    *progress = (struct progress){.what = what,
                                  .unit = unit,
                                  .total = total,
                                  .first = already_done,
                                  .done = already_done,
                                  .to = 1,
                                  .outer = current};
    progress->start = log_seconds();
    current = progress;
}

const char *log_format_duration(char out[32], double seconds) {
    long whole = (long)(seconds + 0.5);
    if (whole < 60)
        snprintf(out, 32, "%lds", whole);
    else if (whole < 3600)
        snprintf(out, 32, "%ldm%02lds", whole / 60, whole % 60);
    else
        snprintf(out, 32, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    return out;
}

/* Seconds between two lines. The first comes soon: something happens at all. */
static double interval(const struct progress *progress, bool terminal) {
    return terminal ? 0.2 : progress->shown ? 10 : 0.5;
}

static void show(struct progress *progress, double share) {
    double now = log_seconds(), elapsed = now - progress->start;
    bool terminal = isatty(STDERR_FILENO);
    double last = progress->shown ? progress->last_shown : progress->start;
    if (quiet || now - last < interval(progress, terminal) || elapsed <= 0) return;
    double done = progress->done + share * progress->in_hand;
    double rate = (done - progress->first) / elapsed;
    char left[32] = "?";
    if (rate > 0) log_format_duration(left, (progress->total - done) / rate);
    flockfile(stderr);
    fprintf(stderr, "%s%s: %.0f/%.0f %s%s%s, %.3g %s/s, %s left%s", terminal ? "\r" : "",
            progress->what, progress->done, progress->total, progress->unit,
            *progress->detail ? ", " : "", progress->detail, rate, progress->unit, left,
            terminal ? "\x1b[K" : "\n");
    fflush(stderr);
    line_open = terminal;
    funlockfile(stderr);
    progress->last_shown = now;
    progress->shown = true;
}

void progress_update(struct progress *progress, double done) {
    progress->done = done;
    progress->in_hand = 0;
    show(progress, 0);
}

void progress_unit(double units) {
    if (!current) return;
    current->in_hand = units;
    progress_range(0, 1);
}

void progress_range(double from, double to) {
    if (!current) return;
    current->from = from;
    current->to = to;
}

void progress_within(double share, const char *format, ...) {
    if (!current) return;
    if (format) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(current->detail, sizeof current->detail, format, arguments);
        va_end(arguments);
    }
    show(current, current->from + share * (current->to - current->from));
}

void progress_restart(struct progress *progress) {
    progress->start = log_seconds();
    progress->first = progress->done;
    *progress->detail = '\0';
}

void progress_end(struct progress *progress) {
    current = progress->outer;
    flockfile(stderr);
    if (line_open && progress->shown) {
        fputs("\r\x1b[K", stderr);
        line_open = false;
    }
    funlockfile(stderr);
}
