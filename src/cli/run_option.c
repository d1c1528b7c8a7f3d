#include "cli/run_option.h"

struct option run_option_data(const char **path) {
    return (struct option){"data",
                           OPTION_STRING,
                           path,
                           "FILE.h5",
                           "token set (see apriel-tool data)",
                           .group = GROUP_FILES,
                           .completes = "*.h5",
                           .identity = OPTION_RESOLVED};
}

struct option run_option_database(const char **path) {
    return (struct option){"db",
                           OPTION_STRING,
                           path,
                           "FILE.db",
                           "score database, created when absent",
                           .group = GROUP_FILES,
                           .completes = "*.db",
                           .identity = OPTION_NO_NUMBER};
}

struct option run_option_device(const char **device) {
    return (struct option){"device",
                           OPTION_STRING,
                           device,
                           "auto|cpu|cuda[:N]",
                           "where to compute (auto)",
                           .group = GROUP_MACHINE,
                           .choices = "auto|cpu|cuda",
                           .identity = OPTION_RESOLVED};
}

struct option run_option_device_memory(uint64_t *bytes) {
    return (struct option){"device-memory",
                           OPTION_SIZE,
                           bytes,
                           "SIZE",
                           "most memory to use on the device, like 24G (what is free)",
                           .group = GROUP_MACHINE,
                           .identity = OPTION_NO_NUMBER};
}

struct option run_option_dry_run(bool *dry_run) {
    return (struct option){"dry-run",
                           OPTION_FLAG,
                           dry_run,
                           NULL,
                           "print what memory and time the run would take, and stop",
                           .group = GROUP_MACHINE,
                           .identity = OPTION_NO_NUMBER};
}

struct option run_option_random_weights(int64_t *seed) {
    return (struct option){"random-weights",
                           OPTION_INTEGER,
                           seed,
                           "SEED",
                           "draw the weights from N(0, 0.02): MODEL needs only config.json",
                           .high = INT64_MAX,
                           .group = GROUP_FILES,
                           .identity = OPTION_RESOLVED};
}
