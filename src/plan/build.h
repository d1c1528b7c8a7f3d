/* Making a plan out of stored runs. */
#ifndef PLAN_BUILD_H
#define PLAN_BUILD_H

#include "base/list.h"
#include "base/status.h"
#include "plan/plan.h"
#include "scores/ranking.h"
#include "scores/store.h"

/* One run's order, and the number of replaced layers from which on it decides. */
struct plan_source {
    int64_t run;
    const char *kind, *metric, *base; /* base: the layout the run started from, or "" */
    int from;
    struct mixer_sizes mixer; /* what the run put in the attention's place; no kind: the first */
    struct ranking ranking; /* the caller's; plan_build removes the layers that are not to choose */
};

struct plan_request {
    const char *fingerprint, *model, *shape; /* as in struct store_model */
    int fingerprint_kind;
    struct plan_source *sources; /* [n_sources], `from` ascending, the first 0 */
    size_t n_sources;
    struct int_list keep;   /* ascending */
    struct int_list counts; /* layers replaced at the end of each stage, ascending */
};

/* Rank and cut. The layers come in the order of the first source until the second source's `from`
 * layers are replaced; the rest in the order of the second, and so on. Layers that the first
 * source's base has replaced already count, and come before all others. A stage border is a
 * statistical tie when the last layer inside and the first outside are in one tie group of the
 * order that decided the last one.
 *
 * STATUS_USAGE, naming both numbers, for stages that are not ascending, larger than what can be
 * replaced or not beyond the base, for kept layers that the base replaces, and for a source that
 * would decide nothing. */
enum status plan_build(struct plan *out, struct plan_request *request) STATUS_CHECKED;

/* A run as a person chooses it. */
struct plan_choice {
    int64_t run;
    int from;
    const char *metric; /* NULL: the default of the run's kind */
};

struct plan_choices {
    struct plan_choice *runs; /* [count] */
    size_t count;
    const char *keep;   /* "first,last,3-5" or NULL */
    const char *stages; /* "25,27,30"; NULL: half of the layers */
    bool unfinished;    /* take runs that are not finished as they are */
    const char *kind;   /* what replaces layers where a run does not say it; NULL: the first */
};

/* Load the runs and build. Runs of different models, runs that are not finished and wrong lists are
 * refused. `*model` is the model's id in the database. Warns when a later run did not start from
 * the layers that the plan has replaced by then. */
enum status plan_from_store(struct plan *out, int64_t *model, struct store *store,
                            const struct plan_choices *choices) STATUS_CHECKED;

/* Note in the database that the plan was made. It is good without: a database that cannot be
 * written is worth a warning. */
void plan_record(const struct plan *plan, int64_t model, const char *database);

/* "25,27,30": positive, ascending; `option` names them in messages. The caller frees with
 * list_free.
 */
enum status plan_parse_stages(struct int_list *out, const char *text,
                              const char *option) STATUS_CHECKED;

#endif
