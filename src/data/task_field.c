#include "data/task_field.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { LONGEST_NAME = 32 };

static char upper(char c) {
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static const struct json *member(const struct json *object, const char *name) {
    char other[LONGEST_NAME];
    size_t length = strlen(name);
    const struct json *value = js_member(object, name);
    if (value || length >= LONGEST_NAME) return value;
    memcpy(other, name, length + 1);
    other[0] = upper(other[0]);
    value = js_member(object, other);
    for (size_t i = 0; !value && i < length; i++) other[i] = upper(other[i]);
    return value ? value : js_member(object, other);
}

const struct json *task_field(const struct json *object, const char *const *names) {
    for (; *names; names++) {
        const struct json *value = member(object, *names);
        if (value) return value;
    }
    return NULL;
}

char *task_field_text(const struct json *value, const char *name) {
    if (js_is_integer(value)) return text_format("%" PRId64, js_integer_or(value, 0));
    if (js_is_number(value)) {
        double number = js_number_or(value, 0);
        bool whole = number == floor(number) && fabs(number) < 9e15;
        return whole ? text_format("%.0f", number) : text_format("%.15g", number);
    }
    if (js_is_string(value) && strlen(js_string_or(value, "")) == js_string_length(value))
        return memory_copy_string(js_string_or(value, ""));
    if (value)
        (void)!status_fail("\"%s\" must be a number or a string without NUL", name);
    else
        (void)!status_fail("\"%s\" is missing", name);
    return NULL;
}

bool task_field_is_example(const struct json *object) {
    static const char *const names[] = {"split", NULL};
    const char *split = js_string_or(task_field(object, names), "");
    return strcmp(split, "dev") == 0 || strcmp(split, "train") == 0;
}
