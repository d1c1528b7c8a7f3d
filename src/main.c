#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/status.h"
#include "cmd/commands.h"

/* In the order of the data flow, as the help shows them. */
static const struct {
    const char *name;
    enum status (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"inspect", cmd_inspect, "what a checkpoint is, and what a hybrid of it would save"},
    {"data", cmd_data, "turn text into a token set"},
    {"loo", cmd_loo, "score layers by leave-one-out ablation"},
    {"mmr", cmd_mmr, "score layers by short distillation probes of a Mamba mixer"},
    {"scores", cmd_scores, "list runs, rank layers, compare runs"},
    {"plan", cmd_plan, "order the layers to replace and cut the order into stages"},
    {"convert", cmd_convert, "write a hybrid checkpoint"},
    {"eval", cmd_eval, "measure perplexity, and divergence from a teacher"},
    {"generate", cmd_generate, "continue prompts"},
    {"bench", cmd_bench, "measure how fast hybrids generate, against the transformer"},
    {"chart", cmd_chart, "draw the scores of layers as SVG, PNG or PDF"},
    {"version", cmd_version, "print the version"},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *stream) {
    fputs("usage: apriel-tool COMMAND [options]\n\n"
          "Find out which attention layers of a transformer can become Mamba layers, and make the "
          "hybrid.\n\ncommands:\n",
          stream);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].about);
    fputs("\napriel-tool COMMAND --help describes one command.\n", stream);
}

/* A full disk under stdout must fail the run. */
static enum status finish_stdout(enum status status) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    return status_fail("cannot write to standard output: %s", strerror(errno));
}

int main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? STATUS_USAGE : (int)finish_stdout(STATUS_OK);
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        interrupt_install();
        enum status status = commands[i].run(argc - 1, argv + 1);
        if (status == STATUS_OK) status = finish_stdout(status);
        if (status) fprintf(stderr, "apriel-tool: %s\n", status_message());
        return (int)status;
    }
    fprintf(stderr, "apriel-tool: no command \"%s\" (see apriel-tool --help)\n", argv[1]);
    return STATUS_USAGE;
}
