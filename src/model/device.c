#include "model/device.h"

const struct device_rates device_h100 = {.memory = 80000000000,
                                         .peak = {.bandwidth = 3e12, .operations = 7e14},
                                         .products = 6e14,
                                         .bus = 4e10};

int64_t device_tokens_a_load(const struct device_rates *device) {
    /* A token does 2 operations a parameter, which is 2 bytes: one operation a byte. */
    return (int64_t)(2 * device->products / device->bus);
}
