#include "cli/memory_table.h"
#include "cli/run_file.h"
#include "cmd/commands.h"
#include "cmd/loo_options.h"
#include "cmd/loo_report.h"

static enum status run(const struct loo_values *values, const struct command_arguments *arguments) {
    struct loo_settings settings = {0};
    struct loo_outcome outcome = {0};
    struct task_items items = {0};
    enum status status = loo_options_settings(&settings, values, arguments->positional.values[0],
                                              arguments->identity);
    if (!status && values->task) {
        status = task_option_build_for(&items, values->task, &values->task_values, settings.model);
        settings.items = items.set;
        settings.item_parameters = items.parameters;
        settings.data = items.path;
        settings.seed = (uint64_t)items.seed;
    }
    if (!status) status = run_file_check(values->run_file, "loo", values->dry_run);
    if (!status) status = loo_run(&outcome, &settings);
    if (!status) status = run_file_write(values->run_file, outcome.run);
    if (!status && values->dry_run)
        status = memory_table_print(&outcome.memory, "loo", arguments->json);
    else if (!status)
        status = loo_report(&outcome, values, settings.estimate, arguments->json);
    list_free(&settings.removed);
    task_items_free(&items);
    return status;
}

enum status cmd_loo(int argc, char **argv) {
    struct loo_values values;
    struct option table[LOO_OPTIONS];
    struct command_line line = loo_options_line(table, &values);
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = run(&values, &arguments);
    options_free(&arguments, &line);
    return status;
}
