/* Digests of the tensors in a file, over every byte. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/threads.h"
#include "checkpoint/checkpoint_internal.h"

enum { CHUNK = CONTENT_CHUNK };

/* Below this a file is read in no time: no progress line, no wait for its times to age. */
static const double LARGE = 1e9;

/* The chunks of all tensors, in the order of the file, so that the disk reads it from front to
 * back whatever the number of threads. */
struct work {
    const struct safetensors *file;
    size_t *first;                        /* [tensors + 1]: first chunk of each */
    unsigned char (*leaves)[SHA256_SIZE]; /* [chunks] */
    struct progress progress;
    double done; /* bytes */
};

static size_t chunks_of(const struct safetensors_entry *entry) {
    return (entry->bytes + CHUNK - 1) / CHUNK;
}

/* The tensor that chunk `chunk` belongs to. */
static size_t find_tensor(const struct work *work, size_t chunk) {
    size_t low = 0, high = safetensors_count(work->file);
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (work->first[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Any thread. */
static bool hash_chunk(struct work *work, size_t chunk) {
    static const unsigned char leaf = 0;
    size_t tensor = find_tensor(work, chunk);
    const struct safetensors_entry *entry = safetensors_at(work->file, tensor);
    size_t at = (chunk - work->first[tensor]) * CHUNK;
    size_t size = entry->bytes - at < CHUNK ? entry->bytes - at : CHUNK;
    const char *data = (const char *)entry->data + at;
    mapping_prefetch(data, size);
    bool good = !sha256_raw(work->leaves[chunk], &leaf, 1, data, size);
    mapping_drop(data, size);
#pragma omp critical(content_progress)
    {
        work->done += (double)size;
        if ((double)safetensors_identity(work->file)->size >= LARGE)
            progress_update(&work->progress, work->done / 1e6);
    }
    return good;
}

static enum status hash_chunks(struct work *work) {
    size_t chunks = work->first[safetensors_count(work->file)];
    bool good = true;
    threads_settle();
#pragma omp parallel for schedule(dynamic) reduction(&& : good) if (chunks > 1)
    for (size_t i = 0; i < chunks; i++)
        if (good && !interrupt_requested()) good = hash_chunk(work, i);
    if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
    return good ? STATUS_OK
                : status_fail("cannot compute SHA-256 of \"%s\"", safetensors_path(work->file));
}

/* From the chunks' digests to the tensors'. */
static enum status join(unsigned char (*out)[SHA256_SIZE], const struct work *work) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < safetensors_count(work->file); i++) {
        uint64_t bytes = safetensors_at(work->file, i)->bytes;
        unsigned char head[9] = {1};
        for (int k = 0; k < 8; k++) head[1 + k] = (unsigned char)(bytes >> 8 * k);
        status = sha256_raw(out[i], head, sizeof head, work->leaves[work->first[i]],
                            (work->first[i + 1] - work->first[i]) * SHA256_SIZE);
    }
    return status;
}

static enum status read_all(unsigned char (*out)[SHA256_SIZE], const struct safetensors *file) {
    size_t count = safetensors_count(file);
    struct work work = {.file = file, .first = memory_calloc(count + 1, sizeof *work.first)};
    enum status status = STATUS_FAILED;
    if (!work.first) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++)
        work.first[i + 1] = work.first[i] + chunks_of(safetensors_at(file, i));
    work.leaves = memory_calloc(work.first[count], sizeof *work.leaves);
    if (!work.leaves) goto done;
    double size = (double)safetensors_identity(file)->size;
    if (size >= LARGE) progress_begin(&work.progress, "reading the weights", "MB", size / 1e6, 0);
    status = hash_chunks(&work);
    if (size >= LARGE) progress_end(&work.progress);
    if (!status) status = join(out, &work);
done:
    free(work.leaves);
    free(work.first);
    return status;
}

/* A large file that was written just now: a moment's wait spares its next reading. */
static void wait_for(double seconds) {
    struct timespec step = {.tv_nsec = 50000000};
    for (; seconds > 0 && !interrupt_requested(); seconds -= 0.05) nanosleep(&step, NULL);
}

/* Whether the file is still what was mapped. One that another took the place of is the same to us:
 * the mapping holds the old one. */
static enum status check_unchanged(bool *replaced, const struct safetensors *file) {
    const struct file_identity *before = safetensors_identity(file);
    const char *path = safetensors_path(file);
    struct stat about;
    *replaced = true;
    if (stat(path, &about) != 0)
        return errno == ENOENT ? STATUS_OK
                               : status_fail("cannot read \"%s\": %s", path, strerror(errno));
    struct file_identity now = file_identity_from(&about);
    if (now.device != before->device || now.inode != before->inode) return STATUS_OK;
    *replaced = false;
    if (file_identity_equal(&now, before)) return STATUS_OK;
    return status_fail("\"%s\" was changed while it was read; run the command again", path);
}

enum status content_digests(unsigned char (**out)[SHA256_SIZE], const struct safetensors *file) {
    const struct file_identity *identity = safetensors_identity(file);
    const char *path = safetensors_path(file);
    size_t count = safetensors_count(file);
    unsigned char(*digests)[SHA256_SIZE] = memory_calloc(count, sizeof *digests);
    bool replaced = false;
    if (!digests) return STATUS_FAILED;
    enum status status = check_unchanged(&replaced, file);
    if (!status && !replaced && hash_cache_find(digests, count, path, identity)) goto done;
    if (!status && (double)identity->size >= LARGE) wait_for(hash_cache_wait(identity));
    bool settled = hash_cache_wait(identity) == 0;
    if (!status) status = read_all(digests, file);
    if (!status) status = check_unchanged(&replaced, file);
    if (!status && settled && !replaced)
        hash_cache_keep((const unsigned char(*)[SHA256_SIZE])digests, count, path, identity);
done:
    if (status)
        free(digests);
    else
        *out = digests;
    return status;
}
