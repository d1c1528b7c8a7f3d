/* A model on disk: config.json with model.safetensors, or with the shards that
 * model.safetensors.index.json lists. Everything is mapped read-only; a tensor's bytes are read
 * when it is used and can be dropped from memory afterwards. */
#ifndef CHECKPOINT_CHECKPOINT_H
#define CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "checkpoint/config.h"
#include "checkpoint/tensors.h"

struct checkpoint;

struct safetensors;

/* A mixer in a layer's place, from a file of its own, whose tensors have the names of its kind's
 * rows. Borrowed: the file must outlive the checkpoint. */
struct checkpoint_placed {
    int layer;
    struct mixer_sizes sizes;
    const struct safetensors *file;
};

struct checkpoint_options {
    bool random_weights; /* use config.json alone: BF16 weights drawn from N(0, 0.02) */
    uint64_t seed;       /* of the random weights */
    const struct checkpoint_placed *placed; /* [n_placed]: the model is this hybrid of itself */
    size_t n_placed;
};

/* One tensor the model uses; owned by the checkpoint. */
struct checkpoint_tensor {
    const char *name;
    const struct tensor_spec *spec; /* its role, and its row where it is a mixer's */
    int layer;                      /* -1 outside the layers */
    enum dtype dtype;               /* BF16, F16 or F32 */
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    int64_t count;    /* elements */
    size_t bytes;     /* count * dtype size */
    const void *data; /* [bytes] in the mapping, not necessarily aligned; NULL for random weights,
                         and where it is put together from `pieces` */
    const void *pieces[TENSOR_MAX_PIECES]; /* in the mapping: where spec's pieces begin */
    enum dtype stored;                     /* of the pieces */
    const char *file;                      /* path for messages */
};

/* Open the model in `directory` and check config, shards and every tensor's presence, dtype and
 * shape against each other. Tensors the model does not use are refused when they belong to a layer
 * or module it has, and warned about otherwise. `options` may be NULL. The caller closes. */
enum status checkpoint_open(struct checkpoint **out, const char *directory,
                            const struct checkpoint_options *options) STATUS_CHECKED;
/* Its config.json alone; the caller frees with config_free. */
enum status checkpoint_read_config(struct model_config **out, const char *directory) STATUS_CHECKED;
void checkpoint_close(struct checkpoint *checkpoint);

const char *checkpoint_directory(const struct checkpoint *checkpoint);
const struct model_config *checkpoint_config(const struct checkpoint *checkpoint);
bool checkpoint_is_random(const struct checkpoint *checkpoint);

/* The tensor of a role (layer -1 outside the layers); NULL when the model has none there. With tied
 * embeddings TENSOR_HEAD gives the embedding. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, int layer,
                                                enum tensor_role role);

/* A tensor of a layer's mixer, by the rows of `kind`; NULL where another kind stands there. */
const struct checkpoint_tensor *checkpoint_find_mixer(const struct checkpoint *checkpoint,
                                                      int layer, const struct mixer_kind *kind,
                                                      int tensor);

/* All tensors, in the order of tensor_spec_list. */
size_t checkpoint_count(const struct checkpoint *checkpoint);
const struct checkpoint_tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index);

bool checkpoint_has(const struct checkpoint *checkpoint, const char *name);

/* Elements [first, first + count) widened to float32 (all cores for large counts). NaN and infinite
 * values fail with the tensor's name. Any thread may call this. */
enum status checkpoint_read_f32(const struct checkpoint *checkpoint,
                                const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count, float *out) STATUS_CHECKED;

/* The same of a tensor that has zeros behind its rows and its columns, up to [rows, columns]. */
enum status checkpoint_read_padded(const struct checkpoint *checkpoint,
                                   const struct checkpoint_tensor *tensor, int64_t rows,
                                   int64_t columns, int64_t first, int64_t count,
                                   float *out) STATUS_CHECKED;

/* The same elements in the tensor's own dtype, for upload or copying: `count` * dtype size bytes.
 * Checked for NaN and infinities too. */
enum status checkpoint_read_raw(const struct checkpoint *checkpoint,
                                const struct checkpoint_tensor *tensor, int64_t first,
                                int64_t count, void *out) STATUS_CHECKED;

/* The check alone, for code that uses `data` directly. */
enum status checkpoint_check_range(const struct checkpoint *checkpoint,
                                   const struct checkpoint_tensor *tensor, int64_t first,
                                   int64_t count) STATUS_CHECKED;

/* Tell the kernel that these elements will be needed soon / are no longer needed, so that resident
 * memory stays bounded. Hints only. */
void checkpoint_prefetch(const struct checkpoint *checkpoint,
                         const struct checkpoint_tensor *tensor);
void checkpoint_drop(const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor);
void checkpoint_drop_elements(const struct checkpoint *checkpoint,
                              const struct checkpoint_tensor *tensor, int64_t first, int64_t count);

/* A digest over every byte of a file's tensors, with their names, types and shapes, and over its
 * metadata. Kept between runs, as below. */
enum status checkpoint_file_digest(char hex[SHA256_HEX_SIZE],
                                   const struct safetensors *file) STATUS_CHECKED;

/* What identifies a model: SHA-256 over what config.json says of the function that is computed and,
 * for every tensor in the files, by name, its name, dtype, shape and digest; then over the
 * metadata of the files. How the tensors are cut into files does not enter. Random weights enter as
 * their seed. A tensor's digest covers every byte:
 *
 *     leaf(i) = SHA-256(00 | bytes i * CONTENT_CHUNK to (i + 1) * CONTENT_CHUNK - 1)
 *     digest  = SHA-256(01 | length, 8 bytes little-endian | leaf(0) | leaf(1) | ...)
 *
 * so that threads share the work and do not show in the result. Digests are kept between runs (see
 * base/hash_cache.h). A model that is changed while a command uses it is out of scope: the files
 * are mapped, and what is read later is what they hold then; a change during the hashing is a
 * failure. The result is kept after the first call. */
enum { CHECKPOINT_FINGERPRINT = 2, CONTENT_CHUNK = 4 << 20 };
enum status checkpoint_fingerprint(struct checkpoint *checkpoint,
                                   char hex[SHA256_HEX_SIZE]) STATUS_CHECKED;

/* The fingerprint of releases up to 0.1.0 (kind 1), which reads at most 17 blocks of 4 KiB of a
 * tensor: good for recognising the model that an old file names, never for using old values. */
enum { CHECKPOINT_FINGERPRINT_SAMPLED = 1 };
enum status checkpoint_sampled_fingerprint(const struct checkpoint *checkpoint,
                                           char hex[SHA256_HEX_SIZE]) STATUS_CHECKED;

/* A hybrid must have the shape of the transformer that it is said to come from. */
enum status checkpoint_check_hybrid(const struct checkpoint *hybrid,
                                    const struct checkpoint *transformer) STATUS_CHECKED;

/* What checkpoint_open warned about (tensors that are not used, …). */
size_t checkpoint_warning_count(const struct checkpoint *checkpoint);
const char *checkpoint_warning(const struct checkpoint *checkpoint, size_t index);

#endif
