#include "eval/answer_words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_WORD = 24 };

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Letters of the word at `at`, in lower case; its length there. */
static size_t read_word(char word[LONGEST_WORD], const char *at, size_t length) {
    size_t count = 0;
    while (count < length && is_letter(at[count])) count++;
    for (size_t i = 0; i < count && i < LONGEST_WORD - 1; i++) word[i] = (char)(at[i] | 0x20);
    word[count < LONGEST_WORD ? count : LONGEST_WORD - 1] = '\0';
    return count;
}

/* Length of a LaTeX command at `at`, of which nothing is kept. */
static size_t command_length(const char *at, size_t length) {
    size_t count = 0;
    if (length && at[0] == '\\') count = 1;
    while (count && count < length && is_letter(at[count])) count++;
    return count;
}

/* ---- words */

static const char *const small_numbers[] = {
    "zero",     "one",     "two",     "three",     "four",     "five",     "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"};
static const char *const tens[] = {"thirty",  "forty",  "fifty", "sixty",
                                   "seventy", "eighty", "ninety"};

int answer_word_number(const char *text, size_t length) {
    char word[LONGEST_WORD];
    while (length && (text[length - 1] == ' ' || text[length - 1] == '.')) length--;
    if (read_word(word, text, length) != length) return -1;
    for (int i = 0; i <= 20; i++)
        if (strcmp(word, small_numbers[i]) == 0) return i;
    for (int i = 0; i < 7; i++)
        if (strcmp(word, tens[i]) == 0) return 30 + 10 * i;
    return -1;
}

/* The next letter in lower case, marks and commands left out; '\0' at the end. */
static char next_letter(const char *text, size_t length, size_t *at) {
    while (*at < length) {
        size_t command = command_length(text + *at, length - *at);
        if (command) {
            *at += command;
            continue;
        }
        unsigned char c = (unsigned char)text[(*at)++];
        if (is_letter((char)c)) return (char)(c | 0x20);
        if ((c >= '0' && c <= '9') || c >= 0x80) return (char)c;
    }
    return '\0';
}

bool answer_words_equal(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t i = 0, k = 0;
    for (;;) {
        char left = next_letter(a, a_length, &i), right = next_letter(b, b_length, &k);
        if (left != right) return false;
        if (!left) return true;
    }
}

static bool says_number(const char *word) {
    static const char *const others[] = {"half",    "third",    "quarter", "hundred", "thousand",
                                         "million", "billion",  "dozen",   "thirds",  "quarters",
                                         "halves",  "infinite", "infinity"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(word, others[i]) == 0) return true;
    return answer_word_number(word, strlen(word)) >= 0;
}

bool answer_words_only(const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        char word[LONGEST_WORD];
        size_t command = command_length(text + i, length - i);
        size_t letters = command ? command : read_word(word, text + i, length - i);
        if (letters && !command && says_number(word)) return false;
        if (!letters && !strchr(" \t\n.,;:'\"-{}()!?", text[i]) && !(text[i] & 0x80)) return false;
        i += letters ? letters : 1;
    }
    return length > 0;
}

static bool is_one_of(const char *text, size_t length, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (answer_words_equal(text, length, list[i], strlen(list[i]))) return true;
    return false;
}

bool answer_words_say_empty(const char *text, size_t length) {
    static const char *const list[] = {"no solution",      "no solutions",  "none",
                                       "empty set",        "the empty set", "no real solution",
                                       "no real solutions"};
    return is_one_of(text, length, list, sizeof list / sizeof *list);
}

bool answer_words_say_reals(const char *text, size_t length) {
    static const char *const list[] = {"all real numbers", "all reals", "real numbers",
                                       "the real numbers", "the set of real numbers"};
    return is_one_of(text, length, list, sizeof list / sizeof *list);
}

bool answer_choice_read(char *letter, const char **rest, const char *text) {
    static const char *const shapes[] = {"\\textbf{", "\\text{", "\\mathbf{", "\\mathrm{",
                                         "\\textrm{"};
    static const char *const blanks[] = {" ", "~", "\\ ", "\\,", "\\;", "\\quad", "\\qquad"};
    static const char *const formulas[] = {"\\frac", "\\dfrac", "\\tfrac", "\\sqrt", "\\pi", "\\$"};
    const char *at = text + strspn(text, " $");
    bool braces = false, apart = false, found = false;
    for (size_t i = 0; !braces && i < sizeof shapes / sizeof *shapes; i++) {
        braces = strncmp(at, shapes[i], strlen(shapes[i])) == 0;
        if (braces) at += strlen(shapes[i]);
    }
    if (at[0] != '(' || at[1] < 'A' || at[1] > 'J' || at[2] != ')') return false;
    const char *name = at + 1;
    at += 3;
    at += strspn(at, " ");
    if (braces && *at++ != '}') return false;
    apart = braces || at[-1] == ' ';
    for (size_t i = 0; i < sizeof blanks / sizeof *blanks; i++)
        if (strncmp(at, blanks[i], strlen(blanks[i])) == 0) {
            at += strlen(blanks[i]);
            apart = true;
            i = (size_t)-1; /* again */
        }
    for (size_t i = 0; i < sizeof formulas / sizeof *formulas; i++)
        found |= strncmp(at, formulas[i], strlen(formulas[i])) == 0;
    found = apart && (found || *at == '$' || *at == '-' || (*at >= '0' && *at <= '9'));
    if (found) *letter = *name;
    *rest = at;
    return found;
}
