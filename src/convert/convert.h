/* Writing a hybrid: a checkpoint in which some attention mixers have become Mamba mixers. */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/calibration.h"
#include "base/json.h"
#include "base/list.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "library/library.h"
#include "model/formats.h"

struct convert_options {
    /* Every weight comes from here: the model itself, or an earlier hybrid whose Mamba mixers and
     * other weights are kept. Borrowed. */
    struct checkpoint *base;
    /* The layers that are Mamba in the result, those of `base` included. Ascending; borrowed. */
    struct int_list layers;
    const struct mixer_sizes *const *kinds; /* [layers] as hybrid_make takes them, or NULL */
    enum hybrid_format format;
    struct mixer_choices choices; /* sizes 0: as `base` has them, else default */
    /* What data say of the new mixers [n_fits]; NULL until there are any. Borrowed. */
    const struct calibration_task *fits;
    size_t n_fits;
    /* Mixers of a library for the layers that are new; or NULL. Borrowed. */
    const struct library_layout *library;
    uint64_t max_shard_bytes; /* 0: 5 GB */
    /* Of replaced layers, for the model card: {"layer", "mixer", "metric", "score", "stderr"} each;
     * or NULL. Borrowed. */
    const struct json *scores;
};

/* One tensor of the result and where it comes from. */
struct convert_tensor {
    struct tensor_spec spec;
    enum dtype dtype;                       /* of what the files have */
    const struct checkpoint_tensor *source; /* copied from, with zeros behind it where it is smaller
                                               than the result's; or NULL: */
    bool made;                              /* a new mixer's; else zeros */
};

/* One tensor of the files: its pieces, one behind another. */
struct convert_stored {
    const char *name; /* of the first piece; borrowed */
    enum dtype dtype;
    int rank, n_pieces;
    int64_t shape[TENSOR_MAX_RANK];
    struct {
        size_t tensor; /* of the job */
        int piece;     /* of its spec */
    } pieces[TENSOR_MAX_PIECES];
};

struct convert_job {
    struct convert_options options;
    struct model_config *config;    /* of the result */
    struct mixer_sizes mixer;       /* of the first new mixer */
    struct int_list added;          /* layers whose mixer is new; ascending */
    struct convert_tensor *tensors; /* [count] */
    size_t count;
    struct convert_stored *stored; /* [n_stored] */
    size_t n_stored;
    uint64_t bytes;     /* of all weights */
    bool rounded_norms; /* query or key norms that are exact in F32 only */
    bool untied;        /* the head is written beside an embedding that it was tied to */
};

/* Work out the result without writing anything: fails when a layer has no attention to replace,
 * `base` has Mamba layers that are not asked for, sizes do not divide (STATUS_USAGE), or the format
 * cannot express the model. The caller frees with convert_free; a zeroed job is accepted. */
enum status convert_prepare(struct convert_job *job,
                            const struct convert_options *options) STATUS_CHECKED;
void convert_free(struct convert_job *job);

/* What one tensor comes from, in words; the caller frees. */
char *convert_tensor_origin(const struct convert_job *job, const struct convert_tensor *tensor);

/* config.json of the result; the caller frees. */
enum status convert_config_json(struct json **out, const struct convert_job *job) STATUS_CHECKED;

/* The new mixers that data are to say something of, one a layer. The caller frees with
 * calibration_tasks_free. */
enum status convert_list_fits(struct calibration_task **out, size_t *count,
                              const struct convert_job *job) STATUS_CHECKED;

/* Write the checkpoint into the new directory `output`: under a temporary name beside it, verified
 * (opened again, every tensor present, shaped and finite), then renamed. `provenance` is written as
 * apriel-tool.json, and a model card as README.md; tokenizer and generation files are copied from
 * `base`, or from `fallback` (NULL: none) when `base` lacks them. An existing `output` is refused;
 * temporary directories that a killed run left are removed. After a failure nothing is left. */
enum status convert_write(const struct convert_job *job, const char *output,
                          const struct json *provenance, const char *fallback) STATUS_CHECKED;

/* Things about the result that a person should know; NULL when `index` is past the last. Static
 * text. `*warns`: the code published for the format would compute another function. */
const char *convert_remark(bool *warns, const struct convert_job *job, size_t index);

#endif
