/* The subcommands.
 *
 * To add one: write src/cmd/cmd_x.c with `enum status cmd_x(int argc, char **argv)` (options as a
 * table for options_parse, the work in a library function), declare it here, add it to the table in
 * src/main.c and to src/cmd/meson.build, describe it in README.md and in doc/apriel-tool.1.
 * tests/cli/help.sh fails while one of these is missing.
 *
 * A command prints results to stdout; on failure it returns the status with the message set, and
 * main prints the message. */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

#include "base/status.h"

enum status cmd_scores(int argc, char **argv);
enum status cmd_mmr(int argc, char **argv);
enum status cmd_align(int argc, char **argv);
enum status cmd_plan(int argc, char **argv);
enum status cmd_bench(int argc, char **argv);
enum status cmd_chart(int argc, char **argv);
enum status cmd_eval(int argc, char **argv);
enum status cmd_generate(int argc, char **argv);
enum status cmd_loo(int argc, char **argv);
enum status cmd_data(int argc, char **argv);
enum status cmd_convert(int argc, char **argv);
enum status cmd_distill(int argc, char **argv);
enum status cmd_inspect(int argc, char **argv);
enum status cmd_version(int argc, char **argv);

#endif
