/* JSON values (jansson behind them; the prefix js_ keeps clear of its json_), read as Python's json
 * module reads them: the last of repeated keys counts; NaN, Infinity, -Infinity and numbers beyond
 * double's range are accepted, but are no numbers (and nothing else) to the functions here.
 * `struct json` is opaque; what a getter returns is borrowed from its container, what js_parse,
 * js_read and js_new_* return is the caller's until it is handed to js_set or js_append. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct json;

/* Parse text or a file; `source` names it in messages ("file: invalid JSON at line 3: …"). Integers
 * beyond 64 bits become numbers that are no integers. */
enum status js_parse(struct json **out, const char *text, size_t length,
                     const char *source) STATUS_CHECKED;
/* The same for a format that forbids repeated keys and numbers that are not finite. */
enum status js_parse_unique(struct json **out, const char *text, size_t length,
                            const char *source) STATUS_CHECKED;
/* One line of a file of JSON lines; messages begin with "file": line N. */
enum status js_parse_line(struct json **out, const char *text, size_t length, const char *source,
                          uint64_t line) STATUS_CHECKED;
/* The same for any part of a text: "file": UNIT N. */
enum status js_parse_part(struct json **out, const char *text, size_t length, const char *source,
                          const char *unit, uint64_t number) STATUS_CHECKED;
enum status js_read(struct json **out, const char *path) STATUS_CHECKED;
/* Of a document of this program, whose names are bytes: \udc80 to \udcff stand for the bytes 0x80
 * to 0xff of a string that is not UTF-8, which other documents may not have. */
enum status js_parse_names(struct json **out, const char *text, size_t length,
                           const char *source) STATUS_CHECKED;
enum status js_read_names(struct json **out, const char *path) STATUS_CHECKED;
void js_free(struct json *value);

bool js_is_object(const struct json *value); /* all accept NULL */
bool js_is_array(const struct json *value);
bool js_is_string(const struct json *value);
bool js_is_integer(const struct json *value);
bool js_is_number(const struct json *value);
bool js_is_bool(const struct json *value);

/* Members and elements. Absent, null and wrong containers all give NULL. */
const struct json *js_member(const struct json *object, const char *key);
bool js_has(const struct json *object, const char *key); /* there, if only as null */
const struct json *js_element(const struct json *array, size_t index);
size_t js_count(const struct json *container); /* of an array or object; 0 otherwise */

/* for (void *i = js_first(o); i; i = js_next(o, i)) js_key(i), js_value(i) */
void *js_first(const struct json *object);
void *js_next(const struct json *object, void *iterator);
const char *js_key(void *iterator);
const struct json *js_value(void *iterator);

/* Value of the right kind, or the fallback. Strings may hold NUL bytes: js_string_length. */
int64_t js_integer_or(const struct json *value, int64_t fallback);
double js_number_or(const struct json *value, double fallback);
bool js_bool_or(const struct json *value, bool fallback);
const char *js_string_or(const struct json *value, const char *fallback);
size_t js_string_length(const struct json *value);

/* Required members: a missing key, wrong kind or value outside the bounds is a failure that names
 * `source`, the key and what was found. */
enum status js_get_integer(int64_t *out, const struct json *object, const char *key, int64_t low,
                           int64_t high, const char *source) STATUS_CHECKED;
enum status js_get_number(double *out, const struct json *object, const char *key,
                          const char *source) STATUS_CHECKED;
enum status js_get_string(const char **out, const struct json *object, const char *key,
                          const char *source) STATUS_CHECKED;

struct json *js_new_object(void);
struct json *js_new_array(void);
struct json *js_new_string(const char *text);
struct json *js_new_bytes(const char *text, size_t length); /* may hold NUL */
struct json *js_new_integer(int64_t value);
struct json *js_new_number(double value); /* not finite: null */
struct json *js_new_bool(bool value);
struct json *js_copy(const struct json *value); /* deep */

/* Takes `value` over; NULL becomes null. Keys keep their order.
 *
 * What there is no memory for is remembered, here and in js_new_* and js_copy: js_print then fails,
 * so that no document goes out with a hole in it. A value that is used without being printed is
 * good when js_complete says so. */
void js_set(struct json *object, const char *key, struct json *value);
void js_append(struct json *array, struct json *value);
void js_set_string(struct json *object, const char *key, const char *text); /* NULL: null */
void js_set_integer(struct json *object, const char *key, int64_t value);
void js_set_number(struct json *object, const char *key, double value);
void js_set_bool(struct json *object, const char *key, bool value);
enum status js_complete(void) STATUS_CHECKED;
void js_remove(struct json *object, const char *key);

/* The first member in which two values differ, as "init.d_state"; "" when they are no objects, NULL
 * when they are equal. Keys in `ignored` (ends with NULL) may differ at any depth; null is as good
 * as absent. The caller frees. */
enum status js_difference(char **path, const struct json *a, const struct json *b,
                          const char *const *ignored) STATUS_CHECKED;

/* Text of a value, members in insertion order; `indent` 0 prints one line. The caller frees; NULL
 * with a message when memory ran out here or while the value was built. Strings may be any bytes:
 * those that are not UTF-8 become \udc80 to \udcff, as Python's surrogateescape has them.
 * js_print_sorted sorts the keys: equal values give equal text, as run keys need. */
char *js_print(const struct json *value, int indent);
char *js_print_sorted(const struct json *value);

const char *js_library_version(void);

#endif
