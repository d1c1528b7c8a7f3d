/* What `distill` prints. */
#ifndef CMD_DISTILL_REPORT_H
#define CMD_DISTILL_REPORT_H

#include "distill/distill.h"

enum status distill_report(const struct distill_outcome *outcome,
                           const struct distill_settings *settings, bool json) STATUS_CHECKED;

/* How far the run in `output` is, by its states and its database (NULL: training.db there). */
enum status distill_report_status(const char *output, const char *database,
                                  bool json) STATUS_CHECKED;

#endif
