#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/answers.h"
#include "eval/answers_internal.h"

enum { MOST_BRACES = 256, MOST_WORDS = 3, LONGEST_WORDS = 60 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct span cut(struct span span, const char *before, const char *after) {
    while (span.length && strchr(before, *span.start)) {
        span.start++;
        span.length--;
    }
    while (span.length && strchr(after, span.start[span.length - 1])) span.length--;
    return span;
}

static struct span trim(struct span span) {
    return cut(span, " \t\r\n", " \t\r\n");
}

/* Braces that are open at a place of the text. */
struct braces {
    const char *box[MOST_BRACES]; /* where a box's inside begins; NULL: other braces */
    size_t depth;                 /* may be larger: deeper ones are no boxes */
};

static void open_brace(struct braces *braces, const char *box) {
    if (braces->depth < MOST_BRACES) braces->box[braces->depth] = box;
    braces->depth++;
}

/* Where the inside of a box that closes here begins; NULL: none does. */
static const char *close_brace(struct braces *braces) {
    if (braces->depth == 0) return NULL;
    braces->depth--;
    return braces->depth < MOST_BRACES ? braces->box[braces->depth] : NULL;
}

/* Length of a box's command and the blanks after it; 0: another command. */
static size_t box_command(const char *at) {
    size_t length = strncmp(at, "\\boxed", 6) == 0 ? 6 : strncmp(at, "\\fbox", 5) == 0 ? 5 : 0;
    while (length && at[length] == ' ') length++;
    return length;
}

/* The last box of all that closes, in one pass. One inside another begins later. */
static bool find_box(struct span *out, const char *text) {
    struct braces braces = {.depth = 0};
    const char *found = NULL;
    for (const char *at = text; *at; at++) {
        const char *inside = NULL, *end = at;
        size_t command = *at == '\\' ? box_command(at) : 0;
        if (command && at[command] == '{') {
            at += command;
            open_brace(&braces, at + 1);
        } else if (command) { /* a word, as in "\boxed 5" */
            inside = at + command;
            end = inside + strcspn(inside, " $\n\\");
            at += command - 1;
        } else if (*at == '\\' && at[1]) {
            at++; /* \{ and \} are no braces */
        } else if (*at == '{') {
            open_brace(&braces, NULL);
        } else if (*at == '}') {
            inside = close_brace(&braces);
        }
        if (!inside || (found && inside < found)) continue;
        struct span box = trim((struct span){inside, (size_t)(end - inside)});
        if (box.length == 0) continue;
        found = inside;
        *out = box;
    }
    return found != NULL;
}

/* ---- what follows "answer is" */

bool answer_span_understood(struct span span, bool words) {
    bool understood = false;
    char *copy =
        span.length && span.length < 2000 ? memory_copy_bytes(span.start, span.length) : NULL;
    if (copy && answer_is_understood(&understood, copy, words)) understood = false;
    free(copy);
    return understood;
}

/* The inside of the formula that begins here: $…$, $$…$$, \(…\), \[…\]. A dollar sign before a
 * price begins none. */
bool answer_formula_at(struct span *out, const char *at, const char **end) {
    static const struct {
        const char *open, *close;
    } marks[] = {{"$$", "$$"}, {"$", "$"}, {"\\[", "\\]"}, {"\\(", "\\)"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t length = strlen(marks[i].open);
        if (strncmp(at, marks[i].open, length) != 0) continue;
        const char *close = strstr(at + length, marks[i].close);
        bool one_line = strcmp(marks[i].open, "$") == 0;
        if (!close || (one_line && memchr(at, '\n', (size_t)(close - at)))) return false;
        *out = trim((struct span){at + length, (size_t)(close - at) - length});
        *end = close + length;
        bool price = one_line && is_digit(at[1]) && !answer_span_understood(*out, false);
        return out->length > 0 && !price;
    }
    return false;
}

/* "C) 12", "(B) the cat", "D.": the letter of a choice. */
static bool find_choice(struct span *out, const char *at) {
    bool open = *at == '(';
    const char *letter = at + open;
    if (*letter < 'A' || *letter > 'J' || (*letter == 'I' && !open)) return false;
    const char *after = letter + 1;
    bool marked = open ? *after == ')' : *after && strchr(").:", *after);
    if (!marked || (after[1] && !strchr(" \n\t*.,", after[1]))) return false;
    *out = (struct span){letter, 1};
    return true;
}

/* Words after which a sentence says something about the answer, not the answer. */
static bool is_about(const char *word, size_t length, bool first) {
    bool goes_on = word[length] == ' ' && is_letter(word[length + 1]);
    static const char *const always[] = {"because", "since", "which", "so",   "when",      "where",
                                         "while",   "for",   "if",    "that", "therefore", "thus",
                                         "hence",   "is",    "are",   "was",  "were",      "this",
                                         "it",      "we",    "as",    "but",  "the"};
    static const char *const at_first[] = {
        "correct", "right",  "wrong",  "incorrect", "clear", "unclear", "obvious",
        "simple",  "simply", "given",  "found",     "shown", "below",   "above",
        "not",     "also",   "still",  "then",      "now",   "in",      "a",
        "an",      "to",     "indeed", "actually",  "just"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (length == strlen(always[i]) && strncasecmp(word, always[i], length) == 0) return true;
    if (length == 1 && !goes_on) return false; /* a + b */
    for (size_t i = 0; first && i < sizeof at_first / sizeof *at_first; i++)
        if (length == strlen(at_first[i]) && strncasecmp(word, at_first[i], length) == 0)
            return true;
    return false;
}

/* Up to the first word that goes on about something else; words in brackets, as in "8 (eight)". */
static struct span before_comment(struct span span) {
    for (size_t i = 0; i < span.length;) {
        size_t run = 0;
        bool apart = i == 0 || strchr(" ,", span.start[i - 1]);
        while (i + run < span.length && is_letter(span.start[i + run])) run++;
        bool bracket = i && span.start[i] == '(' && span.start[i - 1] == ' ' &&
                       i + 3 < span.length && is_letter(span.start[i + 1]) &&
                       is_letter(span.start[i + 2]);
        bool remark = span.start[i] == ';' && i + 4 < span.length && span.start[i + 1] == ' ' &&
                      is_letter(span.start[i + 2]) && is_letter(span.start[i + 3]) &&
                      is_letter(span.start[i + 4]) && strncmp(span.start + i + 2, "and ", 4) != 0;
        if (bracket || remark || (run && apart && is_about(span.start + i, run, i == 0))) {
            span.length = i;
            break;
        }
        i += run ? run : 1;
    }
    return cut(span, " \t", " \t,;:");
}

static struct span sentence(const char *at) {
    struct span span = {at, strcspn(at, "\n")};
    for (size_t i = 0; i + 1 < span.length; i++)
        if (strchr(".!?", at[i]) && strchr(" *", at[i + 1]) && at[i]) {
            if (at[i] == '!' && i && (is_digit(at[i - 1]) || at[i - 1] == ')'))
                continue; /* 5! + 2 */
            span.length = i;
        }
    return cut(span, " \t*_`\"", " \t*_`\".!\r"); /* in prose, "5!" is an exclamation */
}

static bool is_few_words(struct span span) {
    size_t words = 1;
    if (span.length == 0 || span.length > LONGEST_WORDS) return false;
    for (size_t i = 0; i < span.length; i++) {
        words += span.start[i] == ' ';
        bool fine =
            is_letter(span.start[i]) || strchr(" -'", span.start[i]) || (span.start[i] & 0x80);
        if (!fine) return false;
    }
    return words <= MOST_WORDS;
}

/* "$3$ or $4$": the formulas that go on from this one, which ends at `end`. */
static void join_formulas(struct span *formula, const char *end) {
    static const char *const words[] = {"or", "and"};
    for (bool found = true; found;) {
        found = false;
        const char *word = end + strspn(end, " ,");
        for (size_t i = 0; i < 2 && !found; i++) {
            struct span next, both = *formula;
            size_t length = strlen(words[i]);
            if (strncmp(word, words[i], length) != 0 || word[length] != ' ' ||
                !answer_formula_at(&next, word + length + 1, &end))
                continue;
            both.length = (size_t)(next.start + next.length - both.start);
            found = answer_span_understood(both, false);
            if (found) *formula = both;
        }
    }
}

/* The answer that a line or sentence says. */
static bool find_said(struct span *out, const char *at) {
    const char *end;
    at += strspn(at, " :*\t_`");
    if (answer_formula_at(out, at, &end)) {
        join_formulas(out, end);
        return true;
    }
    if (find_choice(out, at)) return true;
    struct span said = sentence(at), answer = before_comment(said);
    if (answer.length &&
        (answer_span_understood(answer, *answer.start == '\\') || is_few_words(answer))) {
        *out = answer;
        return true;
    }
    return answer_find_number(out, said);
}

static const char *after_phrase(const char *text) {
    static const char *const phrases[] = {"answer is", "answer:", "answers are",
                                          "answers:", "answer ="};
    const char *at = NULL;
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        for (const char *next = text; (next = strcasestr(next, phrases[i]));) {
            next += strlen(phrases[i]);
            if (!at || next > at) at = next;
        }
    return at;
}

/* "… answer is $x = 5$. I hope …", also with the answer on a line of its own. */
static bool find_phrase(struct span *out, const char *text) {
    const char *at = after_phrase(text);
    if (!at) return false;
    const char *line = at + strspn(at, " :*\t");
    if (*line == '\n' || *line == '\r') at = line + strspn(line, " \t\r\n");
    return find_said(out, at);
}

static bool find_mark(struct span *out, const char *text) {
    const char *at = NULL;
    for (const char *next = text; (next = strstr(next, "####")); next += 4) at = next + 4;
    if (!at) return false;
    struct span line = cut((struct span){at, strcspn(at, "\n")}, " \t*_`", " \t*_`\r");
    if (line.length == 0) return false;
    char *copy = memory_copy_bytes(line.start, line.length);
    const char *said = copy ? after_phrase(copy) : NULL;
    bool found = said ? find_said(out, line.start + (said - copy)) : find_said(out, line.start);
    free(copy);
    /* what is no answer of a known form is kept as it stands: the text decides */
    if (!found || out->start > line.start + line.length) *out = line;
    return true;
}

/* The last value in bold type, in the last paragraph, if no conclusion follows it: "The total is
 * **18**. He has 3 friends." Headings ("**Step 2:**") are no values. */
static bool find_bold(struct span *out, const char *text) {
    enum { MOST = 8 };
    struct span last[MOST];
    const char *paragraph = text, *end = text + strlen(text);
    size_t count = 0;
    while (end > text && strchr(" \t\r\n", end[-1])) end--;
    for (const char *at = text; at + 1 < end; at++)
        if (at[0] == '\n' && (at[1] == '\n' || (at[1] == '\r' && at[2] == '\n'))) paragraph = at;
    for (const char *open = paragraph, *close; (open = strstr(open, "**")); open = close + 2) {
        close = strstr(open + 2, "**");
        if (!close) break;
        last[count++ % MOST] = (struct span){open + 2, (size_t)(close - open) - 2};
    }
    for (size_t i = 1; i <= MOST && i <= count; i++) {
        struct span bold = last[(count - i) % MOST];
        const char *after = bold.start + bold.length + 2;
        if (memchr(bold.start, '\n', bold.length)) continue;
        bold = cut(bold, " \t", " \t.,;!");
        if (!answer_span_understood(bold, false)) continue;
        *out = bold;
        return after >= end || !answer_concludes((struct span){after, (size_t)(end - after)});
    }
    return false;
}

static bool find_last(struct span *out, const char *text) {
    return answer_find_number(out, answer_without_remarks((struct span){text, strlen(text)}));
}

enum status answer_extract(char **out, const char *text) {
    static bool (*const finders[])(struct span *, const char *) = {find_box, find_mark, find_phrase,
                                                                   find_bold, find_last};
    struct span span;
    *out = NULL;
    for (const char *next = text; (next = strstr(next, "</think>"));) {
        next += strlen("</think>");
        text = next;
    }
    for (size_t i = 0; i < sizeof finders / sizeof *finders; i++)
        if (finders[i](&span, text)) {
            *out = memory_copy_bytes(span.start, span.length);
            return *out ? STATUS_OK : STATUS_FAILED;
        }
    return STATUS_OK;
}
