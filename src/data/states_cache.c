#define _GNU_SOURCE
#include "data/states_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

struct states_cache {
    char *path; /* of the directory when the file has no name */
    bool named;
    int file, complete;
    size_t file_bytes, bytes; /* of the whole file, of the states */
    char *mapping;            /* [file_bytes] */
    char *values;
    uint64_t *mark; /* [STATES_FILE_MARKS] */
};

/* Room for what HDF5 keeps beside the states. */
enum { OVERHEAD = 1 << 16 };

static uint64_t shape_bytes(const struct states_shape *shape) {
    return shape->tokens * shape->width * dtype_size(shape->type);
}

static enum status find_name(char **path, char fingerprint[SHA256_HEX_SIZE],
                             const struct states_key *key) {
    enum status status = sha256_bytes(fingerprint, key->identity, strlen(key->identity));
    if (status) return status;
    char *name = text_format("apriel-tool-%s-%.16s.h5", key->kind, fingerprint);
    *path = name ? file_join(key->directory, name) : NULL;
    free(name);
    return *path ? STATUS_OK : STATUS_FAILED;
}

enum status states_cache_path(char **out, const struct states_key *key) {
    char fingerprint[SHA256_HEX_SIZE];
    return find_name(out, fingerprint, key);
}

enum status states_cache_size(uint64_t *bytes, uint64_t *there, const struct states_key *key) {
    *bytes = shape_bytes(&key->shape) + OVERHEAD;
    *there = 0;
    struct stat about;
    int reason = stat(key->directory, &about) != 0     ? errno
                 : !S_ISDIR(about.st_mode)             ? ENOTDIR
                 : access(key->directory, W_OK | X_OK) ? errno
                                                       : 0;
    if (reason)
        return status_fail("cannot create a cache file in \"%s\": %s", key->directory,
                           strerror(reason));
    if (!key->identity) return STATUS_OK;
    char fingerprint[SHA256_HEX_SIZE], *path = NULL;
    enum status status = find_name(&path, fingerprint, key);
    if (!status && stat(path, &about) == 0) *there = (uint64_t)about.st_blocks * 512;
    if (*there > *bytes) *there = *bytes;
    free(path);
    return status;
}

/* ---- the sums of states_file.h */

static void sum(uint64_t sums[2], const struct states_cache *cache, uint64_t state) {
    uint64_t a = state, b = 0, word;
    for (size_t at = 0; at < cache->bytes; at += sizeof word) {
        size_t rest = cache->bytes - at;
        word = 0;
        memcpy(&word, cache->values + at, rest < sizeof word ? rest : sizeof word);
        a += word;
        b += a;
    }
    sums[0] = a;
    sums[1] = b;
}

int states_cache_layer(const struct states_cache *cache) {
    return cache->mark[0] ? (int)(cache->mark[0] - 1) : STATES_NOTHING;
}

void *states_cache_values(const struct states_cache *cache) {
    return cache->values;
}

/* The mark goes to the disk before any state does, and ahead of them in the compiler's order. */
void states_cache_change(struct states_cache *cache) {
    cache->mark[0] = 0;
    msync(cache->mapping, (size_t)((char *)cache->mark - cache->mapping) + sizeof *cache->mark,
          MS_SYNC);
}

void states_cache_settle(struct states_cache *cache, int layer) {
    uint64_t state = (uint64_t)layer + 1;
    if (cache->named) sum(cache->mark + 1, cache, state);
    cache->mark[0] = state;
    if (layer == cache->complete) flock(cache->file, LOCK_SH); /* others may read it now */
}

/* Whether the states are what the mark says; otherwise they are marked as nothing. */
static void verify(struct states_cache *cache) {
    uint64_t sums[2];
    if (!cache->mark[0]) return;
    sum(sums, cache, cache->mark[0]);
    if (sums[0] == cache->mark[1] && sums[1] == cache->mark[2]) return;
    log_warn("the states in \"%s\" are damaged: they are computed again", cache->path);
    cache->mark[0] = 0;
}

/* ---- opening */

static enum status fail_busy(const char *path) {
    return status_fail(
        "\"%s\" is in use by another run: wait until that has ended, or name another "
        "--cache-dir",
        path);
}

/* Whether files there can be locked; the reason when not. A file that others find needs that. */
static int find_no_locks(const char *directory) {
    char *path = text_format("%s/apriel-tool-lock.tmp-XXXXXX", directory);
    int file = path ? mkostemp(path, O_CLOEXEC) : -1, reason = 0;
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) != 0 && errno != EWOULDBLOCK) reason = errno;
    if (file >= 0) {
        close(file);
        unlink(path);
    }
    free(path);
    return reason;
}

/* For changing, or for reading together with others who have it locked for that. */
static enum status lock(bool *alone, int file, const char *path, bool readable) {
    *alone = flock(file, LOCK_EX | LOCK_NB) == 0;
    if (*alone || (errno == EWOULDBLOCK && readable && flock(file, LOCK_SH | LOCK_NB) == 0))
        return STATUS_OK;
    if (errno == EWOULDBLOCK) return fail_busy(path);
    return status_fail("cannot lock \"%s\": %s; name a --cache-dir on a disk that can", path,
                       strerror(errno));
}

/* Open and lock the file at `path`; `*file` is -1 when there is none (any more). One that nobody
 * else will find (`own`) needs no lock. */
