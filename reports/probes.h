/* The chart of probes: the loss of each layer's Mamba mixer while it is trained. */
#ifndef REPORTS_PROBES_H
#define REPORTS_PROBES_H

#include "base/status.h"
#include "reports/figure.h"
#include "reports/picture.h"
#include "scores/store.h"

/* Fill the picture and name its drawing in `*name` (for picture_draw): a small curve for each layer
 * ("probes"), or, for more than 24 layers, a heat map for each run ("probe_map"). The mean over
 * seeds is shown, with the range over seeds where there are several; long runs are averaged over
 * windows of steps. Takes mmr runs only, unfinished ones when they are named. */
enum status probes_fill(struct picture *picture, const char **name, struct store *store,
                        const struct figure_request *request) STATUS_CHECKED;

#endif
