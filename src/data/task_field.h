/* Fields of benchmark records, which their publishers spell in several ways. */
#ifndef DATA_TASK_FIELD_H
#define DATA_TASK_FIELD_H

#include "base/json.h"

/* The first of the names (ended by NULL) that the record has, also with a capital ("Problem") or in
 * capitals ("ID"); NULL when it has none, or only as null. */
const struct json *task_field(const struct json *object, const char *const *names);

/* A copy of a string without NUL, or the number in its place: 2.0 is "2", as publishers store whole
 * numbers. NULL with a message that names the field `name`. */
char *task_field_text(const struct json *value, const char *name);

/* "split": "dev" or "train": for the examples before a question. */
bool task_field_is_example(const struct json *object);

#endif
