/* Command-line options of one subcommand, as a table. Every subcommand understands --help, --json
 * and --quiet besides its own. `--name VALUE` and `--name=VALUE` are the same; "--" ends options. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_STRING,  /* const char * (borrowed from argv) */
    OPTION_INTEGER, /* int64_t, within [low, high] */
    OPTION_NUMBER,  /* double */
    OPTION_SIZE,    /* uint64_t bytes: 24G, 512M, 1000 (decimal units; Gi, Mi binary) */
    OPTION_LIST,    /* struct string_list: may be repeated */
};

struct string_list {
    const char **values; /* [count] */
    size_t count;
};

/* How an option stands in the identity of a run, which keeps runs with other numbers apart. */
enum option_identity {
    OPTION_IN_IDENTITY, /* a value that is not the default is recorded, and compared */
    OPTION_RESOLVED,    /* the run records what it stands for: a file's content, a list of layers */
    OPTION_NO_NUMBER,   /* cannot change a number: where and how fast it is computed, what is shown */
};

/* Rows leave out trailing fields that are 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

struct option {
    const char *name; /* "seq-len"; one letter for short options: "o" */
    enum option_kind kind;
    void *target; /* where the value goes; holds the default beforehand */
    const char *placeholder; /* "N" */
    const char *help;        /* one line, with the default where there is one */
    int64_t low, high;       /* bounds of OPTION_INTEGER; both 0: any */
    enum option_identity identity;
};

struct command_line {
    const char *command;    /* "data" */
    const char *usage;      /* "--tokenizer MODEL -o FILE.h5 [options] INPUT..." */
    const char *about;      /* a paragraph */
    struct option *options; /* [count] */
    size_t count;
    const char *epilogue; /* examples or NULL */
};

/* What every subcommand has, and the arguments left over. */
struct command_arguments {
    bool json, quiet, help;
    struct string_list positional;
};

/* Parse argv[1..]. STATUS_USAGE with a message on a wrong option or value. With --help the help is
 * printed to stdout and arguments->help is set: the command returns STATUS_OK at once. */
enum status options_parse(struct command_arguments *arguments, const struct command_line *line,
                          int argc, char **argv) STATUS_CHECKED;
void options_free(struct command_arguments *arguments, const struct command_line *line);

#endif
