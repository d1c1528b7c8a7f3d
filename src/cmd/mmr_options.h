/* The options of `mmr`, for the command and for the later steps of a schedule. */
#ifndef CMD_MMR_OPTIONS_H
#define CMD_MMR_OPTIONS_H

#include "analysis/mmr/mmr.h"
#include "cli/mixer_option.h"
#include "cli/options.h"

struct mmr_values {
    const char *data, *database, *device, *layers, *base, *loss, *schedule, *train, *cache,
        *run_file, *library, *keep;
    struct mixer_values mixer;
    int64_t steps, batch, heldout, seeds, seed, warmup, stable, group, together, limit, random_seed;
    uint64_t device_memory;
    bool dry_run, recompute;
    double lr, beta1, beta2, epsilon, decay, clip, temperature;
};

/* The rows, whose targets are the defaults that `values` receives, and what else a command line
 * has. It borrows the table. */
enum { MMR_OPTIONS = 33 + MIXER_OPTIONS };
struct command_line mmr_options_line(struct option table[MMR_OPTIONS], struct mmr_values *values);

/* What the values mean; everything is borrowed. */
enum status mmr_options_settings(struct mmr_settings *settings, const struct mmr_values *values,
                                 const char *model, const struct json *identity) STATUS_CHECKED;

#endif
