/* The words of a command line that the program gives to itself, or prints. */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct words {
    char **words; /* [count], and NULL behind them */
    size_t count;
    size_t shell; /* index of words_add_shell's, and 1; 0: none */
    bool failed;  /* out of memory; checked once */
};

void words_add(struct words *words, char *word); /* takes the word over; NULL: a failure */
void words_add_copy(struct words *words, const char *word);
void words_add_path(struct words *words, const char *path); /* so that it is taken for no option */
void words_add_own_path(struct words *words, char *path);   /* takes the path over */

/* The words of a text (NULL: none) as a POSIX shell reads them: blanks separate, '…' is taken as it
 * stands, in "…" a backslash stands before " \\ $ and `, elsewhere before any character. Nothing is
 * substituted. STATUS_USAGE, naming `option`, for a quote that does not end. */
enum status words_add_quoted(struct words *words, const char *text,
                             const char *option) STATUS_CHECKED;

/* A word that is the text of a shell already, not to be quoted; one at most. */
void words_add_shell(struct words *words, char *text); /* takes the text over */

/* An option with its value, unless that is NULL or 0. */
void words_add_option(struct words *words, const char *name, const char *value);
void words_add_path_option(struct words *words, const char *name, const char *path);
void words_add_number(struct words *words, const char *name, int64_t value);

/* What a shell would be given: "apriel-tool …". The caller frees. */
char *words_line(const struct words *words);

void words_free(struct words *words); /* accepts zeroed words */

#endif
