/* The inside of struct checkpoint; not for other folders. */
#ifndef CHECKPOINT_CHECKPOINT_INTERNAL_H
#define CHECKPOINT_CHECKPOINT_INTERNAL_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

struct checkpoint {
    char *directory;
    char *config_path;
    struct model_config *config;
    struct safetensors **files; /* [n_files]; none for random weights */
    size_t n_files;
    bool random_weights;
    uint64_t seed;
    uint16_t *quantiles; /* [65536] of random weights */

    struct tensor_spec *specs;          /* [count], owns the names */
    struct checkpoint_tensor *tensors;  /* [count], in the order of specs */
    struct checkpoint_tensor **by_role; /* [n_layers + 1][TENSOR_ROLES], row 0 outside layers */
    struct checkpoint_tensor **by_name; /* [count], sorted */
    size_t count;

    char **warnings; /* [n_warnings] */
    size_t n_warnings;
    char fingerprint[SHA256_HEX_SIZE]; /* "" before the first call */
};

/* Opens the single file or all shards of the index, cross-checked; sets files. */
enum status checkpoint_open_files(struct checkpoint *checkpoint) STATUS_CHECKED;

/* Keep a warning and print it. */
enum status checkpoint_warn(struct checkpoint *checkpoint, const char *format, ...)
    STATUS_PRINTF(2, 3) STATUS_CHECKED;

#endif
