#define _GNU_SOURCE
#include "base/hash_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

/* More digests than any file of weights has tensors: an entry's size stays bounded. */
enum { MOST_DIGESTS = 1 << 20 };

/* An entry: the line that says what it belongs to, the digests, and the SHA-256 of both. */
struct entry {
    char *bytes; /* [size] */
    size_t size, head;
};

/* What this process has kept. */
struct remembered {
    struct remembered *next;
    struct entry entry;
};
static struct remembered *remembered;
static pthread_mutex_t remembered_lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t nanoseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

struct file_identity file_identity_from(const struct stat *about) {
    return (struct file_identity){.device = (uint64_t)about->st_dev,
                                  .inode = (uint64_t)about->st_ino,
                                  .size = (uint64_t)about->st_size,
                                  .modified = nanoseconds(&about->st_mtim),
                                  .changed = nanoseconds(&about->st_ctim)};
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified == b->modified && a->changed == b->changed;
}

double hash_cache_wait(const struct file_identity *identity) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t last = identity->modified > identity->changed ? identity->modified : identity->changed;
    double age = 1e-9 * (double)(nanoseconds(&now) - last);
    return age > HASH_CACHE_SECONDS ? 0 : HASH_CACHE_SECONDS - age + 0.01;
}

/* ---- an entry as bytes */

/* The first line, which names everything that must agree. `real` is the path without links. */
static char *format_head(const char *real, const struct file_identity *identity, size_t count) {
    char path[SHA256_HEX_SIZE];
    if (sha256_bytes(path, real, strlen(real))) return NULL;
    return text_format("apriel-tool hashes 1 %s device %" PRIu64 " inode %" PRIu64 " size %" PRIu64
                       " modified %" PRId64 " changed %" PRId64 " digests %zu\n",
                       path, identity->device, identity->inode, identity->size, identity->modified,
                       identity->changed, count);
}

/* The name of the entry's file: a version of the file under the same path takes its place. */
static enum status format_name(char name[SHA256_HEX_SIZE], const char *real,
                               const struct file_identity *identity) {
    char *key = text_format("%s\n%" PRIu64 " %" PRIu64, real, identity->device, identity->inode);
    enum status status = key ? sha256_bytes(name, key, strlen(key)) : STATUS_FAILED;
    free(key);
    return status;
}

/* The head with room for the rest; bytes is NULL when out of memory. */
static struct entry new_entry(const char *head, size_t count) {
    struct entry entry = {.head = strlen(head)};
    entry.size = entry.head + (count + 1) * SHA256_SIZE;
    entry.bytes = calloc(1, entry.size);
    if (entry.bytes) memcpy(entry.bytes, head, entry.head);
    return entry;
}

static bool has_sum(const struct entry *entry) {
    unsigned char sum[SHA256_SIZE];
    size_t before = entry->size - SHA256_SIZE;
    return !sha256_raw(sum, "", 0, entry->bytes, before) &&
           memcmp(sum, entry->bytes + before, sizeof sum) == 0;
}

/* ---- the directory */

/* The directory `name` in `parent` (or a path), made if need be; -1. */
static int open_directory(int parent, const char *name, bool make) {
    if (make && mkdirat(parent, name, 0700) != 0 && errno != EEXIST) return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_cache(bool make) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *base = cache && *cache == '/' ? text_format("%s", cache)
                 : home && *home == '/' ? text_format("%s/.cache", home)
                                        : NULL;
    int top = base ? open_directory(AT_FDCWD, base, make) : -1;
    int middle = top >= 0 ? open_directory(top, "apriel-tool", make) : -1;
    int directory = middle >= 0 ? open_directory(middle, "hashes", make) : -1;
    if (top >= 0) close(top);
    if (middle >= 0) close(middle);
    free(base);
    return directory;
}

/* Only what this user wrote and nobody else may write is believed. */
static bool is_private(int file, size_t size) {
    struct stat about;
    return fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_uid == geteuid() &&
           !(about.st_mode & (S_IWGRP | S_IWOTH)) && about.st_size == (off_t)size;
}

