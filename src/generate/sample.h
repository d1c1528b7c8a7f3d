/* Choosing the next token from logits. */
#ifndef GENERATE_SAMPLE_H
#define GENERATE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct sampling {
    double temperature; /* 0: greedy, the others do not matter */
    double top_p;       /* the fewest tokens with at least this probability; 1: all */
    int top_k;          /* the k most likely tokens; 0: all */
    uint64_t seed;
};

/* STATUS_USAGE with a message (the options' names in it) when a value is out of range. */
enum status sampling_check(const struct sampling *sampling) STATUS_CHECKED;

/* The token of `logits` [vocabulary] that the draw for (seed, stream, index) chooses: softmax of
 * logits / temperature, cut to top_k, renormalised, cut to top_p (the token that reaches top_p is
 * kept), renormalised, as transformers orders them. Equal logits count in the order of their ids.
 * The same arguments give the same token on every machine with the same exp(). `index` below 2^32
 * counts the tokens of one stream. */
enum status sample_token(uint32_t *out, const float *logits, int vocabulary,
                         const struct sampling *sampling, uint64_t stream,
                         uint64_t index) STATUS_CHECKED;

#endif
