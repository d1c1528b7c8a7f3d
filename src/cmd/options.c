#include "cmd/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

static enum status append(struct string_list *list, const char *value) {
    const char **values = memory_resize(list->values, list->count + 1, sizeof *values);
    if (!values) return STATUS_FAILED;
    list->values = values;
    list->values[list->count++] = value;
    return STATUS_OK;
}

static void print_option(const struct option *option) {
    char left[64];
    const char *placeholder = option->placeholder ? option->placeholder : "";
    snprintf(left, sizeof left, "%s%s%s%s", option->name[1] ? "--" : "-", option->name,
             *placeholder ? " " : "", placeholder);
    if (strlen(left) > 25)
        printf("  %s\n  %-25s  %s\n", left, "", option->help);
    else
        printf("  %-25s  %s\n", left, option->help);
}

static void print_help(const struct command_line *line) {
    printf("usage: apriel-tool %s %s\n\n%s\n\noptions:\n", line->command, line->usage, line->about);
    for (size_t i = 0; i < line->count; i++) print_option(&line->options[i]);
    printf("  %-25s  %s\n", "--json", "print one JSON document on stdout instead of text");
    printf("  %-25s  %s\n", "--quiet", "no notes or progress on stderr");
    printf("  %-25s  %s\n", "--help", "print this help");
    if (line->epilogue) printf("\n%s\n", line->epilogue);
}

static bool parse_size(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno || !isfinite(value) || value < 0) return false;
    static const char units[] = "kMGT";
    double factor = 1;
    const char *unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
    if (unit) {
        bool binary = end[1] == 'i';
        factor = pow(binary ? 1024 : 1000, (double)(unit - units) + 1);
        end += binary ? 2 : 1;
    }
    if (*end == 'B') end++;
    if (*end || value * factor >= 0x1p63) return false;
    *out = (uint64_t)(value * factor);
    return true;
}

static enum status store(const struct command_line *line, const struct option *option,
                         const char *value) {
    char *end;
    errno = 0;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)option->target = true; return STATUS_OK;
    case OPTION_STRING: *(const char **)option->target = value; return STATUS_OK;
    case OPTION_LIST: return append(option->target, value);
    case OPTION_INTEGER: {
        long long number = strtoll(value, &end, 10);
        if (end == value || *end || errno) break;
        bool bounded = option->low || option->high;
        if (bounded && (number < option->low || number > option->high))
            return status_set(STATUS_USAGE, "%s: --%s is %s, outside %lld to %lld", line->command,
                              option->name, value, (long long)option->low, (long long)option->high);
        *(int64_t *)option->target = number;
        return STATUS_OK;
    }
    case OPTION_NUMBER: {
        double number = strtod(value, &end);
        if (end == value || *end || errno || !isfinite(number)) break;
        *(double *)option->target = number;
        return STATUS_OK;
    }
    case OPTION_SIZE:
        if (parse_size(value, option->target)) return STATUS_OK;
        break;
    }
    return status_set(STATUS_USAGE, "%s: --%s cannot be \"%s\"", line->command, option->name, value);
}

static const struct option *find(const struct command_line *line, const char *name, size_t length) {
    for (size_t i = 0; i < line->count; i++) {
        const struct option *option = &line->options[i];
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0) return option;
    }
    return NULL;
}

/* Handles argv[*index], an option; advances *index past a separate value. */
static enum status parse_one(struct command_arguments *arguments, const struct command_line *line,
                             int argc, char **argv, int *index) {
    const char *word = argv[*index];
    const char *name = word + (word[1] == '-' ? 2 : 1);
    const char *equals = word[1] == '-' ? strchr(name, '=') : NULL;
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct option common[] = {
        {"help", OPTION_FLAG, &arguments->help, NULL, NULL, 0, 0},
        {"h", OPTION_FLAG, &arguments->help, NULL, NULL, 0, 0},
        {"json", OPTION_FLAG, &arguments->json, NULL, NULL, 0, 0},
        {"quiet", OPTION_FLAG, &arguments->quiet, NULL, NULL, 0, 0},
    };
    const struct option *option = find(line, name, length);
    for (size_t i = 0; !option && i < sizeof common / sizeof *common; i++)
        if (strlen(common[i].name) == length && memcmp(common[i].name, name, length) == 0)
            option = &common[i];
    bool long_form = word[1] == '-';
    if (!option || long_form != (option->name[1] != '\0'))
        return status_set(STATUS_USAGE, "%s: unknown option \"%s\" (see apriel-tool %s --help)",
                          line->command, word, line->command);
    const char *value = equals ? equals + 1 : NULL;
    if (option->kind == OPTION_FLAG) {
        if (value)
            return status_set(STATUS_USAGE, "%s: --%s takes no value", line->command, option->name);
    } else if (!value) {
        if (*index + 1 >= argc)
            return status_set(STATUS_USAGE, "%s: %s needs a value", line->command, word);
        value = argv[++*index];
    }
    return store(line, option, value);
}

enum status options_parse(struct command_arguments *arguments, const struct command_line *line,
                          int argc, char **argv) {
    *arguments = (struct command_arguments){0};
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        enum status status = STATUS_OK;
        if (!options_ended && strcmp(argv[i], "--") == 0)
            options_ended = true;
        else if (!options_ended && argv[i][0] == '-' && argv[i][1])
            status = parse_one(arguments, line, argc, argv, &i);
        else
            status = append(&arguments->positional, argv[i]);
        if (status) return status;
    }
    if (arguments->help) print_help(line);
    log_set_quiet(arguments->quiet || arguments->json);
    return STATUS_OK;
}

void options_free(struct command_arguments *arguments, const struct command_line *line) {
    free(arguments->positional.values);
    *arguments = (struct command_arguments){0};
    for (size_t i = 0; i < line->count; i++)
        if (line->options[i].kind == OPTION_LIST)
            free(((struct string_list *)line->options[i].target)->values);
}
