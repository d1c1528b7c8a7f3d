#define _GNU_SOURCE
#include "base/threads.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/threads_share.h"

static int chosen; /* threads of a parallel region; 0: not known yet */

int threads_processors(void) {
    int count = 0;
    /* The set must be as large as the kernel's, which has no limit that a program knows. */
    for (int bits = CPU_SETSIZE; count == 0 && bits <= 1 << 20; bits *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)bits);
        size_t size = CPU_ALLOC_SIZE((size_t)bits);
        if (set && sched_getaffinity(0, size, set) == 0) count = CPU_COUNT_S(size, set);
        CPU_FREE(set);
    }
    if (count < 1) count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    struct cgroup_limits limits;
    cgroup_read(&limits, "");
    if (limits.cpus > 0 && ceil(limits.cpus) < count) count = (int)ceil(limits.cpus);
    return count < 1 ? 1 : count;
}

void threads_limit(void) {
    omp_set_dynamic(0);
    omp_set_max_active_levels(1);
    if (!chosen) {
        int processors = threads_processors(), limit = omp_get_thread_limit();
        chosen = omp_get_max_threads();
        if (chosen > processors) chosen = processors;
        if (chosen > limit) chosen = limit;
        if (chosen < 1) chosen = 1;
    }
    omp_set_num_threads(chosen);
}

enum status threads_choose(int64_t count) {
    int limit = omp_get_thread_limit();
    if (count > limit)
        return status_set(STATUS_USAGE, "--threads %lld: OMP_THREAD_LIMIT allows %d",
                          (long long)count, limit);
    chosen = (int)count;
    threads_limit();
    return STATUS_OK;
}

/* Stacks of threads that were not told how large theirs should be. */
static size_t stack_bytes(void) {
    pthread_attr_t attributes;
    size_t bytes = 0;
    if (pthread_getattr_default_np(&attributes) != 0) return (size_t)8 << 20;
    (void)pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
    return bytes;
}

/* A gate that threads wait at until all have been started. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool open;
};

static void *wait_at_gate(void *context) {
    struct gate *gate = context;
    (void)pthread_mutex_lock(&gate->mutex);
    while (!gate->open) (void)pthread_cond_wait(&gate->opened, &gate->mutex);
    (void)pthread_mutex_unlock(&gate->mutex);
    pthread_exit(NULL); /* which loads what OpenMP's threads end with while there is memory */
}

int threads_try(int count) {
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    pthread_t *threads = memory_calloc((size_t)count, sizeof *threads);
    int started = 0;
    if (!threads) return 1;
    while (started < count - 1 && pthread_create(&threads[started], NULL, wait_at_gate, &gate) == 0)
        started++;
    (void)pthread_mutex_lock(&gate.mutex);
    gate.open = true;
    (void)pthread_cond_broadcast(&gate.opened);
    (void)pthread_mutex_unlock(&gate.mutex);
    for (int i = 0; i < started; i++) (void)pthread_join(threads[i], NULL);
    free(threads);
    return started + 1;
}

/* Beside the team's stacks, those of the threads of threads_share.h; and what is left must do for
 * the rest of the program. */
enum { MORE_THREADS = 4, ROOM = 48 << 20 };

static bool fits(int threads) {
    return memory_has_room(ROOM + (uint64_t)(threads + MORE_THREADS) * stack_bytes());
}

void threads_settle(void) {
    static bool settled;
    if (settled) return;
    settled = true;
    if (!chosen) threads_limit();
    int announced = chosen, team = 0;
    chosen = announced == 1 || fits(announced) ? threads_try(announced) : 1;
    omp_set_num_threads(chosen);
#pragma omp parallel
#pragma omp single
    team = omp_get_num_threads();
    if (team < chosen) chosen = team;
    omp_set_num_threads(chosen);
    if (chosen < announced)
        log_warn("%d thread%s instead of %d: the system gives no more", chosen,
                 chosen == 1 ? "" : "s", announced);
    else
        threads_share_begin();
}

int threads_count(void) {
    return omp_get_max_threads();
}

void threads_set(int count) {
    threads_limit();
    if (count >= 1 && count < chosen) omp_set_num_threads(count);
}
