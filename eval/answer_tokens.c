/* One pass over the text. A table turns spellings into tokens: the longest that fits at a place
 * wins, and a command ends where its letters end. */
#include "eval/answer_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MOST_TOKENS = 1200 };

struct spelling {
    const char *from;
    enum answer_token_kind kind;
    char mark;
    const char *name;
};

#define IGNORED(from)                                                                              \
    { from, TOKEN_END, 0, NULL }
#define MARK(from, mark)                                                                           \
    { from, TOKEN_MARK, mark, NULL }
#define COMMAND(from, name)                                                                        \
    { from, TOKEN_COMMAND, 0, name }
#define GREEK(from, name)                                                                          \
    { from, TOKEN_VARIABLE, 0, name }
#define RELATION(from, mark)                                                                       \
    { from, TOKEN_RELATION, mark, NULL }

static const struct spelling spellings[] = {
    IGNORED("\\left."),
    IGNORED("\\right."),
    IGNORED("\\left"),
    IGNORED("\\right"),
    IGNORED("\\bigl"),
    IGNORED("\\bigr"),
    IGNORED("\\Bigl"),
    IGNORED("\\Bigr"),
    IGNORED("\\big"),
    IGNORED("\\Big"),
    IGNORED("\\displaystyle"),
    IGNORED("\\limits"),
    IGNORED("\\!"),
    IGNORED("\\$"),
    IGNORED("$"),
    IGNORED("\\("),
    IGNORED("\\)"),
    IGNORED("\\["),
    IGNORED("\\]"),
    IGNORED("\xe2\x82\xac"),
    IGNORED("\xc2\xa3"),
    IGNORED("**"), /* a power where something stands on both sides: see take_spelling */
    MARK("\\\\", 'r'),
    MARK("\\cr", 'r'),
    MARK("{,}", '\''),
    MARK(",\\!", '\''),
    MARK("\\{", 'L'),
    MARK("\\}", 'R'),
    MARK("\\lbrace", 'L'),
    MARK("\\rbrace", 'R'),
    MARK("\\langle", '<'),
    MARK("\\rangle", '>'),
    MARK("\xe2\x9f\xa8", '<'),
    MARK("\xe2\x9f\xa9", '>'),
    MARK("\\lfloor", 'f'),
    MARK("\\rfloor", 'F'),
    MARK("\\lceil", 'c'),
    MARK("\\rceil", 'C'),
    MARK("\xe2\x8c\x8a", 'f'),
    MARK("\xe2\x8c\x8b", 'F'),
    MARK("\xe2\x8c\x88", 'c'),
    MARK("\xe2\x8c\x89", 'C'),
    MARK("\\lvert", '|'),
    MARK("\\rvert", '|'),
    MARK("\\mid", '|'),
    MARK("\\vert", '|'),
    MARK("\\%", '%'),
    MARK("\\&", '&'),
    MARK("\\pm", 'p'),
    MARK("\\mp", 'm'),
    MARK("\xc2\xb1", 'p'),
    MARK("\xe2\x88\x93", 'm'),
    MARK("+-", 'p'),
    MARK("^{\\circ}", 'd'),
    MARK("^\\circ", 'd'),
    MARK("^{\\degree}", 'd'),
    MARK("^\\degree", 'd'),
    MARK("\xc2\xb0", 'd'),
    MARK("\\degree", 'd'),
    MARK("\xe2\x88\x92", '-'), /* minus sign, en dash, hyphens */
    MARK("\xe2\x80\x93", '-'),
    MARK("\xe2\x80\x90", '-'),
    MARK("\xe2\x80\x91", '-'),
    MARK("\\cdot", '*'),
    MARK("\\times", '*'),
    MARK("\\ast", '*'),
    MARK("\xc3\x97", '*'),
    MARK("\xc2\xb7", '*'),
    MARK("\xe2\x8b\x85", '*'),
    MARK("\\div", '/'),
    MARK("\xc3\xb7", '/'),
    MARK("\xe2\x81\x84", '/'),
    MARK("\xe2\x88\x95", '/'),
    MARK("\\colon", ':'),
    RELATION("=", '='),
    RELATION("==", '='),
    RELATION("<", '<'),
    RELATION("\\lt", '<'),
    RELATION(">", '>'),
    RELATION("\\gt", '>'),
    RELATION("<=", 'l'),
    RELATION(">=", 'g'),
    RELATION("\\le", 'l'),
    RELATION("\\ge", 'g'),
    RELATION("\\leq", 'l'),
    RELATION("\\geq", 'g'),
    RELATION("\\leqslant", 'l'),
    RELATION("\\geqslant", 'g'),
    RELATION("\xe2\x89\xa4", 'l'),
    RELATION("\xe2\x89\xa5", 'g'),
    RELATION("\\ne", 'n'),
    RELATION("\\neq", 'n'),
    RELATION("!=", 'n'),
    RELATION("\xe2\x89\xa0", 'n'),
    RELATION("\\approx", '~'),
    RELATION("\xe2\x89\x88", '~'),
    RELATION("\\in", 'i'),
    RELATION("\xe2\x88\x88", 'i'),
    {"\\cup", TOKEN_SET, 'u', NULL},
    {"\xe2\x88\xaa", TOKEN_SET, 'u', NULL},
    {"\\cap", TOKEN_SET, 'n', NULL},
    {"\xe2\x88\xa9", TOKEN_SET, 'n', NULL},
    {"\\setminus", TOKEN_SET, '-', NULL},
    {"\\backslash", TOKEN_SET, '-', NULL},
    {"\\wedge", TOKEN_AND, 0, NULL},
    {"\\land", TOKEN_AND, 0, NULL},
    {"\\vee", TOKEN_OR, 0, NULL},
    {"\\lor", TOKEN_OR, 0, NULL},
    COMMAND("\\frac", "frac"),
    COMMAND("\\dfrac", "frac"),
    COMMAND("\\tfrac", "frac"),
    COMMAND("\\cfrac", "frac"),
    COMMAND("\\sqrt", "sqrt"),
    COMMAND("\xe2\x88\x9a", "root"),
    COMMAND("\xe2\x88\x9b", "cube root"),
    COMMAND("\\binom", "binom"),
    COMMAND("\\dbinom", "binom"),
    COMMAND("\\tbinom", "binom"),
    COMMAND("\\over", "over"),
    COMMAND("\\choose", "choose"),
    COMMAND("\\pi", "pi"),
    COMMAND("\xcf\x80", "pi"),
    GREEK("\xce\xb1", "alpha"),
    GREEK("\xce\xb2", "beta"),
    GREEK("\xce\xb3", "gamma"),
    GREEK("\xce\xb4", "delta"),
    GREEK("\xce\xb5", "epsilon"),
    GREEK("\xce\xb8", "theta"),
    GREEK("\xce\xbb", "lambda"),
    GREEK("\xce\xbc", "mu"),
    GREEK("\xcf\x81", "rho"),
    GREEK("\xcf\x83", "sigma"),
    GREEK("\xcf\x84", "tau"),
    GREEK("\xcf\x86", "phi"),
    GREEK("\xcf\x88", "psi"),
    GREEK("\xcf\x89", "omega"),
    COMMAND("\\infty", "infty"),
    COMMAND("\xe2\x88\x9e", "infty"),
    COMMAND("\\emptyset", "emptyset"),
    COMMAND("\\varnothing", "emptyset"),
    COMMAND("\xe2\x88\x85", "emptyset"),
    COMMAND("\\mathbb{R}", "reals"),
    COMMAND("\\mathbb R", "reals"),
    COMMAND("\\R", "reals"),
    COMMAND("\\Reals", "reals"),
    COMMAND("\xe2\x84\x9d", "reals"),
};

