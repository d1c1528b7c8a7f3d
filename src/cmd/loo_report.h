/* What `loo` says of a run. */
#ifndef CMD_LOO_REPORT_H
#define CMD_LOO_REPORT_H

#include "cmd/loo_options.h"

/* The scores, read from the database: as a table, or as one JSON document. */
enum status loo_report(const struct loo_outcome *outcome, const struct loo_values *values,
                       enum estimate estimate, bool json) STATUS_CHECKED;

#endif
