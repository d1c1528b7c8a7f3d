/* Oniguruma to PCRE2. The differences that matter in tokenizer files:
 *   \s \w \d \h \b \p{…}  as Oniguruma and Unicode 16 have them: regex_unicode.h; what brackets
 *             cannot hold ([\W_], [\P{L}a]) becomes an alternative: (?:[_]|[^…])
 *   \v        U+000B alone
 *   x{2,3}+   a repeated repetition, not a possessive one
 *   x{,3}     x{0,3}
 *   ^ and $   always at lines (PCRE2_MULTILINE)
 * Nested and intersected classes, (?m), (?x) and rare escapes are refused. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "tokenizer/regex.h"
#include "tokenizer/regex_unicode.h"

enum { MAX_DEPTH = 64, MAX_PATTERN = 16384 };

struct translation {
    struct text out;
    const char *pattern, *next, *end;
    const char *source;
    bool in_class, negated; /* inside brackets, which begin with ^ */
    size_t class_start;
    size_t members;    /* in `out`, where what stands inside the brackets begins */
    struct text parts; /* alternatives "|[…]" of the class that brackets cannot hold */
    size_t atom_start; /* in `out`, of the atom that a quantifier would repeat */
    size_t groups[MAX_DEPTH];
    int depth;
};

static enum status refuse(const struct translation *t, const char *what, size_t length) {
    return status_fail("\"%s\": \"%.*s\" in pattern \"%.*s\" is not supported", t->source,
                       (int)length, what,
                       (int)(t->end - t->pattern > 200 ? 200 : t->end - t->pattern), t->pattern);
}

static const char *bytes_of(const struct text *text) {
    return text->bytes ? text->bytes : "";
}

/* A class as one atom outside brackets, which also stands for itself as an alternative. */
static void append_atom(struct text *out, const struct regex_class *class, bool negated) {
    const char *within = bytes_of(&class->within), *without = bytes_of(&class->without);
    if (!class->without.length)
        text_append(out, "[%s%s]", negated ? "^" : "", within);
    else if (negated)
        text_append(out, "(?:[%s]|[^%s])", without, within);
    else
        text_append(out, "(?:(?![%s])[%s])", without, within);
}

/* Takes the class over. */
static void put_class(struct translation *t, struct regex_class *class, bool negated) {
    if (!t->in_class) {
        append_atom(&t->out, class, negated);
    } else if (!negated && !class->without.length) {
        text_append(&t->out, "%s", bytes_of(&class->within));
    } else {
        text_append(&t->parts, "|");
        append_atom(&t->parts, class, negated);
    }
    t->out.failed |= class->within.failed || class->without.failed || t->parts.failed;
    regex_class_free(class);
}

static void put_escape(struct translation *t, char letter, bool negated) {
    struct regex_class class;
    regex_class_escape(&class, letter, !t->in_class);
    put_class(t, &class, negated);
}

/* Behind the closing bracket of a class: its parts join it as alternatives. */
static void end_class(struct translation *t) {
    if (t->parts.length) {
        struct text whole = {0};
        size_t count = t->out.length - t->members - 1; /* without the bracket */
        char *members = text_format("%.*s", (int)count, t->out.bytes + t->members);
        bool caret = count && t->out.bytes[t->members] == '^';
        char *simple =
            count ? text_format("[%s%s]", caret ? "\\" : "", members ? members : "") : NULL;
        const char *parts = bytes_of(&t->parts) + (count == 0); /* no alternative before them */
        text_append_bytes(&whole, t->out.bytes, t->class_start);
        text_append(&whole, "(?:%s%s%s%s", t->negated ? "(?!(?:" : "", simple ? simple : "", parts,
                    t->negated ? "))[\\x{0}-\\x{10ffff}])" : ")");
        whole.failed |= !members || (count && !simple);
        text_free(&t->out);
        text_free(&t->parts);
        t->out = whole;
        free(members);
        free(simple);
    }
    t->in_class = false;
    t->atom_start = t->class_start;
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
    t->next = close + 1;
    if (letter == 'x') {
        text_append_bytes(&t->out, escape, (size_t)(t->next - escape));
        return STATUS_OK;
    }
    bool inverted = name < close && *name == '^';
    if (inverted) name++;
    struct regex_class class;
    if (!regex_class_named(&class, name, (size_t)(close - name), !t->in_class))
        return refuse(t, escape, (size_t)(t->next - escape));
    put_class(t, &class, inverted != (letter == 'P'));
    return STATUS_OK;
}

/* Between a word character and another, or an end; or not there. */
static void put_boundary(struct translation *t, bool wanted) {
    struct regex_class class;
    regex_class_escape(&class, 'w', true);
    const char *words = bytes_of(&class.within);
    text_append(&t->out, "(?%c(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s])))", wanted ? '=' : '!', words,
                words, words, words);
    t->out.failed |= class.within.failed;
    regex_class_free(&class);
}

static enum status translate_escape(struct translation *t) {
    const char *escape = t->next;
    if (escape + 1 == t->end) return refuse(t, escape, 1);
    char letter = escape[1];
    t->next += 2;
    switch (letter) {
    case 's':
    case 'w':
    case 'd':
    case 'h':
        put_escape(t, letter, false);
        return STATUS_OK;
    case 'S':
    case 'W':
    case 'D':
    case 'H':
        put_escape(t, (char)(letter - 'A' + 'a'), true);
        return STATUS_OK;
    case 'v':
        text_append(&t->out, "\\x{b}");
        return STATUS_OK;
    case 'b':
    case 'B':
        if (t->in_class) return refuse(t, escape, 2);
        put_boundary(t, letter == 'b');
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
    if (alphanumeric && !strchr("AzZGnrtfea", letter)) return refuse(t, escape, 2);
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
    if (*c == ']') end_class(t);
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
        t->negated = c + 1 < t->next && c[1] == '^';
        t->members = t->class_start + 1 + t->negated;
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
    text_free(&t.parts);
    if (status) {
        text_free(&t.out);
        return status;
    }
    *out_length = t.out.length;
    *out = text_finish(&t.out);
    return *out ? STATUS_OK : STATUS_FAILED;
}
