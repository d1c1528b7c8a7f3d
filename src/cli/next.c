#include "cli/next.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/quote.h"

static bool held;

void next_hold(void) {
    held = true;
}

void next_begin(struct text *line, const char *command) {
    *line = (struct text){0};
    text_append(line, "apriel-tool %s", command);
}

void next_words(struct text *line, const char *format, ...) {
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    text_append(line, " %s", words);
}

void next_path(struct text *line, const char *option, const char *path) {
    if (option) text_append(line, " %s", option);
    text_append(line, " ");
    quote_shell_path(line, path);
}

void next_print(struct text *line, bool other) {
    char *text = text_finish(line);
    /* Behind the results, and not when these cannot be written: that is told by main. */
    if (text && !held && fflush(stdout) == 0) log_note("%s %s", other ? "or:  " : "next:", text);
    free(text);
}
