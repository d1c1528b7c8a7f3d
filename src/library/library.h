/* A library: a directory of mixers that can take the place of a model's attention, a file for each
 * layer and kind ("layer-007.mamba2.safetensors", "layer-007.window-1024.safetensors") whose
 * tensors have the names of the kind's rows, and library.json, which says what they are:
 *
 *     {"format": "apriel-tool/library", "version": 1,
 *      "model": {"path", "architecture", "fingerprint", "fingerprint_kind"},
 *      "mixers": [{"layer", "kind", "file", "digest", "sizes", and what who made it says}, …]}
 *
 * Files are written whole or not at all, the mixer before the document that names it. A file must
 * have the digest that the document says, and its header the model's fingerprint. */
#ifndef LIBRARY_LIBRARY_H
#define LIBRARY_LIBRARY_H

#include "base/hash.h"
#include "base/json.h"
#include "base/list.h"
#include "checkpoint/checkpoint.h"
#include "model/model.h"

struct library;

struct library_entry {
    int layer;
    struct mixer_sizes sizes;
    char *path;
    char digest[SHA256_HEX_SIZE];
    const struct json *about; /* its object in the document */
};

enum library_mode {
    LIBRARY_READ,  /* it must exist */
    LIBRARY_WRITE, /* created when absent; by one process at a time */
};

/* The library of a model, which must outlive it. One of another model is a failure, as is anything
 * in the document that this program does not write. */
enum status library_open(struct library **out, const char *directory, struct checkpoint *model,
                         enum library_mode mode) STATUS_CHECKED;
void library_close(struct library *library); /* accepts NULL */

const char *library_directory(const struct library *library);

/* The mixer of a kind, with its parameter ("window:1024") where the kind has one; NULL: there is
 * none. Borrowed, until the next call that writes. library_need fails, saying what there is. */
const struct library_entry *library_find(const struct library *library, int layer,
                                         const struct mixer_sizes *kind);
enum status library_need(const struct library_entry **out, const struct library *library, int layer,
                         const struct mixer_sizes *kind) STATUS_CHECKED;

/* Whether a layer has a mixer of any kind. */
bool library_has(const struct library *library, int layer);

/* The only kind that a layer has; several or none are a failure. */
enum status library_only(const struct library_entry **out, const struct library *library,
                         int layer) STATUS_CHECKED;

/* Keep a mixer, in the place of one of its layer and kind that is there. `about` (taken over) is
 * what the document says of it besides. */
enum status library_put(struct library *library, int layer, const struct mixer *mixer,
                        const struct model *model, struct json *about) STATUS_CHECKED;

/* Say more about a mixer that is there: `value` (taken over) under `key`; written by
 * library_save. */
void library_say(struct library *library, int layer, const struct mixer_sizes *kind,
                 const char *key, struct json *value);
enum status library_save(struct library *library) STATUS_CHECKED;

/* A mixer on the model's backend, every value checked. The caller frees with mixer_free. */
enum status library_load(struct mixer *out, const struct library *library,
                         const struct library_entry *entry,
                         const struct model *model) STATUS_CHECKED;

/* Mixers of some layers with their files open, as checkpoint_open puts them in place. */
struct library_layout {
    struct checkpoint_placed *placed; /* [count] */
    struct safetensors **files;       /* [count] */
    size_t count;
    char digest[SHA256_HEX_SIZE]; /* of all of them, with their layers */
};

/* Of these layers; `kinds` [layers] say which kind, NULL (or an entry that is NULL) the only one
 * there is. Free with library_layout_free, which accepts a zeroed struct, after the checkpoint that
 * was opened with it. */
enum status library_lay_out(struct library_layout *out, const struct library *library,
                            const struct int_list *layers,
                            const struct mixer_sizes *const *kinds) STATUS_CHECKED;
void library_layout_free(struct library_layout *layout);

/* The mixer of a layer; NULL: there is none. A tensor of it as the weights have it (see
 * tensor_row.stored), float32 [count] on the host. */
const struct checkpoint_placed *library_layout_find(const struct library_layout *layout, int layer);
enum status library_layout_read(float *out, const struct library_layout *layout, int layer,
                                int tensor) STATUS_CHECKED;

#endif
