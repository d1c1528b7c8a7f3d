/* What may stand where the cursor is, for the shells' completion (completions/), which ask with
 * `apriel-tool COMMAND --complete WORD... CURRENT`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/options.h"

/* The words between the command and the cursor, those that bash has cut at "=" joined again. */
struct words {
    char **texts; /* [count]; the last is what is being completed */
    size_t count;
    enum status status;
};

static void words_free(struct words *words) {
    for (size_t i = 0; i < words->count; i++) free(words->texts[i]);
    free(words->texts);
}

static void add_word(struct words *words, const char *word, bool join) {
    char *last = words->count ? words->texts[words->count - 1] : NULL;
    char *text = join ? text_format("%s%s", last, word) : memory_copy_string(word);
    if (!text) {
        words->status = STATUS_FAILED;
    } else if (join) {
        free(last);
        words->texts[words->count - 1] = text;
    } else {
        words->texts[words->count++] = text;
    }
}

static void words_read(struct words *words, int argc, char **argv) {
    *words = (struct words){.texts = memory_calloc((size_t)argc + 1, sizeof *words->texts)};
    if (!words->texts) {
        words->status = STATUS_FAILED;
        return;
    }
    for (int i = 0; !words->status && i < argc; i++) {
        bool after = i > 0 && strcmp(argv[i - 1], "=") == 0;
        add_word(words, argv[i], words->count && (after || strcmp(argv[i], "=") == 0));
    }
    if (!words->status && !words->count) add_word(words, "", false);
}

/* ---- candidates: a line each, what is inserted, a tab, what it means */

static void offer(const char *word, size_t length, const char *about, const char *current) {
    if (strncmp(word, current, strlen(current)) != 0 || strlen(current) > length) return;
    printf("%.*s\t%s\n", (int)length, word, about);
}

static void offer_option(const struct option *option, const char *current) {
    char name[64];
    int length = snprintf(name, sizeof name, "--%s", option->name);
    offer(name, (size_t)length, option->help, current);
}

/* ":directories" or ":files PATTERN": the shell knows better what files there are. */
static void offer_files(const char *completes) {
    if (!completes) return;
    if (strcmp(completes, COMPLETE_DIRECTORY) == 0)
        puts(":directories");
    else
        printf(":files %s\n", completes);
}

/* `value` is what stands already. "NAME=" among the choices goes on with a file. */
static void offer_values(const struct option *option, const char *value) {
    const char *choice = option->choices;
    if (strchr(value, '=')) {
        offer_files(option->completes);
        return;
    }
    while (choice) {
        size_t length = strcspn(choice, "|");
        offer(choice, length, "", value);
        choice = choice[length] ? choice + length + 1 : NULL;
    }
    if (!option->choices || !strchr(option->choices, '=')) offer_files(option->completes);
}

/* The option that `word` names and that waits for its value in the next word, or NULL. */
static const struct option *waiting(const struct command_line *line, const char *word) {
    for (size_t i = 0; i < line->count; i++) {
        const struct option *option = &line->options[i];
        if (option->kind == OPTION_FLAG) continue;
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, option->name) == 0) return option;
        size_t length = strlen(word);
        if (option->letter && word[0] == '-' && word[1] != '-' && length > 1 &&
            word[length - 1] == option->letter)
            return option;
    }
    return NULL;
}

static const struct option *named(const struct command_line *line, const char *word) {
    size_t length = strcspn(word, "=");
    for (size_t i = 0; i < line->count && word[length]; i++)
        if (strncmp(word, "--", 2) == 0 && strlen(line->options[i].name) == length - 2 &&
            strncmp(line->options[i].name, word + 2, length - 2) == 0)
            return &line->options[i];
    return NULL;
}

static void offer_options(const struct command_line *line, const char *current) {
    struct command_arguments unused = {0};
    struct option common[COMMON_OPTIONS];
    options_common(common, &unused);
    for (size_t i = 0; i < line->count; i++) offer_option(&line->options[i], current);
    for (size_t i = 0; i < COMMON_OPTIONS; i++) offer_option(&common[i], current);
}

static void complete(const struct command_line *line, const struct words *words) {
    const char *current = words->texts[words->count - 1];
    const struct option *option = NULL;
    bool ended = false;
    for (size_t i = 0; i + 1 < words->count && !ended; i++) {
        ended = !option && strcmp(words->texts[i], "--") == 0;
        option = option || ended ? NULL : waiting(line, words->texts[i]);
    }
    if (option) {
        offer_values(option, current);
    } else if (!ended && (option = named(line, current))) {
        offer_values(option, strchr(current, '=') + 1);
    } else if (!ended && (*current == '-' || !line->completes)) {
        offer_options(line, current);
    } else {
        offer_files(line->completes);
    }
}

enum status options_complete(const struct command_line *line, int argc, char **argv) {
    struct words words;
    words_read(&words, argc, argv);
    if (!words.status) complete(line, &words);
    words_free(&words);
    return words.status;
}
