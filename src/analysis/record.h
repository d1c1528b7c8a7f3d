/* What every kind of run writes about itself into the database. */
#ifndef ANALYSIS_RECORD_H
#define ANALYSIS_RECORD_H

#include "base/json.h"
#include "data/choices.h"
#include "data/tokenset.h"
#include "model/model.h"
#include "scores/store.h"

/* Layout of a model: the letter of its mixer's kind for each layer; layers in `removed` (may
 * be NULL) count as replaced. The caller frees. */
char *record_layout(const struct model_config *config, const bool *removed);

/* The text of shape_of (checkpoint/shape.h); the caller frees. */
char *record_shape(const struct checkpoint *checkpoint);

struct record_run {
    const char *kind;
    const char *numbers;         /* name of its numbers version; NULL: the kind */
    const char *model;           /* directory of the transformer */
    const struct model *base;    /* the hybrid the run starts from, or NULL */
    const char *base_layout;     /* "" or record_layout */
    struct json *parameters;     /* completed with the hybrid's fingerprint, and `options` */
    const struct json *identity; /* options of the command that make another run, or NULL */
    int64_t seed;
    const char *device;
    const char *data; /* path */
    const struct tokenset *set;
    const struct model *trunk; /* open model whose fingerprint is the transformer's when base is
                                  NULL */
    const struct checkpoint_options *options;
};

/* Register model and token set, and find or insert the run. Says what is there already and is not
 * used: runs of another numbers version, and of an older kind of fingerprint. */
enum status record_begin(int64_t *run, enum store_run_state *state, struct store *store,
                         const struct record_run *record) STATUS_CHECKED;

/* What a stored run asked otherwise than `record` does, in words: "model", "seed", "init.d_state";
 * NULL: it is the run that record_begin would find. Writes nothing. The caller frees. */
enum status record_compare(char **differs, struct store *store, int64_t run,
                           const struct record_run *record) STATUS_CHECKED;

/* Say of a task's item what it is, before its values. */
enum status record_item(struct store *store, int64_t run, const struct choice_set *set,
                        const struct choice_item *item) STATUS_CHECKED;

/* Write how a run ended and pass the status on. */
enum status record_finish(struct store *store, int64_t run, enum status status) STATUS_CHECKED;

/* Where that is an interrupt: what (`done`: "rows") is kept in the database, and how it goes on.
 * `database` NULL: nothing is. */
enum status record_tell_interrupt(enum status status, const char *done,
                                  const char *database) STATUS_CHECKED;

/* The token set's ids must lie in the model's vocabulary. */
enum status record_check_vocabulary(const struct model *model, const struct tokenset *set,
                                    const char *path) STATUS_CHECKED;

/* The same for the items of a task, which were encoded with the model's own tokenizer. */
enum status record_check_items(const struct model *model,
                               const struct choice_set *set) STATUS_CHECKED;

/* A loss mask must leave something to measure. */
enum status record_check_mask(const struct tokenset *set, const char *path) STATUS_CHECKED;

/* A hybrid must have the shape of the transformer (a directory, opened with `options`) that it is
 * said to come from. */
enum status record_check_hybrid(const struct model *hybrid, const char *transformer,
                                const struct checkpoint_options *options) STATUS_CHECKED;

#endif
