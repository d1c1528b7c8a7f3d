#include <stdlib.h>

#include "cli/memory_table.h"
#include "cmd/commands.h"
#include "cmd/distill_options.h"
#include "cmd/distill_report.h"

static enum status run(const struct distill_values *values,
                       const struct command_arguments *arguments) {
    struct distill_settings settings;
    struct distill_outcome outcome = {0};
    enum status status = distill_options_settings(
        &settings, values, arguments->positional.values[0], arguments->identity);
    if (!status) status = distill_run(&outcome, &settings);
    if (status) return status;
    return values->dry_run ? memory_table_print(&outcome.memory, "distill", arguments->json)
                           : distill_report(&outcome, &settings, arguments->json);
}

static enum status tell(const struct distill_values *values,
                        const struct command_arguments *arguments) {
    if (!values->output) return status_set(STATUS_USAGE, "distill: --status needs -o");
    return distill_report_status(values->output, values->database, arguments->json);
}

enum status cmd_distill(int argc, char **argv) {
    struct distill_values values;
    struct option table[DISTILL_OPTIONS];
    struct command_line line = distill_options_line(table, &values);
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help && values.status) {
        status = tell(&values, &arguments);
    } else if (!status && !arguments.help) {
        status = options_one_model(&arguments, &line);
        if (!status) status = run(&values, &arguments);
    }
    options_free(&arguments, &line);
    return status;
}
