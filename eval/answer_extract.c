#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/answers.h"

enum { MOST_BRACES = 256 };

struct span {
    const char *start;
    size_t length;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static struct span trim(struct span span) {
    while (span.length && strchr(" \t\r\n", *span.start)) {
        span.start++;
        span.length--;
    }
    while (span.length && strchr(" \t\r\n", span.start[span.length - 1])) span.length--;
    return span;
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

static bool find_mark(struct span *out, const char *text) {
    const char *at = NULL;
    for (const char *next = text; (next = strstr(next, "####")); next += 4) at = next + 4;
    if (!at) return false;
    *out = trim((struct span){at, strcspn(at, "\n")});
    return out->length > 0;
}

/* "… answer is $x = 5$. I hope …": up to the end of the formula, else of the sentence. */
static bool find_phrase(struct span *out, const char *text) {
    static const char *const phrases[] = {"answer is", "answer:"};
    const char *at = NULL;
    for (int i = 0; i < 2; i++)
        for (const char *next = text; (next = strcasestr(next, phrases[i]));) {
            next += strlen(phrases[i]);
            if (!at || next > at) at = next;
        }
    if (!at) return false;
    at += strspn(at, " :*\t");
    struct span span = {at, strcspn(at, "\n")};
    const char *dollar = *at == '$' ? memchr(at + 1, '$', span.length - 1) : NULL;
    if (dollar) {
        *out = trim((struct span){at + 1, (size_t)(dollar - at - 1)});
        return out->length > 0;
    }
    for (size_t i = 0; i + 1 < span.length; i++)
        if (at[i] == '.' && (at[i + 1] == ' ' || at[i + 1] == '*')) span.length = i;
    *out = trim(span);
    while (out->length && strchr(".*", out->start[out->length - 1])) out->length--;
    return out->length && (is_digit(*at) || strchr("$-+.(\\", *at));
}

/* The number that ends before `end` (its last digit), with all that belongs to it. */
static struct span number_before(const char *text, const char *end) {
    const char *start = end;
    bool slash = false;
    for (; start > text; start--) {
        char before = start[-1];
        bool inside = is_digit(before) || ((before == '.' || before == ',') && is_digit(*start));
        if (before == '/' && !slash && is_digit(*start) && start - 1 > text &&
            is_digit(start[-2])) {
            slash = true;
            continue;
        }
        if (!inside) break;
    }
    /* ",5" and the like begin at the digit; ".5" is a number. */
    while (start < end && *start == ',') start++;
    if (start > text && start[-1] == '$') start--;
    bool minus = start > text && start[-1] == '-';
    bool binary =
        minus && start - 1 > text &&
        (is_digit(start[-2]) || start[-2] == ')' || (start[-2] >= 'a' && start[-2] <= 'z') ||
         (start[-2] >= 'A' && start[-2] <= 'Z'));
    if (minus && !binary) start--;
    return (struct span){start, (size_t)(end - start)};
}

static bool find_number(struct span *out, const char *text) {
    const char *end = text + strlen(text);
    while (end > text && !is_digit(end[-1])) end--;
    if (end == text) return false;
    *out = number_before(text, end);
    return true;
}

enum status answer_extract(char **out, const char *text) {
    static bool (*const finders[])(struct span *, const char *) = {find_box, find_mark, find_phrase,
                                                                   find_number};
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
