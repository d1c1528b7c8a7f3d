/* The options of `distill`. */
#ifndef CMD_DISTILL_OPTIONS_H
#define CMD_DISTILL_OPTIONS_H

#include "cli/options.h"
#include "distill/distill.h"

struct distill_values {
    const char *teacher, *data, *output, *database, *device, *phases, *factors, *loss, *schedule;
    int64_t steps, batch, micro, heldout, seed, warmup, cooldown, validate, save, keep, patience,
        limit;
    uint64_t device_memory;
    bool in_order, recompute, dry_run, status;
    double lr, floor, beta1, beta2, epsilon, clip, decay, temperature, ce;
};

enum { DISTILL_OPTIONS = 35 };
struct command_line distill_options_line(struct option table[DISTILL_OPTIONS],
                                         struct distill_values *values);

/* What the values mean; everything is borrowed. */
enum status distill_options_settings(struct distill_settings *settings,
                                     const struct distill_values *values, const char *hybrid,
                                     const struct json *identity) STATUS_CHECKED;

#endif