static enum status open_existing(int *file, bool *alone, const char *path, bool readable,
                                 bool own) {
    *file = open(path, O_RDWR | O_CLOEXEC);
    if (*file < 0 && errno == ENOENT) return STATUS_OK;
    if (*file < 0) return status_fail("cannot open \"%s\": %s", path, strerror(errno));
    if (own) return STATUS_OK;
    enum status status = lock(alone, *file, path, readable);
    struct stat opened, named;
    bool same = fstat(*file, &opened) == 0 && stat(path, &named) == 0 &&
                opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
    if (status || !same) { /* not the same: its run has just removed it */
        close(*file);
        *file = -1;
    }
    return status;
}

static enum status map(struct states_cache *cache, const struct states_place *place) {
    struct stat about;
    if (fstat(cache->file, &about) != 0)
        return status_fail("cannot read \"%s\": %s", cache->path, strerror(errno));
    cache->file_bytes = (size_t)about.st_size;
    size_t marks = STATES_FILE_MARKS * sizeof *cache->mark;
    if (place->mark + marks > cache->file_bytes || place->states + cache->bytes > cache->file_bytes)
        return status_fail("\"%s\" is truncated", cache->path);
    void *memory =
        mmap(NULL, cache->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cache->file, 0);
    if (memory == MAP_FAILED)
        return status_fail("cannot map %zu bytes of \"%s\": %s", cache->file_bytes, cache->path,
                           strerror(errno));
    cache->mapping = memory;
    cache->values = cache->mapping + place->states;
    cache->mark = (uint64_t *)(void *)(cache->mapping + place->mark);
    return STATUS_OK;
}

/* Processes of several machines, or containers, may have the same number. */
static unsigned random_word(void) {
    unsigned word = 0;
    if (getrandom(&word, sizeof word, GRND_NONBLOCK) != (ssize_t)sizeof word) word = 0;
    return word;
}

/* A new file, complete in its structure before it has its name. Another run may be faster: then
 * `*file` stays -1. */
static enum status create(int *file, struct states_place *place, const struct states_key *key,
                          const char *path, const char *fingerprint) {
    char *temporary = text_format("%s/apriel-tool-%s.tmp-%ld-%08x", key->directory, key->kind,
                                  (long)getpid(), random_word());
    if (!temporary) return STATUS_FAILED;
    bool alone;
    enum status status =
        states_file_create(temporary, &key->shape, key->identity ? key->identity : "", fingerprint);
    if (!status) status = states_file_find(place, temporary, &key->shape, fingerprint);
    if (!status) status = open_existing(file, &alone, temporary, false, !path);
    if (!status && path && link(temporary, path) != 0) {
        if (errno != EEXIST)
            status = status_fail("cannot create \"%s\": %s", path, strerror(errno));
        close(*file);
        *file = -1;
    }
    unlink(temporary);
    free(temporary);
    return status;
}

/* Every byte of the file gets its place on the disk: a full one shows now, not as a signal. */
static enum status allocate(const struct states_cache *cache, const char *directory) {
    int reason = posix_fallocate(cache->file, 0, (off_t)cache->file_bytes);
    if (!reason) return STATUS_OK;
    if (cache->named) unlink(cache->path);
    return status_fail("cannot keep %zu bytes in \"%s\": %s", cache->bytes, directory,
                       strerror(reason));
}

enum status states_cache_open(struct states_cache **out, const struct states_key *key) {
    enum { TRIES = 100 };
    char fingerprint[SHA256_HEX_SIZE] = "";
    struct states_place place;
    bool alone = true;
    struct states_cache *cache = memory_calloc(1, sizeof *cache);
    if (!cache) return STATUS_FAILED;
    cache->file = -1;
    cache->complete = key->complete;
    cache->bytes = shape_bytes(&key->shape);
    int no_locks = key->identity ? find_no_locks(key->directory) : 0;
    cache->named = key->identity && !no_locks;
    if (no_locks)
        log_warn("\"%s\" is on a file system without locks (%s): the %s states there are not kept "
                 "for other runs",
                 key->directory, strerror(no_locks), key->kind);
    enum status status = STATUS_OK;
    if (cache->named)
        status = find_name(&cache->path, fingerprint, key);
    else if (!(cache->path = memory_copy_string(key->directory)))
        status = STATUS_FAILED;
    for (int i = 0; !status && cache->file < 0 && i < TRIES; i++) {
        if (cache->named)
            status = open_existing(&cache->file, &alone, cache->path, key->complete >= 0, false);
        if (!status && cache->file >= 0) {
            status = states_file_find(&place, cache->path, &key->shape, fingerprint);
            if (status)
                status =
                    status_fail("%s: remove it, or name another --cache-dir", status_message());
        } else if (!status) {
            status =
                create(&cache->file, &place, key, cache->named ? cache->path : NULL, fingerprint);
        }
    }
    if (!status && cache->file < 0) status = fail_busy(cache->path);
    if (!status) status = map(cache, &place);
    if (!status && alone) status = allocate(cache, key->directory);
    if (!status) verify(cache);
    if (!status && !alone && states_cache_layer(cache) != key->complete)
        status = fail_busy(cache->path);
    if (!status && key->complete >= 0 && states_cache_layer(cache) == key->complete)
        flock(cache->file, LOCK_SH);
    if (status)
        states_cache_close(cache);
    else
        *out = cache;
    return status;
}

void states_cache_close(struct states_cache *cache) {
    if (!cache) return;
    if (cache->mapping) munmap(cache->mapping, cache->file_bytes);
    if (cache->file >= 0) close(cache->file); /* and with it goes the lock */
    free(cache->path);
    free(cache);
}

void states_cache_remove(struct states_cache *cache) {
    if (cache->named) unlink(cache->path);
}
