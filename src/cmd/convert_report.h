/* What `convert` says of a hybrid. */
#ifndef CMD_CONVERT_REPORT_H
#define CMD_CONVERT_REPORT_H

#include "convert/conversion.h"

/* The hybrid that was written, or with `dry_run` would be, tensor by tensor: as text, or as one
 * JSON document. */
enum status convert_report(const struct conversion *conversion, bool dry_run,
                           bool json) STATUS_CHECKED;

#endif
