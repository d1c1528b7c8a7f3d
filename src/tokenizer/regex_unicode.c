#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex_unicode.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Ranges in PCRE2's writing, which PCRE2's own class lacks, and which it has too many. */
struct difference {
    const char *name, *added, *removed;
};

static const struct difference differences[] = {
#include "tokenizer/regex_unicode_table.h"
};

/* Names that Oniguruma knows too. */
static const char *const aliases[][2] = {
    {"Letter", "L"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Cased_Letter", "LC"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"Digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"Punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"Cntrl", "Cc"},
    {"Format", "Cf"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
    {"Alpha", "Alphabetic"},
    {"Upper", "Uppercase"},
    {"Lower", "Lowercase"},
    {"Ideo", "Ideographic"},
};

static const struct {
    const char *name;
    char escape;
} escapes[] = {{"Word", 'w'}, {"Space", 's'}, {"White_Space", 's'}, {"XDigit", 'h'}};

/* Names are compared without case, blanks, hyphens and underscores. */
static bool is_name(const char *name, size_t length, const char *known) {
    size_t i = 0;
    for (;;) {
        while (i < length && strchr(" _-", name[i])) i++;
        while (*known && strchr(" _-", *known)) known++;
        if (i == length || !*known) return i == length && !*known;
        if (strncasecmp(name + i, known, 1) != 0) return false;
        i++;
        known++;
    }
}

static bool compiles(const char *property) {
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)property, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error,
                                     &offset, NULL);
    pcre2_code_free(code);
    return code != NULL;
}

/* PCRE2's own class: for a script, \p{sc:NAME}, without its extensions; older versions have no
 * other meaning of the plain name. */
static bool append_property(struct text *out, const char *name, size_t length) {
    char *plain = text_format("\\p{%.*s}", (int)length, name);
    char *script = length > 2 ? text_format("\\p{sc:%.*s}", (int)length, name) : NULL;
    bool as_script = script && compiles(script), known = as_script || (plain && compiles(plain));
    if (known) text_append(out, "%s", as_script ? script : plain);
    free(plain);
    free(script);
    return known;
}

bool regex_class_named(struct regex_class *out, const char *name, size_t length, bool alone) {
    *out = (struct regex_class){0};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (is_name(name, length, escapes[i].name)) {
            regex_class_escape(out, escapes[i].escape, alone);
            return true;
        }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (is_name(name, length, aliases[i][0])) {
            name = aliases[i][1];
            length = strlen(name);
            break;
        }
    if (!append_property(&out->within, name, length)) return false;
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
        if (is_name(name, length, differences[i].name)) {
            text_append(&out->within, "%s", differences[i].added);
            text_append(&out->without, "%s", differences[i].removed);
        }
    return true;
}

static void append_named(struct regex_class *out, const char *name) {
    struct regex_class class;
    if (regex_class_named(&class, name, strlen(name), false))
        text_append(&out->within, "%s", class.within.bytes ? class.within.bytes : "");
    regex_class_free(&class);
}

void regex_class_escape(struct regex_class *out, char letter, bool alone) {
    *out = (struct regex_class){0};
    switch (letter) {
    case 'w':
        append_named(out, "L");
        append_named(out, "M");
        append_named(out, "Nd");
        append_named(out, "Nl");
        append_named(out, "Pc");
        /* The alphabetic symbols, circled and squared letters; alone, Oniguruma looks the first 256
         * characters up in a table of its own, with superscripts and fractions. */
        text_append(&out->within,
                    "%s\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
                    "\\x{1f170}-\\x{1f189}",
                    alone ? "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" : "");
        break;
    case 'd':
        append_named(out, "Nd");
        break;
    case 's': /* PCRE2 counts U+180E as a space */
        text_append(&out->within,
                    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}"
                    "\\x{2029}\\x{202f}\\x{205f}\\x{3000}");
        break;
    default: /* not PCRE2's horizontal space */
        text_append(&out->within, "0-9a-fA-F");
        break;
    }
}

void regex_class_free(struct regex_class *class) {
    text_free(&class->within);
    text_free(&class->without);
}
