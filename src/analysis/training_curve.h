/* What the losses of a training say in two numbers. */
#ifndef ANALYSIS_TRAINING_CURVE_H
#define ANALYSIS_TRAINING_CURVE_H

#include "scores/store.h"

/* Mean and standard error of the mean; the error is NAN for one value. */
struct statistics training_curve_summarise(const double *values, int count);

/* From the steps that are stored of a layer: the loss at step 0 (standard error over seeds) as
 * "train_LOSS_first", and the mean of the last ten steps (over them) as "train_LOSS_last". */
enum status training_curve_put(struct store *store, int64_t run, int layer,
                               const char *loss) STATUS_CHECKED;

#endif
