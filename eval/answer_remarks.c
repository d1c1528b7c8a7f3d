/* Which part of a text without marks can hold its answer.
 *
 * Such a text is answered by its last number, as GSM8K's flexible match in lm-evaluation-harness
 * has it. Sentences at the end that speak of the solution and not of its subject ("That took 3
 * steps.", "Check: 9 + 9 = 18", "I am 95% sure.") are passed over, if a number stands before them.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "eval/answers_internal.h"

enum { MOST_WORDS = 40, LONGEST_WORD = 16, MOST_REMARKS = 20 };

/* The first words of a sentence, in lower case. */
struct words {
    char at[MOST_WORDS][LONGEST_WORD];
    int count;
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void read_words(struct words *out, struct span span) {
    out->count = 0;
    for (size_t i = 0; i < span.length && out->count < MOST_WORDS;) {
        size_t length = 0;
        while (i + length < span.length && is_letter(span.start[i + length])) length++;
        if (length) {
            char *word = out->at[out->count++];
            snprintf(word, LONGEST_WORD, "%.*s", (int)length, span.start + i);
            for (char *c = word; *c; c++) *c |= 0x20;
        }
        i += length ? length : 1;
    }
}

static bool is_one_of(const char *word, const char *const *list) {
    for (; *list; list++)
        if (strcmp(word, *list) == 0) return true;
    return false;
}

static bool has_one_of(const struct words *words, const char *const *list) {
    for (int i = 0; i < words->count; i++)
        if (is_one_of(words->at[i], list)) return true;
    return false;
}

static bool has_both(const struct words *words, const char *first, const char *second) {
    for (int i = 0; i + 1 < words->count; i++)
        if (strcmp(words->at[i], first) == 0 && strcmp(words->at[i + 1], second) == 0) return true;
    return false;
}

/* What a solution is made of. */
static const char *const of_solutions[] = {
    "step",        "steps",        "method",    "methods",    "approach",    "approaches",
    "attempt",     "attempts",     "try",       "tries",      "calculation", "calculations",
    "computation", "computations", "operation", "operations", "equation",    "equations",
    "formula",     "formulas",     "line",      "lines",      "hint",        "hints",
    "strategy",    "strategies",   "technique", "techniques", "theorem",     "theorems",
    "iteration",   "iterations",   "problem",   "question",   "exercise",    "example",
    "check",       "checks",       NULL};
static const char *const ways_to_work[] = {
    "took",    "takes",    "take",     "used",     "uses",     "use",      "using",   "needed",
    "needs",   "need",     "required", "requires", "involved", "involves", "solved",  "solves",
    "checked", "verified", "tried",    "made",     "did",      "done",     "counted", "was",
    "is",      "were",     "are",      "has",      "had",      "needing",  "taking",  NULL};

/* "95% sure", "let me know", "I checked it 2 times": whatever else the sentence says. */
static bool is_aside(const struct words *words) {
    static const char *const first[] = {"check",        "checking", "verify",    "verifying",
                                        "verification", "note",     "remark",    "hint",
                                        "confidence",   "source",   "reference", "ps",
                                        "difficulty",   "hope",     NULL};
    static const char *const anywhere[] = {"hope", "confident", "confidence", NULL};
    static const char *const speakers[] = {"i", "we", NULL};
    static const char *const checks[] = {"checked", "verified", "rechecked",
                                         "sure",    "certain",  NULL};
    if (words->count == 0) return false;
    if (is_one_of(words->at[0], first) || has_one_of(words, anywhere)) return true;
    if (strcmp(words->at[0], "to") == 0 && words->count > 1 && is_one_of(words->at[1], first))
        return true;
    if (strcmp(words->at[0], "double") == 0 && words->count > 1 && is_one_of(words->at[1], first))
        return true;
    if (has_both(words, "let", "me") || has_both(words, "let", "us"))
        return has_one_of(words, (const char *const[]){"know", "check", "verify", NULL});
    return has_both(words, "feel", "free") ||
           (is_one_of(words->at[0], speakers) && has_one_of(words, checks));
}

/* "That took 3 steps.", "The solution uses 2 equations.", "I needed 5 minutes to solve this." A
 * sentence that may as well speak of a story ("It took 3 steps.") is one only where what stands
 * before it has drawn a conclusion. */
static bool is_of_solution(const struct words *words, bool concluded) {
    static const char *const speakers[] = {"that",  "this",  "i",   "we",
                                           "these", "those", "all", NULL};
    static const char *const vague[] = {"it", "there", NULL};
    static const char *const subjects[] = {"solution",  "method",  "calculation", "computation",
                                           "proof",     "process", "derivation",  "approach",
                                           "reasoning", "work",    "above",       NULL};
    static const char *const participles[] = {"solved", "done",     "took", "used",
                                              "found",  "required", NULL};
    static const char *const solving[] = {"solve",   "compute",   "calculate", "derive",
                                          "solving", "computing", "deriving",  NULL};
    if (words->count == 0) return false;
    const char *first = words->at[0];
    bool of_solution = has_one_of(words, of_solutions) || has_one_of(words, solving);
    bool speaker = is_one_of(first, speakers) || is_one_of(first, participles);
    if (strcmp(first, "the") == 0 || strcmp(first, "my") == 0 || strcmp(first, "our") == 0)
        speaker = words->count > 1 && is_one_of(words->at[1], subjects);
    if (is_one_of(first, vague)) speaker = concluded;
    bool work = is_one_of(first, participles) || has_one_of(words, ways_to_work) ||
                has_one_of(words, solving);
    return of_solution && speaker && work;
}

/* Where the sentence that ends at `end` begins. */
static const char *sentence_start(const char *text, const char *end) {
    const char *at = end;
    while (at > text && strchr(" \t\r\n.!?*_)", at[-1])) at--;
    for (; at > text; at--) {
        if (at[-1] == '\n') return at;
        bool ends = strchr(".!?", at[-1]) && strchr(" \t*_\"", *at);
        if (ends) return at;
    }
    return text;
}

static bool has_digit(struct span span) {
    for (size_t i = 0; i < span.length; i++)
        if (is_digit(span.start[i])) return true;
    return false;
}

static bool concludes(struct span span) {
    static const char *const signs[] = {
        "so",     "thus",  "therefore", "hence", "total",  "altogether", "finally", "gives",
        "equals", "makes", "left",      "get",   "result", "remain",     "leaves",  NULL};
    const char *text = span.start, *end = span.start + span.length;
    while (end > text) {
        const char *start = sentence_start(text, end);
        struct span sentence = {start, (size_t)(end - start)};
        struct words words;
        read_words(&words, sentence);
        if (has_digit(sentence) &&
            (memchr(start, '=', sentence.length) || has_one_of(&words, signs)))
            return true;
        end = start;
    }
    return false;
}

struct span answer_without_remarks(struct span text) {
    struct span kept = text;
    for (int i = 0; i < MOST_REMARKS; i++) {
        const char *start = sentence_start(kept.start, kept.start + kept.length);
        struct span before = {kept.start, (size_t)(start - kept.start)};
        struct span sentence = {start, kept.length - before.length};
        struct words words;
        if (!has_digit(before)) break;
        read_words(&words, sentence);
        bool remark = is_aside(&words) ||
                      is_of_solution(&words, is_of_solution(&words, true) && concludes(before));
        if (has_digit(sentence) && !remark) break;
        kept = before;
        if (remark) text = before;
    }
    return text;
}

bool answer_concludes(struct span text) {
    return concludes(text);
}
