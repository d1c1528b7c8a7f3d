/* A table turns spellings into tokens: the longest that fits at a place wins, and a command ends
 * where its letters end. */
#include "eval/answer_spellings.h"

#include <string.h>

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

static const struct answer_spelling spellings[] = {
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
    MARK("\xc2\xba", 'd'), /* the ordinal that looks like it */
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
    {"\xe2\x84\x83", TOKEN_WORD, 0, "degrees Celsius"},
    {"\xe2\x84\x89", TOKEN_WORD, 0, "degrees Fahrenheit"},
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

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

size_t answer_spelling_fits(const char *at, const char *from) {
    size_t length = strlen(from);
    if (strncmp(at, from, length) != 0) return 0;
    bool letters = from[0] == '\\' && is_letter(from[length - 1]);
    return letters && is_letter(at[length]) ? 0 : length;
}

const struct answer_spelling *answer_spelling_at(size_t *length, const char *at, bool spaced) {
    const struct answer_spelling *best = NULL;
    *length = 0;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        size_t found = answer_spelling_fits(at, spellings[i].from);
        if (*at == '!' && !spaced) found = 0; /* "5!=120" is a factorial */
        if (found <= *length) continue;
        *length = found;
        best = &spellings[i];
    }
    return best;
}
