/* Files of hidden states, as HDF5 that any program can read:
 *
 *   /states      float32 [tokens, D]   contiguous: mapped and changed in place, as memory would be
 *   /mark        uint64  [3]           contiguous: what the states are, see below
 *   attributes   format "apriel-tool/hidden-states", version, fingerprint, identity
 *
 * The library only ever makes the file and finds where its parts lie, both in a child process (see
 * contain.h). All that changes later changes through the mapping, so no write can leave the HDF5
 * structure torn.
 *
 * mark[0] is 0 while the states mean nothing, or n + 1 when they are the input of layer n (the
 * output of layer n - 1). Then mark[1] and mark[2] are their sums modulo 2^64: a and b after
 * a = mark[0], b = 0, and for each 64-bit word of the states a += word, b += a. */
#ifndef DATA_STATES_FILE_H
#define DATA_STATES_FILE_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/status.h"

enum { STATES_FILE_VERSION = 1, STATES_FILE_MARKS = 3 };

/* What a file is to hold. */
struct states_shape {
    uint64_t tokens, width;
    enum dtype type; /* F32 or F64 */
};

/* Where it lies in the file, in bytes. */
struct states_place {
    uint64_t states, mark;
};

/* A new file (an old one is replaced), its states and mark zero. Its space is not allocated yet. */
enum status states_file_create(const char *path, const struct states_shape *shape,
                               const char *identity, const char *fingerprint) STATUS_CHECKED;

/* Check that `path` is such a file with this shape and fingerprint. A failure names what is not
 * as it should be. */
enum status states_file_find(struct states_place *out, const char *path,
                             const struct states_shape *shape,
                             const char *fingerprint) STATUS_CHECKED;

#endif
