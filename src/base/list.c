#include "base/list.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "base/text.h"

static bool read_number(const char **cursor, int low, int high, int *out) {
    if (strncmp(*cursor, "first", 5) == 0) {
        *out = low;
        *cursor += 5;
        return true;
    }
    if (strncmp(*cursor, "last", 4) == 0) {
        *out = high;
        *cursor += 4;
        return true;
    }
    uint64_t value;
    enum number_fault fault = number_read(&value, cursor, false);
    *out = fault == NUMBER_GOOD && value <= (uint64_t)high ? (int)value : high + 1;
    return fault == NUMBER_GOOD || fault == NUMBER_TOO_LARGE;
}

enum status list_parse(struct int_list *out, const char *text, int low, int high,
                       const char *what) {
    size_t range = high >= low ? (size_t)(high - low) + 1 : 0;
    bool *chosen = memory_calloc(range, sizeof *chosen);
    if (!chosen) return STATUS_FAILED;
    enum status status = STATUS_OK;
    size_t count = 0;
    const char *cursor = text;
    do {
        int from, to;
        if (!read_number(&cursor, low, high, &from)) goto malformed;
        to = from;
        if (*cursor == '-') {
            cursor++;
            if (!read_number(&cursor, low, high, &to) || to < from) goto malformed;
        }
        if (from < low || to > high) {
            status =
                status_set(STATUS_USAGE, "%s: \"%s\" goes outside %d to %d", what, text, low, high);
            goto done;
        }
        for (int value = from; value <= to; value++) {
            count += !chosen[value - low];
            chosen[value - low] = true;
        }
    } while (*cursor == ',' && cursor++);
    if (*cursor) goto malformed;
    out->values = memory_calloc(count, sizeof *out->values);
    out->count = 0;
    if (!out->values) {
        status = STATUS_FAILED;
        goto done;
    }
    for (size_t i = 0; i < range; i++)
        if (chosen[i]) out->values[out->count++] = low + (int)i;
    goto done;
malformed:
    status = status_set(STATUS_USAGE, "%s: \"%s\" is not a list like 0-11,13", what, text);
done:
    free(chosen);
    return status;
}

void list_free(struct int_list *list) {
    free(list->values);
    *list = (struct int_list){0};
}

char *list_format(const int *values, size_t count) {
    struct text text = {0};
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end + 1 < count && values[end + 1] == values[end] + 1) end++;
        text_append(&text, end > i ? "%s%d-%d" : "%s%d", i ? "," : "", values[i], values[end]);
        i = end + 1;
    }
    return text_finish(&text);
}
