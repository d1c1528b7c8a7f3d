#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/status.h"
#include "base/suggest.h"
#include "base/threads.h"
#include "cli/options.h"
#include "cmd/commands.h"

/* In the order of the data flow, as the help shows them. */
static const struct {
    const char *name;
    enum status (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"inspect", cmd_inspect, "what a checkpoint is, and what a hybrid of it would save"},
    {"data", cmd_data, "turn text into a token set"},
    {"loo", cmd_loo, "score layers by leaving each out (LOO)"},
    {"mmr", cmd_mmr, "score layers by training another mixer in each for a while (MMR)"},
    {"align", cmd_align, "train mixers to do what attention does; score and keep them"},
    {"scores", cmd_scores, "list runs, rank layers, compare runs"},
    {"plan", cmd_plan, "order the layers to replace and cut the order into stages"},
    {"convert", cmd_convert, "write a hybrid checkpoint"},
    {"distill", cmd_distill, "train a hybrid against its teacher"},
    {"eval", cmd_eval, "measure perplexity, and divergence from a teacher"},
    {"generate", cmd_generate, "continue prompts"},
    {"bench", cmd_bench, "measure how fast hybrids generate, against the transformer"},
    {"chart", cmd_chart, "draw the scores of layers as SVG, PNG or PDF"},
    {"version", cmd_version, "print the version and what the program is made of"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *stream) {
    fputs("usage: apriel-tool COMMAND [options]\n\n"
          "Find out which attention layers of a transformer can do without attention, make\n"
          "the hybrid and train it.\n\ncommands, in the order of their use:\n",
          stream);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].about);
    fputs("\napriel-tool help COMMAND describes one command, man apriel-tool all of them;\n"
          "apriel-tool version says where a quickstart is that goes the whole way.\n",
          stream);
}

/* A full disk under stdout must fail the run. */
static enum status finish_stdout(void) {
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (failed && !errno && write(STDOUT_FILENO, "\n", 1) > 0) errno = 0; /* why it failed before */
    int reason = errno;
    if (fclose(stdout) != 0 && !failed) {
        failed = true;
        reason = errno;
    }
    if (!failed) return STATUS_OK;
    return status_fail("cannot write to standard output: %s",
                       reason ? strerror(reason) : "an earlier write failed");
}

/* A file that is opened later must not become what is printed to. */
static void open_standard_files(void) {
    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++)
        if (fcntl(file, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", O_RDWR);
}

/* NULL when there is none of this name. */
static enum status (*find_command(const char *name))(int argc, char **argv) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return commands[i].run;
    return NULL;
}

static enum status unknown_command(const char *word) {
    const char *names[COMMANDS];
    static const char *const options[] = {"help", "version"};
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    if (*word == '-') {
        char *meant = suggest_phrase(word + strspn(word, "-"), options, 2, "--");
        enum status status = meant ? status_set(STATUS_USAGE,
                                                "the first word is a command, not \"%s\"%s (see "
                                                "apriel-tool --help)",
                                                word, meant)
                                   : STATUS_FAILED;
        free(meant);
        return status;
    }
    char *phrase = suggest_phrase(word, names, COMMANDS, "");
    enum status status =
        phrase
            ? status_set(STATUS_USAGE, "no command \"%s\"%s (see apriel-tool --help)", word, phrase)
            : STATUS_FAILED;
    free(phrase);
    return status;
}

/* argv[0] is the command's name. `help COMMAND` is `COMMAND --help`. */
static enum status run_command(int argc, char **argv) {
    static char help_option[] = "--help";
    char *help[] = {argv[1], help_option, NULL};
    if (strcmp(argv[0], "help") == 0) {
        if (argc < 2 || strcmp(argv[1], "help") == 0 || argv[1][0] == '-') {
            print_usage(stdout);
            return STATUS_OK;
        }
        argc = 2;
        argv = help;
    }
    enum status (*run)(int, char **) = find_command(argv[0]);
    if (!run) return unknown_command(argv[0]);
    interrupt_install();
    return run(argc, argv);
}

/* `apriel-tool --complete WORD... CURRENT`, from the shells' completion: a command itself, or what
 * the command says of its own options. */
static enum status complete(int argc, char **argv) {
    const char *command = argc > 2 ? argv[2] : "", *current = argc > 2 ? argv[argc - 1] : "";
    enum status (*run)(int, char **) = find_command(command);
    if (argc > 3 && strcmp(command, "help") != 0) {
        argv[2] = argv[1];
        argv[1] = (char *)(uintptr_t)command;
        return run ? run(argc - 1, argv + 1) : STATUS_OK;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strncmp(commands[i].name, current, strlen(current)) == 0)
            printf("%s\t%s\n", commands[i].name, commands[i].about);
    static const char *const others[] = {"help\tdescribe a command", "--help\tlist the commands",
                                         "--version\tprint the version"};
    for (size_t i = 0; argc <= 3 && i < sizeof others / sizeof *others; i++)
        if (strncmp(others[i], current, strlen(current)) == 0) puts(others[i]);
    return STATUS_OK;
}

int main(int argc, char **argv) {
    static const struct {
        const char *option;
        char command[8];
    } spellings[] = {
        {"--help", "help"}, {"-h", "help"}, {"--version", "version"}, {"-V", "version"}};
    static char name[8];
    open_standard_files();
    signal(SIGXFSZ, SIG_IGN); /* a file that grew too large is an error of write */
    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        if (strcmp(argv[1], spellings[i].option) != 0) continue;
        memcpy(name, spellings[i].command, sizeof name);
        argv[1] = name;
        break;
    }
    threads_limit();
    bool completes = strcmp(argv[1], OPTIONS_COMPLETE) == 0;
    enum status status = memory_begin();
    if (!status) status = completes ? complete(argc, argv) : run_command(argc - 1, argv + 1);
    if (status == STATUS_OK) status = finish_stdout();
    if (status) quote_print(stderr, "apriel-tool: %s", status_message());
    return (int)status;
}
