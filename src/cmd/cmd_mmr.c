#include "cli/memory_table.h"
#include "cli/run_file.h"
#include "cmd/commands.h"
#include "cmd/mmr_options.h"
#include "cmd/mmr_report.h"

static enum status run(const struct mmr_values *values, const struct command_arguments *arguments) {
    struct mmr_settings settings;
    struct mmr_outcome outcome = {0};
    enum status status = mmr_options_settings(&settings, values, arguments->positional.values[0],
                                              arguments->identity);
    if (!status) status = run_file_check(values->run_file, "mmr", values->dry_run);
    if (!status) status = mmr_run(&outcome, &settings);
    if (!status) status = run_file_write(values->run_file, outcome.run);
    if (status) return status;
    return values->dry_run ? memory_table_print(&outcome.memory, "mmr", arguments->json)
                           : mmr_report(&outcome, values, arguments->json);
}

enum status cmd_mmr(int argc, char **argv) {
    struct mmr_values values;
    struct option table[MMR_OPTIONS];
    struct command_line line = mmr_options_line(table, &values);
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = run(&values, &arguments);
    options_free(&arguments, &line);
    return status;
}
