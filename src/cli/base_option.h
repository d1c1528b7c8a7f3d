/* --base PLAN[:STAGE]|HYBRID, shared by the commands that score on top of something. */
#ifndef CLI_BASE_OPTION_H
#define CLI_BASE_OPTION_H

#include "base/list.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"

/* A directory is a hybrid checkpoint: *hybrid borrows `text`. A file is a plan: *layers (the
 * caller's, list_free) are the layers its stage (from 1; the last when not named) replaces. A plan
 * that was made for another model than the one in directory `model`, opened with `options`, is
 * refused. */
enum status base_option_resolve(const char **hybrid, struct int_list *layers, const char *text,
                                const char *model,
                                const struct checkpoint_options *options) STATUS_CHECKED;

#endif
