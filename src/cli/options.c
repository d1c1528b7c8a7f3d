#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/suggest.h"
#include "base/text.h"
#include "base/threads.h"

void options_common(struct option out[COMMON_OPTIONS], struct command_arguments *arguments) {
    static const char group[] = "every command";
    const struct option rows[COMMON_OPTIONS] = {
        {"json", OPTION_FLAG, &arguments->json, NULL,
         "print one JSON document on stdout instead of text", .group = group,
         .identity = OPTION_NO_NUMBER},
        {"quiet", OPTION_FLAG, &arguments->quiet, NULL, "no notes or progress on stderr",
         .group = group, .letter = 'q', .identity = OPTION_NO_NUMBER},
        {"threads", OPTION_COUNT, &arguments->threads, "N",
         "threads that compute (one for each processor)", 1, 4096, .identity = OPTION_NO_NUMBER,
         .group = group},
        {"help", OPTION_FLAG, &arguments->help, NULL, "print this help", .group = group,
         .letter = 'h', .identity = OPTION_NO_NUMBER},
    };
    memcpy(out, rows, sizeof rows);
}

static enum status append(struct string_list *list, const char *value) {
    const char **values = memory_resize(list->values, list->count + 1, sizeof *values);
    if (!values) return STATUS_FAILED;
    list->values = values;
    list->values[list->count++] = value;
    return STATUS_OK;
}

/* ---- values */

/* Cuts "a|b" in place into words [MOST_CHOICES]; their number. */
enum { MOST_CHOICES = 32 };
static size_t split_choices(const char *words[MOST_CHOICES], char *choices) {
    size_t count = 0;
    while (choices && count < MOST_CHOICES) {
        words[count++] = choices;
        choices = strchr(choices, '|');
        if (choices) *choices++ = '\0';
    }
    return count;
}

static enum status store_choice(const struct command_line *line, const struct option *option,
                                const char *value) {
    const char *words[MOST_CHOICES];
    char *choices = memory_copy_string(option->choices), *phrase = NULL;
    struct text list = {0};
    enum status status = STATUS_FAILED;
    if (!choices) goto done;
    size_t count = split_choices(words, choices);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], value) == 0) {
            *(const char **)option->target = value;
            status = STATUS_OK;
            goto done;
        }
        text_append(&list, "%s%s", !i ? "" : i + 1 == count ? " or " : ", ", words[i]);
    }
    phrase = suggest_phrase(value, words, count, "");
    char *all = text_finish(&list);
    if (all && phrase)
        status = status_set(STATUS_USAGE, "%s: --%s must be %s, not \"%s\"%s", line->command,
                            option->name, all, value, phrase);
    free(all);
done:
    text_free(&list);
    free(phrase);
    free(choices);
    return status;
}

static enum status outside(const struct command_line *line, const struct option *option,
                           const char *value) {
    if (option->high == INT64_MAX)
        return status_set(STATUS_USAGE, "%s: --%s is %s, %s", line->command, option->name, value,
                          *value == '-' || *value == '0' ? option->low ? "below 1" : "below 0"
                                                         : "which is too large");
    return status_set(STATUS_USAGE, "%s: --%s is %s, outside %lld to %lld", line->command,
                      option->name, value, (long long)option->low, (long long)option->high);
}

static enum status store_integer(const struct command_line *line, const struct option *option,
                                 const char *value, int64_t number) {
    bool bounded = option->low || option->high;
    if (bounded && (number < option->low || number > option->high))
        return outside(line, option, value);
    *(int64_t *)option->target = number;
    return STATUS_OK;
}

