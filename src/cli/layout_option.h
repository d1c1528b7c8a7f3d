/* --plan PLAN.json --stage K --library DIR: a hybrid that is put together in memory, from a model
 * and mixers of a library, without being written. */
#ifndef CLI_LAYOUT_OPTION_H
#define CLI_LAYOUT_OPTION_H

#include "library/library.h"
#include "plan/plan.h"

struct layout_use {
    struct plan plan;
    struct checkpoint *model;
    struct library *library;
    struct library_layout layout; /* of the stage that was taken last */
    const char *path;             /* of the plan; borrowed */
    bool named;                   /* a kind, where the plan says none: */
    struct mixer_sizes kind;
};

/* Open a plan and a library of the model in `directory`; `kind` (or NULL) says which mixers are
 * taken where the plan does not and a layer has several. layout_option_close accepts a zeroed
 * struct. */
enum status layout_option_open(struct layout_use *out, const char *directory,
                               const struct checkpoint_options *options, const char *plan,
                               const char *library, const char *kind) STATUS_CHECKED;
void layout_option_close(struct layout_use *use);

/* Put the layers of a stage (from 1; 0: the last) in place in `options`, which lend them until the
 * next call. */
enum status layout_option_take(struct checkpoint_options *options, struct layout_use *use,
                               int stage) STATUS_CHECKED;

#endif
