/* What a device can do, where it is not measured: the one place with such numbers. Predictions of
 * memory cuts use their relation only, the estimate of serving the numbers themselves. */
#ifndef MODEL_DEVICE_H
#define MODEL_DEVICE_H

#include <stdint.h>

#include "model/cost.h"

struct device_rates {
    uint64_t memory;         /* bytes */
    struct cost_device peak; /* as its maker and its memory have it */
    double products;         /* operations a second that matrix products reach in practice */
    double bus;              /* bytes a second to or from the host */
};

extern const struct device_rates device_h100;

/* Tokens that must pass through a layer of a parameter of 2 bytes for each time that it is loaded,
 * so that its products and not the bus set the pace, with half of what the bus can do. */
int64_t device_tokens_a_load(const struct device_rates *device);

#endif