static bool read_whole(int file, char *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t got = pread(file, bytes + at, size - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += (size_t)got;
    }
    return true;
}

static bool write_whole(int file, const char *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t put = pwrite(file, bytes + at, size - at, (off_t)at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += (size_t)put;
    }
    return true;
}

/* Fills the entry's digests from its file. */
static bool read_entry(struct entry *entry, const char *name) {
    int directory = open_cache(false);
    int file = directory < 0 ? -1
                             : openat(directory, name,
                                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    char *head = text_format("%.*s", (int)entry->head, entry->bytes);
    bool good = file >= 0 && head && is_private(file, entry->size) &&
                read_whole(file, entry->bytes, entry->size) &&
                memcmp(entry->bytes, head, entry->head) == 0 && has_sum(entry);
    free(head);
    if (file >= 0) close(file);
    if (directory >= 0) close(directory);
    return good;
}

/* Through one temporary sibling per entry, which its writer has locked: another process that writes
 * the same entry leaves it alone, and what a killed one left behind is taken over. */
static void write_entry(const struct entry *entry, const char *name) {
    char temporary[SHA256_HEX_SIZE + 4];
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    int directory = open_cache(true);
    if (directory < 0) return;
    int file = openat(directory, temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool mine = file >= 0 && (flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK);
    if (mine) {
        bool good = ftruncate(file, 0) == 0 && write_whole(file, entry->bytes, entry->size) &&
                    renameat(directory, temporary, directory, name) == 0;
        if (!good) (void)unlinkat(directory, temporary, 0);
    }
    if (file >= 0) close(file);
    close(directory);
}

/* ---- */

static const struct entry *recall(const char *head) {
    size_t length = strlen(head);
    for (const struct remembered *at = remembered; at; at = at->next)
        if (at->entry.head == length && memcmp(at->entry.bytes, head, length) == 0)
            return &at->entry;
    return NULL;
}

/* Takes the entry over. */
static void remember(struct entry *entry) {
    struct remembered *more = calloc(1, sizeof *more);
    if (!more) {
        free(entry->bytes);
        return;
    }
    more->entry = *entry;
    pthread_mutex_lock(&remembered_lock);
    more->next = remembered;
    remembered = more;
    pthread_mutex_unlock(&remembered_lock);
}

bool hash_cache_find(unsigned char (*digests)[SHA256_SIZE], size_t count, const char *path,
                     const struct file_identity *identity) {
    char name[SHA256_HEX_SIZE];
    char *real = realpath(path, NULL);
    char *head = real && count <= MOST_DIGESTS ? format_head(real, identity, count) : NULL;
    bool found = false;
    if (!head || format_name(name, real, identity)) goto done;
    pthread_mutex_lock(&remembered_lock);
    const struct entry *known = recall(head);
    if (known) memcpy(digests, known->bytes + known->head, count * SHA256_SIZE);
    pthread_mutex_unlock(&remembered_lock);
    found = known != NULL;
    if (found) goto done;
    struct entry entry = new_entry(head, count);
    found = entry.bytes && read_entry(&entry, name);
    if (found) {
        memcpy(digests, entry.bytes + entry.head, count * SHA256_SIZE);
        remember(&entry);
    } else {
        free(entry.bytes);
    }
done:
    free(head);
    free(real);
    return found;
}

void hash_cache_keep(const unsigned char (*digests)[SHA256_SIZE], size_t count, const char *path,
                     const struct file_identity *identity) {
    char name[SHA256_HEX_SIZE];
    char *real = realpath(path, NULL);
    char *head = real && count <= MOST_DIGESTS ? format_head(real, identity, count) : NULL;
    if (head && !format_name(name, real, identity)) {
        struct entry entry = new_entry(head, count);
        if (entry.bytes) {
            size_t before = entry.size - SHA256_SIZE;
            memcpy(entry.bytes + entry.head, digests, count * SHA256_SIZE);
            if (!sha256_raw((unsigned char *)entry.bytes + before, "", 0, entry.bytes, before))
                write_entry(&entry, name);
            remember(&entry);
        }
    }
    free(head);
    free(real);
}
