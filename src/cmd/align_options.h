/* The options of `align`. */
#ifndef CMD_ALIGN_OPTIONS_H
#define CMD_ALIGN_OPTIONS_H

#include "analysis/align/align.h"
#include "cli/mixer_option.h"
#include "cli/options.h"

struct align_values {
    const char *data, *database, *library, *device, *layers, *base, *objective, *cache;
    struct mixer_values mixer;
    int64_t steps, batch, heldout, seed, warmup, limit, random_seed;
    uint64_t device_memory;
    bool dry_run, no_start;
    double lr, beta1, beta2, epsilon, clip, block_share;
};

/* As mmr_options_line has it. */
enum { ALIGN_OPTIONS = 24 + MIXER_OPTIONS };
struct command_line align_options_line(struct option table[ALIGN_OPTIONS],
                                       struct align_values *values);

/* What the values mean; everything is borrowed. */
enum status align_options_settings(struct align_settings *settings,
                                   const struct align_values *values, const char *model,
                                   const struct json *identity) STATUS_CHECKED;

#endif
