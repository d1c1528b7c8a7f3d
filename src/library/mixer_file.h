/* The files of a library: one mixer each. */
#ifndef LIBRARY_MIXER_FILE_H
#define LIBRARY_MIXER_FILE_H

#include "checkpoint/safetensors.h"
#include "model/model.h"

/* What the header of a mixer's file says. */
struct mixer_label {
    const char *fingerprint; /* of the model */
    int layer;
    const struct mixer_sizes *sizes;
};

/* Write the mixer to `path`, whole or not at all. */
enum status mixer_file_write(const char *path, const struct mixer *mixer, const struct model *model,
                             const struct mixer_label *label) STATUS_CHECKED;

/* Open a file and check that it is the mixer of this label, with all of its tensors in the types
 * and shapes that its sizes imply and none besides. */
enum status mixer_file_open(struct safetensors **out, const char *path,
                            const struct mixer_label *label,
                            const struct mixer_host *host) STATUS_CHECKED;

/* A tensor of it as the weights have it, every value finite. */
enum status mixer_file_read(float *out, const struct safetensors *file,
                            const struct mixer_sizes *sizes, int tensor) STATUS_CHECKED;

#endif
