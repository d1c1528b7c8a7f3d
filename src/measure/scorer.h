/* The last norm, the head and the metrics, fused over chunks of predictions: logits of all tokens
 * never exist at once, and those of tokens that do not count never exist. */
#ifndef MEASURE_SCORER_H
#define MEASURE_SCORER_H

#include "measure/predictions.h"
#include "model/model.h"

/* Tokens whose logits exist at once: about 64 MB a side on the CPU, where they should stay near the
 * caches, and 1 GB on a device, where the head's product wants many rows; 64 to 2048. */
int scorer_chunk(const struct model *model);

struct scorer;

/* Compares hidden states under `student`'s head with those under `teacher`'s (the same model for a
 * sweep); the vocabularies must agree. `chunk_tokens` 0 takes a size that suits the vocabulary. */
enum status scorer_open(struct scorer **out, const struct model *teacher,
                        const struct model *student, int chunk_tokens) STATUS_CHECKED;
void scorer_close(struct scorer *scorer); /* accepts NULL */
/* From now on a value that is not finite makes its row's sum NAN instead of failing. */
void scorer_keep_nonfinite(struct scorer *scorer);
uint64_t scorer_bytes(const struct model *model);

/* Where the branches' hidden states are: rows() gives those of branch `branch` (from 0) for tokens
 * [from, from + rows) as device acc [rows, D], before the final norm, for ops that are queued
 * before its next call. */
struct scorer_source {
    int branches;
    const void *(*rows)(void *context, int branch, int64_t from, int64_t rows);
    void *context;
};

/* Metrics of the branches against the teacher's hidden states acc [tokens, D]. `sums`, host
 * [1 + branches][slots][METRIC_COUNT], receives sums over the predictions of each slot; entry 0 is
 * the teacher against itself (only ce says something). `greedy` (or NULL), host [1 + branches]
 * [slots], counts the predictions whose target has the largest logit. A value that is not finite is
 * a failure. STATUS_INTERRUPTED between chunks when an interrupt was requested. */
enum status scorer_score_from(struct scorer *scorer, const struct predictions *predictions,
                              const void *teacher, const struct scorer_source *source, double *sums,
                              int64_t *greedy) STATUS_CHECKED;

/* The same for branches one after another in `branch`, each `stride` elements from the last. */
enum status scorer_score(struct scorer *scorer, const struct predictions *predictions,
                         const void *teacher, const void *branch, int64_t stride, int branches,
                         double *sums, int64_t *greedy) STATUS_CHECKED;

/* The same for positions, with a slot a row. */
enum status scorer_score_positions(struct scorer *scorer, const struct positions *positions,
                                   const void *teacher, const void *branch, int64_t stride,
                                   int branches, double *sums) STATUS_CHECKED;

#endif
