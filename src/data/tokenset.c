#include "data/tokenset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/tokenset_internal.h"

void tokenset_silence_hdf5(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static enum status check_offsets(const struct tokenset *set, const char *path) {
    if (set->row_offsets[0] != 0)
        return status_fail("\"%s\": \"/row_offsets\" starts at %" PRIu64 ", not at 0", path,
                           set->row_offsets[0]);
    for (uint64_t r = 0; r < set->rows; r++)
        if (set->row_offsets[r + 1] <= set->row_offsets[r])
            return status_fail("\"%s\": \"/row_offsets\" goes from %" PRIu64 " to %" PRIu64
                               " at row %" PRIu64 ", but every row needs a token",
                               path, set->row_offsets[r], set->row_offsets[r + 1], r);
    if (set->row_offsets[set->rows] != set->tokens)
        return status_fail("\"%s\": \"/row_offsets\" ends at %" PRIu64
                           ", but \"/tokens\" has %" PRIu64 " elements",
                           path, set->row_offsets[set->rows], set->tokens);
    return STATUS_OK;
}

enum status tokenset_check(const struct tokenset *set, const char *path) {
    if (set->rows == 0) return status_fail("\"%s\": holds no rows", path);
    if (set->vocab_size == 0 || set->vocab_size > (uint64_t)UINT32_MAX + 1)
        return status_fail("\"%s\": \"vocab_size\" is %" PRIu64 ", outside 1 to 4294967296", path,
                           set->vocab_size);
    enum status status = check_offsets(set, path);
    if (status) return status;
    for (uint64_t i = 0; i < set->tokens; i++)
        if (set->ids[i] >= set->vocab_size)
            return status_fail("\"%s\": \"/tokens\" has id %" PRIu32 " at position %" PRIu64
                               ", but the vocabulary has %" PRIu64 " tokens",
                               path, set->ids[i], i, set->vocab_size);
    for (uint64_t i = 0; set->loss_mask && i < set->tokens; i++)
        if (set->loss_mask[i] > 1)
            return status_fail("\"%s\": \"/loss_mask\" has value %u at position %" PRIu64
                               ", neither 0 nor 1",
                               path, (unsigned)set->loss_mask[i], i);
    return STATUS_OK;
}

/* 64-bit values one by one as little-endian bytes would be slow and needless: the hosts that this
 * program runs on are little-endian, and the build says so. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the fingerprint hashes memory as it is");

enum status tokenset_fingerprint(char hex[SHA256_HEX_SIZE], const struct tokenset *set) {
    struct sha256 *sha;
    enum status status = sha256_begin(&sha);
    if (status) return status;
    uint64_t head[] = {set->rows, set->tokens, set->loss_mask != NULL};
    sha256_update(sha, head, sizeof head);
    sha256_update(sha, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets);
    sha256_update(sha, set->ids, set->tokens * sizeof *set->ids);
    if (set->loss_mask) sha256_update(sha, set->loss_mask, set->tokens);
    sha256_finish(sha, hex);
    return STATUS_OK;
}

uint64_t tokenset_longest_row(const struct tokenset *set) {
    uint64_t longest = 0;
    for (uint64_t r = 0; r < set->rows; r++) {
        uint64_t length = set->row_offsets[r + 1] - set->row_offsets[r];
        if (length > longest) longest = length;
    }
    return longest;
}

int64_t tokenset_group_end(const struct tokenset *set, int64_t first, int64_t rows,
                           int64_t tokens) {
    int64_t end = first + 1;
    while (end < rows && set->row_offsets[end + 1] - set->row_offsets[first] <= (uint64_t)tokens)
        end++;
    return end;
}

void tokenset_measure_groups(int *group_rows, int64_t *group_tokens, const struct tokenset *set,
                             int64_t rows, int64_t tokens) {
    *group_rows = 0;
    *group_tokens = 0;
    for (int64_t first = 0, end; first < rows; first = end) {
        end = tokenset_group_end(set, first, rows, tokens);
        int64_t size = (int64_t)(set->row_offsets[end] - set->row_offsets[first]);
        if (size > *group_tokens) *group_tokens = size;
        if (end - first > *group_rows) *group_rows = (int)(end - first);
    }
}

void tokenset_free(struct tokenset *set) {
    if (!set) return;
    free(set->row_offsets);
    free(set->ids);
    free(set->loss_mask);
    free(set->sources);
    free(set);
}

const char *tokenset_library_version(void) {
    static char version[32];
    unsigned major, minor, release;
    if (H5get_libversion(&major, &minor, &release) >= 0)
        snprintf(version, sizeof version, "%u.%u.%u", major, minor, release);
    return version;
}
