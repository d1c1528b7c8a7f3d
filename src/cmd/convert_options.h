/* The options of `convert`, for the command and for a schedule's conversions. */
#ifndef CMD_CONVERT_OPTIONS_H
#define CMD_CONVERT_OPTIONS_H

#include "cli/mixer_option.h"
#include "cli/options.h"
#include "convert/conversion.h"

struct convert_values {
    const char *library, *plan, *layers, *from, *output, *format, *device;
    int64_t stage, seed, random_weights;
    uint64_t max_shard;
    struct mixer_values mixer;
    bool dry_run;
};

/* The rows, whose targets are the defaults that `values` receives, and what else a command line
 * has. It borrows the table. */
enum { CONVERT_OPTIONS = 12 + MIXER_OPTIONS };
struct command_line convert_options_line(struct option table[CONVERT_OPTIONS],
                                         struct convert_values *values);

/* What the values mean; everything is borrowed. */
enum status convert_options_settings(struct conversion_settings *out,
                                     const struct convert_values *values, const char *model,
                                     const struct json *identity) STATUS_CHECKED;

#endif
