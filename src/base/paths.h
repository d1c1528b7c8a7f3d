/* The files that come with the program: gnuplot scripts ("reports/…"), recipes ("recipes/…"). */
#ifndef BASE_PATHS_H
#define BASE_PATHS_H

#include "base/status.h"

/* Find `name`, a path relative to the source tree or to share/apriel-tool of an installation. A
 * program that runs out of its build directory takes the source tree; any other takes
 * ../share/apriel-tool beside the program's own directory (so an installation can be moved), then
 * the data directory chosen when it was configured. The caller frees `*out`. Not found is a failure
 * that names every place looked at. */
enum status paths_find_data(char **out, const char *name) STATUS_CHECKED;

#endif
