/* The distillation loss and its gradient with respect to the last hidden states, fused over chunks
 * of tokens: logits of all tokens never exist at once. */
#ifndef TRAIN_DISTILLER_H
#define TRAIN_DISTILLER_H

#include "base/random.h"
#include "measure/positions.h"
#include "model/model.h"

struct distiller;

/* For batches of up to `tokens` tokens. `teacher` may be NULL for LOSS_CROSS_ENTROPY. */
enum status distiller_open(struct distiller **out, const struct model *student,
                           const struct model *teacher, enum loss_kind loss, double temperature,
                           int64_t tokens) STATUS_CHECKED;
void distiller_close(struct distiller *distiller); /* accepts NULL */
uint64_t distiller_bytes(const struct model *student, int64_t tokens);

/* From now on the target of each counted position is drawn from the student's own prediction
 * (LOSS_CROSS_ENTROPY only): the token at position t of a batch takes element first + t of
 * `stream`. */
void distiller_draw_targets(struct distiller *distiller, const struct random_stream *stream,
                            int64_t first);

/* From now on the gradients of the student's head acc [V, D] and final norm acc [D] are accumulated
 * there; NULL: frozen. */
void distiller_train(struct distiller *distiller, void *head_gradient, void *norm_gradient);

/* Positions that enter the loss. */
int64_t distiller_counted(const struct distiller *distiller, const struct positions *positions);

/* Keep the teacher's logits of `slots` batches of up to `tokens` tokens each on the backend, so
 * that a batch that comes again costs no teacher's head. What was kept before is forgotten. */
enum status distiller_keep(struct distiller *distiller, int64_t slots,
                           int64_t tokens) STATUS_CHECKED;
uint64_t distiller_kept_bytes(const struct model *teacher, int64_t slots, int64_t tokens);

/* `student` and `teacher` acc [tokens, D] are last hidden states; dh acc [tokens, D] is written:
 * the gradient of the mean loss over counted positions. `*loss` is that mean; NAN when a logit is
 * not finite, or no position counts. Without a teacher `teacher` is not read. `slot` is where the
 * teacher's logits of these positions are kept (see distiller_keep), or -1. */
enum status distiller_run(struct distiller *distiller, const struct positions *positions,
                          int64_t slot, const void *student, const void *teacher, void *dh,
                          double *loss) STATUS_CHECKED;

#endif
