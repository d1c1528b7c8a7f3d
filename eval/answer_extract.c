#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/answers.h"

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

/* The inside of the braces that open at `open`; false when they do not close. */
static bool braces(struct span *out, const char *open) {
    int depth = 0;
    for (const char *at = open; *at; at++) {
        if (*at == '\\' && at[1]) {
            at++; /* \{ and \} are no braces */
            continue;
        }
        if (*at == '{') depth++;
        if (*at == '}' && --depth == 0) {
            *out = (struct span){open + 1, (size_t)(at - open - 1)};
            return true;
        }
    }
    return false;
}

/* The box that begins at `at`, which is after its command: {…}, or a word as in "\boxed 5". */
static bool box_at(struct span *out, const char *at) {
    while (*at == ' ') at++;
    if (*at == '{') return braces(out, at);
    *out = trim((struct span){at, strcspn(at, " $\n")});
    return out->length > 0;
}

/* The last box of all that closes. */
static bool find_box(struct span *out, const char *text) {
    static const char *const commands[] = {"\\boxed", "\\fbox"};
    const char *found = NULL;
    for (int i = 0; i < 2; i++)
        for (const char *at = text; (at = strstr(at, commands[i]));) {
            struct span box;
            at += strlen(commands[i]);
            /* One inside another comes later in the text. */
            if (!box_at(&box, at) || trim(box).length == 0 || (found && at < found)) continue;
            found = at;
            *out = trim(box);
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
