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

void words_add_split(struct words *words, const char *text) {
    while (text && *text) {
        size_t length = strcspn(text, " \t\n");
        if (length) words_add(words, memory_copy_bytes(text, length));
        text += length;
        text += strspn(text, " \t\n");
    }
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
        quote_shell(&text, words->words[i]);
    }
    return text_finish(&text);
}

const char *words_find(const struct words *words, const char *name) {
    const char *found = NULL;
    size_t length = strlen(name);
    for (size_t i = 0; i < words->count; i++) {
        const char *word = words->words[i];
        if (strncmp(word, name, length) != 0) continue;
        if (word[length] == '=') found = word + length + 1;
        if (!word[length] && i + 1 < words->count) found = words->words[i + 1];
    }
    return found;
}
