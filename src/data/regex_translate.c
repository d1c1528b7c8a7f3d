/* Oniguruma to PCRE2. The differences that matter in tokenizer files:
 *   \s        PCRE2 counts U+180E as a space; the class is spelled out
 *   \w, \b    PCRE2's word characters leave out marks and connectors; spelled out
 *   \h        a hexadecimal digit, not a horizontal space;  \v  U+000B alone
 *   x{2,3}+   a repeated repetition, not a possessive one
 *   x{,3}     x{0,3}
 *   \p{Han}   the script, not its extensions
 *   ^ and $   always at lines (PCRE2_MULTILINE)
 * Nested and intersected classes, (?m), (?x) and rare escapes are refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "data/regex.h"

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NO_SPACES                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff" \
    "}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-"      \
    "\\x{d7ff}\\x{e000}-\\x{10ffff}"
/* The ranges are the alphabetic symbols: circled and squared letters. */
#define WORDS                                                                                      \
    "\\p{L}\\p{M}\\p{N}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"       \
    "\\x{1f170}-\\x{1f189}"
#define HEX "0-9a-fA-F"

enum { MAX_DEPTH = 64, MAX_PATTERN = 16384 };

struct translation {
    struct text out;
    const char *pattern, *next, *end;
    const char *source;
    bool in_class;
    size_t class_start;
    size_t atom_start; /* in `out`, of the atom that a quantifier would repeat */
    size_t groups[MAX_DEPTH];
    int depth;
};

static enum status refuse(const struct translation *t, const char *what, size_t length) {
    return status_fail("\"%s\": \"%.*s\" in pattern \"%.*s\" is not supported", t->source,
                       (int)length, what,
                       (int)(t->end - t->pattern > 200 ? 200 : t->end - t->pattern), t->pattern);
}

static void put_class(struct translation *t, const char *ranges, bool negated) {
    text_append(&t->out, t->in_class ? "%s%s" : "[%s%s]", negated ? "^" : "", ranges);
}

/* Is NAME a script, so that \p{sc:NAME} can be written? Older versions have no other meaning. */
static bool is_script(const char *name, size_t length) {
    struct text text = {0};
    int error;
    PCRE2_SIZE offset;
    text_append(&text, "\\p{sc:%.*s}", (int)length, name);
    char *pattern = text_finish(&text);
    if (!pattern) return false;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &offset, NULL);
    free(pattern);
    pcre2_code_free(code);
    return code != NULL;
}

/* \p{…} and \x{…}; t->next stands behind the letter. */
static enum status translate_braced(struct translation *t, char letter) {
    const char *escape = t->next - 2;
    if (t->next == t->end || *t->next != '{') {
        if (letter == 'x') { /* \x41 */
            text_append(&t->out, "\\x");
            return STATUS_OK;
        }
        return refuse(t, escape, 2);
    }
    const char *close = memchr(t->next, '}', (size_t)(t->end - t->next));
    if (!close) return refuse(t, escape, (size_t)(t->end - escape));
    const char *name = t->next + 1;
    bool negated = letter != 'x' && name < close && *name == '^';
    if (negated) name++;
    size_t length = (size_t)(close - name);
    bool script = letter != 'x' && length > 2 && is_script(name, length);
    text_append(&t->out, "\\%c{%s%s", letter, negated ? "^" : "", script ? "sc:" : "");
    text_append_bytes(&t->out, name, length);
    text_append(&t->out, "}");
    t->next = close + 1;
    return STATUS_OK;
}