/* "-3" is no count, but is told as outside the bounds, as 0 may be. */
static enum status store_amount(const struct command_line *line, const struct option *option,
                                const char *value) {
    bool size = option->kind == OPTION_SIZE, negative = *value == '-';
    const char *text = value + (*value == '-' || *value == '+');
    uint64_t number;
    enum number_fault fault = number_parse(&number, text, size);
    if (fault == NUMBER_GOOD && size && !negative) {
        *(uint64_t *)option->target = number;
        return STATUS_OK;
    }
    if (fault == NUMBER_GOOD && !size)
        return store_integer(line, option, value, negative ? -(int64_t)number : (int64_t)number);
    if (fault == NUMBER_TOO_LARGE) {
        if (option->high) return outside(line, option, value);
        return status_set(STATUS_USAGE, "%s: --%s is %s, which is too large", line->command,
                          option->name, value);
    }
    return status_set(STATUS_USAGE, "%s: --%s cannot be \"%s\": a %s, like %s", line->command,
                      option->name, value, size ? "size in bytes" : "whole number",
                      size ? "24G, 512M or 4Ki" : "100, 4k, 4Ki or 1e6");
}

static enum status store(const struct command_line *line, const struct option *option,
                         const char *value) {
    char *end;
    errno = 0;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->target = true;
        return STATUS_OK;
    case OPTION_STRING:
        *(const char **)option->target = value;
        return STATUS_OK;
    case OPTION_CHOICE:
        return store_choice(line, option, value);
    case OPTION_LIST:
        return append(option->target, value);
    case OPTION_INTEGER: {
        long long number = strtoll(value, &end, 10);
        if (end == value || *end || errno) break;
        return store_integer(line, option, value, number);
    }
    case OPTION_NUMBER: {
        double number = strtod(value, &end);
        if (end == value || *end || errno || !isfinite(number)) break;
        *(double *)option->target = number;
        return STATUS_OK;
    }
    case OPTION_COUNT:
    case OPTION_SIZE:
        return store_amount(line, option, value);
    }
    return status_set(STATUS_USAGE, "%s: --%s cannot be \"%s\"", line->command, option->name,
                      value);
}

/* ---- words of the command line */

/* The rows of the command and those of every command, searched as one table. */
struct options {
    const struct command_line *line;
    struct option common[COMMON_OPTIONS];
};

static size_t options_count(const struct options *options) {
    return options->line->count + COMMON_OPTIONS;
}

static const struct option *option_at(const struct options *options, size_t index) {
    return index < options->line->count ? &options->line->options[index]
                                        : &options->common[index - options->line->count];
}

