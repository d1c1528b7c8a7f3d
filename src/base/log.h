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
 * terminal; otherwise a plain line after half a second and then every ten. */
struct progress {
    const char *what; /* "loo" */
    const char *unit; /* "rows" */
    double total;     /* units in all */
    double start;     /* seconds; set by progress_begin */
    double first;     /* units that were done before this run (resumed work) */
    double done;      /* units */
    double in_hand;   /* units that are under way, see progress_unit */
    double from, to;  /* the range of progress_within in them */
    double last_shown;
    bool shown;
    char detail[64]; /* "layer 5", "layer 5, rkl 0.0123" */
    struct progress *outer;
};

/* The innermost that was begun is the one under way, until progress_end, which must come. */
void progress_begin(struct progress *progress, const char *what, const char *unit, double total,
                    double already_done);
void progress_update(struct progress *progress, double done);
void progress_end(struct progress *progress);

/* Forget the time so far: what came before was preparation. */
void progress_restart(struct progress *progress);

/* From inside a unit of the progress under way, by those who do the work and do not know of it;
 * nothing where there is none. `units` are in hand; what follows goes from share `from` to share
 * `to` of them; `share` of that range is done, at what `format` says (NULL: as before). */
void progress_unit(double units);
void progress_range(double from, double to);
void progress_within(double share, const char *format, ...) STATUS_PRINTF(2, 3);

/* "42s", "5m07s", "2h30m"; `out` is returned. */
const char *log_format_duration(char out[32], double seconds);

/* Monotonic seconds. */
double log_seconds(void);

/* Seconds since the program began. */
double log_elapsed(void);

#endif
