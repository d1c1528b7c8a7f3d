#include "base/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

enum { LONGEST = 63 }; /* of a word that is compared: no command, option or value has more */

static char plain(char c) {
    return c == '_' ? '-' : (char)tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return n + m;
    size_t rows[3][LONGEST + 1]; /* of the table of distances between beginnings: two back, … */
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = plain(a[i - 1]) == plain(b[j - 1]);
            row[j] = least(last[j - 1] + !same, least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) &&
                plain(a[i - 2]) == plain(b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[m];
}

static bool begins(const char *text, const char *word) {
    while (*word && plain(*text) == plain(*word)) text++, word++;
    return !*word;
}

/* "memory" of "device-memory" */
static bool has_part(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *part = text; part; part = strchr(part, '-')) {
        part += *part == '-';
        if (begins(part, word) && (part[length] == '-' || !part[length])) return true;
    }
    return false;
}

/* How far apart they are; SIZE_MAX: too far to have been meant. */
static size_t rank(const char *word, const char *candidate) {
    size_t length = strlen(word), distance = suggest_distance(word, candidate);
    size_t most = length < 3 ? 0 : length < 6 ? 1 : length < 9 ? 2 : 3;
    if (length >= 2 && (begins(candidate, word) || has_part(candidate, word)))
        distance = least(distance, 1);
    else if (length > 4 && begins(word, candidate) && strlen(candidate) > 3)
        distance = least(distance, 2);
    else if (distance > most)
        return SIZE_MAX;
    return distance;
}

size_t suggest_words(const char *out[SUGGEST_MOST], const char *word, const char *const *candidates,
                     size_t count) {
    size_t best = SIZE_MAX, found = 0;
    for (size_t i = 0; i < count; i++) {
        size_t distance = rank(word, candidates[i]);
        if (distance == SIZE_MAX || distance > best) continue;
        if (distance < best) found = 0;
        best = distance;
        if (found < SUGGEST_MOST) out[found++] = candidates[i];
    }
    return found;
}

char *suggest_phrase(const char *word, const char *const *candidates, size_t count,
                     const char *prefix) {
    const char *words[SUGGEST_MOST];
    struct text text = {0};
    size_t found = suggest_words(words, word, candidates, count);
    for (size_t i = 0; i < found; i++)
        text_append(&text, "%s%s%s",
                    !i               ? "; did you mean "
                    : i + 1 == found ? " or "
                                     : ", ",
                    prefix, words[i]);
    if (found) text_append(&text, "?");
    return text_finish(&text);
}
