/* What a person sees on stderr while a command works: notes, warnings and progress. Results go to
 * stdout and are printed by src/cmd. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Quiet drops notes and progress; warnings stay. */
void log_set_quiet(bool quiet);

void log_note(const char *format, ...) STATUS_PRINTF(1, 2);
void log_warn(const char *format, ...) STATUS_PRINTF(1, 2); /* "warning: …" */

/* A note that waits until work begins (log_begin_work, which progress_begin calls), so that wrong
 * input is told in one line. One waits at a time. */
void log_note_at_work(const char *format, ...) STATUS_PRINTF(1, 2);
void log_begin_work(void);

/* Progress of a long task in units of work: one rewritten line with rate and time left on a
 * terminal, a plain line about every ten seconds otherwise. */
struct progress {
    const char *what; /* "loo" */
    const char *unit; /* "rows" */
    double total;     /* units in all */
    double start;     /* seconds; set by progress_begin */
    double first;     /* units that were done before this run (resumed work) */
    double last_shown;
    bool shown;
};

void progress_begin(struct progress *progress, const char *what, const char *unit, double total,
                    double already_done);
void progress_update(struct progress *progress, double done);
void progress_end(struct progress *progress);

/* Monotonic seconds. */
double log_seconds(void);

#endif
