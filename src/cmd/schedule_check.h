/* What plan --schedule finds in its directory is of use only when it answers what the schedule asks
 * today: each file is compared with what its command would be asked now. A difference is a failure
 * that names the file and what differs. */
#ifndef CMD_SCHEDULE_CHECK_H
#define CMD_SCHEDULE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "cmd/commands.h"

/* The run that the plan in `path` was made of, and the words of loo or mmr (`command`). */
enum status schedule_check_run(const char *path, int64_t run,
                               enum status (*command)(struct command_use *, int, char **), int argc,
                               char **argv) STATUS_CHECKED;

/* The plan itself: as `run` gives it now. `keep` may be NULL. */
enum status schedule_check_plan(const char *path, const char *database, int64_t run, int count,
                                const char *keep) STATUS_CHECKED;

/* The hybrid in `path`, and the words of convert. */
enum status schedule_check_hybrid(const char *path, int argc, char **argv) STATUS_CHECKED;

/* Words that the schedule gives the commands itself must not stand among the further ones of
 * `option`: the last of two would win. STATUS_USAGE. */
enum status schedule_check_words(const char *option, const char *const *own, size_t count,
                                 char **words) STATUS_CHECKED;

#endif
