/* How well two rankings of the same layers agree. */
#ifndef SCORES_COMPARISON_H
#define SCORES_COMPARISON_H

#include <stddef.h>

#include "base/status.h"
#include "scores/ranking.h"

struct comparison {
    int layers;      /* that both rankings have */
    double spearman; /* NAN where undefined: fewer than two layers, or all values equal */
    double kendall;
    double *jaccard; /* [layers]: element k - 1 is for the k least important layers */
};

/* Over the layers that both rankings have, with importance = value, or -value where a large value
 * means unimportant:
 *   spearman: Pearson's correlation of the ranks, equal values sharing the mean of their ranks;
 *   kendall: tau-b = (P - Q) / sqrt((P + Q + Tx) (P + Q + Ty)), P and Q the concordant and
 *     discordant pairs, Tx and Ty the pairs tied in one ranking only (Kendall 1945);
 *   jaccard(k) = |A_k and B_k| / |A_k or B_k| of the sets of the k least important layers.
 * No common layer is a failure. */
enum status comparison_build(struct comparison *out, const struct ranking *a,
                             const struct ranking *b) STATUS_CHECKED;
void comparison_free(struct comparison *comparison);

#endif
