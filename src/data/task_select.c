#include "data/task_select.h"

#include <stdlib.h>

#include "base/memory.h"

enum status task_select(struct task_selection *out, const bool *example, size_t count, int shots,
                        bool elsewhere, int64_t limit, const char *path) {
    size_t marked = 0, first = 0, most = (size_t)limit;
    *out = (struct task_selection){0};
    for (size_t i = 0; i < count; i++) marked += example[i];
    bool split = marked > 0 && marked < count;
    if (!elsewhere && !split && shots > 0) first = (size_t)shots;
    if (first >= count)
        return status_fail("\"%s\" has %zu records: too few for %d examples and an item", path,
                           count, shots);
    out->examples = memory_calloc(count, sizeof *out->examples);
    out->items = memory_calloc(count, sizeof *out->items);
    if (!out->examples || !out->items) {
        task_selection_free(out);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        bool own = split ? example[i] : i < first;
        if (!own)
            out->items[out->items_count++] = i;
        else if (!elsewhere)
            out->examples[out->examples_count++] = i;
    }
    if (most == 0 || most >= out->items_count) return STATUS_OK;
    for (size_t i = 0; i < most; i++) out->items[i] = out->items[i * out->items_count / most];
    out->items_count = most;
    return STATUS_OK;
}

void task_selection_free(struct task_selection *selection) {
    free(selection->examples);
    free(selection->items);
    *selection = (struct task_selection){0};
}
