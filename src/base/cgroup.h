/* What the control groups of this process allow: the limits of its own group and of every parent,
 * version 1 and 2, found through /proc/self/cgroup and /proc/self/mountinfo. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdint.h>

enum { CGROUP_NAME = 160 };

struct cgroup_limits {
    uint64_t memory; /* bytes that the tightest group still gives; UINT64_MAX: no limit */
    double cpus;     /* processors' worth of time of the tightest quota; 0: no quota */
    char memory_group[CGROUP_NAME], cpu_group[CGROUP_NAME]; /* "/user.slice/job"; "" without */
};

/* `root` is put before every path ("" for the system's own; tests have trees of theirs). What is
 * not there or cannot be read is no limit. */
void cgroup_read(struct cgroup_limits *out, const char *root);

#endif
