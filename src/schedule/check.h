/* What a schedule finds in its directory is of use only when it answers what the schedule asks
 * today: each file is compared with what would be made now. A difference is a failure that names
 * the file and what differs. */
#ifndef SCHEDULE_CHECK_H
#define SCHEDULE_CHECK_H

#include <stdint.h>

#include "base/status.h"

/* The failure of the file in `path` that was made otherwise: `differs`, which is taken over, says
 * how; NULL: it was not, STATUS_OK. */
enum status schedule_check_refuse(const char *path, char *differs) STATUS_CHECKED;

/* The plan in `path`: as `run` gives it now. `kind` and `keep` may be NULL. */
enum status schedule_check_plan(const char *path, const char *database, int64_t run,
                                const char *kind, int count, const char *keep) STATUS_CHECKED;

#endif
