/* A chart as three files beside each other: the picture (FILE.svg, .png or .pdf), its data
 * (FILE.dat) and the gnuplot script that draws it (FILE.gp), which stays for whoever wants to
 * change the picture. The drawing is a script of this folder (style.gp, then NAME.gp); what it
 * needs to know comes before it as gnuplot variables. */
#ifndef REPORTS_PICTURE_H
#define REPORTS_PICTURE_H

#include <stdbool.h>

#include "base/output.h"
#include "base/status.h"
#include "base/text.h"

enum picture_format {
    PICTURE_SVG,
    PICTURE_PNG,
    PICTURE_PDF,
};

struct picture {
    enum picture_format format;
    int width, height; /* pixels; twice as many dots in a PNG */
    char *path, *data_path, *script_path;
    enum output_existing existing; /* of all three; OUTPUT_KEEP unless set */
    char *title;                   /* of the SVG's title; NULL: none */
    struct text description;       /* of the SVG's: what the chart shows, in words */
    struct text settings;          /* gnuplot statements; picture_set_* append to it */
    struct text data;              /* what the script reads as the file `data` */
};

/* Choose the format by the ending of `path`; another ending is STATUS_USAGE. */
enum status picture_begin(struct picture *out, const char *path) STATUS_CHECKED;
/* Fails where one of the three files could not be written, or would be written over one of
 * `inputs` [count] (see output_check_inputs). */
enum status picture_check(const struct picture *picture, const char *const *inputs,
                          size_t count) STATUS_CHECKED;

/* Define a gnuplot variable or, from `count` values, an array (which gnuplot counts from 1).
 * Strings may hold anything: they are quoted, and what could not be seen is shown as an escape. */
void picture_set_number(struct picture *picture, const char *name, double value);
void picture_set_string(struct picture *picture, const char *name, const char *value);
void picture_set_numbers(struct picture *picture, const char *name, const double *values,
                         int count);
void picture_set_strings(struct picture *picture, const char *name, char *const *values, int count);

/* Set `title`, `subtitle` and `label` [count], and what an SVG says of itself. */
enum status picture_set_titles(struct picture *picture, const char *title, const char *subtitle,
                               char *const *labels, int count) STATUS_CHECKED;

/* Write data and script (style.gp and NAME.gp behind the settings) and let gnuplot draw the
 * picture: all three whole, or none where one cannot be written. Without gnuplot, or when it fails,
 * the two files stay and the message says how to draw them. */
enum status picture_draw(struct picture *picture, const char *name) STATUS_CHECKED;

void picture_free(struct picture *picture); /* accepts a zeroed picture */

#endif