static enum status translate_escape(struct translation *t) {
    const char *escape = t->next;
    if (escape + 1 == t->end) return refuse(t, escape, 1);
    char letter = escape[1];
    t->next += 2;
    switch (letter) {
    case 's':
        put_class(t, SPACES, false);
        return STATUS_OK;
    case 'S':
        put_class(t, NO_SPACES, false);
        return STATUS_OK;
    case 'w':
        put_class(t, WORDS, false);
        return STATUS_OK;
    case 'h':
        put_class(t, HEX, false);
        return STATUS_OK;
    case 'v':
        text_append(&t->out, "\\x{b}");
        return STATUS_OK;
    case 'W':
    case 'H':
        if (t->in_class) return refuse(t, escape, 2);
        put_class(t, letter == 'W' ? WORDS : HEX, true);
        return STATUS_OK;
    case 'b':
    case 'B':
        if (t->in_class) return refuse(t, escape, 2);
        text_append(&t->out,
                    "(?%s(?:(?<=[" WORDS "])(?![" WORDS "])|(?<![" WORDS "])(?=[" WORDS "])))",
                    letter == 'b' ? "=" : "!");
        return STATUS_OK;
    case 'p':
    case 'P':
    case 'x':
        return translate_braced(t, letter);
    default:
        break;
    }
    bool alphanumeric = (letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
                        (letter >= 'A' && letter <= 'Z');
    if (alphanumeric && !strchr("dDAzZGnrtfea", letter)) return refuse(t, escape, 2);
    if ((unsigned char)letter >= 0x80) { /* an escaped letter outside ASCII stands for itself */
        t->next--;
        return STATUS_OK;
    }
    text_append_bytes(&t->out, escape, 2);
    return STATUS_OK;
}

static enum status open_group(struct translation *t) {
    if (t->depth == MAX_DEPTH) return refuse(t, "(", 1);
    const char *open = t->next;
    size_t left = (size_t)(t->end - open);
    size_t length = 1;
    t->groups[t->depth++] = t->out.length;
    if (left > 1 && open[1] == '?') {
        static const char *const known[] = {"(?:",  "(?=",  "(?!",  "(?>",
                                            "(?<=", "(?<!", "(?i:", "(?-i:"};
        length = 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (left >= strlen(known[i]) && memcmp(open, known[i], strlen(known[i])) == 0)
                length = strlen(known[i]);
        if (!length && t->out.length == 0 && left >= 4 && memcmp(open, "(?i)", 4) == 0)
            length = 3; /* for the whole pattern */
        if (!length) return refuse(t, open, left < 4 ? left : 4);
    }
    text_append_bytes(&t->out, open, length);
    t->next += length;
    return STATUS_OK;
}

/* {n}, {n,}, {n,m} or {,m}; anything else is a plain brace. */
static enum status translate_brace(struct translation *t) {
    const char *from = t->next + 1, *p = from;
    while (p < t->end && *p >= '0' && *p <= '9') p++;
    size_t low_digits = (size_t)(p - from), high_digits = 0;
    bool comma = p < t->end && *p == ',';
    const char *high = p + comma;
    if (comma)
        for (p = high; p < t->end && *p >= '0' && *p <= '9'; p++) high_digits++;
    bool interval = p < t->end && *p == '}' && low_digits + high_digits > 0;
    if (!interval) {
        t->atom_start = t->out.length;
        text_append(&t->out, "\\{");
        t->next++;
        return STATUS_OK;
    }
    struct text bounds = {0};
    text_append(&bounds, "{%.*s%s%.*s}", low_digits ? (int)low_digits : 1, low_digits ? from : "0",
                comma ? "," : "", (int)high_digits, high);
    const char *after = p + 1;
    if (after < t->end && *after == '?' && !comma) {
        text_free(&bounds);
        return refuse(t, t->next, (size_t)(after - t->next) + 1);
    }
    if (after < t->end && *after == '+') { /* (?:atom{n,m})+ */
        struct text whole = {0};
        text_append_bytes(&whole, t->out.bytes ? t->out.bytes : "", t->atom_start);
        text_append(&whole, "(?:");
        if (t->out.length > t->atom_start)
            text_append_bytes(&whole, t->out.bytes + t->atom_start, t->out.length - t->atom_start);
        text_append(&whole, "%s)", bounds.bytes ? bounds.bytes : "");
        text_free(&t->out);
        t->out = whole;
    } else {
        text_append(&t->out, "%s", bounds.bytes ? bounds.bytes : "");
    }
    text_free(&bounds);
    t->next = after;
    return STATUS_OK;
}

static enum status translate_in_class(struct translation *t) {
    const char *c = t->next;
    if (*c == '\\') return translate_escape(t);
    if (*c == '[') return refuse(t, c, 1);
    if (*c == '&' && c + 1 < t->end && c[1] == '&') return refuse(t, c, 2);
    text_append_bytes(&t->out, c, 1);
    t->next++;
    if (*c == ']') {
        t->in_class = false;
        t->atom_start = t->class_start;
    }
    return STATUS_OK;
}

static enum status translate_one(struct translation *t) {
    const char *c = t->next;
    if (t->in_class) return translate_in_class(t);
    switch (*c) {
    case '\\':
        t->atom_start = t->out.length;
        return translate_escape(t);
    case '(':
        return open_group(t);
    case '{':
        return translate_brace(t);
    case ')':
        if (t->depth > 0) t->atom_start = t->groups[--t->depth];
        break;
    case '[':
        t->in_class = true;
        t->class_start = t->out.length;
        if (c + 1 < t->end && c[1] == '^') t->next++;
        if (t->next + 1 < t->end && t->next[1] == ']') t->next++; /* a plain bracket */
        t->next++;
        text_append_bytes(&t->out, c, (size_t)(t->next - c));
        return STATUS_OK;
    case '*':
    case '+':
    case '?':
        break;
    default:
        if (((unsigned char)*c & 0xc0) != 0x80) t->atom_start = t->out.length;
        break;
    }
    text_append_bytes(&t->out, c, 1);
    t->next++;
    return STATUS_OK;
}

enum status regex_translate(char **out, size_t *out_length, const char *pattern, size_t length,
                            const char *source) {
    struct translation t = {
        .pattern = pattern, .next = pattern, .end = pattern + length, .source = source};
    if (length > MAX_PATTERN)
        return status_fail("\"%s\": a pattern of %zu bytes is not supported", source, length);
    enum status status = STATUS_OK;
    while (!status && t.next < t.end) status = translate_one(&t);
    if (status) {
        text_free(&t.out);
        return status;
    }
    *out_length = t.out.length;
    *out = text_finish(&t.out);
    return *out ? STATUS_OK : STATUS_FAILED;
}
