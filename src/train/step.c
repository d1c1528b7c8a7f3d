#include "train/step.h"

#include <math.h>

bool student_goes_back(const struct student *student) {
    return student->takes_part && isfinite(student->loss);
}

/* Nothing is learnt from a step in which no position counts. */
static void begin(const struct step *step, double denominator) {
    for (int i = 0; i < step->student_count; i++) {
        struct student *student = step->students[i];
        if (!student->takes_part) continue;
        student->loss = denominator > 0 ? 0 : NAN;
        parameters_zero_gradients(student->parameters);
    }
}

/* Over all micro-batches: the loss is the mean over their positions together. */
static double count(const struct step *step) {
    int64_t counted = 0;
    for (int i = 0; i < step->batch_count; i++)
        counted += loss_count(step->loss, &step->batches[i]);
    return (double)counted;
}

/* Each student's loss and the gradient of its last states. `*any`: somebody goes back. */
static enum status take_losses(const struct step *step, const struct loss_batch *batch,
                               double denominator, bool *any) {
    enum status status = STATUS_OK;
    *any = false;
    for (int i = 0; !status && i < step->student_count; i++) {
        struct student *student = step->students[i];
        const struct parameters *parameters = student->parameters;
        if (!student->takes_part) continue;
        const struct loss_sink sink = {parameters->head_gradient, parameters->norm_gradient};
        const void *states = tape_stream(student->tape, parameters->model->config->n_layers);
        double sum;
        status = loss_run(step->loss, &sum, tape_gradient(student->tape), states, batch,
                          denominator, &sink);
        if (status) break;
        student->loss += sum;
        *any |= student_goes_back(student);
    }
    return status;
}

static void update_student(const struct step *step, struct student *student) {
    double rate = train_schedule_rate(step->schedule, step->number);
    const struct step_judge *judge = step->judge;
    if (!judge) {
        optimizer_step(student->parameters, step->optimizer, rate, step->number, NULL);
        student->updated = true;
        return;
    }
    student->norm = optimizer_norm(student->parameters);
    student->updated = judge->accepts(judge->context, student->loss, student->norm);
    if (student->updated)
        optimizer_update(student->parameters, step->optimizer, rate, step->number, student->norm);
}

static void update(const struct step *step, double denominator) {
    for (int i = 0; i < step->student_count; i++) {
        struct student *student = step->students[i];
        if (!student->takes_part) continue;
        student->loss /= denominator;
        student->norm = NAN;
        student->updated = false;
        if (isfinite(student->loss)) update_student(step, student);
    }
}

enum status step_run(const struct step *step) {
    enum status status = STATUS_OK;
    double denominator = count(step);
    bool any = true;
    begin(step, denominator);
    for (int i = 0; !status && any && i < step->batch_count; i++) {
        status = step->passes.forward(step->passes.context, i);
        if (!status) status = take_losses(step, &step->batches[i], denominator, &any);
        if (!status && any) status = step->passes.backward(step->passes.context, i);
    }
    if (status) return status;
    update(step, denominator);
    struct backend *backend = step->students[0]->parameters->model->backend;
    return backend->sync(backend);
}
