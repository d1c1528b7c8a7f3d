/* The chart of throughput: the speed-up over the transformer against the share of replaced layers,
 * with the ratios of the Apriel-H1 report and the roofline beside it. */
#ifndef REPORTS_THROUGHPUT_H
#define REPORTS_THROUGHPUT_H

#include "base/status.h"
#include "reports/picture.h"
#include "scores/store.h"

/* Fill the picture (picture_draw(…, "throughput") after) from a series of bench rows (0: the last).
 * Batches that the memory decided make one line, each set batch another. A series without a row of
 * the transformer itself has no speed-up and is refused. */
enum status throughput_fill(struct picture *picture, struct store *store,
                            int64_t series) STATUS_CHECKED;

#endif
