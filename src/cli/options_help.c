/* --help of a command, at most 80 columns wide. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

enum {
    WIDTH = 79,
    LEFT = 29, /* where the descriptions of options begin */
};

/* Print words from column `column` on, with further lines from column `indent` on. */
static void print_wrapped(const char *text, int column, int indent) {
    bool first = true;
    while (*text) {
        text += strspn(text, " \n");
        int length = (int)strcspn(text, " \n");
        if (!length) break;
        if (!first && column + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", length, text);
        for (int i = 0; i < length; i++) column += ((unsigned char)text[i] & 0xc0) != 0x80;
        text += length;
        first = false;
    }
    putchar('\n');
}

static void print_option(const struct option *option) {
    char left[128];
    const char *placeholder = option->placeholder             ? option->placeholder
                              : option->kind == OPTION_CHOICE ? option->choices
                                                              : "";
    char letter[8] = "";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int length = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name,
                          *placeholder ? " " : "", placeholder);
    if (length > LEFT - 2)
        printf("%s\n%*s", left, LEFT, "");
    else
        printf("%-*s", LEFT, left);
    print_wrapped(option->help, LEFT, LEFT);
}

static const char *heading(const struct option *option) {
    return option->group ? option->group : "options";
}

static void print_group(const struct option *options, size_t count, const char *name) {
    bool begun = false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(heading(&options[i]), name) != 0) continue;
        if (!begun) printf("\n%s:\n", name);
        begun = true;
        print_option(&options[i]);
    }
}

/* Files first, the others in the order of their first rows. */
static void print_groups(const struct option *options, size_t count) {
    print_group(options, count, GROUP_FILES);
    for (size_t i = 0; i < count; i++) {
        bool done = strcmp(heading(&options[i]), GROUP_FILES) == 0;
        for (size_t j = 0; j < i && !done; j++)
            done = strcmp(heading(&options[i]), heading(&options[j])) == 0;
        if (!done) print_group(options, count, heading(&options[i]));
    }
}

/* Paragraphs are parted by empty lines. */
static void print_about(const char *about) {
    while (*about) {
        char paragraph[2048];
        const char *end = strstr(about, "\n\n");
        size_t length = end ? (size_t)(end - about) : strlen(about);
        snprintf(paragraph, sizeof paragraph, "%.*s", (int)length, about);
        putchar('\n');
        print_wrapped(paragraph, 0, 0);
        about += end ? length + 2 : length;
    }
}

static void print_usage(const struct command_line *line) {
    const char *usage = line->usage;
    for (bool first = true; *usage; first = false) { /* a form a line */
        char form[512];
        size_t length = strcspn(usage, "\n");
        snprintf(form, sizeof form, "apriel-tool %s %.*s", line->command, (int)length, usage);
        printf("%s", first ? "usage: " : "       ");
        print_wrapped(form, 7, 11);
        usage += length + (usage[length] == '\n');
    }
}

void options_print_help(const struct command_line *line) {
    struct command_arguments unused = {0};
    struct option common[COMMON_OPTIONS];
    options_common(common, &unused);
    print_usage(line);
    print_about(line->about);
    if (line->count) print_about("Defaults stand in parentheses.");
    print_groups(line->options, line->count);
    print_groups(common, COMMON_OPTIONS);
    if (line->epilogue) printf("\n%s\n", line->epilogue);
}