/* Signs that stand for several characters. */
static const struct {
    const char *from, *to;
} expansions[] = {
    {"\xc2\xb2", "^2"},       {"\xc2\xb3", "^3"},       {"\xc2\xb9", "^1"},
    {"\xe2\x81\xb4", "^4"},   {"\xe2\x81\xb5", "^5"},   {"\xe2\x81\xb6", "^6"},
    {"\xe2\x81\xb7", "^7"},   {"\xe2\x81\xb8", "^8"},   {"\xe2\x81\xb9", "^9"},
    {"\xe2\x81\xb0", "^0"},   {"\xe2\x82\x80", "_0"},   {"\xe2\x82\x81", "_1"},
    {"\xe2\x82\x82", "_2"},   {"\xe2\x82\x83", "_3"},   {"\xe2\x82\x84", "_4"},
    {"\xe2\x82\x85", "_5"},   {"\xe2\x82\x86", "_6"},   {"\xe2\x82\x87", "_7"},
    {"\xe2\x82\x88", "_8"},   {"\xe2\x82\x89", "_9"},   {"\xc2\xbd", " 1/2"},
    {"\xc2\xbc", " 1/4"},     {"\xc2\xbe", " 3/4"},     {"\xe2\x85\x93", " 1/3"},
    {"\xe2\x85\x94", " 2/3"}, {"\xe2\x85\x95", " 1/5"}, {"\xe2\x85\x96", " 2/5"},
    {"\xe2\x85\x97", " 3/5"}, {"\xe2\x85\x98", " 4/5"}, {"\xe2\x85\x99", " 1/6"},
    {"\xe2\x85\x9a", " 5/6"}, {"\xe2\x85\x9b", " 1/8"}, {"\xe2\x85\x9c", " 3/8"},
    {"\xe2\x85\x9d", " 5/8"}, {"\xe2\x85\x9e", " 7/8"},
};

