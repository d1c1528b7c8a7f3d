#include "base/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_finite.h"

static json_t *unwrap(const struct json *value) {
    return (json_t *)(uintptr_t)value;
}

static struct json *wrap(json_t *value) {
    return (struct json *)value;
}

/* Whole numbers that were read as reals become integers again, as far as a double is exact. */
static json_t *with_integers(json_t *value) {
    double number = json_is_real(value) ? json_real_value(value) : NAN;
    if (fabs(number) <= 9007199254740992.0 && number == floor(number)) {
        json_decref(value);
        return json_integer((json_int_t)number);
    }
    const char *key;
    void *next;
    json_t *member;
    json_object_foreach_safe(value, next, key, member)
        json_object_set_new(value, key, with_integers(json_incref(member)));
    for (size_t i = 0; i < json_array_size(value); i++)
        json_array_set_new(value, i, with_integers(json_incref(json_array_get(value, i))));
    return value;
}

/* A number that is not finite is neither a number, an object nor null to the callers. */
static const char *not_finite(const json_t *value) {
    if (json_object_size(value) != 1) return NULL;
    return json_string_value(json_object_get(value, JSON_NOT_FINITE));
}

/* Integers beyond 64 bits become reals: transformers writes 10^30 for a tokenizer without a limit
 * of its length. Of a repeated key the last value counts, as in Python. */
static json_t *load_finite(const char *text, size_t length, size_t flags, json_error_t *error) {
    json_t *value = json_loadb(text, length, flags, error);
    if (value || json_error_code(error) != json_error_numeric_overflow) return value;
    value = json_loadb(text, length, flags | JSON_DECODE_INT_AS_REAL, error);
    return value ? with_integers(value) : NULL;
}

static json_t *load(const char *text, size_t length, json_error_t *error) {
    json_t *value = load_finite(text, length, JSON_ALLOW_NUL, error);
    if (value) return value;
    size_t finite_length;
    char *finite = json_finite_text(&finite_length, text, length);
    if (finite) value = load_finite(finite, finite_length, JSON_ALLOW_NUL, error);
    free(finite);
    return value;
}

/* jansson says nothing when an allocation fails. */
static bool out_of_memory(const json_error_t *error) {
    return !*error->text || json_error_code(error) == json_error_out_of_memory;
}

static enum status fail_to_parse(const char *source, const json_error_t *error) {
    if (out_of_memory(error))
        return status_fail("\"%s\": out of memory while reading JSON", source);
    return status_fail("\"%s\": invalid JSON at line %d, column %d: %s", source, error->line,
                       error->column, error->text);
}

enum status js_parse(struct json **out, const char *text, size_t length, const char *source) {
    json_error_t error;
    json_t *value = load(text, length, &error);
    if (!value) return fail_to_parse(source, &error);
    *out = wrap(value);
    return STATUS_OK;
}

enum status js_parse_unique(struct json **out, const char *text, size_t length,
                            const char *source) {
    json_error_t error;
    json_t *value = load_finite(text, length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!value) return fail_to_parse(source, &error);
    *out = wrap(value);
    return STATUS_OK;
}

enum status js_parse_part(struct json **out, const char *text, size_t length, const char *source,
                          const char *unit, uint64_t number) {
    json_error_t error;
    json_t *value = load(text, length, &error);
    if (!value && out_of_memory(&error)) return fail_to_parse(source, &error);
    if (!value)
        return status_fail("\"%s\": %s %" PRIu64 ": invalid JSON at column %d: %s", source, unit,
                           number, error.column, error.text);
    *out = wrap(value);
    return STATUS_OK;
}

enum status js_parse_line(struct json **out, const char *text, size_t length, const char *source,
                          uint64_t line) {
    return js_parse_part(out, text, length, source, "line", line);
}

enum status js_read(struct json **out, const char *path) {
    char *text;
    size_t length;
    enum status status = file_read(&text, &length, path);
    if (status) return status;
    status = js_parse(out, text, length, path);
    free(text);
    return status;
}

void js_free(struct json *value) {
    json_decref(unwrap(value));
}

bool js_is_object(const struct json *value) {
    return json_is_object(unwrap(value)) && !not_finite(unwrap(value));
}

bool js_is_array(const struct json *value) {
    return json_is_array(unwrap(value));
}

bool js_is_string(const struct json *value) {
    return json_is_string(unwrap(value));
}

bool js_is_integer(const struct json *value) {
    return json_is_integer(unwrap(value));
}

bool js_is_number(const struct json *value) {
    return json_is_number(unwrap(value));
}

bool js_is_bool(const struct json *value) {
    return json_is_boolean(unwrap(value));
}

static const struct json *present(json_t *value) {
    return json_is_null(value) ? NULL : wrap(value);
}

const struct json *js_member(const struct json *object, const char *key) {
    return present(json_object_get(unwrap(object), key));
}

bool js_has(const struct json *object, const char *key) {
    return json_object_get(unwrap(object), key) != NULL;
}

