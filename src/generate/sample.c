#include "generate/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"

enum status sampling_check(const struct sampling *sampling) {
    if (!(sampling->temperature >= 0) || !isfinite(sampling->temperature))
        return status_set(STATUS_USAGE, "--temperature is %g, not 0 or more",
                          sampling->temperature);
    if (!(sampling->top_p > 0 && sampling->top_p <= 1))
        return status_set(STATUS_USAGE, "--top-p is %g, outside 0 (excluded) to 1",
                          sampling->top_p);
    if (sampling->top_k < 0)
        return status_set(STATUS_USAGE, "--top-k is %d, not 0 (all) or more", sampling->top_k);
    return STATUS_OK;
}

struct candidate {
    uint32_t id;
    double weight; /* exp((logit - largest) / temperature) */
};

static int by_weight(const void *a, const void *b) {
    const struct candidate *left = a, *right = b;
    if (left->weight != right->weight) return left->weight > right->weight ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

static double sum_of(const struct candidate *candidates, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += candidates[i].weight;
    return sum;
}

/* Tokens below `least` are not among those that are asked for: sorting the rest is enough. */
static size_t keep_likely(struct candidate *candidates, size_t count, double least) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (candidates[i].weight >= least) candidates[kept++] = candidates[i];
    return kept;
}

/* The k-th largest weight, by halving the interval of exponents; a bound a little below is fine. */
static double least_of_top(const struct candidate *candidates, size_t count, size_t k) {
    double low = -800, high = 0; /* of log weight: more than k above low, fewer above high */
    for (int step = 0; step < 24; step++) {
        double middle = (low + high) / 2, limit = exp(middle);
        size_t above = 0;
        for (size_t i = 0; i < count; i++) above += candidates[i].weight >= limit;
        if (above >= k)
            low = middle;
        else
            high = middle;
        if (above >= k && above < k + k / 2 + 64) break;
    }
    return exp(low);
}

/* How many of the sorted candidates stay. */
static size_t cut(struct candidate *candidates, size_t count, const struct sampling *sampling) {
    size_t k = (size_t)sampling->top_k;
    if (k && k < count) {
        count = keep_likely(candidates, count, least_of_top(candidates, count, k));
        qsort(candidates, count, sizeof *candidates, by_weight);
        if (count > k) count = k;
    }
    if (sampling->top_p >= 1) return count;
    double total = sum_of(candidates, count);
    if (!k) {
        /* All tokens rarer than this together weigh less than what top_p leaves out. */
        count = keep_likely(candidates, count, (1 - sampling->top_p) * total / (double)count);
        qsort(candidates, count, sizeof *candidates, by_weight);
    }
    double reached = 0;
    for (size_t i = 0; i < count; i++) {
        reached += candidates[i].weight;
        if (reached >= sampling->top_p * total) return i + 1;
    }
    return count;
}

enum status sample_token(uint32_t *out, const float *logits, int vocabulary,
                         const struct sampling *sampling, uint64_t stream, uint64_t index) {
    int best = 0;
    for (int i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    *out = (uint32_t)best;
    if (sampling->temperature <= 0 || sampling->top_k == 1) return STATUS_OK;
    struct candidate *candidates = memory_calloc((size_t)vocabulary, sizeof *candidates);
    if (!candidates) return STATUS_FAILED;
    for (int i = 0; i < vocabulary; i++)
        candidates[i] = (struct candidate){
            (uint32_t)i, exp(((double)logits[i] - (double)logits[best]) / sampling->temperature)};
    size_t count = cut(candidates, (size_t)vocabulary, sampling);
    struct random_stream random = random_stream_for(sampling->seed, -1, "sample");
    random.counter[0] ^= (uint32_t)stream;
    random.counter[1] ^= (uint32_t)(stream >> 32);
    double target = random_uniform(&random, index) * sum_of(candidates, count);
    size_t chosen = 0;
    for (double reached = candidates[0].weight; reached < target && chosen + 1 < count;)
        reached += candidates[++chosen].weight;
    *out = candidates[chosen].id;
    free(candidates);
    return STATUS_OK;
}
