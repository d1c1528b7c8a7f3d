/* The tool's version, as stored in databases and provenance files. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define VERSION "0.1.0"

/* The commit that was built, "…-dirty" when the tree had changes; "unknown" without git. */
const char *version_commit(void);

#endif
