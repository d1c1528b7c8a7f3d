#define _GNU_SOURCE
#include "base/threads_share.h"

#include <inttypes.h>
#include <omp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/threads.h" /* circle: counts the threads that begin it */

enum {
    SAMPLE = 25000000, /* nanoseconds between two looks */
    CALM = 40,         /* looks in a row that must be calm before threads wait long again */
};

/* Shares of the time for which the first thread waited for a processor: with more, others want it;
 * with less, they do not. */
static const double BUSY = 0.05, QUIET = 0.02;

/* Nanoseconds for which the first thread was ready and had no processor; false: not told. */
static bool read_delay(uint64_t *out) {
    FILE *file = fopen("/proc/self/schedstat", "re");
    bool good = file && fscanf(file, "%*u %" SCNu64, out) == 1;
    if (file) fclose(file);
    return good;
}

/* Whether others have so much to do that some would wait if `threads` of ours had as well. */
static bool is_crowded(int threads) {
    FILE *file = fopen("/proc/loadavg", "re");
    int ready = 1;
    if (file && fscanf(file, "%*s %*s %*s %d/", &ready) != 1) ready = 1;
    if (file) fclose(file);
    return ready - 1 + threads > sysconf(_SC_NPROCESSORS_ONLN);
}

/* Sleeps for a sample's time; the share of it for which the first thread waited. */
static double sample(uint64_t *delay) {
    double start = log_seconds();
    uint64_t before = *delay;
    nanosleep(&(struct timespec){0, SAMPLE}, NULL);
    if (!read_delay(delay)) return 0;
    return (double)(*delay - before) * 1e-9 / (log_seconds() - start);
}

/* What the watching thread knows. */
struct watch {
    int threads;    /* of the program's parallel regions */
    uint64_t delay; /* see read_delay, at the last look */
};

/* A thread with a team that waits in its barrier until nobody else wants the processors. Its end
 * dismisses the team. */
static void *crowd(void *context) {
    struct watch *watch = context;
    int team = omp_get_num_procs() - watch->threads + 2;
    threads_limit();
    /* with more threads than processors OpenMP's waits are short by themselves */
    if (team < 2 || threads_try(team) < team) return NULL;
    omp_set_num_threads(team);
#pragma omp parallel
#pragma omp master
    for (int calm = 0; calm < CALM;) calm = sample(&watch->delay) < QUIET ? calm + 1 : 0;
    return NULL;
}

static void *look(void *context) {
    struct watch *watch = context;
    pthread_t thread;
    bool crowded = is_crowded(watch->threads);
    if (!read_delay(&watch->delay)) return NULL;
    for (;; crowded = sample(&watch->delay) > BUSY)
        if (crowded && pthread_create(&thread, NULL, crowd, watch) == 0)
            (void)pthread_join(thread, NULL);
}

void threads_share_begin(void) {
    static struct watch watch;
    pthread_t watcher;
    if (watch.threads || getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    watch.threads = threads_count();
    if (watch.threads > 1 && pthread_create(&watcher, NULL, look, &watch) == 0)
        pthread_detach(watcher);
}
