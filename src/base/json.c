#include "base/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_finite.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "base/utf8.h"

/* Set where a value could not be made or put in its place, for want of memory: js_print and
 * js_complete tell it, so that no document goes out with a hole in it. It stays set: nothing that
 * this process built can be trusted to be whole any more. */
static atomic_bool incomplete;

/* While jansson reads, memory that runs out ends the reading at once, and what was read is lost:
 * its own ways out of there take it for wrong input, or end the program. */
static _Thread_local jmp_buf *out_of_reading;

static void *watched_malloc(size_t size) {
    void *memory = malloc(size);
    if (memory) return memory;
    incomplete = true;
    if (out_of_reading) longjmp(*out_of_reading, 1);
    return NULL;
}

__attribute__((constructor)) static void watch_memory(void) {
    json_set_alloc_funcs(watched_malloc, free);
}

static json_t *unwrap(const struct json *value) {
    return (json_t *)(uintptr_t)value;
}

static struct json *wrap(json_t *value) {
    return (struct json *)value;
}

/* A value that was just made. */
static struct json *made(json_t *value) {
    if (!value) incomplete = true;
    return wrap(value);
}

enum status js_complete(void) {
    return incomplete ? status_fail("out of memory while building JSON") : STATUS_OK;
}

/* Whole numbers that were read as reals become integers again, as far as a double is exact. */
static json_t *with_integers(json_t *value) {
    double number = json_is_real(value) ? json_real_value(value) : NAN;
    if (fabs(number) <= 9007199254740992.0 && number == floor(number)) {
        json_decref(value);
        value = json_integer((json_int_t)number);
        if (!value) incomplete = true;
        return value;
    }
    const char *key;
    void *next;
    json_t *member;
    json_object_foreach_safe(
        value, next, key,
        member) if (json_object_set_new(value, key, with_integers(json_incref(member))))
        incomplete = true;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (json_array_set_new(value, i, with_integers(json_incref(json_array_get(value, i)))))
            incomplete = true;
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

static json_t *load_watched(const char *text, size_t length, size_t flags, json_error_t *error) {
    jmp_buf here;
    json_t *value = NULL;
    if (setjmp(here) == 0) {
        out_of_reading = &here;
        value = load_finite(text, length, flags, error);
    }
    out_of_reading = NULL;
    return incomplete ? NULL : value;
}

static json_t *load(const char *text, size_t length, json_error_t *error) {
    json_t *value = load_watched(text, length, JSON_ALLOW_NUL, error);
    if (value) return value;
    size_t finite_length;
    json_error_t second;
    char *finite = json_finite_text(&finite_length, text, length);
    if (!finite) return NULL;
    value = load_watched(finite, finite_length, JSON_ALLOW_NUL, &second);
    free(finite);
    if (value && !not_finite(value)) return value;
    if (!value) *error = second; /* what else is wrong with the text */
    json_decref(value);          /* such a number alone: a text is an object or a list */
    return NULL;
}

static enum status fail_to_parse(const char *source, const json_error_t *error) {
    if (incomplete || memory_failures())
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
    json_t *value = load_watched(text, length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!value) return fail_to_parse(source, &error);
    *out = wrap(value);
    return STATUS_OK;
}

enum status js_parse_part(struct json **out, const char *text, size_t length, const char *source,
                          const char *unit, uint64_t number) {
    json_error_t error;
    json_t *value = load(text, length, &error);
    if (!value && incomplete) return fail_to_parse(source, &error);
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
    status =
        path_is_lfs_pointer(text, length) ? path_fail_lfs(path) : js_parse(out, text, length, path);
    free(text);
    return status;
}

/* ---- documents that hold names */

/* A private-use character stands for each byte from 0x80 on until the text is parsed: jansson takes
 * no single surrogates. A document may have such characters of its own, hence the choice. */
static const uint32_t stand_ins[] = {0xfdc00, 0x10dc00, 0xf1c00, 0x10ac00};

/* The number of `\uXXXX` at `at`, or -1. */
static long escaped_unit(const char *at, const char *end) {
    char digits[5] = "";
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
    memcpy(digits, at + 2, 4);
    return digits[strspn(digits, "0123456789abcdefABCDEF")] ? -1 : strtol(digits, NULL, 16);
}

/* The text with stand-ins for the surrogates of bytes; `*found` counts them. The caller frees. */
static char *put_stand_ins(size_t *length, size_t *found, const char *text, uint32_t stand_in) {
    struct text out = {0};
    const char *end = text + *length;
    *found = 0;
    while (text < end) {
        const char *escape = memchr(text, '\\', (size_t)(end - text));
        if (!escape) escape = end;
        text_append_bytes(&out, text, (size_t)(escape - text));
        text = escape;
        long unit = escaped_unit(text, end);
        bool pair = unit >= 0xd800 && unit < 0xdc00 && escaped_unit(text + 6, end) >= 0xdc00;
        ptrdiff_t size = pair ? 12 : unit >= 0 ? 6 : end - text < 2 ? end - text : 2;
        if (unit >= 0xdc80 && unit <= 0xdcff) {
            uint32_t c = stand_in + (uint32_t)(unit & 0xff);
            text_append(&out, "%c%c%c%c", (char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3f)),
                        (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f)));
            ++*found;
        } else {
            text_append_bytes(&out, text, (size_t)size);
        }
        text += size;
    }
    *length = out.length;
    return text_finish(&out);
}

