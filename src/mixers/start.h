/* What kinds have in common when a new mixer starts from attention. */
#ifndef MIXERS_START_H
#define MIXERS_START_H

#include "base/random.h"
#include "mixers/choices.h"

/* silu^-1(1): a gate whose weights are zero and whose bias is this lets everything through. */
#define START_OPEN_GATE 1.2784645

/* The random stream of a tensor of a new mixer. */
struct random_stream start_stream(const char *tensor, uint64_t seed,
                                  const struct attention_source *source);

/* The value as the source's type holds it. */
float start_rounded(float value, const struct attention_source *source);

/* `count` times the same value, as the source's type holds it. */
void start_fill(float *out, int64_t count, double value, const struct attention_source *source);

/* Uniform draws within +-bound, by the name of the tensor. */
void start_uniform(float *out, int64_t count, double bound, const char *tensor, uint64_t seed,
                   const struct attention_source *source);

/* Queries, keys or values (or their biases, where `tensor` is one; zeros where the attention has
 * none) for each query head: those of a key/value head are repeated for its query heads.
 * [H * E, width]; width is D, or 1 of biases. */
enum status start_heads(float *out, int tensor, int64_t width,
                        const struct attention_source *source) STATUS_CHECKED;

/* An estimate of the root mean square of each query head's values [H], from the weights alone:
 * what the mixer reads has unit variance times the weights of the norm before it. */
enum status start_value_rms(double *out, const struct attention_source *source) STATUS_CHECKED;

/* Memories in tokens, geometric over the heads from 2 to 64. */
double start_memory(int head, int heads);

/* softplus^-1 */
double start_inverse_softplus(double value);

/* A causal convolution that passes the present token on: every channel's last tap is `tap`. */
void start_taps(float *out, int64_t channels, int64_t taps, double tap,
                const struct attention_source *source);

#endif
