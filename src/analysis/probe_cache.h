/* What decides the bits of hidden states that probes share: the identity of their cache file. */
#ifndef ANALYSIS_PROBE_CACHE_H
#define ANALYSIS_PROBE_CACHE_H

#include "data/tokenset.h"
#include "model/model.h"

/* Where shared states live. */
struct probe_cache {
    const char *directory; /* NULL: in memory */
    bool kept; /* in files that later runs find, else in such as go away with the process */
};

/* Rows whose states are shared, and how they go through a model. */
struct probe_rows {
    int64_t *rows;           /* [count] */
    int64_t count, training; /* the first `training` are trained on */
    int unit;                /* of these, so many at a time */
    int64_t tokens;          /* of the others, as many rows as have so many tokens */
};

/* What decides the states of these rows that `model` computes. The caller frees. */
enum status probe_cache_identity(char **out, const struct model *model, const struct tokenset *set,
                                 const struct probe_rows *rows) STATUS_CHECKED;

/* What release 0.1.0 had in its place, to name the files that it has left. */
enum status probe_cache_older_identity(char **out, const struct model *model,
                                       const struct tokenset *set,
                                       const struct probe_rows *rows) STATUS_CHECKED;

#endif
