/* What a distillation takes, and how it is cut to fit. */
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "distill/work.h"
#include "model/cost.h"
#include "model/stream.h"

/* What the program had when the run began, rounded up so that the same settings give the same
 * budget; and what libraries take beside this program's own arrays. */
static uint64_t program_bytes(const struct distill_work *work) {
    const uint64_t step = (uint64_t)16 << 20;
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t libraries = ((uint64_t)8 << 20) + ((uint64_t)(threads > 0 ? threads : 1) << 21);
    return (work->base_bytes + step - 1) / step * step + libraries;
}

static double operations_of(const struct model *model, int from) {
    struct model_config config = *model->config;
    struct cost_model cost = {.config = &config, .act_bytes = 2, .acc_bytes = 4};
    struct cost_parts parts;
    config.layers = model->config->layers + from;
    config.n_layers = model->config->n_layers - from;
    cost_measure(&parts, &cost);
    return parts.operations;
}

/* Operations of an average step in the last phase, those over the context left out: the teacher
 * forward; the student forward, back for the data, and back for the weights that train. */
static double count_operations(const struct distill_work *work, double trained) {
    const struct distill_training *training = &work->settings->training;
    const struct tokenset *set = work->set;
    const struct distill_phase *phase = &training->phases.list[training->phases.count - 1];
    int first = distill_phase_first(phase, work->student->config, work->teacher->config);
    double tokens = (double)set->tokens / (double)set->rows * training->data.batch;
    double above = operations_of(work->student, first);
    double forward = operations_of(work->teacher, 0) + operations_of(work->student, 0);
    return tokens * (forward + above + 2 * trained + (work->arrangement.recompute ? above : 0));
}

static enum status measure(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    const struct distill_arrangement *ways = &work->arrangement;
    struct memory_budget *budget = &work->outcome->memory;
    struct backend *backend = work->backend;
    struct distill_memory memory;
    bool on_cpu = !backend->discrete;
    enum status status = distill_engine_memory(&memory, work->student, work->teacher, work->set,
                                               settings->data, &settings->training, ways);
    if (status) return status;
    memory_budget_begin(budget, backend, settings->device_memory);
    double weights = 3 * (double)dtype_size(backend->acc);
    work->outcome->operations = count_operations(work, (double)memory.optimizer / weights);
    snprintf(budget->work, sizeof budget->work,
             "%lld steps of %d rows, %d at a time, %.3g operations a step%s%s",
             (long long)distill_phases_steps(&settings->training.phases),
             settings->training.data.batch, ways->micro, work->outcome->operations,
             ways->recompute ? ", blocks computed again for their gradients" : "",
             ways->keep_teacher ? "" : ", the teacher's layers loaded for each pass");
    memory_budget_add(budget, "student", memory.student, on_cpu ? 0 : layer_stream_host_bytes());
    memory_budget_add(budget, "teacher", memory.teacher, on_cpu ? 0 : layer_stream_host_bytes());
    memory_budget_add(budget, "activations", memory.activations, 0);
    memory_budget_add(budget, "logits", memory.logits, 0);
    memory_budget_add(budget, "optimizer", memory.optimizer, 0);
    memory_budget_add(budget, "program and libraries", on_cpu ? program_bytes(work) : 0, 0);
    memory_budget_add(budget, "scratch and transfers", memory_budget_own(backend), 0);
    return STATUS_OK;
}

/* From the fastest way to the smallest. */
enum status distill_budget(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    struct distill_arrangement *ways = &work->arrangement;
    int batch = settings->training.data.batch;
    bool chosen = settings->micro > 0;
    int micro = chosen && settings->micro < batch ? settings->micro : batch;
    *ways = (struct distill_arrangement){micro, settings->recompute, true};
    enum status status = measure(work);
    while (!status && !memory_budget_fits(&work->outcome->memory)) {
        if (!chosen && ways->micro > 1 && ways->micro > batch / 8)
            ways->micro = (ways->micro + 1) / 2;
        else if (!ways->recompute)
            ways->recompute = true;
        else if (ways->keep_teacher)
            ways->keep_teacher = false;
        else if (!chosen && ways->micro > 1)
            ways->micro = (ways->micro + 1) / 2;
        else
            break;
        status = measure(work);
    }
    if (status) return status;
    return memory_budget_check(&work->outcome->memory, work->backend, "distillation",
                               settings->device_memory, "use shorter rows");
}
