#define _GNU_SOURCE
#include "base/memory.h"

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/status.h"

static atomic_size_t failures;

static void *report(void *memory, size_t count, size_t size) {
    if (memory) return memory;
    failures++;
    (void)status_fail("out of memory for %zu elements of %zu bytes", count, size);
    return NULL;
}

size_t memory_failures(void) {
    return failures;
}

void *memory_calloc(size_t count, size_t size) {
    return report(calloc(count ? count : 1, size ? size : 1), count, size);
}

void *memory_resize(void *old, size_t count, size_t size) {
    return report(reallocarray(old, count ? count : 1, size ? size : 1), count, size);
}

char *memory_copy_bytes(const char *bytes, size_t length) {
    char *copy = report(malloc(length + 1), length + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

char *memory_copy_string(const char *text) {
    return memory_copy_bytes(text, strlen(text));
}

void *memory_aligned(size_t bytes) {
    size_t rounded = (bytes + 63) / 64 * 64;
    if (rounded < bytes) return report(NULL, bytes, 1);
    return report(aligned_alloc(64, rounded ? rounded : 64), bytes, 1);
}

static uint64_t machine_available(const char *root) {
    char path[4096], line[256];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

uint64_t memory_available_below(char bound[MEMORY_BOUND], const char *root) {
    struct cgroup_limits limits;
    uint64_t bytes = machine_available(root);
    if (bound) *bound = '\0';
    cgroup_read(&limits, root);
    if (limits.memory == UINT64_MAX || (bytes && bytes <= limits.memory)) return bytes;
    if (bound) snprintf(bound, MEMORY_BOUND, "cgroup limit of %s", limits.memory_group);
    return limits.memory ? limits.memory : 1; /* known to be nothing, not unknown */
}

/* What ulimit leaves, where that is less. */
static void bound_resource(uint64_t *bytes, char *bound, int resource, uint64_t pages,
                           const char *name) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t left = used < limit.rlim_cur ? limit.rlim_cur - used : 1;
    if (*bytes && *bytes <= left) return;
    *bytes = left;
    if (bound) snprintf(bound, MEMORY_BOUND, "%s", name);
}

uint64_t memory_available(char bound[MEMORY_BOUND]) {
    uint64_t bytes = memory_available_below(bound, ""), whole = 0, data = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%" SCNu64 " %*u %*u %*u %*u %" SCNu64, &whole, &data) != 2)
        whole = data = 0;
    if (file) fclose(file);
    bound_resource(&bytes, bound, RLIMIT_AS, whole, "ulimit -v");
    bound_resource(&bytes, bound, RLIMIT_DATA, data, "ulimit -d");
    return bytes;
}

enum { STACK_LEAST = 512 << 10, STACK_USUAL = 8 << 20, LEAST_ROOM = 8 << 20 };

static void widen_stacks_of_threads(void) {
    pthread_attr_t attributes;
    size_t bytes;
    if (pthread_getattr_default_np(&attributes) != 0) return;
    if (pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes < STACK_LEAST &&
        pthread_attr_setstacksize(&attributes, STACK_LEAST) == 0)
        (void)pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

enum status memory_begin(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        (void)mallopt(M_ARENA_MAX, 1);
    enum status status = memory_check_room(LEAST_ROOM, "the program");
    if (status) return status;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= STACK_USUAL) return STATUS_OK;
    rlim_t had = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < STACK_USUAL ? limit.rlim_max : STACK_USUAL;
    if (setrlimit(RLIMIT_STACK, &limit) != 0) limit.rlim_cur = had;
    widen_stacks_of_threads();
    if (limit.rlim_cur >= STACK_LEAST) return STATUS_OK;
    return status_fail("a stack of %llu kB (ulimit -s) is too small: %d kB are needed",
                       (unsigned long long)limit.rlim_cur >> 10, STACK_LEAST >> 10);
}

bool memory_has_room(uint64_t bytes) {
    void *room =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room != MAP_FAILED && munmap(room, (size_t)bytes) == 0;
}

enum status memory_check_room(uint64_t bytes, const char *what) {
    char bound[MEMORY_BOUND], needed[32], left[32];
    if (memory_has_room(bytes)) return STATUS_OK;
    uint64_t available = memory_available(bound);
    return status_fail("out of memory: %s need%s %s, and %s leaves %s", what,
                       what[strlen(what) - 1] == 's' ? "" : "s", memory_format(needed, bytes),
                       *bound ? bound : "the machine", memory_format(left, available));
}

uint64_t memory_peak(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (uint64_t)usage.ru_maxrss * 1024;
}

const char *memory_format(char out[32], uint64_t bytes) {
    static const char *units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(out, 32, "%" PRIu64 " B", bytes);
    else
        snprintf(out, 32, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
    return out;
}
