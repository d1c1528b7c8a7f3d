/* Aligned columns of text on stdout. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

struct table {
    const char *alignment; /* a letter a column: l left, r right; the last may be w: wrapped */
    char **cells;          /* [count], row after row, the heading first */
    size_t count;
    enum status status; /* out of memory at some cell; told by table_print */
};

/* Begin with the alignment, then give the cells of the heading and of each row, left to right; what
 * a terminal would carry out is shown instead (base/quote.h). */
void table_begin(struct table *table, const char *alignment);
void table_cell(struct table *table, const char *format, ...) STATUS_PRINTF(2, 3);

/* What is wrapped stays within so many columns, as far as it has blanks. */
enum { TABLE_WIDTH = 80 };

/* Print with two blanks between columns, and free the table. Widths count characters of UTF-8. */
enum status table_print(struct table *table, FILE *file) STATUS_CHECKED;
void table_free(struct table *table);

#endif
