/* Running gnuplot. */
#ifndef REPORTS_GNUPLOT_H
#define REPORTS_GNUPLOT_H

#include "base/status.h"
#include "base/text.h"

/* What a chart is drawn from. */
struct gnuplot_files {
    const char *script_path, *data_path; /* as messages name them */
    const char *script, *data;           /* where they can be read now */
};

/* Run gnuplot on a script, in the directory of script_path and with nothing of the user's own
 * settings; what it draws to its standard output is appended to `drawn`. The script knows by the
 * variable `to_pipe` that it is to draw there, and by `data` where its data are. */
enum status gnuplot_draw(struct text *drawn, const struct gnuplot_files *files) STATUS_CHECKED;

#endif
