/* What to say about a path that cannot be opened: the reason, and what is meant when the path is of
 * a usual wrong kind. */
#ifndef BASE_PATH_HINT_H
#define BASE_PATH_HINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Fails: cannot open "PATH": REASON, with a hint where one is known. `reason` is an errno. */
enum status path_fail(const char *path, int reason) STATUS_CHECKED;

/* The path that a shell would have made of "~/…"; NULL for others. The caller frees. */
char *path_of_tilde(const char *path);

/* Whether bytes are the stand-in that git leaves for a large file that was not fetched. */
bool path_is_lfs_pointer(const char *bytes, size_t size);
enum status path_fail_lfs(const char *path) STATUS_CHECKED;

#endif