static const char *const blanks[] = {" ",           "\t",          "\r",       "\n",
                                     "\\,",         "\\;",         "\\:",      "\\>",
                                     "\\ ",         "~",           "\\quad",   "\\qquad",
                                     "\\space",     "\\thinspace", "\xc2\xa0", "\xe2\x80\xaf",
                                     "\xe2\x80\x89"};

static const char *const functions[] = {
    "sin",  "cos",  "tan",  "cot",  "sec", "csc", "arcsin", "arccos", "arctan", "asin",  "acos",
    "atan", "sinh", "cosh", "tanh", "ln",  "log", "lg",     "exp",    "abs",    "floor", "ceil"};

/* Commands whose braces hold words, and those whose braces hold letters of another shape. */
static const char *const word_commands[] = {"\\text", "\\textbf", "\\textit",      "\\textrm",
                                            "\\mbox", "\\mathrm", "\\operatorname"};
static const char *const shape_commands[] = {"\\mathbf", "\\mathit", "\\boldsymbol", "\\bm",
                                             "\\boxed",  "\\vec",    "\\hat"};
static const char *const environments[] = {"pmatrix", "bmatrix",     "matrix", "vmatrix",
                                           "Bmatrix", "smallmatrix", "array",  "cases"};

#define COUNT(table) (sizeof(table) / sizeof *(table))

