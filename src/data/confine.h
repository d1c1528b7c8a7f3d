/* Giving up, for good, what a process that only reads one file has no use for. libhdf5 has memory
 * errors on hostile files; what takes hold of the process through one finds nothing to reach: no
 * other process, no network, no file that it could write, no new program, little memory and time.
 *
 * The kernel may refuse parts of it (an old one, or a container's own rules): then the others hold.
 */
#ifndef DATA_CONFINE_H
#define DATA_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

struct confine_limits {
    uint64_t seconds; /* of the processor; of the clock a minute and four times as many */
    uint64_t bytes;   /* of memory, besides what the process has */
};

/* `pipe` stays open, standard input, output and error with it; every other descriptor is closed.
 * Returns the number under which the pipe goes on. */
int confine_descriptors(int pipe);

/* After everything but reading: limits first, then a filter that lets system calls for reading
 * files, memory and writing to `pipe` through and fails all others. False: the kernel takes no
 * filter. */
bool confine_process(int pipe, const struct confine_limits *limits);

#endif
