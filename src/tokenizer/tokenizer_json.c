/* What the readers of the parts of tokenizer.json share. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

enum status part_type(const char **type, const struct json *part, const char *what,
                      const char *source) {
    *type = js_string_or(js_member(part, "type"), NULL);
    if (*type) return STATUS_OK;
    return status_fail("\"%s\": a %s without a \"type\"", source, what);
}

enum status part_refuse(const char *type, const char *what, const char *source) {
    return status_fail("\"%s\": %s \"%.80s\" is not supported", source, what, type);
}

enum status part_keys(const struct json *part, const char *known, const char *what,
                      const char *source) {
    for (void *i = js_first(part); i; i = js_next(part, i)) {
        const char *key = js_key(i);
        size_t length = strlen(key);
        bool found = false;
        for (const char *word = known; word && !found; word = strchr(word, ' ')) {
            if (*word == ' ') word++;
            found = strncmp(word, key, length) == 0 && (word[length] == ' ' || !word[length]);
        }
        if (!found || !length)
            return status_fail("\"%s\": \"%.80s\" in %s is not supported", source, key, what);
    }
    return STATUS_OK;
}

enum status part_string(char **out, size_t *length, const struct json *part, const char *key,
                        const char *what, const char *source) {
    const struct json *value = js_member(part, key);
    if (!js_is_string(value))
        return status_fail("\"%s\": \"%s\" in %s must be a string", source, key, what);
    *length = js_string_length(value);
    *out = memory_copy_bytes(js_string_or(value, ""), *length);
    return *out ? STATUS_OK : STATUS_FAILED;
}

enum status part_bool(bool *out, const struct json *part, const char *key, bool fallback,
                      const char *what, const char *source) {
    const struct json *value = js_member(part, key);
    *out = js_bool_or(value, fallback);
    if (!value || js_is_bool(value)) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" in %s must be true or false", source, key, what);
}

enum status part_pattern(struct pattern *pattern, const struct json *part, const char *what,
                         const char *source) {
    const struct json *object = js_member(part, "pattern");
    const struct json *literal = js_member(object, "String"), *regex = js_member(object, "Regex");
    if (js_count(object) == 1 && js_is_string(literal))
        return part_string(&pattern->literal, &pattern->length, object, "String", what, source);
    if (js_count(object) == 1 && js_is_string(regex))
        return regex_compile(&pattern->regex, js_string_or(regex, ""), js_string_length(regex),
                             source);
    return status_fail("\"%s\": \"pattern\" in %s must be a String or a Regex", source, what);
}

void *part_grow(void **array, size_t *count, size_t size) {
    char *grown = memory_resize(*array, *count + 1, size);
    if (!grown) return NULL;
    *array = grown;
    memset(grown + *count * size, 0, size);
    return grown + (*count)++ * size;
}
