/* What somebody may have meant who wrote a word that is not known. */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

#include <stddef.h>

/* Letters to change, insert, leave out or swap with their neighbour until `a` is `b`; capitals and
 * small letters, and _ and -, are the same. */
size_t suggest_distance(const char *a, const char *b);

enum { SUGGEST_MOST = 3 };

/* Those of `candidates` [count] that are nearest to `word`, or that it is the beginning or a part
 * between hyphens of, best first; borrowed. Their number, 0 when none is near. */
size_t suggest_words(const char *out[SUGGEST_MOST], const char *word, const char *const *candidates,
                     size_t count);

/* "; did you mean --data or --db?" with `prefix` ("--") before each of those words, or "". The
 * caller frees; NULL when out of memory. */
char *suggest_phrase(const char *word, const char *const *candidates, size_t count,
                     const char *prefix);

#endif
