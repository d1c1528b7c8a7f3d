/* Options that several kinds of runs have in the same words. */
#ifndef CLI_RUN_OPTION_H
#define CLI_RUN_OPTION_H

#include "cli/options.h"

struct option run_option_data(const char **path);
struct option run_option_database(const char **path);
struct option run_option_device(const char **device);
struct option run_option_device_memory(uint64_t *bytes);
struct option run_option_dry_run(bool *dry_run);
struct option run_option_random_weights(int64_t *seed);

#endif
