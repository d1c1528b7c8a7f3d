/* Command-line options of one subcommand, as a table: parsing, --help, completion and what errors
 * suggest come from it. Every subcommand understands --help, --json, --quiet and
 * --threads besides its own.
 * `--name VALUE` and `--name=VALUE` are the same, as are `-o VALUE` and `-oVALUE`; "--" ends
 * options. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_STRING,  /* const char * (borrowed from argv) */
    OPTION_CHOICE,  /* the same, one of `choices` */
    OPTION_INTEGER, /* int64_t, within [low, high]: a seed, a place */
    OPTION_COUNT,   /* the same, of things: 4096, 4k, 4Ki, 1e6 (base/number.h) */
    OPTION_NUMBER,  /* double */
    OPTION_SIZE,    /* uint64_t bytes: 24G, 512M, 1000 (decimal units; Gi, Mi binary) */
    OPTION_LIST,    /* struct string_list: may be repeated */
};

struct string_list {
    const char **values; /* [count] */
    size_t count;
};

/* How an option stands in the identity of a run (a plan, a hybrid), which keeps those with other
 * numbers apart. tests/cli/identity.sh walks the rows of all commands that keep numbers. */
enum option_identity {
    OPTION_IN_IDENTITY, /* a value that is not the default is in command_arguments.identity, which
                         * the run records under "options" */
    OPTION_RESOLVED,    /* the run records what it stands for: a file's content, a list of layers */
    OPTION_NO_NUMBER, /* cannot change a number but by rounding: where and how fast it is computed,
                       * what is shown */
};

/* The headings of --help, in which the rows of a table stand in the order of the first of each. */
#define GROUP_FILES "input and output"
#define GROUP_SCOPE "what is measured"
#define GROUP_TASKS "tasks"
#define GROUP_TEXT "texts and tokens"
#define GROUP_SAMPLING "generated text"
#define GROUP_ANSWERS "tasks with generated answers"
#define GROUP_TRAINING "training"
#define GROUP_MIXERS "new mixers"
#define GROUP_CHOICE "choosing layers"
#define GROUP_SERVING "estimate of serving"
#define GROUP_SCHEDULE "the whole schedule"
#define GROUP_SHOW "what is shown"
#define GROUP_MACHINE "device and memory"

/* What a value names, for completion. */
#define COMPLETE_DIRECTORY "/"
#define COMPLETE_FILE "*"

/* Name the fields that come after `help`: those that are left out are 0. */
struct option {
    const char *name; /* "seq-len" */
    enum option_kind kind;
    void *target;            /* where the value goes; holds the default beforehand */
    const char *placeholder; /* "N"; NULL: the choices */
    const char *help;        /* a sentence, with the default where there is one; wrapped */
    int64_t low, high;       /* bounds of OPTION_INTEGER and OPTION_COUNT; both 0: any */
    const char *choices;     /* "rkl|fkl|ce": all values of OPTION_CHOICE, some of other kinds */
    const char *group;       /* GROUP_…; NULL: under "options" */
    const char *completes;   /* COMPLETE_…, or a pattern of file names: "*.h5" */
    enum option_identity identity;
    char letter; /* 'o': -o is the same option; 0: none */
};

struct command_line {
    const char *command;    /* "data" */
    const char *usage;      /* "--tokenizer MODEL -o FILE.h5 [options] INPUT..." */
    const char *about;      /* paragraphs, an empty line between them; wrapped */
    struct option *options; /* [count] */
    size_t count;
    const char *epilogue;  /* examples and notes as they stand, within 80 columns, or NULL */
    const char *completes; /* what the arguments name, as of an option; NULL: there are none */
};

/* What every subcommand has, and the arguments left over. */
struct command_arguments {
    bool json, quiet, help;
    int64_t threads; /* 0: as many as there is room for */
    struct string_list positional;
    struct json *identity; /* object: the options OPTION_IN_IDENTITY that are not as by default */
};

/* Parse argv[1..]. STATUS_USAGE with a message on a wrong option or value. With --help the help is
 * printed to stdout and arguments->help is set: the command returns STATUS_OK at once. */
enum status options_parse(struct command_arguments *arguments, const struct command_line *line,
                          int argc, char **argv) STATUS_CHECKED;
/* The two halves of it, for words that a command is given on behalf of another: read them, with
 * --help as a flag; and do what --quiet, --json and --threads ask of the process. */
enum status options_read(struct command_arguments *arguments, const struct command_line *line,
                         int argc, char **argv) STATUS_CHECKED;
enum status options_apply(const struct command_arguments *arguments) STATUS_CHECKED;
/* That there is one positional argument, a model's directory. */
enum status options_one_model(const struct command_arguments *arguments,
                              const struct command_line *line) STATUS_CHECKED;
void options_free(struct command_arguments *arguments, const struct command_line *line);

/* ---- shared by options.c and what prints help */

/* The rows that every command has; their targets lie in `arguments`. */
enum { COMMON_OPTIONS = 4 };
void options_common(struct option out[COMMON_OPTIONS], struct command_arguments *arguments);

/* argv[1] that asks for completion instead of a run; argv[2..] are the words up to the cursor. */
#define OPTIONS_COMPLETE "--complete"
/* argv[1] that asks how each option stands in the identity: lines of a name and the word for it. */
#define OPTIONS_IDENTITY "--option-identity"
void options_print_identity(const struct command_line *line);

/* The values of options in the identity before the words of the command line are read; and those
 * that differ afterwards. The caller frees both. */
enum status options_identity_before(struct json **out,
                                    const struct command_line *line) STATUS_CHECKED;
enum status options_identity_after(struct json **out, const struct json *before,
                                   const struct command_line *line) STATUS_CHECKED;

/* Print what may stand in the place of the last word of argv [argc]: lines of a word, a tab and
 * what it means, and ":directories" or ":files PATTERN". */
enum status options_complete(const struct command_line *line, int argc, char **argv) STATUS_CHECKED;

/* Print --help of a command, at most 80 columns wide. */
void options_print_help(const struct command_line *line);

#endif
