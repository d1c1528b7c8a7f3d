#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/status.h"

static void *report(void *memory, size_t count, size_t size) {
    if (!memory) (void)status_fail("out of memory for %zu elements of %zu bytes", count, size);
    return memory;
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

uint64_t memory_available(void) {
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) return 0;
    char line[256];
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
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
