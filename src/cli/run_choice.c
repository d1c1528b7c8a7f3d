#include "cli/run_choice.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MOST_DIGITS = 18, MOST_RUNS = 10000 };

static bool same_metric(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : !a && !b;
}

static enum status append(struct run_choices *choices, int64_t run, const char *metric) {
    for (size_t i = 0; i < choices->count; i++)
        if (choices->items[i].run == run && same_metric(choices->items[i].metric, metric))
            return STATUS_OK;
    struct ranking_choice *more =
        memory_resize(choices->items, choices->count + 1, sizeof *choices->items);
    if (!more) return STATUS_FAILED;
    choices->items = more;
    char *copy = metric ? memory_copy_string(metric) : NULL;
    if (metric && !copy) return STATUS_FAILED;
    choices->items[choices->count++] = (struct ranking_choice){.run = run, .metric = copy};
    return STATUS_OK;
}

/* A number of at least 1 at *cursor, which is moved past it. */
static bool read_number(int64_t *out, const char **cursor) {
    size_t digits = strspn(*cursor, "0123456789");
    if (!digits || digits > MOST_DIGITS) return false;
    *out = strtoll(*cursor, NULL, 10);
    *cursor += digits;
    return *out >= 1;
}

/* One element between commas; changed in place. */
static enum status add_element(struct run_choices *choices, char *element, const char *option) {
    char *metric = strchr(element, ':');
    if (metric) *metric++ = '\0';
    const char *cursor = element;
    int64_t first = RUN_LAST, last;
    bool latest = strcmp(element, "last") == 0;
    bool good = latest || read_number(&first, &cursor);
    last = first;
    if (latest) cursor += strlen(element);
    if (good && *cursor == '-') {
        cursor++;
        good = read_number(&last, &cursor) && last >= first && last - first < MOST_RUNS;
    }
    if (!good || *cursor)
        return status_set(STATUS_USAGE, "%s: \"%s\" is not the number of a run, nor last", option,
                          element);
    if (metric && !*metric)
        return status_set(STATUS_USAGE, "%s: \"%s:\" names no metric", option, element);
    enum status status = STATUS_OK;
    for (int64_t run = first; !status && run <= last; run++) status = append(choices, run, metric);
    return status;
}

enum status run_choices_add(struct run_choices *choices, const char *text, const char *option) {
    char *copy = memory_copy_string(text), *element = copy;
    enum status status = copy ? STATUS_OK : STATUS_FAILED;
    while (!status && element) {
        char *next = strchr(element, ',');
        if (next) *next++ = '\0';
        status = add_element(choices, element, option);
        element = next;
    }
    free(copy);
    return status;
}

enum status run_choices_resolve(struct run_choices *choices, struct store *store) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < choices->count; i++)
        if (choices->items[i].run == RUN_LAST)
            status = store_find_last_run(&choices->items[i].run, store);
    return status;
}

void run_choices_free(struct run_choices *choices) {
    for (size_t i = 0; i < choices->count; i++) free((char *)(uintptr_t)choices->items[i].metric);
    free(choices->items);
    *choices = (struct run_choices){0};
}
