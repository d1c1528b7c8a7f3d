#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "eval/answer_value.h"
#include "eval/answers.h"

enum { MOST_PARTS = 64 };

struct span {
    const char *start;
    size_t length;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* ---- cleaning: what does not change an answer goes, what is written in several ways becomes one
 */

static const struct {
    const char *from, *to;
} rewrites[] = {
    {"\\\\", "\\\\"}, /* the end of a matrix row, not the beginning of another */
    {"\\left", ""},
    {"\\right", ""},
    {"\\displaystyle", ""},
    {"\\!", ""},
    {"\\,", ""},
    {"\\;", ""},
    {"\\:", ""},
    {"\\ ", ""},
    {"\\quad", ""},
    {"~", ""},
    {"\\$", ""},
    {"$", ""},
    {"\\(", ""},
    {"\\)", ""},
    {"\\[", ""},
    {"\\]", ""},
    {"\\dfrac", "\\frac"},
    {"\\tfrac", "\\frac"},
    {"\\cfrac", "\\frac"},
    {"^{\\circ}", ""},
    {"^\\circ", ""},
    {"\xc2\xb0", ""},
    {"\\degree", ""},
    {"\\%", "%"},
    {"\xe2\x88\x92", "-"},
    {"\xe2\x80\x93", "-"},
    {"{,}", ","},
    {"\\cdot", "*"},
    {"\\times", "*"},
    {"\xc3\x97", "*"},
    {"\xc2\xb7", "*"},
    {"\\div", "/"},
    {"\xc3\xb7", "/"},
    {"\xe2\x82\xac", ""},
    {"\xc2\xa3", ""},
    {"\xcf\x80", "\\pi"},
    {"**", "^"},
};

/* Commands whose braces hold words: only the braces' inside stays. */
static const char *const text_commands[] = {"\\text", "\\textbf", "\\textit", "\\textrm",
                                            "\\mbox", "\\mathrm", "\\mathbf", "\\operatorname"};

/* Length of the text command at `at` with its brace; 0: none there. */
static size_t text_command(const char *at) {
    for (size_t i = 0; i < sizeof text_commands / sizeof *text_commands; i++) {
        size_t length = strlen(text_commands[i]);
        if (strncmp(at, text_commands[i], length) == 0 && at[length] == '{') return length + 1;
    }
    return 0;
}

/* "-3 1/2": a mixed number, which needs its blank. Writes "-(3+1/2)". */
static bool write_mixed(struct text *out, const char *text) {
    const char *at = text + strspn(text, " ");
    bool minus = *at == '-';
    if (minus) at++;
    size_t whole = strspn(at, "0123456789"), blanks = strspn(at + whole, " ");
    const char *top = at + whole + blanks;
    size_t top_length = strspn(top, "0123456789");
    const char *bottom = top + top_length + 1;
    if (!whole || !blanks || !top_length || bottom[-1] != '/') return false;
    size_t bottom_length = strspn(bottom, "0123456789");
    if (!bottom_length || bottom[bottom_length + strspn(bottom + bottom_length, " .")])
        return false;
    text_append(out, "%s(%.*s+%.*s/%.*s)", minus ? "-" : "", (int)whole, at, (int)top_length, top,
                (int)bottom_length, bottom);
    return true;
}

/* Whether the text ends with a command's letters, to which another letter must not be joined. */
static bool ends_with_command(const struct text *text) {
    size_t at = text->length;
    while (at && is_letter(text->bytes[at - 1])) at--;
    return at && at < text->length && text->bytes[at - 1] == '\\';
}

static void rewrite(struct text *out, const char *text) {
    bool in_words = false; /* inside a text command's braces, which hold none of their own */
    bool apart = false;    /* something was left out before this character */
    for (; *text; text++) {
        size_t i = 0, rules = sizeof rewrites / sizeof *rewrites, skip = text_command(text);
        while (i < rules && strncmp(text, rewrites[i].from, strlen(rewrites[i].from)) != 0) i++;
        if (skip || i < rules) {
            if (!skip) text_append(out, "%s", rewrites[i].to);
            text += (skip ? skip : strlen(rewrites[i].from)) - 1;
            in_words |= skip > 0;
            apart |= skip || !*rewrites[i].to;
        } else if (strchr(" \t\r\n", *text) || (in_words && *text == '}')) {
            in_words &= *text != '}';
            apart = true;
        } else {
            if (apart && is_letter(*text) && ends_with_command(out)) text_append(out, " ");
            text_append_bytes(out, text, 1);
            apart = false;
        }
    }
}

/* The cleaned answer, without blanks but those that end a command before a letter ("\\pi r"); the
 * caller frees. NULL when out of memory. */
static char *clean(const char *answer) {
    struct text out = {0};
    text_append(&out, "%s", "");
    if (!write_mixed(&out, answer)) rewrite(&out, answer);
    char *text = text_finish(&out);
    if (!text) return NULL;
    size_t length = strlen(text);
    while (length && strchr(".,;:", text[length - 1])) length--;
    text[length] = '\0';
    return text;
}

/* What is right of the only "=", when a name stands left of it: "x=5", "f(x)=2x". */
static struct span without_name(const char *text) {
    const char *equals = strchr(text, '=');
    struct span all = {text, strlen(text)};
    if (!equals || strchr(equals + 1, '=') || !is_letter(*text)) return all;
    size_t left = (size_t)(equals - text);
    bool name = left == 1 || (left == 4 && text[1] == '(' && text[3] == ')') || text[1] == '_';
    return name ? (struct span){equals + 1, strlen(equals + 1)} : all;
}

/* ---- values */

/* Whether a run of letters is a unit or another word, not a product of variables. */
static bool is_word(const char *letters, size_t length) {
    static const char *const units[] = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "in",
                                        "yd", "mi", "lb", "oz", "hr", "am", "pm", "mph"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (length == strlen(units[i]) && memcmp(letters, units[i], length) == 0) return true;
    if (length < 3) return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr("abcnxyz", letters[i])) return true;
    return false;
}

