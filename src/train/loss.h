/* What training minimises, and its gradient with respect to the last hidden states, fused over
 * chunks of tokens: logits of all tokens never exist at once.
 *
 * A step's loss is the mean over all positions that count in it. So what one batch adds to it is a
 * sum, and the caller, who knows the other batches of the step, says what it is divided by: a mean
 * of the batches' means would be another number wherever they count unequally. */
#ifndef TRAIN_LOSS_H
#define TRAIN_LOSS_H

#include "base/random.h"
#include "measure/positions.h"
#include "model/model.h"
#include "train/settings.h"

const char *loss_name(enum loss_kind kind); /* "rkl", "fkl", "ce" */
enum status loss_from_name(enum loss_kind *out, const char *name) STATUS_CHECKED;

struct loss;

/* For batches of up to `tokens` tokens. `teacher` may be NULL for LOSS_CROSS_ENTROPY. */
enum status loss_open(struct loss **out, const struct model *student, const struct model *teacher,
                      const struct train_loss *settings, int64_t tokens) STATUS_CHECKED;
void loss_close(struct loss *loss); /* accepts NULL */
uint64_t loss_bytes(const struct model *student, int64_t tokens);

/* Keep the teacher's logits of `slots` batches of up to `tokens` tokens each on the backend, so
 * that a batch that comes again costs no teacher's head. What was kept before is forgotten. */
enum status loss_keep(struct loss *loss, int64_t slots, int64_t tokens) STATUS_CHECKED;
uint64_t loss_kept_bytes(const struct model *teacher, int64_t slots, int64_t tokens);

/* Targets that are drawn from the student's own prediction (LOSS_CROSS_ENTROPY only): the token at
 * position t of the batch takes element first + t of the stream. */
struct loss_draw {
    struct random_stream stream;
    int64_t first;
};

/* Rows that pass together. */
struct loss_batch {
    const struct positions *positions;
    const struct acc *teacher;    /* [tokens, D]: its last hidden states; NULL without one */
    int64_t slot;                 /* where its logits of these positions are kept, or -1 */
    const struct loss_draw *draw; /* NULL: the next tokens are the targets of the cross-entropy */
};

/* Positions that enter the loss. */
int64_t loss_count(const struct loss *loss, const struct loss_batch *batch);

/* Gradients of the student's head acc [V, D] and final norm acc [D], which are accumulated; NULL:
 * frozen. */
struct loss_sink {
    struct acc *head, *norm;
};

/* `student` acc [tokens, D] are last hidden states; dh acc [tokens, D] is written: the gradient of
 * the sum over the batch's counted positions / `denominator`. `*sum` is that sum, not divided; NAN
 * when a value of it is not finite. */
enum status loss_run(struct loss *loss, double *sum, struct acc *dh, const struct acc *student,
                     const struct loss_batch *batch, double denominator,
                     const struct loss_sink *sink) STATUS_CHECKED;

#endif
