/* What one may do after a command, as a line on stderr that a shell takes: "next: apriel-tool …".
 * With --quiet and --json there is none. */
#ifndef CLI_NEXT_H
#define CLI_NEXT_H

#include <stdbool.h>

#include "base/text.h"

/* Begin a line with a command's name. */
void next_begin(struct text *line, const char *command);
/* Words that need no quotes ("--stage 1"), and a path behind its option, or alone (NULL). */
void next_words(struct text *line, const char *format, ...) STATUS_PRINTF(2, 3);
void next_path(struct text *line, const char *option, const char *path);
/* Print the line and free it; `other`: as an alternative to the line before. A line that ran out of
 * memory is left out: the work itself is done. */
void next_print(struct text *line, bool other);

/* No more lines: what runs is a step of something that knows itself what comes next. */
void next_hold(void);

#endif
