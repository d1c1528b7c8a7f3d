/* The tool's version. VERSION is that of meson.build, as stored in databases and provenance files.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#include "base/version_number.h"

/* The commit that was built, "…-dirty" when the tree had changes; "unknown" without git. */
const char *version_commit(void);

/* VERSION, or "0.1.0+15.g8b046ce" where that many commits lie between git's last tag v* and the
 * tree. */
const char *version_release(void);

#endif
