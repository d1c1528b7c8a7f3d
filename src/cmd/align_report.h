/* What `align` prints when it is done. */
#ifndef CMD_ALIGN_REPORT_H
#define CMD_ALIGN_REPORT_H

#include "analysis/align/align.h"
#include "cmd/align_options.h"

/* `kinds` are as many as outcome->runs. */
enum status align_report(const struct align_outcome *outcome, int kinds,
                         const struct align_values *values, bool json) STATUS_CHECKED;

#endif
