/* From gradients to changed weights. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "train/parameters.h"
#include "train/settings.h"

/* The norm of all gradients together; NAN after a fault of the device. */
double optimizer_norm(struct parameters *parameters);

/* One AdamW step (Loshchilov and Hutter 2019), number `step` from 0, with the learning rate `rate`
 * times that of each parameter's group. settings->clip limits the norm of all gradients together.
 * `*norm` (may be NULL) receives it as it was before; NAN after a fault of the device. */
void optimizer_step(struct parameters *parameters, const struct train_optimizer *settings,
                    double rate, int64_t step, double *norm);

/* The same of gradients whose norm is known. */
void optimizer_update(struct parameters *parameters, const struct train_optimizer *settings,
                      double rate, int64_t step, double norm);

#endif
