#include "analysis/mmr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/layers.h"
#include "analysis/mmr_work.h"
#include "base/log.h"
#include "base/memory.h"

/* Whether rows [first, end), wrapping at `wrap`, have a token to predict. */
static bool any_target(const struct tokenset *set, int64_t first, int64_t end, int64_t wrap) {
    for (int64_t i = first; i < end; i++) {
        int64_t row = i % wrap;
        for (uint64_t t = set->row_offsets[row] + 1; t < set->row_offsets[row + 1]; t++)
            if (!set->loss_mask || set->loss_mask[t]) return true;
    }
    return false;
}

/* Training and measuring need rows, each step and the held-out rows something to predict. */
static enum status check_rows(const struct mmr_work *work) {
    const struct tokenset *set = work->set;
    const struct probe_settings *probe = &work->settings->probe;
    const char *path = work->settings->data;
    int64_t rows = (int64_t)set->rows, training = rows - probe->heldout;
    if (training < 1)
        return status_set(STATUS_USAGE,
                          "--heldout %lld: \"%s\" has %lld row%s, which leaves none to train on",
                          (long long)probe->heldout, path, (long long)rows, rows == 1 ? "" : "s");
    enum status status = record_check_mask(set, path);
    if (status || (!set->loss_mask && probe->loss != LOSS_CROSS_ENTROPY)) return status;
    const char *cause = set->loss_mask ? "the loss mask leaves" : "rows of one token leave";
    if (!any_target(set, training, rows, rows))
        return status_fail("\"%s\": %s no token to predict in the %lld held-out rows: use a "
                           "larger --heldout",
                           path, cause, (long long)probe->heldout);
    for (int64_t step = 0; step < probe->steps; step++) {
        int64_t first = step * probe->batch;
        if (!any_target(set, first, first + probe->batch, training))
            return status_fail("\"%s\": %s no token to predict in the rows of step %lld (from row "
                               "%lld on): use a larger --batch",
                               path, cause, (long long)step, (long long)(first % training));
        if (first >= training && training % probe->batch == 0) break; /* repeats */
    }
    return STATUS_OK;
}

static enum status open_inputs(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    enum status status = tokenset_read(&work->set, settings->data);
    if (!status) status = backend_open(&work->backend, settings->device);
    if (!status)
        status = model_open(&work->teacher, work->backend, settings->model, &settings->checkpoint);
    if (!status) status = record_check_vocabulary(work->teacher, work->set, settings->data);
    work->student = work->teacher;
    if (!status && settings->hybrid)
        status = model_open(&work->student, work->backend, settings->hybrid, NULL);
    if (!status && settings->hybrid)
        status = record_check_hybrid(work->student, settings->model, &settings->checkpoint);
    if (!status) status = check_rows(work);
    if (!status)
        status =
            layers_choose(&work->layers, work->student->config, NULL, settings->layers, "replace");
    return status;
}

/* Everything that makes a run another run. */
static struct json *describe(const struct mmr_work *work, const struct mamba_config *mamba) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    struct json *parameters = js_new_object();
    if (!parameters) return NULL;
    char *layers = list_format(work->layers.values, work->layers.count);
    js_set_string(parameters, "layers", layers);
    free(layers);
    js_set_integer(parameters, "steps", probe->steps);
    js_set_integer(parameters, "batch", probe->batch);
    js_set_integer(parameters, "heldout", probe->heldout);
    js_set_integer(parameters, "seeds", settings->seeds);
    js_set_number(parameters, "lr", probe->lr);
    js_set_number(parameters, "beta1", probe->beta1);
    js_set_number(parameters, "beta2", probe->beta2);
    js_set_number(parameters, "epsilon", probe->epsilon);
    js_set_number(parameters, "weight_decay", probe->weight_decay);
    js_set_number(parameters, "clip", probe->clip);
    js_set_integer(parameters, "warmup", probe->warmup);
    js_set_string(parameters, "schedule",
                  probe->schedule == SCHEDULE_COSINE ? "cosine" : "constant");
    js_set_string(parameters, "loss", mmr_loss_name(probe->loss));
    js_set_number(parameters, "temperature", probe->temperature);
    js_set_string(parameters, "train", probe->scope == TRAIN_LAYER ? "layer" : "mixer");
    js_set_integer(parameters, "stop_when_stable", settings->stable_steps);
    if (settings->stable_steps) js_set_integer(parameters, "group", settings->group);
    struct mil_options mil = probe->mil;
    mil.seed = settings->seed;
    js_set(parameters, "init", mil_options_to_json(&mil, mamba));
    return parameters;
}

