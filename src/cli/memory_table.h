/* The memory budget of --dry-run on stdout. */
#ifndef CLI_MEMORY_TABLE_H
#define CLI_MEMORY_TABLE_H

#include "analysis/memory_budget.h"

/* As a table, or as one JSON document. */
enum status memory_table_print(const struct memory_budget *budget, const char *command,
                               bool json) STATUS_CHECKED;

#endif
