/* Which layers a run scores. */
#ifndef ANALYSIS_LAYERS_H
#define ANALYSIS_LAYERS_H

#include "base/list.h"
#include "checkpoint/config.h"

/* The layers of `text` (as list_parse), or with NULL every layer that has attention and is not in
 * `removed` ([L], may be NULL). A named layer without attention is STATUS_USAGE: "layer 3 has no
 * attention left to PURPOSE", the purpose a verb ("remove"). None at all is a failure. The caller
 * frees with list_free. */
enum status layers_choose(struct int_list *out, const struct model_config *config,
                          const bool *removed, const char *text,
                          const char *purpose) STATUS_CHECKED;

#endif
