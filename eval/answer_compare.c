/* Comparing two answers as they are written: by their text, and by their trees. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "eval/answer_tree.h"
#include "eval/answer_words.h"
#include "eval/answers.h"

/* One answer, read. */
struct reading {
    char *text; /* without what stands around an answer */
    struct answer_tokens tokens;
    struct answer_tree tree;
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Blanks, dots and the like around an answer go, and a choice's letter loses its brackets. */
static char *strip(const char *answer) {
    size_t length = strlen(answer), from = 0;
    while (length && strchr(" \t\r\n.,;:", answer[length - 1]) &&
           !(length > 1 && answer[length - 2] == '\\'))
        length--;
    while (from < length && strchr(" \t\r\n,;:", answer[from])) from++;
    const char *at = answer + from;
    size_t rest = length - from;
    bool open = rest > 1 && at[0] == '(';
    if ((rest == 2u + open) && is_letter(at[open]) && at[open + 1] == ')')
        return memory_copy_bytes(at + open, 1);
    return memory_copy_bytes(at, rest);
}

static void reading_free(struct reading *reading) {
    answer_tree_free(&reading->tree);
    answer_tokens_free(&reading->tokens);
    free(reading->text);
}

static enum status read_tokens(struct reading *out, const char *answer) {
    *out = (struct reading){.tree = {.root = -1}};
    out->text = strip(answer);
    enum status status = out->text ? answer_tokens_read(&out->tokens, out->text) : STATUS_FAILED;
    if (status) reading_free(out);
    return status;
}

/* The same tokens, whatever stands between them. Of words and single letters the case does not
 * matter; of short words it may (mW and MW). */
static bool same_tokens(const struct answer_tokens *a, const struct answer_tokens *b) {
    if (a->count != b->count || a->too_many || b->too_many || a->count == 1) return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct answer_token *x = &a->tokens[i], *y = &b->tokens[i];
        if (x->kind != y->kind || x->mark != y->mark || x->length != y->length) return false;
        bool letter = a->count == 2 && x->length == 1;
        bool word = (x->kind == TOKEN_WORD && (x->length > 2 || a->count == 2)) || letter;
        if (x->length && (word ? strncasecmp(x->text, y->text, x->length)
                               : memcmp(x->text, y->text, x->length)) != 0)
            return false;
    }
    return true;
}

static bool has_digit(const char *text) {
    return text[strcspn(text, "0123456789")] != '\0';
}

/* How answers are read, and what a reading came upon that can be read in another way. */
struct manner {
    bool grouping;
    enum answer_units units;
};

struct doubt {
    bool grouped;        /* commas that may part a list */
    bool units, letters; /* letters that were, or were not, taken for units */
};

static enum status judge(enum answer_verdict *verdict, struct doubt *doubt, const char *answer,
                         const char *gold, struct manner manner) {
    struct reading left, right;
    *verdict = ANSWER_NOT_UNDERSTOOD;
    *doubt = (struct doubt){0};
    enum status status = read_tokens(&left, answer);
    if (status) return status;
    status = read_tokens(&right, gold);
    if (status) {
        reading_free(&left);
        return status;
    }
    if (same_tokens(&left.tokens, &right.tokens) ||
        (*left.text && (has_digit(left.text) ? strcmp(left.text, right.text)
                                             : strcasecmp(left.text, right.text)) == 0)) {
        *verdict = ANSWER_EQUAL;
    } else {
        status = answer_tree_parse(&left.tree, &left.tokens, manner.grouping, manner.units);
        if (!status)
            status = answer_tree_parse(&right.tree, &right.tokens, manner.grouping, manner.units);
        if (!status && left.tree.root >= 0 && right.tree.root >= 0)
            *verdict = answer_trees_compare(&left.tree, &right.tree);
        doubt->grouped = left.tree.grouped || right.tree.grouped;
        doubt->units = left.tree.units || right.tree.units;
        doubt->letters = left.tree.letters || right.tree.letters;
    }
    reading_free(&right);
    reading_free(&left);
    return status;
}

/* Both are read in the same ways: "100,200" may be a list, too, and the letters of "10 m/s" may be
 * variables. Letters that may be a unit leave it open whether "5m" is 5. */
static enum status judge_readings(enum answer_verdict *verdict, const char *answer,
                                  const char *gold) {
    struct doubt doubt, other;
    enum answer_verdict again;
    enum status status =
        judge(verdict, &doubt, answer, gold, (struct manner){true, ANSWER_UNITS_SURE});
    if (!status && *verdict != ANSWER_EQUAL && doubt.grouped) {
        status = judge(&again, &other, answer, gold, (struct manner){false, ANSWER_UNITS_SURE});
        if (!status && again == ANSWER_EQUAL) *verdict = again;
    }
    if (!status && *verdict != ANSWER_EQUAL && doubt.units) {
        status = judge(&again, &other, answer, gold, (struct manner){true, ANSWER_UNITS_NONE});
        if (!status && again == ANSWER_EQUAL) *verdict = again;
    }
    if (!status && *verdict == ANSWER_DIFFERENT && doubt.letters) {
        status = judge(&again, &other, answer, gold, (struct manner){true, ANSWER_UNITS_LIKELY});
        if (!status && again == ANSWER_EQUAL) *verdict = ANSWER_NOT_UNDERSTOOD;
    }
    return status;
}

enum status answer_compare(enum answer_verdict *verdict, const char *answer, const char *gold) {
    char mine[2] = "", theirs[2] = "";
    const char *rest, *their_rest;
    enum status status = judge_readings(verdict, answer, gold);
    if (status || *verdict == ANSWER_EQUAL) return status;
    bool choice = answer_choice_read(mine, &rest, answer),
         both = answer_choice_read(theirs, &their_rest, gold) && choice;
    if (!*mine && !*theirs) return status;
    const char *letter = choice ? mine : theirs, *other = choice ? gold : answer;
    if (both && *mine != *theirs) *verdict = ANSWER_DIFFERENT;
    if (!both) status = judge_readings(verdict, letter, other);
    if (status || *verdict == ANSWER_EQUAL || (both && *mine != *theirs)) return status;
    return answer_compare(verdict, choice ? rest : their_rest, both ? their_rest : other);
}

enum status answer_equal(bool *equal, const char *answer, const char *gold) {
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    enum status status = answer_compare(&verdict, answer, gold);
    *equal = !status && verdict == ANSWER_EQUAL;
    return status;
}

enum status answer_is_understood(bool *understood, const char *text, bool words) {
    struct reading reading;
    *understood = false;
    enum status status = read_tokens(&reading, text);
    if (status) return status;
    status = answer_tree_parse(&reading.tree, &reading.tokens, true, ANSWER_UNITS_SURE);
    int root = reading.tree.root;
    *understood = root >= 0 && (words || reading.tree.nodes[root].kind != NODE_TEXT);
    reading_free(&reading);
    return status;
}