/* The first word that is no command; with `single_letters` also a unit of one letter. NULL: none.
 */
static const char *find_word(struct span span, bool single_letters) {
    for (size_t i = 0, run; i < span.length; i += run ? run : 1) {
        bool command = span.start[i] == '\\';
        size_t first = i + command;
        run = 0;
        while (first + run < span.length && is_letter(span.start[first + run])) run++;
        bool unit = single_letters && run == 1 && strchr("mgshL", span.start[first]);
        if (!command && run && (unit || is_word(span.start + first, run))) return span.start + i;
        run += command;
    }
    return NULL;
}

/* The number, sign and percent sign of an answer. */
struct value {
    double values[3]; /* at three points */
    bool percent;
};

/* Points with no relation to each other, as expressions may have by chance. */
static void fill_point(double variables[ANSWER_VARIABLES], int point) {
    for (int i = 0; i < ANSWER_VARIABLES; i++)
        variables[i] = 0.3 + fmod((i + 1) * 0.7548776662466927 + point * 0.5698402909980532, 1.0) +
                       0.11 * point;
}

static bool get_value(struct value *out, struct span span) {
    double variables[ANSWER_VARIABLES];
    out->percent = span.length && span.start[span.length - 1] == '%';
    if (out->percent) span.length--;
    for (int point = 0; point < 3; point++) {
        fill_point(variables, point);
        if (!answer_evaluate(&out->values[point], span.start, span.length, variables)) return false;
    }
    return true;
}

static bool same_values(const struct value *a, const struct value *b, double factor) {
    for (int point = 0; point < 3; point++) {
        double left = a->values[point] * factor, right = b->values[point];
        if (!(fabs(left - right) <= 1e-9 * fmax(1e-3, fmax(fabs(left), fabs(right))))) return false;
    }
    return true;
}

static bool equal_values(struct span a, struct span b) {
    struct value left, right;
    if (!get_value(&left, a) || !get_value(&right, b)) return false;
    if (same_values(&left, &right, 1)) return true;
    if (left.percent && !right.percent) return same_values(&left, &right, 0.01);
    return right.percent && !left.percent && same_values(&left, &right, 100);
}

static bool equal_text(struct span a, struct span b) {
    return a.length == b.length && strncasecmp(a.start, b.start, a.length) == 0;
}

/* Letters of choices may stand in brackets: "(A)". */
static struct span bare_letter(struct span span) {
    bool bracketed = span.length == 3 && span.start[0] == '(' && span.start[2] == ')' &&
                     is_letter(span.start[1]);
    return bracketed ? (struct span){span.start + 1, 1} : span;
}

/* A number with a unit against the number alone: "12cm^2" and 12. */
static bool equal_with_unit(struct span with, struct span without) {
    for (size_t i = 0; i < without.length; i++)
        if (is_letter(without.start[i]) && (i == 0 || without.start[i - 1] != '\\') &&
            !strchr(without.start, '\\'))
            return false;
    const char *unit = find_word(with, true);
    if (!unit || unit == with.start) return false;
    with.length = (size_t)(unit - with.start);
    return equal_values(with, without);
}

