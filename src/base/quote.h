/* Names at borders. A name (a path, an identifier of someone's file, a model's answer) is bytes
 * that somebody else chose: quotes, newlines, terminal escapes, markup, bytes that are no UTF-8.
 * Where it goes into a language it is written by the helper of that language, and nowhere by hand.
 * All append to a text, whose failure is seen at text_finish; tests/test_quote.c holds the list of
 * evil names that each of them is tried with.
 *
 * JSON has no helper here: base/json.h takes and gives bytes. */
#ifndef BASE_QUOTE_H
#define BASE_QUOTE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"

/* Control characters, marks and overrides of direction, separators of lines, characters that show
 * nothing (but not the joiners that scripts and emoji need), tags, and what is no character. */
bool quote_is_unseen(uint32_t character);

/* For people, on a terminal, in a comment of a script or in a picture: one line of valid UTF-8.
 * Control characters, what changes the direction or the place of text, and invisible characters
 * appear as \n, \t, \r, \x1b, \u{202e}; bytes that are not UTF-8 as \xff. Not reversible: a
 * backslash stays as it is. */
void quote_terminal(struct text *out, const char *name);
/* The same for text of many lines: newlines and tabs stay. */
void quote_terminal_text(struct text *out, const char *bytes, size_t length);

/* One word of a POSIX shell (also bash, zsh), whatever it holds: bare where it is plain, else in
 * single quotes, with control characters and bytes that are not UTF-8 as "$(printf '\033')", so
 * that a script can be shown on a terminal. An empty name is ''. A leading '-' stays: use
 * quote_shell_path for paths. */
void quote_shell(struct text *out, const char *word);
/* The same for a path, which "./" keeps from being an option. */
void quote_shell_path(struct text *out, const char *path);

/* A double-quoted scalar that readers of YAML 1.1 and 1.2 take for the same string; never a number,
 * a boolean, a comment or a second key. Bytes that are not UTF-8 become U+FFFD, for want of an
 * escape in YAML. */
void quote_yaml(struct text *out, const char *value);

/* A field of RFC 4180, quoted when it has to be. What a spreadsheet would take for a formula (it
 * begins with =, +, -, @, a tab, a carriage return or a newline, blanks before it not counted, and
 * is no number) gets an apostrophe before it, and so does what begins with apostrophes and then one
 * of these: taking one apostrophe off such a field gives the value. Bytes that are not UTF-8 stay.
 */
void quote_csv(struct text *out, const char *value);

/* Text or a quoted attribute of HTML, XML and SVG: markup is escaped, and what XML cannot hold or
 * nobody can see is shown as quote_terminal does. */
void quote_xml(struct text *out, const char *value);

/* A string of gnuplot with nothing in it that gnuplot would carry out: in single quotes, or in
 * double ones with octal escapes where it has control characters. */
void quote_gnuplot(struct text *out, const char *value);

/* printf for people: the formatted line as quote_terminal shows it, and a newline. */
void quote_print(FILE *file, const char *format, ...) STATUS_PRINTF(2, 3);
void quote_vprint(FILE *file, const char *format, va_list arguments) STATUS_PRINTF(2, 0);

/* As quote_terminal; the caller frees. NULL with a message when out of memory. */
char *quote_shown(const char *name);

#endif
