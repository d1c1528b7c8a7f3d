/* The words of a command line that the program gives to itself, or prints. */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From the name of the command on. */
struct words {
    char **words; /* [count], and NULL behind them */
    size_t count;
    bool failed; /* out of memory; checked once */
};

void words_add(struct words *words, char *word); /* takes the word over; NULL: a failure */
void words_add_copy(struct words *words, const char *word);
void words_add_path(struct words *words, const char *path);  /* so that it is taken for no option */
void words_add_own_path(struct words *words, char *path);    /* takes the path over */
void words_add_split(struct words *words, const char *text); /* which blanks separate, or NULL */

/* An option with its value, unless that is NULL or 0. */
void words_add_option(struct words *words, const char *name, const char *value);
void words_add_path_option(struct words *words, const char *name, const char *path);
void words_add_number(struct words *words, const char *name, int64_t value);

/* The value of an option, borrowed: "--format X" or "--format=X"; the last counts. NULL: none. */
const char *words_find(const struct words *words, const char *name);

/* What a shell would be given: "apriel-tool …". The caller frees. */
char *words_line(const struct words *words);

void words_free(struct words *words); /* accepts zeroed words */

#endif
