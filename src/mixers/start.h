/* What kinds have in common when a new mixer starts from attention. */
#ifndef MIXERS_START_H
#define MIXERS_START_H

#include "base/random.h"
#include "mixers/fit.h"

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

/* What data say of a choice whose second word asks them; NULL: it does not. */
const struct mixer_fit *start_fit(const struct mixer_choices *choices, int choice);

/* Rows of the gate without a bias, [count, D]: where the inputs have a row that is constantly 1,
 * that row times silu^-1(1), else drawn. */
void start_gate(float *out, int64_t count, const char *tensor, const struct mixer_fit *fit,
                uint64_t seed, const struct attention_source *source);

/* The output projection [D, columns] from W_O, which stands there: `width` columns of it times each
 * of `scale` (NULL: as they are), or, where it was fitted as a whole, that. */
void start_out(float *out, int64_t columns, const double *scale, int64_t width,
               const struct mixer_fit *whole, const struct attention_source *source);

/* What `memory`, `scale` and `fit_out` are called and say, the same for every kind. */
#define START_MEMORY_ROW                                                                           \
    {                                                                                              \
        .name = "memory", .option = "memory", .words = {"set", "fitted"}, .quiet = true,           \
        .needs_data = true, .usual_of_data = true,                                                 \
        .help = "decays as the kind sets them, or by which comes closest to the attention"         \
    }
#define START_SCALE_ROW                                                                            \
    {                                                                                              \
        .name = "scale", .option = "scale", .words = {"set", "fitted"}, .quiet = true,             \
        .needs_data = true, .usual_of_data = true,                                                 \
        .help = "size of each head's output, as the kind sets it or as the attention's"            \
    }
#define START_FIT_OUT_ROW                                                                          \
    {                                                                                              \
        .name = "fit_out", .option = "fit-out", .words = {"no", "yes"}, .flag = true,              \
        .quiet = true, .needs_data = true,                                                         \
        .help = "out_proj by least squares on the attention's outputs"                             \
    }

/* Queries, keys or values (or their biases, where `tensor` is one; zeros where the attention has
 * none) for each query head: those of a key/value head are repeated for its query heads.
 * [H * E, width]; width is D, or 1 of biases. */
enum status start_heads(float *out, int tensor, int64_t width,
                        const struct attention_source *source) STATUS_CHECKED;

/* Queries and keys of `groups` groups of heads, [groups * states, D] or (`bias`) [groups * states].
 * As start_heads where the attention has as many heads of so many channels; else means over the
 * heads of a group, and of fewer states the best approximation, of that rank, of all products of a
 * query and a key (best in the weights: positions, which rotate them, have no part in it). */
enum status start_keys(float *q, float *k, int64_t groups, int64_t states, bool bias,
                       const struct attention_source *source) STATUS_CHECKED;

/* STATUS_USAGE where no attention of `host` gives so many groups and states. */
enum status start_check_keys(const char *groups_option, int64_t groups, const char *states_option,
                             int64_t states, const struct mixer_host *host) STATUS_CHECKED;

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