static enum status begin(struct mmr_work *work, enum store_run_state *state) {
    struct mamba_config mamba;
    enum status status = mil_mamba(&mamba, work->student->config, &work->settings->probe.mil);
    if (status) return status;
    struct json *parameters = describe(work, &mamba);
    char *layout = record_layout(work->student->config, NULL);
    if (!parameters || !layout) status = STATUS_FAILED;
    if (!status) {
        struct record_run record = {.kind = "mmr",
                                    .model = work->settings->model,
                                    .base = work->settings->hybrid ? work->student : NULL,
                                    .base_layout = work->settings->hybrid ? layout : "",
                                    .parameters = parameters,
                                    .seed = (int64_t)work->settings->seed,
                                    .device = work->backend->name,
                                    .data = work->settings->data,
                                    .set = work->set,
                                    .trunk = work->student,
                                    .options = &work->settings->checkpoint};
        status = record_begin(&work->run, state, work->store, &record);
    }
    js_free(parameters);
    free(layout);
    return status;
}

/* The teacher's logits of all batches are worth keeping where they leave half of the room free. */
static bool worth_keeping(uint64_t kept, uint64_t needed, uint64_t room) {
    return needed <= room && kept <= (room - needed) / 2;
}

/* Say what the run will take, and refuse it when that is not there. Chooses keep_logits. */
static enum status foresee(struct mmr_work *work, struct probe_settings *probe) {
    struct probe_memory memory;
    char text[6][32], total[32], there[32];
    bool in_file = work->settings->cache_directory != NULL;
    bool on_cpu = work->backend->acc == work->backend->act;
    probe_engine_memory(&memory, work->student, work->teacher, work->set, probe);
    uint64_t device = memory.weights + memory.activations + memory.optimizer + memory.logits;
    uint64_t host = in_file ? 0 : memory.cache;
    uint64_t room = work->backend->memory_free(work->backend);
    uint64_t needed = device + (on_cpu ? host : 0);
    probe->keep_logits = probe->loss != LOSS_CROSS_ENTROPY &&
                         work->settings->seeds * work->layers.count > 1 &&
                         worth_keeping(memory.kept_logits, needed, room);
    uint64_t kept = probe->keep_logits ? memory.kept_logits : 0;
    work->outcome->predicted_bytes = device + kept + host + (on_cpu ? work->base_bytes : 0);
    log_note("memory: weights %s, activations %s, optimizer %s, logits %s, kept teacher logits "
             "%s, shared inputs %s%s; in all %s",
             memory_format(text[0], memory.weights), memory_format(text[1], memory.activations),
             memory_format(text[2], memory.optimizer), memory_format(text[3], memory.logits),
             memory_format(text[4], kept), memory_format(text[5], memory.cache),
             in_file ? " (in the cache directory)" : "",
             memory_format(total, work->outcome->predicted_bytes));
    if (needed > room)
        return status_fail("the probes need %s and %s has %s free: use a smaller --batch%s",
                           memory_format(total, needed), work->backend->name,
                           memory_format(there, room), in_file ? "" : " or --cache-dir");
    return STATUS_OK;
}

enum status mmr_run(struct mmr_outcome *outcome, const struct mmr_settings *settings) {
    struct mmr_work work = {.settings = settings, .outcome = outcome, .base_bytes = memory_peak()};
    struct probe_settings probe = settings->probe;
    enum store_run_state state = STORE_RUN_NEW;
    *outcome = (struct mmr_outcome){0};
    enum status status = open_inputs(&work);
    if (status) goto done;
    outcome->layers = (int)work.layers.count;
    status = store_open(&work.store, settings->database, STORE_WRITE);
    if (!status) status = begin(&work, &state);
    outcome->run = work.run;
    if (status) goto done;
    if (state == STORE_RUN_FINISHED) {
        outcome->layers_before = outcome->layers;
        goto done;
    }
    status = foresee(&work, &probe);
    if (!status)
        status = probe_engine_open(&work.engine, work.student, work.teacher, work.set, &probe,
                                   settings->cache_directory);
    if (!status) status = settings->stable_steps ? mmr_run_rounds(&work) : mmr_run_layers(&work);
    status = record_finish(work.store, work.run, status);
done:
    probe_engine_close(work.engine);
    store_close(work.store);
    if (work.student != work.teacher) model_close(work.student);
    model_close(work.teacher);
    tokenset_free(work.set);
    list_free(&work.layers);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
