/* The chart of distillations: the loss of the steps, and what was measured on held-out rows between
 * them. */
#ifndef REPORTS_TRAINING_H
#define REPORTS_TRAINING_H

#include "reports/figure.h"

/* Fill the picture (picture_draw(…, "training") after) from runs of distill, also of one that is
 * under way. A run without steps is refused. */
enum status training_fill(struct picture *picture, struct store *store,
                          const struct figure_request *request) STATUS_CHECKED;

#endif
