/* Digests of large files, kept in the user's cache directory ($XDG_CACHE_HOME/apriel-tool/hashes,
 * else ~/.cache/apriel-tool/hashes), so that a file is read once and not by every command.
 *
 * An entry belongs to a path, a device and an inode. It counts only while size, modification time
 * and change time are to the nanosecond what they were, and is kept only when both times lay more
 * than HASH_CACHE_SECONDS before the reading began: a file system's clock is coarse, and a file
 * that was written just now may be written again within one tick. (What no file system tells: a
 * program that goes on writing into a mapping of the file, whose time stands still until the pages
 * reach the disk.)
 *
 * The cache is only ever a shortcut. No directory, no space, a damaged or foreign entry: the file
 * is read, and nothing is said. Entries are private to the user and written through a temporary
 * sibling. What one process has read it also remembers by itself, under the same rule. */
#ifndef BASE_HASH_CACHE_H
#define BASE_HASH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/hash.h"

enum { HASH_CACHE_SECONDS = 2 };

/* What tells that a file is still the same, as stat gives it; times in nanoseconds. */
struct file_identity {
    uint64_t device, inode, size;
    int64_t modified, changed;
};

struct file_identity file_identity_from(const struct stat *about);
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);

/* Seconds until a file with these times may be kept; 0: it may, now. */
double hash_cache_wait(const struct file_identity *identity);

/* The `count` digests of the file at `path`; false when they are not known. */
bool hash_cache_find(unsigned char (*digests)[SHA256_SIZE], size_t count, const char *path,
                     const struct file_identity *identity);

/* Keep them. Call only when hash_cache_wait gave 0 before the file was read and the file had the
 * same identity afterwards. */
void hash_cache_keep(const unsigned char (*digests)[SHA256_SIZE], size_t count, const char *path,
                     const struct file_identity *identity);

#endif
