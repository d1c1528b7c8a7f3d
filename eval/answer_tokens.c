/* One pass over the text. */
#include "eval/answer_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/answer_signs.h"
#include "eval/answer_spellings.h"

enum { MOST_TOKENS = 1200 };

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
    size_t written; /* bytes of out->written */
    int words;      /* depth of braces that hold words; 0: none */
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
    token.worded = reader->words > 0;
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

static bool take_blank(struct reader *reader) {
    for (size_t i = 0; i < COUNT(blanks); i++) {
        size_t length = answer_spelling_fits(reader->text + reader->at, blanks[i]);
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
    size_t longest;
    if (is_power(reader)) {
        add(reader, (struct answer_token){.kind = TOKEN_MARK, .mark = '^'}, 2);
        return true;
    }
    const struct answer_spelling *best = answer_spelling_at(&longest, at, reader->spaced);
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

static void add_mark(struct reader *reader, char mark, size_t taken) {
    add(reader, (struct answer_token){.kind = TOKEN_MARK, .mark = mark}, taken);
}

static void add_letter(struct reader *reader, const char *at, size_t taken) {
    bool constant = *at == 'e' || *at == 'i';
    add_text(reader, constant ? TOKEN_COMMAND : TOKEN_VARIABLE, at, 1, taken);
}

static bool all_digits(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_digit(text[i])) return false;
    return length > 0;
}

/* A run of raised or lowered signs: what they stand for, in the tokens' own memory. */
struct run {
    const char *text;
    size_t count, bytes; /* of the text; of the signs */
};

static struct run read_run(struct reader *reader, const char *at,
                           size_t (*sign)(char *to, const char *at)) {
    char *to = reader->out->written + reader->written;
    struct run run = {.text = to};
    for (size_t length; (length = sign(to + run.count, at + run.bytes)); run.count++)
        run.bytes += length;
    reader->written += run.count;
    return run;
}

/* The two numbers of a fraction and their slash; it belongs to a whole number before it. */
static void add_fraction(struct reader *reader, struct run top, struct run bottom, size_t taken) {
    reader->spaced = true;
    add_text(reader, TOKEN_NUMBER, top.text, top.count, 0);
    add_mark(reader, '/', 0);
    add_text(reader, TOKEN_NUMBER, bottom.text, bottom.count, taken);
}

/* All tokens begin where the run does, and the last one ends with it. */
static void add_run(struct reader *reader, struct run run, char mark) {
    bool braces = run.count > 1;
    add_mark(reader, mark, 0);
    if (braces) add_mark(reader, '{', 0);
    for (size_t i = 0; i < run.count;) {
        const char *at = run.text + i;
        size_t length = 1, taken = braces ? 0 : run.bytes;
        while (is_digit(*at) && i + length < run.count && is_digit(at[length])) length++;
        if (is_digit(*at))
            add_text(reader, TOKEN_NUMBER, at, length, taken);
        else if (is_letter(*at))
            add_letter(reader, at, taken);
        else if (*at == '=')
            add(reader, (struct answer_token){.kind = TOKEN_RELATION, .mark = '='}, taken);
        else
            add_mark(reader, *at, taken);
        i += length;
    }
    if (braces) add_mark(reader, '}', run.bytes);
}

/* A vulgar fraction, also of raised digits, a slash and lowered digits; an exponent; an index. */
static bool take_signs(struct reader *reader) {
    const char *at = reader->text + reader->at, *top, *bottom;
    size_t length = answer_fraction_sign(&top, &bottom, at);
    if (length) {
        add_fraction(reader, (struct run){top, strlen(top), 0},
                     (struct run){bottom, strlen(bottom), 0}, length);
        return true;
    }
    struct run run = read_run(reader, at, answer_raised_sign);
    bool raised = run.count > 0;
    if (!raised) run = read_run(reader, at, answer_lowered_sign);
    if (!run.count) return false;
    static const char slash[] = "\xe2\x81\x84";
    const char *after = at + run.bytes;
    size_t slash_length = strncmp(after, slash, 3) == 0 ? 3 : *after == '/';
    if (raised && slash_length && all_digits(run.text, run.count)) {
        struct run below = read_run(reader, after + slash_length, answer_lowered_sign);
        if (all_digits(below.text, below.count)) {
            add_fraction(reader, run, below, run.bytes + slash_length + below.bytes);
            return true;
        }
    }
    add_run(reader, run, raised ? '^' : '_');
    return true;
}

/* "\text{", "\mathbf{" and the like: the braces go, what is in them is read on. `{` of a shape is
 * kept out of the tokens too, since it parts nothing. */
static bool take_text_command(struct reader *reader) {
    const char *at = reader->text + reader->at;
    for (size_t i = 0; i < COUNT(word_commands); i++) {
        size_t length = answer_spelling_fits(at, word_commands[i]);
        while (length && at[length] == ' ') length++;
        if (!length || at[length] != '{') continue;
        reader->at += length + 1;
        reader->words++;
        return true;
    }
    for (size_t i = 0; i < COUNT(shape_commands); i++) {
        size_t length = answer_spelling_fits(at, shape_commands[i]);
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
    static const char *const words[] = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "in", "yd",
                                        "mi", "lb", "oz", "hr", "am", "pm", "no", "No", "sq", "to",
                                        "is", "of", "Hz", "Pa", "kN", "kJ", "kW", "kV", "eV"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (length == strlen(words[i]) && memcmp(letters, words[i], length) == 0) return true;
    if (length < 3) return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr("abcnxyz", letters[i])) return true;
    return false;
}

/* "3 times 4" is a product, "3 times" a number of times. */
static bool goes_on(const char *at) {
    at += strspn(at, " }$");
    bool letter = is_letter(*at) && !is_letter(at[1]);
    return is_digit(*at) || letter || (*at & 0x80) || (*at && strchr("(\\-", *at));
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
        {"times", TOKEN_MARK, "*"},
        {"percent", TOKEN_MARK, "%"},
        {"choose", TOKEN_COMMAND, "choose"},
    };
    for (size_t i = 0; i < COUNT(names); i++) {
        if (length != strlen(names[i].name) || memcmp(at, names[i].name, length) != 0) continue;
        if (names[i].as && *names[i].as == '*' && !goes_on(at + length)) continue;
        const char *as = names[i].as;
        bool sign = names[i].kind == TOKEN_MARK;
        char mark = names[i].kind == TOKEN_SET ? 'u' : sign ? *as : 0;
        if (sign) as = NULL;
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
        for (size_t i = 0; i < length; i++) add_letter(reader, at + i, 1);
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
    out->written = memory_calloc(strlen(text) + 1, 1); /* a sign has two bytes or more */
    if (!out->tokens || !out->written) {
        answer_tokens_free(out);
        return STATUS_FAILED;
    }
    while (text[reader.at] && !out->too_many) {
        char next = text[reader.at];
        if (take_blank(&reader) || take_text_command(&reader) || take_environment(&reader) ||
            take_spelling(&reader) || take_signs(&reader))
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
    free(tokens->written);
    *tokens = (struct answer_tokens){0};
}
