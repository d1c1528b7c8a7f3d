/* Counter-based random numbers (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as
 * easy as 1, 2, 3"). Element i of a stream is a pure function of (seed, layer, name, i): the order
 * of draws and the number of threads never matter. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

struct random_stream {
    uint32_t key[2];
    uint32_t counter[2]; /* high half of the 128-bit counter */
};

/* The stream of one tensor. `layer` is -1 for tensors outside the layers. */
struct random_stream random_stream_for(uint64_t seed, int layer, const char *name);

/* Element `index`: uniform in (0, 1), never 0 or 1; standard normal (Box-Muller). */
double random_uniform(const struct random_stream *stream, uint64_t index);
double random_normal(const struct random_stream *stream, uint64_t index);

/* The 128 random bits of block `index`, for bulk use with another mapping to numbers. */
void random_block(uint32_t out[4], const struct random_stream *stream, uint64_t index);

/* RANDOM_BLOCKS neighbouring blocks from `index` on: out[word][block]. Several at once keep the
 * processor's vector units busy, about three times the rate of one at a time. */
enum { RANDOM_BLOCKS = 64 };
void random_blocks(uint32_t out[4][RANDOM_BLOCKS], const struct random_stream *stream,
                   uint64_t index);

#endif