/* Two answers that are no lists. */
static bool equal_single(struct span a, struct span b) {
    a = bare_letter(a);
    b = bare_letter(b);
    if (equal_text(a, b)) return true;
    if (!find_word(a, false) && !find_word(b, false) && equal_values(a, b)) return true;
    return equal_with_unit(a, b) || equal_with_unit(b, a);
}

/* ---- lists */

struct parts {
    struct span parts[MOST_PARTS]; /* [count] */
    int count;
    char open, close; /* 0: none */
    bool too_many;
};

/* "1,234,567": commas that part thousands only. */
static bool is_grouped_number(struct span span) {
    const char *at = span.start, *end = at + span.length;
    if (at < end && (*at == '-' || *at == '+')) at++;
    size_t digits = 0, groups = 0;
    for (; at < end && (is_digit(*at) || *at == ','); at++) {
        if (*at == ',') {
            if (groups ? digits != 3 : digits < 1 || digits > 3) return false;
            groups++;
            digits = 0;
        } else {
            digits++;
        }
    }
    if (!groups || digits != 3) return false;
    return at == end || !is_digit(*at);
}

static int bracket(char c) {
    return strchr("([{", c) ? 1 : strchr(")]}", c) ? -1 : 0;
}

/* Whether the bracket that opens the span closes at its end. */
static bool encloses(struct span span) {
    int depth = 0;
    for (size_t i = 0; i < span.length; i++) {
        depth += bracket(span.start[i]);
        if (depth == 0) return i + 1 == span.length;
    }
    return false;
}

/* Cut at the commas outside all brackets, those around everything taken off first. */
static void split(struct parts *out, struct span span) {
    *out = (struct parts){0};
    size_t set = span.length >= 4 && strncmp(span.start, "\\{", 2) == 0 &&
                 strncmp(span.start + span.length - 2, "\\}", 2) == 0;
    struct span inside = {span.start + 1 + set, span.length >= 2 ? span.length - 2 - 2 * set : 0};
    bool around = set || (span.length > 2 && bracket(*span.start) == 1 && encloses(span));
    struct span whole = around ? inside : span;
    int depth = 0;
    size_t start = 0;
    if (!is_grouped_number(whole))
        for (size_t i = 0; i < whole.length; i++) {
            depth += bracket(whole.start[i]);
            if (whole.start[i] != ',' || depth) continue;
            if (out->count == MOST_PARTS - 1) {
                out->too_many = true;
                return;
            }
            out->parts[out->count++] = (struct span){whole.start + start, i - start};
            start = i + 1;
        }
    if (out->count && around) {
        out->open = set ? '{' : *span.start;
        out->close = set ? '}' : span.start[span.length - 1];
    }
    out->parts[out->count] =
        out->count ? (struct span){whole.start + start, whole.length - start} : span;
    out->count++;
}

/* Every part of `a` has one of its own in `b`. */
static bool equal_sets(const struct parts *a, const struct parts *b) {
    bool taken[MOST_PARTS] = {false};
    for (int i = 0; i < a->count; i++) {
        int k = 0;
        while (k < b->count && (taken[k] || !equal_single(a->parts[i], b->parts[k]))) k++;
        if (k == b->count) return false;
        taken[k] = true;
    }
    return true;
}

static bool equal_lists(const struct parts *a, const struct parts *b) {
    if (a->count != b->count) return false;
    bool both = a->open && b->open;
    if (both && (a->open != b->open || a->close != b->close)) return false;
    if ((!a->open || a->open == '{') && (!b->open || b->open == '{')) return equal_sets(a, b);
    for (int i = 0; i < a->count; i++)
        if (!equal_single(a->parts[i], b->parts[i])) return false;
    return true;
}

enum status answer_equal(bool *equal, const char *answer, const char *gold) {
    char *left = clean(answer), *right = clean(gold);
    enum status status = left && right ? STATUS_OK : STATUS_FAILED;
    *equal = false;
    if (!status && *left && *right) {
        struct span a = without_name(left), b = without_name(right);
        struct parts a_parts, b_parts;
        *equal = strcasecmp(left, right) == 0;
        split(&a_parts, a);
        split(&b_parts, b);
        bool lists = a_parts.count > 1 || b_parts.count > 1;
        if (!*equal && !a_parts.too_many && !b_parts.too_many)
            *equal = lists ? equal_lists(&a_parts, &b_parts) : equal_single(a, b);
    }
    free(left);
    free(right);
    return status;
}
