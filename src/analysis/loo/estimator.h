/* Cheap estimates of what leave-one-out ablation measures exactly: every layer from one forward
 * pass (and, for two of them, a backward pass), where the sweep needs L (L + 1) / 2 block passes.
 *
 * With d_t the change of the residual stream at position t when a layer's mixer (or the layer)
 * goes, d_t = before_t - after_t, and g_t a gradient with respect to that stream:
 *
 *   first-order  est_ce_change: sum_t g_t . d_t with g of the cross-entropy: the first term of its
 *                Taylor series (Molchanov et al. 2017, arXiv 1611.06440). est_ce_abs: its absolute
 *                value in each sequence (Michel et al. 2019, arXiv 1905.10650, eq. 2 for a whole
 *                layer). The kl has no first-order term: the unmodified model is its minimum.
 *
 *   fisher       est_kl: 1/2 (sum_t g_t . d_t)^2 with g of sum_t log p(y_t), each y_t drawn from
 *                the model's own prediction: an unbiased estimate of the second-order term of the
 *                kl, 1/2 d^T F d with F the Fisher information (Amari 1998), over the whole
 *                sequence. A draw scatters by about 1.4 times the value; rows (and `samples`)
 *                average it.
 *
 *   cosine       est_cosine: 1 - cos(before_t, after_t), a mean over positions: the block influence
 *                of ShortGPT (Men et al. 2024, arXiv 2403.03853), of a mixer or of a layer.
 *
 * All are per position; a small value means an unimportant layer. */
#ifndef ANALYSIS_LOO_ESTIMATOR_H
#define ANALYSIS_LOO_ESTIMATOR_H

#include "analysis/loo/sweep.h"

enum estimate { ESTIMATE_NONE, ESTIMATE_FIRST_ORDER, ESTIMATE_FISHER, ESTIMATE_COSINE };
enum { ESTIMATE_MAX_METRICS = 2 };

/* "first-order", …; STATUS_USAGE when `name` is none of them. */
const char *estimate_name(enum estimate estimate);
enum status estimate_from_name(enum estimate *out, const char *name) STATUS_CHECKED;

/* The kind of run it is stored as: "estimate-first-order", … */
const char *estimate_kind(enum estimate estimate);

/* Name of metric `index`; NULL past the last. */
const char *estimate_metric(enum estimate estimate, int index);

struct estimator_options {
    enum estimate estimate;
    enum ablation ablation;
    const int *layers; /* [count], ascending */
    int count;
    const bool *removed; /* [L] or NULL: layers that the trunk goes without, in the same way */
    int samples;         /* of fisher: draws, each a backward pass */
    uint64_t seed; /* of the draws, which depend on it, the token and the draw's number only */
};

struct estimator;

/* As sweep_open; the bytes are without those of the model. */
enum status estimator_open(struct estimator **out, struct model *model,
                           const struct estimator_options *options, int rows, int64_t tokens,
                           int longest) STATUS_CHECKED;
void estimator_close(struct estimator *estimator); /* accepts NULL */
uint64_t estimator_bytes(const struct model *model, const struct estimator_options *options,
                         int rows, int64_t tokens, int longest);

/* Rows [first, first + rows) of the set: `sums` host [count][rows][metrics], `counts` host
 * [rows][metrics]. A value that is not finite is a failure; STATUS_INTERRUPTED when an interrupt
 * was requested. */
enum status estimator_group(struct estimator *estimator, const struct tokenset *set, int64_t first,
                            int rows, double *sums, int64_t *counts) STATUS_CHECKED;

#endif
