/* Running gnuplot. */
#ifndef REPORTS_GNUPLOT_H
#define REPORTS_GNUPLOT_H

#include "base/status.h"
#include "base/text.h"

/* Run gnuplot on a script, in the script's directory and with nothing of the user's own settings;
 * what it draws to its standard output is appended to `drawn`. The script knows by the variable
 * `to_pipe` that it is to draw there. `data_path` is for the message when gnuplot is missing. */
enum status gnuplot_draw(struct text *drawn, const char *script_path,
                         const char *data_path) STATUS_CHECKED;

#endif
