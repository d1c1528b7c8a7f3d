#include "kernels/ops/optimizer.h"
#include "train/optimizer.h"

#include <math.h>

/* Parameter by parameter in the order in which they were added, so that the sum does not depend on
 * their places in the arena. */
double optimizer_norm(struct parameters *parameters) {
    struct backend *backend = parameters->model->backend;
    double sum = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        parameters->host_squares[i] = NAN;
        if (!parameters->groups[parameter->group].frozen)
            backend->optimizer->sum_squares(backend, parameters->squares + i, parameter->gradient,
                                            parameter->count);
    }
    backend->download_bytes(backend, parameters->host_squares, parameters->squares,
                            parameters->count * sizeof *parameters->squares);
    for (size_t i = 0; i < parameters->count; i++)
        if (!parameters->groups[parameters->list[i].group].frozen)
            sum += parameters->host_squares[i];
    return sqrt(sum);
}

void optimizer_update(struct parameters *parameters, const struct train_optimizer *settings,
                      double rate, int64_t step, double norm) {
    struct backend *backend = parameters->model->backend;
    double scale = settings->clip > 0 && norm > settings->clip ? settings->clip / norm : 1;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        const struct parameter_group *group = &parameters->groups[parameter->group];
        const struct adamw_settings adamw = {.lr = rate * group->rate,
                                             .beta1 = settings->beta1,
                                             .beta2 = settings->beta2,
                                             .epsilon = settings->epsilon,
                                             .weight_decay = parameter->decays ? group->decay : 0,
                                             .step = step + 1,
                                             .grad_scale = scale};
        void *copy = parameter->master == parameter->live ? NULL : parameter->live;
        if (!group->frozen)
            backend->optimizer->adamw(backend, parameter->master, copy, parameter->moment1,
                                      parameter->moment2, parameter->gradient, &adamw,
                                      parameter->count);
    }
}

void optimizer_step(struct parameters *parameters, const struct train_optimizer *settings,
                    double rate, int64_t step, double *norm) {
    double length = settings->clip > 0 || norm ? optimizer_norm(parameters) : 0;
    if (norm) *norm = length;
    optimizer_update(parameters, settings, rate, step, length);
}
