/* JSON as Python's json module writes and reads it: NaN, Infinity and -Infinity are numbers there,
 * and so are numbers beyond double's range (infinity). */
#include "base/json_finite.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

static bool in_number(char c) {
    return isdigit((unsigned char)c) || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
}

/* The end of the string that begins at `at`. */
static size_t skip_string(const char *text, size_t at, size_t length) {
    for (at++; at < length && text[at] != '"'; at++)
        if (text[at] == '\\') at++;
    return at < length ? at + 1 : length;
}

/* The length of a word for a number that is not finite at `at`, or 0; its name for messages. */
static size_t word_at(const char **name, const char *text, size_t at, size_t length) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (length - at < n || memcmp(text + at, words[i], n) != 0) continue;
        if (at + n < length && isalnum((unsigned char)text[at + n])) continue;
        *name = words[i];
        return n;
    }
    return 0;
}

/* The length of the number at `at`; `*name` is set when a double cannot hold it. */
static size_t number_at(const char **name, const char *text, size_t at, size_t length) {
    size_t n = 0;
    while (at + n < length && in_number(text[at + n])) n++;
    char *copy = memory_copy_bytes(text + at, n);
    double value = copy ? strtod(copy, NULL) : 0;
    if (isinf(value)) *name = value < 0 ? "-Infinity" : "Infinity";
    free(copy);
    return n;
}

char *json_finite_text(size_t *out_length, const char *text, size_t length) {
    struct text out = {0};
    size_t copied = 0, found = 0;
    for (size_t at = 0; at < length;) {
        const char *name = NULL;
        size_t n = word_at(&name, text, at, length);
        if (!n && text[at] == '"')
            n = skip_string(text, at, length) - at;
        else if (!n && in_number(text[at]))
            n = number_at(&name, text, at, length);
        if (name) {
            text_append_bytes(&out, text + copied, at - copied);
            text_append(&out, "{\"" JSON_NOT_FINITE_ESCAPED "\":\"%s\"}", name);
            copied = at + n;
            found++;
        }
        at += n ? n : 1;
    }
    if (!found) {
        text_free(&out);
        return NULL;
    }
    text_append_bytes(&out, text + copied, length - copied);
    *out_length = out.length;
    return text_finish(&out);
}
