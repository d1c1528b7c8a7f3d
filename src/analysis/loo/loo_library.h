/* Mixers of a library for the branches of a sweep. */
#ifndef ANALYSIS_LOO_LOO_LIBRARY_H
#define ANALYSIS_LOO_LOO_LIBRARY_H

#include "analysis/loo/sweep.h"
#include "base/list.h"
#include "library/library.h"

struct loo_library {
    struct checkpoint
        *origin; /* of the transformer, where the sweep's trunk is a hybrid; or NULL */
    struct library *library;
    const struct library_entry **entries; /* [branches] */
    struct mixer_sizes *sizes;            /* [branches] */
    struct model *model;
    struct mixer mixer; /* of the branch that left last */
    struct sweep_placed placed;
};

struct loo_library_settings {
    const char *directory;
    const char *model;                        /* of the transformer */
    const struct checkpoint_options *options; /* how it is opened */
    const char *kind;                         /* NULL: the only one that a layer has */
};

/* The library's mixers for branches of `trunk`, the transformer itself unless `hybrid`. Of the
 * `layers`, those that the library has no mixer for are taken out, or, when they were `named`, a
 * failure. It must not move; loo_library_close accepts a zeroed struct. */
enum status loo_library_open(struct loo_library *out, struct int_list *layers, struct model *trunk,
                             bool hybrid, bool named,
                             const struct loo_library_settings *settings) STATUS_CHECKED;
void loo_library_close(struct loo_library *library);

/* What identifies its mixers: their digest. */
enum status loo_library_digest(char hex[SHA256_HEX_SIZE],
                               const struct loo_library *library) STATUS_CHECKED;

#endif
