#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

static bool is_ignored(const char *key, const char *const *ignored) {
    for (; *ignored; ignored++)
        if (strcmp(key, *ignored) == 0) return true;
    return false;
}

static enum status add_key(char **path, const char *key) { /* before what is there */
    char *inside = *path;
    if (!inside) return STATUS_OK;
    *path = text_format("%s%s%s", key, *inside ? "." : "", inside);
    free(inside);
    return *path ? STATUS_OK : STATUS_FAILED;
}

static enum status compare_texts(char **path, const struct json *a, const struct json *b) {
    char *first = a ? js_print_sorted(a) : NULL, *second = b ? js_print_sorted(b) : NULL;
    enum status status = !a == !first && !b == !second ? STATUS_OK : STATUS_FAILED;
    if (!status && (!a != !b || (a && strcmp(first, second) != 0))) {
        *path = memory_copy_string("");
        if (!*path) status = STATUS_FAILED;
    }
    free(first);
    free(second);
    return status;
}

enum status js_difference(char **path, const struct json *a, const struct json *b,
                          const char *const *ignored) {
    *path = NULL;
    if (!js_is_object(a) || !js_is_object(b)) return compare_texts(path, a, b);
    enum status status = STATUS_OK;
    const struct json *sides[] = {a, b};
    for (int side = 0; side < 2; side++)
        for (void *i = js_first(sides[side]); i && !status && !*path; i = js_next(sides[side], i)) {
            const char *key = js_key(i);
            if (is_ignored(key, ignored)) continue;
            status = js_difference(path, js_member(a, key), js_member(b, key), ignored);
            if (!status) status = add_key(path, key);
        }
    return status;
}
