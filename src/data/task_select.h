/* Which records of a benchmark file are examples for prompts and which are items. */
#ifndef DATA_TASK_SELECT_H
#define DATA_TASK_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct task_selection {
    size_t *examples, *items; /* [examples_count], [items_count]: indices of records, ascending */
    size_t examples_count, items_count;
};

/* `example` [count] marks the records of splits for examples ("dev", "train"): those are examples
 * and the others items. Where there are none of one of the two, the first `shots` records are the
 * examples. With `elsewhere` the examples come from another file: there are none here. `limit` (0:
 * none) items are left, evenly spread. `path` is for messages. Free with task_selection_free. */
enum status task_select(struct task_selection *out, const bool *example, size_t count, int shots,
                        bool elsewhere, int64_t limit, const char *path) STATUS_CHECKED;
void task_selection_free(struct task_selection *selection);

#endif
