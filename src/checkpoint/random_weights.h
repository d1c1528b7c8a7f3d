/* Made-up weights for a model of which only config.json is there: N(0, 0.02) rounded to BF16, norms
 * 1, and Mamba's A_log and D as Mamba initialises them. Element i is a pure function of (seed,
 * layer, tensor name, i), so nothing is stored. */
#ifndef CHECKPOINT_RANDOM_WEIGHTS_H
#define CHECKPOINT_RANDOM_WEIGHTS_H

#include <stdint.h>

#include "base/status.h"
#include "checkpoint/checkpoint.h" /* circle: fills its tensors */

/* The 65536 quantiles of N(0, 0.02) at (k + 1/2) / 65536, in BF16: 16 random bits choose one. The
 * caller frees with free(). */
enum status random_weights_quantiles(uint16_t **out) STATUS_CHECKED;

/* The dtype such a tensor has: BF16, but F32 for A_log and D as checkpoints store them. */
enum dtype random_weights_dtype(const struct tensor_spec *spec);

/* Elements [first, first + count) in that dtype. */
void random_weights_fill(void *out, const struct checkpoint_tensor *tensor, uint64_t seed,
                         const uint16_t *quantiles, int64_t first, int64_t count);

#endif
