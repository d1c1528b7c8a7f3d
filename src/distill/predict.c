/* How long a distillation will take, from the speed of this device as it is now. */
#include <math.h>

#include "distill/work.h"

/* Operations a second that any device of the sort reaches, to tell what takes seconds only; and
 * how many of them that may be. */
static const double SLOW_CPU = 1e10, SLOW_GPU = 5e13, PATIENCE = 5;

static bool reject(void *context, double loss, double norm) {
    return !context && isnan(loss) && isnan(norm);
}

/* Seconds of one micro-batch's way forth and back. */
static enum status time_micro(double *seconds, struct distill_engine *engine) {
    const struct step_judge judge = {reject, NULL};
    enum status status = STATUS_OK;
    distill_engine_enter(engine, distill_phases_steps(&engine->training->phases));
    for (int i = 0; !status && i < 2; i++) { /* the first one prepares */
        double start = log_seconds();
        status = distill_engine_step(engine, 0, &judge);
        *seconds = log_seconds() - start;
    }
    return status;
}

enum status distill_predict(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    struct distill_training training = settings->training;
    double batch = training.data.batch, micro = work->arrangement.micro, seconds = 0;
    double rate = work->backend->discrete ? SLOW_GPU : SLOW_CPU;
    if (work->outcome->operations * micro / batch / rate > PATIENCE) return STATUS_OK;
    training.data.batch = work->arrangement.micro;
    enum status status = model_load(work->teacher);
    if (!status) status = model_load(work->student);
    if (!status)
        status = distill_engine_open(&work->engine, work->student, work->teacher, work->set,
                                     settings->data, &training, &work->arrangement);
    if (!status) status = time_micro(&seconds, work->engine);
    if (status) return status;
    double steps = (double)distill_phases_steps(&training.phases);
    double looks = 2 + floor(steps / (double)settings->validate_every);
    double held = (double)training.data.heldout;
    /* Two ways forth are a third of a step of a teacher and a student. */
    work->outcome->memory.seconds =
        log_elapsed() + seconds * (steps * batch / micro + looks * held / micro / 3 * 2);
    return STATUS_OK;
}