static const struct option *find_name(const struct options *options, const char *name,
                                      size_t length) {
    for (size_t i = 0; i < options_count(options); i++) {
        const struct option *option = option_at(options, i);
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

static const struct option *find_letter(const struct options *options, char letter) {
    for (size_t i = 0; letter && i < options_count(options); i++)
        if (option_at(options, i)->letter == letter) return option_at(options, i);
    return NULL;
}

/* `name` [length] is no option of this command: say so, and what was meant. */
static enum status unknown(const struct options *options, const char *word, const char *name,
                           size_t length) {
    const char *command = options->line->command;
    size_t count = options_count(options);
    const char **names = memory_calloc(count, sizeof *names);
    char *copy = memory_copy_bytes(name, length), *phrase = NULL;
    enum status status = STATUS_FAILED;
    if (names && copy) {
        for (size_t i = 0; i < count; i++) names[i] = option_at(options, i)->name;
        phrase = suggest_phrase(copy, names, count, "--");
    }
    if (phrase)
        status = status_set(STATUS_USAGE, "%s: unknown option \"%s\"%s (see apriel-tool %s --help)",
                            command, word, phrase, command);
    free(phrase);
    free(copy);
    free(names);
    return status;
}

/* The value of an option that stands in the next word: argv[*index] is moved on to it. A word that
 * is an option itself was hardly meant as a value; --name=VALUE takes any. */
static enum status next_value(const char **value, const struct options *options, const char *word,
                              int argc, char **argv, int *index) {
    const char *command = options->line->command;
    if (*index + 1 >= argc) return status_set(STATUS_USAGE, "%s: %s needs a value", command, word);
    *value = argv[++*index];
    if (strncmp(*value, "--", 2) == 0 && find_name(options, *value + 2, strcspn(*value + 2, "=")))
        return status_set(STATUS_USAGE, "%s: %s needs a value, but the option %s follows", command,
                          word, *value);
    return STATUS_OK;
}

static enum status parse_long(const struct options *options, int argc, char **argv, int *index) {
    const struct command_line *line = options->line;
    const char *word = argv[*index], *name = word + 2, *value = NULL;
    size_t length = strcspn(name, "=");
    const struct option *option = find_name(options, name, length);
    if (!option) return unknown(options, word, name, length);
    if (name[length]) value = name + length + 1;
    enum status status = STATUS_OK;
    if (option->kind == OPTION_FLAG && value)
        status = status_set(STATUS_USAGE, "%s: --%s takes no value", line->command, option->name);
    else if (option->kind != OPTION_FLAG && !value)
        status = next_value(&value, options, word, argc, argv, index);
    return status ? status : store(line, option, value);
}

/* Letters: flags may be joined (-qh), and a value may follow its letter (-oFILE). */
static enum status parse_letters(const struct options *options, int argc, char **argv, int *index) {
    const char *word = argv[*index];
    for (const char *letter = word + 1; *letter; letter++) {
        const struct option *option = find_letter(options, *letter);
        const char *value = letter + 1;
        enum status status = STATUS_OK;
        if (!option) return unknown(options, word, word + 1, strcspn(word + 1, "="));
        if (option->kind != OPTION_FLAG && !*value)
            status = next_value(&value, options, word, argc, argv, index);
        if (!status) status = store(options->line, option, value);
        if (status || option->kind != OPTION_FLAG) return status;
    }
    return STATUS_OK;
}

enum status options_read(struct command_arguments *arguments, const struct command_line *line,
                         int argc, char **argv) {
    struct options options = {.line = line};
    bool ended = false;
    struct json *before = NULL;
    *arguments = (struct command_arguments){0};
    options_common(options.common, arguments);
    enum status status = options_identity_before(&before, line);
    for (int i = 1; !status && i < argc && !arguments->help; i++) {
        if (ended || argv[i][0] != '-' || !argv[i][1])
            status = append(&arguments->positional, argv[i]);
        else if (argv[i][1] != '-')
            status = parse_letters(&options, argc, argv, &i);
        else if (argv[i][2])
            status = parse_long(&options, argc, argv, &i);
        else
            ended = true;
    }
    if (!status) status = options_identity_after(&arguments->identity, before, line);
    js_free(before);
    return status;
}

enum status options_apply(const struct command_arguments *arguments) {
    log_set_quiet(arguments->quiet || arguments->json);
    return arguments->threads ? threads_choose(arguments->threads) : STATUS_OK;
}

enum status options_parse(struct command_arguments *arguments, const struct command_line *line,
                          int argc, char **argv) {
    *arguments = (struct command_arguments){0};
    if (argc > 1 && strcmp(argv[1], OPTIONS_COMPLETE) == 0) {
        arguments->help = true;
        return options_complete(line, argc - 2, argv + 2);
    }
    if (argc > 1 && strcmp(argv[1], OPTIONS_IDENTITY) == 0) {
        arguments->help = true;
        options_print_identity(line);
        return STATUS_OK;
    }
    enum status status = options_read(arguments, line, argc, argv);
    if (status) return status;
    if (arguments->help) options_print_help(line);
    return options_apply(arguments);
}

enum status options_one_model(const struct command_arguments *arguments,
                              const struct command_line *line) {
    const struct string_list *given = &arguments->positional;
    if (!given->count)
        return status_set(STATUS_USAGE, "%s: name one model directory (see apriel-tool %s --help)",
                          line->command, line->command);
    if (given->count > 1)
        return status_set(STATUS_USAGE,
                          "%s: unexpected argument \"%s\" after the model \"%s\" (see apriel-tool "
                          "%s --help)",
                          line->command, given->values[1], given->values[0], line->command);
    return STATUS_OK;
}

void options_free(struct command_arguments *arguments, const struct command_line *line) {
    free(arguments->positional.values);
    js_free(arguments->identity);
    *arguments = (struct command_arguments){0};
    for (size_t i = 0; i < line->count; i++)
        if (line->options[i].kind == OPTION_LIST)
            free(((struct string_list *)line->options[i].target)->values);
}
