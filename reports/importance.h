/* The chart of importance: what each layer's removal or replacement costs, for one or more runs of
 * one model, by layer and, with a plan, in the order of replacement. */
#ifndef REPORTS_IMPORTANCE_H
#define REPORTS_IMPORTANCE_H

#include "base/status.h"
#include "reports/figure.h"
#include "reports/picture.h"
#include "scores/store.h"

/* Fill the picture (picture_begin before, picture_draw(…, "importance") after). Runs with the same
 * metric share a panel; each other metric gets its own below. Fails as figure_load does. */
enum status importance_fill(struct picture *picture, struct store *store,
                            const struct figure_request *request) STATUS_CHECKED;

#endif
