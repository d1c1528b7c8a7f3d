#include "cli/memory_table.h"
#include "cmd/align_options.h"
#include "cmd/align_report.h"
#include "cmd/commands.h"

static enum status run(const struct align_values *values,
                       const struct command_arguments *arguments) {
    struct align_settings settings;
    struct align_outcome outcome = {0};
    enum status status = align_options_settings(&settings, values, arguments->positional.values[0],
                                                arguments->identity);
    if (!status) status = align_run(&outcome, &settings);
    if (status) return status;
    return values->dry_run ? memory_table_print(&outcome.memory, "align", arguments->json)
                           : align_report(&outcome, settings.kind_count, values, arguments->json);
}

enum status cmd_align(int argc, char **argv) {
    struct align_values values;
    struct option table[ALIGN_OPTIONS];
    struct command_line line = align_options_line(table, &values);
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = run(&values, &arguments);
    options_free(&arguments, &line);
    return status;
}