struct reader {
    struct answer_tokens *out;
    const char *text;
    size_t at;
    int words; /* depth of braces that hold words; 0: none */
    bool spaced, failed;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool answer_token_is(const struct answer_token *token, const char *name) {
    return token->text && token->length == strlen(name) &&
           memcmp(token->text, name, token->length) == 0;
}

static void add(struct reader *reader, struct answer_token token, size_t length) {
    struct answer_tokens *out = reader->out;
    if (out->count >= MOST_TOKENS - 1) {
        out->too_many = true;
        return;
    }
    token.spaced = reader->spaced;
    token.from = reader->at;
    token.to = reader->at + length;
    out->tokens[out->count++] = token;
    reader->at += length;
    reader->spaced = false;
}

static void add_text(struct reader *reader, enum answer_token_kind kind, const char *text,
                     size_t length, size_t taken) {
    add(reader, (struct answer_token){.kind = kind, .text = text, .length = length}, taken);
}

/* Length of `from` at this place; 0: it is not there. A command must end where its letters do. */
static size_t fits(const char *at, const char *from) {
    size_t length = strlen(from);
    if (strncmp(at, from, length) != 0) return 0;
    bool letters = from[0] == '\\' && is_letter(from[length - 1]);
    return letters && is_letter(at[length]) ? 0 : length;
}

static bool take_blank(struct reader *reader) {
    for (size_t i = 0; i < COUNT(blanks); i++) {
        size_t length = fits(reader->text + reader->at, blanks[i]);
        if (!length) continue;
        reader->at += length;
        reader->spaced = true;
        return true;
    }
    return false;
}

/* "**" is a power between two operands, else the mark of bold type. */
static bool is_power(const struct reader *reader) {
    const char *at = reader->text + reader->at;
    if (strncmp(at, "**", 2) != 0 || reader->out->count == 0) return false;
    at += 2 + strspn(at + 2, " ");
    if (*at == '-') at += 1 + strspn(at + 1, " ");
    return is_digit(*at) || is_letter(*at) || *at == '(' || *at == '{';
}

static bool take_spelling(struct reader *reader) {
    const char *at = reader->text + reader->at;
    const struct spelling *best = NULL;
    size_t longest = 0;
    if (is_power(reader)) {
        add(reader, (struct answer_token){.kind = TOKEN_MARK, .mark = '^'}, 2);
        return true;
    }
    for (size_t i = 0; i < COUNT(spellings); i++) {
        size_t length = fits(at, spellings[i].from);
        if (*at == '!' && !reader->spaced) length = 0; /* "5!=120" is a factorial */
        if (length <= longest) continue;
        longest = length;
        best = &spellings[i];
    }
    if (!best) return false;
    if (best->kind == TOKEN_END) {
        reader->at += longest;
        reader->spaced = true;
        return true;
    }
    add(reader,
        (struct answer_token){.kind = best->kind,
                              .mark = best->mark,
                              .text = best->name,
                              .length = best->name ? strlen(best->name) : 0},
        longest);
    return true;
}

/* A vulgar fraction, a superscript: its characters one by one, all made from the one sign. */
static bool take_expansion(struct reader *reader) {
    const char *at = reader->text + reader->at;
    for (size_t i = 0; i < COUNT(expansions); i++) {
        size_t length = fits(at, expansions[i].from);
        if (!length) continue;
        for (const char *c = expansions[i].to; *c; c++) {
            if (*c == ' ')
                reader->spaced = true;
            else if (is_digit(*c))
                add_text(reader, TOKEN_NUMBER, c, 1, 0);
            else
                add(reader, (struct answer_token){.kind = TOKEN_MARK, .mark = *c}, 0);
        }
        reader->at += length;
        return true;
    }
    return false;
}

/* "\text{", "\mathbf{" and the like: the braces go, what is in them is read on. `{` of a shape is
 * kept out of the tokens too, since it parts nothing. */
static bool take_text_command(struct reader *reader) {
    const char *at = reader->text + reader->at;
    for (size_t i = 0; i < COUNT(word_commands); i++) {
        size_t length = fits(at, word_commands[i]);
        while (length && at[length] == ' ') length++;
        if (!length || at[length] != '{') continue;
        reader->at += length + 1;
        reader->words++;
        return true;
    }
    for (size_t i = 0; i < COUNT(shape_commands); i++) {
        size_t length = fits(at, shape_commands[i]);
        if (!length) continue;
        reader->at += length;
        return true;
    }
    return false;
}

static bool take_environment(struct reader *reader) {
    const char *at = reader->text + reader->at;
    bool begin = strncmp(at, "\\begin{", 7) == 0, end = strncmp(at, "\\end{", 5) == 0;
    if (!begin && !end) return false;
    size_t first = begin ? 7 : 5;
    for (size_t i = 0; i < COUNT(environments); i++) {
        size_t length = strlen(environments[i]);
        if (strncmp(at + first, environments[i], length) != 0 || at[first + length] != '}')
            continue;
        size_t taken = first + length + 1;
        if (begin && at[taken] == '{' && strcmp(environments[i], "array") == 0) {
            size_t columns = strcspn(at + taken, "}");
            taken += columns + (at[taken + columns] == '}');
        }
        add_text(reader, begin ? TOKEN_BEGIN : TOKEN_ENDING, environments[i], length, taken);
        return true;
    }
    return false;
}

/* "1e3", "1.5e-3": the exponent belongs to the number. "2e" does not have one. */
static size_t exponent(const char *at) {
    if (*at != 'e' && *at != 'E') return 0;
    size_t sign = at[1] == '-' || at[1] == '+';
    size_t digits = strspn(at + 1 + sign, "0123456789");
    return digits && !is_letter(at[1 + sign + digits]) ? 1 + sign + digits : 0;
}

/* "0.1\\overline{6}": length of the whole; 0: nothing repeats here. */
static size_t repeating(const char *at) {
    static const char *const commands[] = {"\\overline{", "\\bar{"};
    size_t length = strspn(at, "0123456789");
    if (at[length] != '.') return 0;
    length += 1 + strspn(at + length + 1, "0123456789");
    for (size_t i = 0; i < COUNT(commands); i++) {
        size_t command = strlen(commands[i]);
        if (strncmp(at + length, commands[i], command) != 0) continue;
        size_t digits = strspn(at + length + command, "0123456789");
        return digits && at[length + command + digits] == '}' ? length + command + digits + 1 : 0;
    }
    return 0;
}

static void take_number(struct reader *reader) {
    const char *at = reader->text + reader->at;
    size_t length = repeating(at);
    if (length) {
        add_text(reader, TOKEN_NUMBER, at, length, length);
        return;
    }
    length = strspn(at, "0123456789");
    if (at[length] == '.' && (is_digit(at[length + 1]) || length))
        length += 1 + strspn(at + length + 1, "0123456789");
    /* "5." ends a sentence; "5.}" too */
    if (at[length - 1] == '.') length--;
    length += exponent(at + length);
    add_text(reader, TOKEN_NUMBER, at, length, length);
}

/* Whether a run of letters is a unit or another word, not a product of variables. */
static bool is_word(const char *letters, size_t length) {
    static const char *const words[] = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft",
                                        "in", "yd", "mi", "lb", "oz", "hr", "am", "pm",
                                        "no", "No", "sq", "to", "is", "of"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (length == strlen(words[i]) && memcmp(letters, words[i], length) == 0) return true;
    if (length < 3) return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr("abcnxyz", letters[i])) return true;
    return false;
}

