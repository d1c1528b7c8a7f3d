/* Hidden states of many rows, on the host or the device: the trunk that probes share, kept once and
 * advanced layer by layer. */
#ifndef ANALYSIS_HIDDEN_H
#define ANALYSIS_HIDDEN_H

#include "data/states_cache.h"
#include "data/tokenset.h"
#include "measure/positions.h"
#include "model/forward.h"

struct hidden {
    const struct tokenset *set;
    struct backend *backend;
    int64_t *rows;    /* [count]: rows of the set, in the order they are kept */
    int64_t *offsets; /* [count + 1]: tokens before each */
    int64_t count;
    int64_t width; /* D */
    int layer;     /* the values are the inputs of this layer; STATES_NOTHING: of none yet */
    /* Rows [0, in_units) go through blocks `unit` at a time, by which in_units is divisible: where
     * else they pass in the same units, the same bits come out. */
    int64_t in_units;
    int unit;
    char *values; /* acc [tokens, D] */
    size_t bytes;
    struct states_cache *cache; /* where the values lie, or NULL: in memory */
    bool on_device;             /* in the device's */
};

/* Where the values are kept. */
struct hidden_place {
    const struct states_key *key; /* a file of it (its shape is filled in), which may have them
                                     already; or NULL */
    bool on_device;               /* else in memory of the host that the device reads itself */
};

/* Room for these rows (taken over as a copy); `place` NULL: in memory of the host. hidden_free
 * accepts a zeroed struct. */
enum status hidden_create(struct hidden *out, const struct tokenset *set, struct backend *backend,
                          int64_t width, const int64_t *rows, int64_t count,
                          const struct hidden_place *place) STATUS_CHECKED;
void hidden_free(struct hidden *hidden);

/* Bytes on the backend while rows of `tokens` tokens in all are embedded. */
uint64_t hidden_embed_bytes(const struct model *model, int64_t tokens);

/* Take every row from hidden->layer, or from its embedding when that lies behind, through the
 * model's own layers to the input of `layer` (n_layers: the output of the last). `tokens` go
 * through a block at a time. STATUS_INTERRUPTED between groups leaves no values. */
enum status hidden_advance(struct hidden *hidden, struct model *model, int layer,
                           int64_t tokens) STATUS_CHECKED;

/* Rows [from, from + count) by their place in hidden->rows, wrapping at `wrap` places: ids as a
 * batch and what of them counts, which the caller frees; whether they are as many and as long as
 * `sequences`, which may be zeroed; and their values to device acc [tokens, D]. */
enum status hidden_batch(struct token_batch *out, const struct hidden *hidden, int64_t from,
                         int count, int64_t wrap) STATUS_CHECKED;
enum status hidden_positions(struct positions *out, const struct hidden *hidden, int64_t from,
                             int count, int64_t wrap) STATUS_CHECKED;
bool hidden_has_lengths(const struct hidden *hidden, const struct sequences *sequences,
                        int64_t from, int count, int64_t wrap);
void hidden_upload(const struct hidden *hidden, void *device, int64_t from, int count,
                   int64_t wrap);

/* Rows from place `from` on that go through blocks at a time: a unit, or as many as fit into
 * `tokens`, at least one, ending before `end`. */
int hidden_group(const struct hidden *hidden, int64_t from, int64_t end, int64_t tokens);

#endif
