/* A step of training, from rows to changed weights:
 *
 *   gradients to zero · count the step's positions · for each micro-batch: forward, loss, backward
 *   · limit the gradient and update
 *
 * Several students can take a step together, in lock step through the layers of one model. How they
 * go through the layers is the caller's: see struct step_passes. */
#ifndef TRAIN_STEP_H
#define TRAIN_STEP_H

#include "train/loss.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/tape.h"

/* Who trains: a tape through the layers, and what changes. */
struct student {
    struct tape *tape;
    struct parameters *parameters;
    bool takes_part; /* in the present step */
    double loss;     /* of the step: the mean over the counted positions of all its micro-batches,
                        before the update; NAN: a value of it was not finite, or none counted, and
                        the weights are what they were. While the step goes on, a sum */
    double norm;     /* with `judge`: of the step's gradient, before it is limited */
    bool updated;    /* whether the step has changed the weights */
};

/* Whether a step whose loss is finite is taken, by its loss and its gradient's norm. */
struct step_judge {
    bool (*accepts)(void *context, double loss, double norm);
    void *context;
};

/* Whether the gradient of a student's loss is worth going back for. */
bool student_goes_back(const struct student *student);

/* The two passes of micro-batch `batch` through the layers, of the students that take part:
 * forward, to the output of the last layer (tape_stream) and with the teacher's states where the
 * batch says they are; and back from tape_gradient with what accumulates in their parameters, of
 * those that go back. */
struct step_passes {
    enum status (*forward)(void *context, int batch);
    enum status (*backward)(void *context, int batch);
    void *context;
};

struct step {
    int64_t number;                  /* from 0 */
    struct student *const *students; /* [student_count] */
    int student_count;
    const struct loss_batch *batches; /* [batch_count]: the micro-batches */
    int batch_count;
    struct loss *loss;
    const struct train_schedule *schedule;
    const struct train_optimizer *optimizer;
    struct step_passes passes;
    const struct step_judge *judge; /* NULL: each is */
};

/* After STATUS_INTERRUPTED no weight has changed. */
enum status step_run(const struct step *step) STATUS_CHECKED;

#endif