static bool take_name(struct reader *reader, const char *at, size_t length, size_t taken) {
    static const struct {
        const char *name;
        enum answer_token_kind kind;
        const char *as;
    } names[] = {
        {"and", TOKEN_AND, NULL},
        {"or", TOKEN_OR, NULL},
        {"sqrt", TOKEN_COMMAND, "root"},
        {"cbrt", TOKEN_COMMAND, "cube root"},
        {"pi", TOKEN_COMMAND, "pi"},
        {"inf", TOKEN_COMMAND, "infty"},
        {"infinity", TOKEN_COMMAND, "infty"},
        {"oo", TOKEN_COMMAND, "infty"},
        {"union", TOKEN_SET, NULL},
        {"times", TOKEN_MARK, NULL},
    };
    for (size_t i = 0; i < COUNT(names); i++) {
        if (length != strlen(names[i].name) || memcmp(at, names[i].name, length) != 0) continue;
        const char *as = names[i].as;
        char mark = names[i].kind == TOKEN_SET ? 'u' : names[i].kind == TOKEN_MARK ? '*' : 0;
        add(reader,
            (struct answer_token){
                .kind = names[i].kind, .mark = mark, .text = as, .length = as ? strlen(as) : 0},
            taken);
        return true;
    }
    for (size_t i = 0; i < COUNT(functions); i++)
        if (length == strlen(functions[i]) && memcmp(at, functions[i], length) == 0) {
            add_text(reader, TOKEN_FUNCTION, functions[i], length, taken);
            return true;
        }
    return false;
}

