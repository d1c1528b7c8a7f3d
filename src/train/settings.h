/* What a training is told, by concern. Nothing in here is changed by it. */
#ifndef TRAIN_SETTINGS_H
#define TRAIN_SETTINGS_H

/* AdamW; learning rates come from the schedule, weight decay from the groups of parameters. */
struct train_optimizer {
    double beta1, beta2, epsilon;
    double clip; /* limit of the gradient's norm, 0: none */
};

#endif
