/* What `mmr` says of a run. */
#ifndef CMD_MMR_REPORT_H
#define CMD_MMR_REPORT_H

#include "cmd/mmr_options.h"

/* The scores, read from the database: as a table, or as one JSON document. */
enum status mmr_report(const struct mmr_outcome *outcome, const struct mmr_values *values,
                       bool json) STATUS_CHECKED;

#endif
