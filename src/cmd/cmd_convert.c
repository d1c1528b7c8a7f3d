#include "cmd/commands.h"
#include "cmd/convert_options.h"
#include "cmd/convert_report.h"

/* What says how new mixers start, when there are none. */
static enum status check_choices(const struct convert_values *values,
                                 const struct convert_job *job) {
    const char *option = mixer_option_given(&values->mixer);
    if (job->added.count || !option) return STATUS_OK;
    return status_set(STATUS_USAGE,
                      "convert: no layer gets a new mixer: there is nothing for --%s to say",
                      option);
}

static enum status check_usage(const struct convert_values *values) {
    if (!values->plan == !values->layers)
        return status_set(STATUS_USAGE, "convert: give either --plan or --layers");
    if (values->stage && !values->plan)
        return status_set(STATUS_USAGE, "convert: --stage needs --plan");
    if (!values->output && !values->dry_run)
        return status_set(STATUS_USAGE, "convert: -o DIR is missing");
    return STATUS_OK;
}

static enum status convert(const struct convert_values *values,
                           const struct command_arguments *arguments) {
    struct conversion_settings settings;
    struct conversion conversion = {0};
    enum status status = convert_options_settings(
        &settings, values, arguments->positional.values[0], arguments->identity);
    if (!status) status = conversion_open(&conversion, &settings);
    if (!status) status = check_choices(values, &conversion.job);
    if (!status) conversion_warn(&conversion);
    if (!status && !values->dry_run) status = conversion_write(&conversion);
    if (!status) status = convert_report(&conversion, values->dry_run, arguments->json);
    conversion_close(&conversion);
    return status;
}

enum status cmd_convert(int argc, char **argv) {
    struct convert_values values;
    struct option table[CONVERT_OPTIONS];
    struct command_line line = convert_options_line(table, &values);
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = check_usage(&values);
    if (!status && !arguments.help) status = convert(&values, &arguments);
    options_free(&arguments, &line);
    return status;
}
