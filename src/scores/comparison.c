#include "scores/comparison.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

/* One common layer: its importance and its place in each ranking. */
struct pair {
    double a, b;
    size_t place_a, place_b; /* among the common layers, 0 the least important */
};

static const struct ranking_entry *find_layer(const struct ranking *ranking, int layer) {
    for (size_t i = 0; i < ranking->count; i++)
        if (ranking->entries[i].layer == layer) return &ranking->entries[i];
    return NULL;
}

static size_t common_before(const struct ranking *ranking, const struct ranking *other, int rank) {
    size_t count = 0;
    for (size_t i = 0; i < ranking->count; i++)
        if (ranking->entries[i].rank < rank && find_layer(other, ranking->entries[i].layer))
            count++;
    return count;
}

static size_t collect(struct pair *pairs, const struct ranking *a, const struct ranking *b) {
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct ranking_entry *left = &a->entries[i];
        const struct ranking_entry *right = find_layer(b, left->layer);
        if (!right) continue;
        pairs[count++] = (struct pair){
            .a = a->ascending ? left->value : -left->value,
            .b = b->ascending ? right->value : -right->value,
            .place_a = common_before(a, b, left->rank),
            .place_b = common_before(b, a, right->rank),
        };
    }
    return count;
}

static int sign_of(double left, double right) {
    return (left > right) - (left < right);
}

static double kendall(const struct pair *pairs, size_t count) {
    double sum = 0, untied_a = 0, untied_b = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) {
            int a = sign_of(pairs[i].a, pairs[j].a), b = sign_of(pairs[i].b, pairs[j].b);
            sum += a * b;
            untied_a += a != 0;
            untied_b += b != 0;
        }
    return untied_a > 0 && untied_b > 0 ? sum / sqrt(untied_a * untied_b) : NAN;
}

/* Twice the mean rank minus count + 1, so that the mean over layers is zero: the number of layers
 * below minus the number above. */
static double centred_rank(const struct pair *pairs, size_t count, size_t of, bool of_b) {
    double rank = 0;
    for (size_t i = 0; i < count; i++)
        rank += of_b ? sign_of(pairs[of].b, pairs[i].b) : sign_of(pairs[of].a, pairs[i].a);
    return rank;
}

static double spearman(const struct pair *pairs, size_t count) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        double a = centred_rank(pairs, count, i, false), b = centred_rank(pairs, count, i, true);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

enum status comparison_build(struct comparison *out, const struct ranking *a,
                             const struct ranking *b) {
    *out = (struct comparison){0};
    struct pair *pairs = memory_calloc(a->count, sizeof *pairs);
    if (!pairs) return STATUS_FAILED;
    size_t count = collect(pairs, a, b);
    enum status status = STATUS_OK;
    if (!count) status = status_fail("the two rankings have no layer in common");
    if (!status && !(out->jaccard = memory_calloc(count, sizeof *out->jaccard)))
        status = STATUS_FAILED;
    if (!status) {
        out->layers = (int)count;
        out->spearman = spearman(pairs, count);
        out->kendall = kendall(pairs, count);
        for (size_t k = 1; k <= count; k++) {
            size_t both = 0;
            for (size_t i = 0; i < count; i++) both += pairs[i].place_a < k && pairs[i].place_b < k;
            out->jaccard[k - 1] = (double)both / (double)(2 * k - both);
        }
    }
    free(pairs);
    return status;
}

void comparison_free(struct comparison *comparison) {
    free(comparison->jaccard);
    *comparison = (struct comparison){0};
}