/* The bytes that the stand-ins of a string stand for. */
static void restore_string(json_t *string, size_t *restored, uint32_t stand_in) {
    const char *from = json_string_value(string), *end = from + json_string_length(string);
    struct text bytes = {0};
    size_t before = *restored;
    while (from < end) {
        uint32_t character = utf8_decode(from);
        char byte = (char)(character & 0xff);
        bool stands_in = character >= stand_in + 0x80 && character <= stand_in + 0xff;
        text_append_bytes(&bytes, stands_in ? &byte : from, stands_in ? 1 : utf8_length(*from));
        *restored += stands_in;
        from += utf8_length(*from);
    }
    if (*restored > before &&
        (bytes.failed || json_string_setn_nocheck(string, bytes.bytes, bytes.length)))
        incomplete = true;
    text_free(&bytes);
}

static void restore_bytes(json_t *value, size_t *restored, uint32_t stand_in) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value)) restore_string(value, restored, stand_in);
    json_object_foreach(value, key, member) restore_bytes(member, restored, stand_in);
    json_array_foreach(value, i, member) restore_bytes(member, restored, stand_in);
}

enum status js_parse_names(struct json **out, const char *text, size_t length, const char *source) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof stand_ins / sizeof *stand_ins; i++) {
        struct json *value = NULL;
        size_t size = length, found = 0, restored = 0;
        char *copy = put_stand_ins(&size, &found, text, stand_ins[i]);
        status = copy ? js_parse(&value, copy, size, source) : STATUS_FAILED;
        if (!status && found) restore_bytes(unwrap(value), &restored, stand_ins[i]);
        if (!status) status = js_complete();
        free(copy);
        if (!status && found == restored) {
            *out = value;
            return STATUS_OK;
        }
        js_free(value);
    }
    return status ? status
                  : status_fail("\"%s\": bytes that are not UTF-8 (\\udc80 to \\udcff) in the name "
                                "of a member",
                                source);
}

enum status js_read_names(struct json **out, const char *path) {
    char *text;
    size_t length;
    enum status status = file_read(&text, &length, path);
    if (status) return status;
    status = js_parse_names(out, text, length, path);
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

/* NULL stands for null, or for what there was no memory for. */
static json_t *null_for_nothing(void) {
    if (memory_failures()) incomplete = true;
    return json_null();
}

struct json *js_new_object(void) {
    return made(json_object());
}

struct json *js_new_array(void) {
    return made(json_array());
}

struct json *js_new_string(const char *text) {
    return js_new_bytes(text, text ? strlen(text) : 0);
}

struct json *js_new_bytes(const char *text, size_t length) {
    return made(text ? json_stringn_nocheck(text, length) : null_for_nothing());
}

struct json *js_new_integer(int64_t value) {
    return made(json_integer(value));
}

struct json *js_new_number(double value) {
    return made(isfinite(value) ? json_real(value) : json_null());
}

struct json *js_new_bool(bool value) {
    return made(json_boolean(value));
}

struct json *js_copy(const struct json *value) {
    json_t *copy = json_deep_copy(unwrap(value));
    if (value && !copy) (void)status_fail("out of memory while building JSON");
    return value ? made(copy) : NULL;
}

void js_set(struct json *object, const char *key, struct json *value) {
    if (json_object_set_new_nocheck(unwrap(object), key,
                                    value ? unwrap(value) : null_for_nothing()))
        incomplete = true;
}

void js_append(struct json *array, struct json *value) {
    if (json_array_append_new(unwrap(array), value ? unwrap(value) : null_for_nothing()))
        incomplete = true;
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

const char *js_library_version(void) {
    return jansson_version_str();
}
