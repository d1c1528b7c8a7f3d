/* The inside of struct checkpoint; not for other folders. */
#ifndef CHECKPOINT_CHECKPOINT_INTERNAL_H
#define CHECKPOINT_CHECKPOINT_INTERNAL_H

#include "checkpoint/checkpoint.h" /* circle: private to it and its parts */
#include "checkpoint/safetensors.h"

struct checkpoint {
    char *directory;
    char *config_path;
    struct model_config *config;
    struct safetensors **files; /* [n_files]; none for random weights */
    size_t n_files;
    char *root; /* what stands in the files for "model.", often the same */
    char *head; /* and for "lm_head.weight" */
    bool random_weights;
    uint64_t seed;
    uint16_t *quantiles; /* [65536] of random weights */

    struct tensor_spec *specs;          /* [count], owns the names */
    struct checkpoint_tensor *tensors;  /* [count], in the order of specs */
    struct checkpoint_tensor **by_role; /* [n_layers + 1][TENSOR_ROLES], row 0 outside layers */
    const char **names; /* [n_names] of the pieces, sorted; a name may come several times */
    size_t count, n_names;

    struct checkpoint_placed *placed; /* [n_placed] */
    size_t n_placed;

    char **warnings; /* [n_warnings] */
    size_t n_warnings;
    char fingerprint[SHA256_HEX_SIZE]; /* "" before the first call */
};

/* The names that the files, or their index, have; borrowed. */
struct tensor_names {
    const char **names; /* [count] */
    size_t count;
};

/* Sets root and head. */
enum status checkpoint_find_names(struct checkpoint *checkpoint,
                                  const struct tensor_names *names) STATUS_CHECKED;
/* From "model.norm.weight" to what the files call it, and back; the caller frees. */
char *checkpoint_stored_name(const struct checkpoint *checkpoint, const char *name);
char *checkpoint_own_name(const struct checkpoint *checkpoint, const char *stored);
/* Whether a name stands for something that is computed and need not be stored. */
bool checkpoint_is_buffer(const char *name);

/* What the model needs, by name and role, not yet found in a file: checkpoint_has works. */
enum status checkpoint_list_tensors(struct checkpoint *checkpoint) STATUS_CHECKED;

/* Opens the single file or all shards of the index, cross-checked; sets files and names. */
enum status checkpoint_open_files(struct checkpoint *checkpoint) STATUS_CHECKED;

/* Finds every tensor in the files, and looks at what else they have. */
enum status checkpoint_bind_tensors(struct checkpoint *checkpoint) STATUS_CHECKED;

/* What was placed in a layer; NULL: its own mixer stands there. */
const struct checkpoint_placed *checkpoint_find_placed(const struct checkpoint *checkpoint,
                                                       int layer);

/* Keep a warning and print it. */
enum status checkpoint_warn(struct checkpoint *checkpoint, const char *format, ...)
    STATUS_PRINTF(2, 3) STATUS_CHECKED;

/* One digest for every tensor of the file, in its order (safetensors_at): from the cache of
 * digests, or from all bytes, with all cores, a progress line where it takes long, and a look at
 * interrupts. A file that changes meanwhile is a failure. The caller frees `*out`. */
enum status content_digests(unsigned char (**out)[SHA256_SIZE],
                            const struct safetensors *file) STATUS_CHECKED;

#endif
