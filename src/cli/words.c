#include "cli/words.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/quote.h"
#include "base/text.h"

void words_add(struct words *words, char *word) {
    char **more = memory_resize(words->words, words->count + 2, sizeof *words->words);
    if (!more || !word) {
        words->failed = true;
        if (more) words->words = more;
        free(word);
        return;
    }
    words->words = more;
    words->words[words->count++] = word;
    words->words[words->count] = NULL;
}

void words_add_copy(struct words *words, const char *word) {
    words_add(words, memory_copy_string(word));
}

void words_add_path(struct words *words, const char *path) {
    words_add(words, text_format("%s%s", *path == '-' ? "./" : "", path));
}

void words_add_own_path(struct words *words, char *path) {
    if (path)
        words_add_path(words, path);
    else
        words->failed = true;
    free(path);
}

void words_add_option(struct words *words, const char *name, const char *value) {
    if (!value) return;
    words_add_copy(words, name);
    words_add_copy(words, value);
}

void words_add_path_option(struct words *words, const char *name, const char *path) {
    if (!path) return;
    words_add_copy(words, name);
    words_add_path(words, path);
}

void words_add_number(struct words *words, const char *name, int64_t value) {
    if (!value) return;
    words_add_copy(words, name);
    words_add(words, text_format("%lld", (long long)value));
}

/* One word from `*text` on, which is moved behind it. False: a quote does not end. */
static bool read_word(struct text *word, const char **text) {
    char quote = '\0';
    const char *at = *text;
    for (; *at && (quote || !strchr(" \t\n", *at)); at++) {
        if (!quote && (*at == '\'' || *at == '"')) {
            quote = *at;
        } else if (*at == quote) {
            quote = '\0';
        } else {
            bool escape = *at == '\\' && quote != '\'' && at[1];
            if (escape && (!quote || strchr("\"\\$`", at[1]))) at++;
            text_append(word, "%c", *at);
        }
    }
    *text = at;
    return !quote;
}

enum status words_add_quoted(struct words *words, const char *text, const char *option) {
    while (text && *(text += strspn(text, " \t\n"))) {
        const char *start = text;
        struct text word = {0};
        if (!read_word(&word, &text)) {
            text_free(&word);
            return status_set(STATUS_USAGE, "%s: a quote does not end in \"%s\"", option, start);
        }
        words_add(words, text_finish(&word));
    }
    return words->failed ? STATUS_FAILED : STATUS_OK;
}

void words_add_shell(struct words *words, char *text) {
    words_add(words, text);
    words->shell = words->count;
}

void words_free(struct words *words) {
    for (size_t i = 0; i < words->count; i++) free(words->words[i]);
    free(words->words);
    *words = (struct words){0};
}

char *words_line(const struct words *words) {
    struct text text = {0};
    text_append(&text, "apriel-tool");
    for (size_t i = 0; i < words->count; i++) {
        text_append(&text, " ");
        if (i + 1 == words->shell)
            text_append(&text, "%s", words->words[i]);
        else
            quote_shell(&text, words->words[i]);
    }
    return text_finish(&text);
}
