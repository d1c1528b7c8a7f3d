/* Shared by the files of src/convert; not for other folders. */
#ifndef CONVERT_CONVERT_INTERNAL_H
#define CONVERT_CONVERT_INTERNAL_H

#include "convert/convert.h" /* circle: private to it and its parts */

/* The sizes of the new mixer of a layer, and what it begins with. */
const struct mixer_sizes *convert_new_mixer(struct mixer_choices *choices,
                                            const struct convert_job *job, int layer);

/* "rope_theta" and "rope_scaling": transformers' older spelling, which all versions and Fast-LLM
 * read. */
void convert_set_rope(struct json *object, const struct rope_config *rope);

/* What config.json of a stock architecture says beside what all of them do. */
void convert_stock_config(struct json *object, const struct convert_job *job);

/* From the tensors of a job to those of its files; sets `bytes` too. */
enum status convert_list_stored(struct convert_job *job) STATUS_CHECKED;

/* README.md and the licence files of the model in directory `model`. */
enum status card_write(const char *directory, const struct convert_job *job,
                       const struct json *provenance, const char *model) STATUS_CHECKED;

/* Write the shards (and index) of a prepared job into an existing directory. */
enum status convert_write_weights(const struct convert_job *job,
                                  const char *directory) STATUS_CHECKED;

/* A temporary directory beside `output`, locked while this process lives. */
struct staging {
    char *path;
    int lock;     /* descriptor; -1: none */
    char *output; /* the name that it gets, without slashes at its end */
};

/* Refuse an existing `output`, remove what killed runs left beside it, make a new directory. */
enum status staging_begin(struct staging *staging, const char *output) STATUS_CHECKED;
/* Rename to `output`, which must still not exist. */
enum status staging_commit(struct staging *staging) STATUS_CHECKED;
/* Remove the directory unless it was committed; a zeroed or committed staging is accepted. */
void staging_end(struct staging *staging);

#endif
