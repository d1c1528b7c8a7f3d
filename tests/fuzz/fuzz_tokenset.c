/* Token sets from both sides of the pipe between the child that has libhdf5 and its parent:
 *   a whole HDF5 file (it begins with \x89HDF), read as the program does;
 *   "E" and edits of three bytes, place and value, of a good file: what mutations can seldom find;
 *   anything else: what a child that was taken over may write into the pipe.
 * What libhdf5 itself does wrong stays in the child; what is accepted must be a token set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "data/tokenset_internal.h"
#include "fuzz.h"

enum { PIPE_BYTES = 60000 };

static void check(const struct tokenset *set) {
    char fingerprint[SHA256_HEX_SIZE];
    if (!set->rows || set->row_offsets[0] || set->row_offsets[set->rows] != set->tokens) abort();
    for (uint64_t r = 0; r < set->rows; r++)
        if (set->row_offsets[r] >= set->row_offsets[r + 1]) abort();
    for (uint64_t i = 0; i < set->tokens; i++)
        if (set->ids[i] >= set->vocab_size || (set->loss_mask && set->loss_mask[i] > 1)) abort();
    size_t length = strlen(set->tokenizer_sha256);
    if (length != 0 && length != SHA256_HEX_SIZE - 1) abort();
    if (strlen(set->fingerprint) != SHA256_HEX_SIZE - 1) abort();
    if (tokenset_fingerprint(fingerprint, set) || strcmp(fingerprint, set->fingerprint) != 0)
        abort();
    if (strlen(set->sources) > (1 << 24)) abort();
}

static void read_file(const uint8_t *bytes, size_t size) {
    struct tokenset *set;
    if (tokenset_read(&set, fuzz_file(bytes, size)) == STATUS_OK) {
        check(set);
        tokenset_free(set);
    }
}

/* A file with a mask, made once. */
static char *good_file(size_t *size) {
    static char *good;
    static size_t good_size;
    uint64_t offsets[] = {0, 3, 4, 9};
    uint32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    uint8_t mask[] = {0, 1, 1, 1, 0, 0, 1, 1, 1};
    struct tokenset set = {3, 9, offsets, ids, mask, 10, "", "", "a\nb", true, 5};
    if (!good) {
        const char *path = fuzz_file((const uint8_t *)"", 0);
        if (tokenset_write(path, &set) || file_read(&good, &good_size, path)) abort();
    }
    *size = good_size;
    return good;
}

static void read_edited(const uint8_t *edits, size_t size) {
    size_t length;
    const char *good = good_file(&length);
    uint8_t *file = malloc(length);
    if (!file) abort();
    memcpy(file, good, length);
    for (; size >= 3; edits += 3, size -= 3)
        file[(edits[0] | (size_t)edits[1] << 8) % length] = edits[2];
    read_file(file, length);
    free(file);
}

static void receive(const uint8_t *bytes, size_t size) {
    int ends[2];
    struct tokenset *set = NULL;
    if (size > PIPE_BYTES) size = PIPE_BYTES;
    if (pipe2(ends, O_CLOEXEC) || write(ends[1], bytes, size) != (ssize_t)size) abort();
    close(ends[1]);
    if (tokenset_receive(&set, ends[0], fuzz_file((const uint8_t *)"", 0)) == STATUS_OK) {
        check(set);
        tokenset_free(set);
    }
    close(ends[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size >= 4 && memcmp(bytes, "\x89HDF", 4) == 0)
        read_file(bytes, size);
    else if (size && bytes[0] == 'E')
        read_edited(bytes + 1, size - 1);
    else
        receive(bytes, size);
    return 0;
}
