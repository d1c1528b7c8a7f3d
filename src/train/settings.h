/* What a training is told, by concern. Nothing in here is changed by it. */
#ifndef TRAIN_SETTINGS_H
#define TRAIN_SETTINGS_H

#include "kernels/ops/loss.h"

struct train_data {
    int batch;       /* rows a step, in order, wrapping */
    int64_t heldout; /* the last rows: never trained on */
};

/* AdamW; learning rates come from the schedule, weight decay from the groups of parameters. */
struct train_optimizer {
    double beta1, beta2, epsilon;
    double clip; /* limit of the gradient's norm, 0: none */
};

struct train_loss {
    enum loss_kind kind;
    double temperature; /* of both distributions */
    double ce; /* share of the cross-entropy, the rest is `kind`'s: 0 to 1. With one, both are
                  means over the positions that have a next token to predict */
};

/* Memory for time: the same bits come out. */
struct train_memory {
    bool recompute;     /* keep only inputs of blocks and run them forward again: see tape.h */
    bool park;          /* with it: they wait in host memory */
    bool stream_layers; /* the student's layers are not kept but loaded for each pass; needs
                           `recompute`, and that only new mixers train, since changes of the layers
                           would be lost */
    bool keep_logits;   /* of the teacher, for every loaded step, on the backend */
};

#endif
