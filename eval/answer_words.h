/* Words in final answers. */
#ifndef EVAL_ANSWER_WORDS_H
#define EVAL_ANSWER_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* The number that a single word says, "zero" to "twenty" and the tens; -1: none. */
int answer_word_number(const char *text, size_t length);

/* Letters of two texts without case, blanks, marks and the commands that hold them. */
bool answer_words_equal(const char *a, size_t a_length, const char *b, size_t b_length);

/* Whether all is letters, blanks and the marks of sentences, and no word says a number. */
bool answer_words_only(const char *text, size_t length);

/* "no solution", "none": the empty set. "all real numbers": the reals. */
bool answer_words_say_empty(const char *text, size_t length);
bool answer_words_say_reals(const char *text, size_t length);

/* "(B) 12", "\textbf{(B)}\ 12": the letter of a choice before the number or formula that it says.
 * `rest` is borrowed from the text. */
bool answer_choice_read(char *letter, const char **rest, const char *text);

#endif
