/* How many threads work. How they wait for each other: threads_share.h.
 *
 * What OpenMP announces (omp_get_max_threads) is not always what a parallel region gets:
 * OMP_THREAD_LIMIT, OMP_DYNAMIC, OMP_MAX_ACTIVE_LEVELS and limits on processes lessen it, and
 * libraries that rely on the number leave work undone. Here announced and given are made one. */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <stdint.h>

#include "base/status.h"

/* At the start of the program and of every thread of its own: exactly as many threads as there is
 * room for are announced, and no nested ones: the least of OMP_NUM_THREADS, OMP_THREAD_LIMIT, the
 * processors that this process may run on, and its control groups' quota (rounded up). */
void threads_limit(void);

/* Processors that this process may use by its affinity and its control groups' quota; at least 1.
 */
int threads_processors(void);

/* `count` threads, as --threads asks, instead of what threads_limit finds. Before parallel work. */
enum status threads_choose(int64_t count) STATUS_CHECKED;

/* Before the first parallel work: that so many threads can be started and are given; where not,
 * fewer, with a warning. */
void threads_settle(void);

/* How many threads there can be at once, this one included, up to `count`: they are started, and
 * end. OpenMP would end the program where it cannot start one. */
int threads_try(int count);

/* Threads of a parallel region that this thread begins. */
int threads_count(void);

/* Of this thread alone, up to what threads_limit found. */
void threads_set(int count);

#endif
