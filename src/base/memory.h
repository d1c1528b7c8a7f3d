/* Host memory. Failures set the status message and return NULL. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Zeroed array of `count` elements of `size` bytes; never NULL for a zero count. Free with free().
 */
void *memory_calloc(size_t count, size_t size);

/* Resize to `count` elements of `size` bytes; new bytes are not initialised. On failure NULL is
 * returned and `old` stays valid. */
void *memory_resize(void *old, size_t count, size_t size);

/* A copy of `text`, or of its first `length` bytes with a terminator. Free with free(). */
char *memory_copy_string(const char *text);
char *memory_copy_bytes(const char *bytes, size_t length);

/* Uninitialised, 64-byte aligned. Free with free(). */
void *memory_aligned(size_t bytes);

/* Whether so many bytes could be had now; and a failure that says that `what` needs them, and which
 * limit is in the way. For what ends the program when it gets none: libraries of C++, threads. */
bool memory_has_room(uint64_t bytes);
enum status memory_check_room(uint64_t bytes, const char *what) STATUS_CHECKED;

/* At the start of the program: that there is a little memory at all (some libraries crash without);
 * that its stack may grow as far as it has to (ulimit -s), and that
 * the threads to come have such stacks; that allocations by threads take no address space that they
 * do not use where that is limited (ulimit -v). */
enum status memory_begin(void) STATUS_CHECKED;

/* How often one of these failed in this process. */
size_t memory_failures(void);

/* Bytes that this process can still get without swapping: the least of what the machine has
 * (MemAvailable), what its control groups allow (see cgroup.h), and the limits of its address space
 * and data (ulimit -v, -d); 0 when unknown. `bound` (or NULL) says which holds: "cgroup limit of
 * /job", "ulimit -v"; "" for the machine's. */
enum { MEMORY_BOUND = 192 };
uint64_t memory_available(char bound[MEMORY_BOUND]);

/* The same of a tree of files that stands for /proc and /sys, without the limits of ulimit. */
uint64_t memory_available_below(char bound[MEMORY_BOUND], const char *root);

/* Peak resident set of this process so far, in bytes; 0 when unknown. */
uint64_t memory_peak(void);

/* "1.5 GB", "640 B": decimal units. `out` is returned. */
const char *memory_format(char out[32], uint64_t bytes);

#endif
