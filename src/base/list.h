/* Lists of layer numbers as people write them: "0-11,13". */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stddef.h>

#include "base/status.h"

struct int_list {
    int *values; /* [count], ascending and unique after list_parse */
    size_t count;
};

/* Parse "0-11,13" with every number in [low, high]. "first" and "last" stand for low and high. The
 * caller frees with list_free. `what` names the option in messages. */
enum status list_parse(struct int_list *out, const char *text, int low, int high,
                       const char *what) STATUS_CHECKED;
void list_free(struct int_list *list);

/* "0-3,7,9-11" of ascending numbers; the caller frees. NULL when out of memory. */
char *list_format(const int *values, size_t count);

#endif