const struct json *js_element(const struct json *array, size_t index) {
    return present(json_array_get(unwrap(array), index));
}

size_t js_count(const struct json *container) {
    if (js_is_array(container)) return json_array_size(unwrap(container));
    return js_is_object(container) ? json_object_size(unwrap(container)) : 0;
}

void *js_first(const struct json *object) {
    return js_is_object(object) ? json_object_iter(unwrap(object)) : NULL;
}

void *js_next(const struct json *object, void *iterator) {
    return json_object_iter_next(unwrap(object), iterator);
}

const char *js_key(void *iterator) {
    return json_object_iter_key(iterator);
}

const struct json *js_value(void *iterator) {
    return wrap(json_object_iter_value(iterator));
}

int64_t js_integer_or(const struct json *value, int64_t fallback) {
    return js_is_integer(value) ? json_integer_value(unwrap(value)) : fallback;
}

double js_number_or(const struct json *value, double fallback) {
    return js_is_number(value) ? json_number_value(unwrap(value)) : fallback;
}

bool js_bool_or(const struct json *value, bool fallback) {
    return js_is_bool(value) ? json_is_true(unwrap(value)) : fallback;
}

const char *js_string_or(const struct json *value, const char *fallback) {
    return js_is_string(value) ? json_string_value(unwrap(value)) : fallback;
}

size_t js_string_length(const struct json *value) {
    return json_string_length(unwrap(value));
}

static enum status wrong_kind(const struct json *object, const char *key, const char *wanted,
                              const char *source) {
    const struct json *value = js_member(object, key);
    if (!value) return status_fail("\"%s\": \"%s\" is missing", source, key);
    if (not_finite(unwrap(value)))
        return status_fail("\"%s\": \"%s\" must be %s, found %s", source, key, wanted,
                           not_finite(unwrap(value)));
    char *text = json_dumps(unwrap(value), JSON_ENCODE_ANY | JSON_COMPACT);
    enum status status = status_fail("\"%s\": \"%s\" must be %s, found %.80s", source, key, wanted,
                                     text ? text : "something else");
    free(text);
    return status;
}

enum status js_get_integer(int64_t *out, const struct json *object, const char *key, int64_t low,
                           int64_t high, const char *source) {
    const struct json *value = js_member(object, key);
    if (!js_is_integer(value)) return wrong_kind(object, key, "an integer", source);
    int64_t number = json_integer_value(unwrap(value));
    if (number < low || number > high)
        return status_fail("\"%s\": \"%s\" is %" PRId64 ", outside %" PRId64 " to %" PRId64, source,
                           key, number, low, high);
    *out = number;
    return STATUS_OK;
}

enum status js_get_number(double *out, const struct json *object, const char *key,
                          const char *source) {
    const struct json *value = js_member(object, key);
    if (!js_is_number(value)) return wrong_kind(object, key, "a number", source);
    *out = json_number_value(unwrap(value));
    return STATUS_OK;
}

enum status js_get_string(const char **out, const struct json *object, const char *key,
                          const char *source) {
    const struct json *value = js_member(object, key);
    if (!js_is_string(value)) return wrong_kind(object, key, "a string", source);
    *out = json_string_value(unwrap(value));
    return STATUS_OK;
}

struct json *js_new_object(void) {
    return wrap(json_object());
}

struct json *js_new_array(void) {
    return wrap(json_array());
}

struct json *js_new_string(const char *text) {
    return js_new_bytes(text, text ? strlen(text) : 0);
}

struct json *js_new_bytes(const char *text, size_t length) {
    json_t *value = text ? json_stringn(text, length) : json_null();
    return wrap(value ? value : json_null()); /* not UTF-8 */
}

struct json *js_new_integer(int64_t value) {
    return wrap(json_integer(value));
}

struct json *js_new_number(double value) {
    return wrap(isfinite(value) ? json_real(value) : json_null());
}

struct json *js_new_bool(bool value) {
    return wrap(json_boolean(value));
}

struct json *js_copy(const struct json *value) {
    return wrap(json_deep_copy(unwrap(value)));
}

void js_set(struct json *object, const char *key, struct json *value) {
    json_object_set_new(unwrap(object), key, value ? unwrap(value) : json_null());
}

void js_append(struct json *array, struct json *value) {
    json_array_append_new(unwrap(array), value ? unwrap(value) : json_null());
}

void js_set_string(struct json *object, const char *key, const char *text) {
    js_set(object, key, js_new_string(text));
}

void js_set_integer(struct json *object, const char *key, int64_t value) {
    js_set(object, key, js_new_integer(value));
}

void js_set_number(struct json *object, const char *key, double value) {
    js_set(object, key, js_new_number(value));
}

void js_set_bool(struct json *object, const char *key, bool value) {
    js_set(object, key, js_new_bool(value));
}

void js_remove(struct json *object, const char *key) {
    json_object_del(unwrap(object), key);
}
