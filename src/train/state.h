/* The state of a training as bytes on the host, to continue later bit for bit.
 *
 * It is, parameter by parameter in the order in which they were added, the weight itself in the
 * type that is trained and its two moments. What else decides the steps to come follows from the
 * number of the next one, which the caller keeps beside it: the learning rate (schedule.h), the
 * rows of its batch, and what is drawn (base/random.h draws by index). */
#ifndef TRAIN_STATE_H
#define TRAIN_STATE_H

#include "train/parameters.h"

size_t state_bytes(const struct parameters *parameters);

/* The state goes to the host and comes back in pieces of any size: bytes [from, from + bytes) of
 * it. The piece that ends with the last byte makes the weights that the passes read follow what was
 * restored. */
void state_save(const struct parameters *parameters, void *host, size_t from, size_t bytes);
void state_restore(struct parameters *parameters, const void *host, size_t from, size_t bytes);

#endif