static void add_letter(struct reader *reader, const char *at) {
    if (*at == 'e' || *at == 'i')
        add_text(reader, TOKEN_COMMAND, at, 1, 1);
    else
        add_text(reader, TOKEN_VARIABLE, at, 1, 1);
}

static void take_letters(struct reader *reader) {
    const char *at = reader->text + reader->at;
    size_t length = 0;
    while (is_letter(at[length])) length++;
    if (take_name(reader, at, length, length)) return;
    if (reader->words
            ? length > 1 || *at == 's' || *at == 'm' || *at == 'g' || *at == 'h' || *at == 'L'
            : is_word(at, length))
        add_text(reader, TOKEN_WORD, at, length, length);
    else
        for (size_t i = 0; i < length; i++) add_letter(reader, at + i);
}

/* A command that no table has: a Greek letter or another name, by its letters. */
static void take_command(struct reader *reader) {
    static const char *const greek[] = {
        "alpha", "beta",   "gamma", "delta", "epsilon", "varepsilon", "theta", "lambda", "mu",
        "phi",   "varphi", "psi",   "omega", "rho",     "sigma",      "tau",   "eta",    "zeta",
        "xi",    "nu",     "kappa", "chi",   "Delta",   "Omega",      "Phi",   "Gamma",  "ell"};
    const char *at = reader->text + reader->at;
    size_t length = 0;
    while (is_letter(at[1 + length])) length++;
    if (length && take_name(reader, at + 1, length, length + 1)) return;
    for (size_t i = 0; i < COUNT(greek); i++)
        if (length == strlen(greek[i]) && memcmp(at + 1, greek[i], length) == 0) {
            add_text(reader, TOKEN_VARIABLE, greek[i], length, length + 1);
            return;
        }
    add_text(reader, TOKEN_UNKNOWN, at, length + 1, length + 1);
}

/* A sign that is none of the above; a character of several bytes is taken as one. */
static void take_sign(struct reader *reader) {
    const char *at = reader->text + reader->at;
    size_t length = 1;
    if (*at == '}' && reader->words) {
        reader->words--;
        reader->at++;
        reader->spaced = true;
    } else if (*at == '{' && reader->words) {
        reader->words++;
        reader->at++;
    } else if (*at && strchr("+-*/^_!%&()[]|,;:{}", *at)) {
        add(reader, (struct answer_token){.kind = TOKEN_MARK, .mark = *at}, 1);
    } else {
        while (((unsigned char)at[0] & 0xc0) == 0xc0 && ((unsigned char)at[length] & 0xc0) == 0x80)
            length++;
        add_text(reader, TOKEN_UNKNOWN, at, length, length);
    }
}

enum status answer_tokens_read(struct answer_tokens *out, const char *text) {
    struct reader reader = {.out = out, .text = text};
    *out = (struct answer_tokens){.text = text};
    out->tokens = memory_calloc(MOST_TOKENS, sizeof *out->tokens);
    if (!out->tokens) return STATUS_FAILED;
    while (text[reader.at] && !out->too_many) {
        char next = text[reader.at];
        if (take_blank(&reader) || take_text_command(&reader) || take_environment(&reader) ||
            take_spelling(&reader) || take_expansion(&reader))
            continue;
        if (is_digit(next) || (next == '.' && is_digit(text[reader.at + 1])))
            take_number(&reader);
        else if (is_letter(next))
            take_letters(&reader);
        else if (next == '\\')
            take_command(&reader);
        else
            take_sign(&reader);
    }
    out->tokens[out->count++] = (struct answer_token){.from = reader.at, .to = reader.at};
    return STATUS_OK;
}

void answer_tokens_free(struct answer_tokens *tokens) {
    free(tokens->tokens);
    *tokens = (struct answer_tokens){0};
}
