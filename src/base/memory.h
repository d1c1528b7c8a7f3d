/* Host memory. Failures set the status message and return NULL. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

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
