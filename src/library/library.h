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
    LIBRARY_WRITE, /* created when absent */
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

#endif
