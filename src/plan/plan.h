/* A plan: the order in which a model's attention layers are replaced, cut into stages.
 *
 * A plan is built from runs in the score database (build.h), written and read as JSON (here), and
 * exported for other programs (export.h). Stage numbers count from 1. */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/list.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "mixers/sizes.h"

/* Version 2 says of a ranked layer by what it is replaced, where that is not what version 1 knows.
 */
enum { PLAN_VERSION = 2, PLAN_MAX_LAYERS = 1000 };

/* In layouts, which have a letter of its mixer's kind for each layer, as in "ttmtm". */
enum { PLAN_ATTENTION = 't' };

/* A run whose order decides which layer comes next once `from` layers are replaced. */
struct plan_signal {
    int64_t run;
    char *kind, *metric;
    int from;
};

struct plan_entry {
    int layer;
    int64_t run; /* that decided it */
    double score;
    double stderr_score;      /* NAN: unknown */
    int tie_group;            /* from 1, never falling along the ranking */
    struct mixer_sizes mixer; /* the kind that replaces it, with its parameter */
};

/* The layers replaced once the stage is done, those of earlier stages and of the base included.
 * When the border of the stage cuts a tie group, the members of the group are in `tie_inside` and
 * `tie_outside`: exchanging one for another is within the noise of the scores. Else both are empty.
 */
struct plan_stage {
    struct int_list layers; /* ascending */
    struct int_list tie_inside, tie_outside;
};

struct plan {
    char *fingerprint, *model;   /* SHA-256 of the checkpoint, and the path it had */
    int fingerprint_kind;        /* as CHECKPOINT_FINGERPRINT; up to release 0.1.0 the older kind */
    struct json *shape;          /* object; num_hidden_layers and more, as in scores/store.h */
    int layers;                  /* num_hidden_layers */
    char *signal;                /* kinds of the runs, "loo" or "loo+mmr" */
    struct plan_signal *signals; /* [n_signals], `from` ascending */
    size_t n_signals;
    struct json *options;       /* of the command, where they are not as by default; or NULL */
    struct int_list base;       /* replaced before the plan begins; ascending */
    char *base_layout;          /* what by; NULL: the first kind */
    struct int_list keep;       /* never replaced; ascending */
    struct plan_entry *ranking; /* [n_ranked], the first is replaced first */
    size_t n_ranked;
    struct plan_stage *stages; /* [n_stages], growing */
    size_t n_stages;
};

/* Read and check a plan file. Fails, naming file and key, on: another format, a newer version, a
 * wrong type, a layer out of range, named twice or kept; stages that do not grow or that lose
 * layers of the stage before; a layout that contradicts its layers. */
enum status plan_read(struct plan *out, const char *path) STATUS_CHECKED;
enum status plan_parse(struct plan *out, const struct json *document,
                       const char *source) STATUS_CHECKED;

/* The layers of a plan mean something only in the model that was scored for it: another one is a
 * failure. A plan that knows its model by the older kind of fingerprint is taken for a model with
 * the same samples, with a warning. `path` names the plan. */
enum status plan_check_model(const struct plan *plan, const char *path,
                             struct checkpoint *checkpoint) STATUS_CHECKED;

/* The document of a plan; the caller frees. plan_format_text gives the text of a plan file: JSON
 * with a line for each ranked layer and each stage. */
struct json *plan_to_json(const struct plan *plan);
char *plan_format_text(const struct plan *plan);

void plan_free(struct plan *plan); /* accepts a zeroed plan */

/* The stage with this number, from 1; 0: the last. Borrowed. `source` names the plan in the message
 * of a number that it does not have. */
enum status plan_find_stage(const struct plan_stage **out, const struct plan *plan, int number,
                            const char *source) STATUS_CHECKED;

/* By what a layer that the plan ranks is replaced; NULL: it ranks no such layer. Borrowed. */
const struct mixer_sizes *plan_mixer_of(const struct plan *plan, int layer);

/* Whether a stage has what `--kind TEXT` asks for. A plan that says kinds and has the asked one in
 * no layer of the stage is refused; NULL asks for nothing. */
enum status plan_check_kind(const struct plan *plan, const struct plan_stage *stage,
                            const char *text, const char *source) STATUS_CHECKED;

/* One letter a layer, that of its mixer's kind. The caller frees. NULL with a message
 * when out of memory. */
char *plan_stage_layout(const struct plan *plan, const struct plan_stage *stage);

/* Take "PLAN[:STAGE]" apart as `loo --base` has it; no stage gives 0 (the last). A file whose name
 * is the whole text wins. The caller frees `*path`. */
enum status plan_split_reference(char **path, int *stage, const char *text) STATUS_CHECKED;

#endif
