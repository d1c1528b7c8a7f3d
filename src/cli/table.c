#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"

void table_begin(struct table *table, const char *alignment) {
    *table = (struct table){.alignment = alignment};
}

static enum status add_cell(struct table *table, const char *text) {
    char **cells = memory_resize(table->cells, table->count + 1, sizeof *cells);
    if (!cells) return STATUS_FAILED;
    table->cells = cells;
    cells[table->count] = quote_shown(text);
    if (!cells[table->count]) return STATUS_FAILED;
    table->count++;
    return STATUS_OK;
}

void table_cell(struct table *table, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = text_vformat(format, arguments);
    if (!text || add_cell(table, text)) table->status = STATUS_FAILED;
    free(text);
    va_end(arguments);
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static int width_of(const char *cell) {
    int width = 0;
    for (; *cell; cell++) width += ((unsigned char)*cell & 0xc0) != 0x80;
    return width;
}

static int column_width(const struct table *table, size_t columns, size_t column) {
    int width = 0;
    for (size_t i = column; i < table->count; i += columns)
        if (width_of(table->cells[i]) > width) width = width_of(table->cells[i]);
    return width;
}

/* Words from column `indent` on; where too little room is left, on lines of their own. */
static void print_wrapped(FILE *file, const char *cell, int indent) {
    enum { LEAST = 20, OWN_INDENT = 5 };
    int at = indent;
    if (TABLE_WIDTH - indent < LEAST && *cell) {
        indent = OWN_INDENT;
        fprintf(file, "\n%*s", indent, "");
        at = indent;
    }
    while (*cell) {
        char word[1024];
        size_t length = strcspn(cell, " ");
        if (length >= sizeof word) length = sizeof word - 1;
        memcpy(word, cell, length);
        word[length] = '\0';
        cell += length;
        cell += strspn(cell, " ");
        if (at > indent && at + 1 + width_of(word) > TABLE_WIDTH) {
            fprintf(file, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', file);
            at++;
        }
        fputs(word, file);
        at += width_of(word);
    }
}

enum status table_print(struct table *table, FILE *file) {
    enum status status = table->status;
    size_t columns = strlen(table->alignment);
    int indent = 0;
    for (size_t column = 0; column + 1 < columns; column++)
        indent += column_width(table, columns, column) + 2;
    for (size_t i = 0; !status && i < table->count; i++) {
        size_t column = i % columns;
        const char *cell = table->cells[i];
        if (table->alignment[column] == 'w') {
            fprintf(file, "%s", *cell ? "  " : "");
            print_wrapped(file, cell, indent);
            fputc('\n', file);
            continue;
        }
        int padding = column_width(table, columns, column) - width_of(cell);
        bool right = table->alignment[column] == 'r', last = column + 1 == columns;
        fprintf(file, "%s%*s%s", column ? "  " : "", right ? padding : 0, "", cell);
        if (last)
            fputc('\n', file);
        else if (!right)
            fprintf(file, "%*s", padding, "");
    }
    table_free(table);
    return status;
}

void table_free(struct table *table) {
    for (size_t i = 0; i < table->count; i++) free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}
