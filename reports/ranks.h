/* The chart of disagreement: the rank that each signal gives to each layer, in the order of the
 * first, so that a layer far from the diagonal is one they disagree about. */
#ifndef REPORTS_RANKS_H
#define REPORTS_RANKS_H

#include "base/status.h"
#include "reports/figure.h"
#include "reports/picture.h"
#include "scores/store.h"

/* Fill the picture (picture_draw(…, "ranks") after) from two or more runs. With a plan its stages
 * are the borders that a disagreement can cross; without, half of the layers. Fails as figure_load
 * does, and on fewer than two runs. */
enum status ranks_fill(struct picture *picture, struct store *store,
                       const struct figure_request *request) STATUS_CHECKED;

#endif
