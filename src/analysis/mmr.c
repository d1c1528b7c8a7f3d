#include "analysis/mmr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analysis/layers.h"
#include "analysis/mmr_work.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/stream.h"

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
        status =
            model_describe(&work->teacher, work->backend, settings->model, &settings->checkpoint);
    if (!status) status = record_check_vocabulary(work->teacher, work->set, settings->data);
    work->student = work->teacher;
    if (!status && settings->hybrid)
        status = model_describe(&work->student, work->backend, settings->hybrid, NULL);
    else if (!status && settings->probe.scope == TRAIN_ALL) /* the teacher's head must not train */
        status =
            model_describe(&work->student, work->backend, settings->model, &settings->checkpoint);
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
    static const char *const scopes[] = {
        [TRAIN_MIXER] = "mixer", [TRAIN_LAYER] = "layer", [TRAIN_ALL] = "all"};
    js_set_string(parameters, "train", scopes[probe->scope]);
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

/* What libraries take beside this program's own arrays on the host: OpenBLAS packs panels and
 * threads have stacks, about 2 MB each; SQLite and HDF5 have caches. */
static uint64_t library_bytes(void) {
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    return ((uint64_t)8 << 20) + ((uint64_t)(threads > 0 ? threads : 1) << 21);
}

/* A part of a training state on its way to the database, which holds a copy. */
static uint64_t saving_bytes(const struct mmr_work *work) {
    uint64_t part = mmr_state_part(work->settings);
    return 2 * (work->memory.state < part ? work->memory.state : part);
}

/* The most memory that the run has at one time, on the host when the backend computes there: while
 * the shared inputs begin, while a probe trains, or while they move on between two probes. */
static uint64_t predict(const struct mmr_work *work) {
    const struct probe_memory *memory = &work->memory;
    bool on_cpu = !work->backend->discrete;
    uint64_t always = memory->weights + work->kept_logits;
    if (!work->settings->cache_directory) always += memory->cache;
    if (on_cpu) always += work->base_bytes + library_bytes();
    uint64_t probe = memory->optimizer + (on_cpu ? saving_bytes(work) : 0);
    if (work->layers.count * (size_t)work->settings->seeds > (size_t)work->together &&
        probe < memory->advancing)
        probe = memory->advancing;
    uint64_t training = memory->activations + memory->logits + probe;
    uint64_t beginning =
        memory->embedding > memory->advancing ? memory->embedding : memory->advancing;
    return always + (training > beginning ? training : beginning);
}

/* What a run with these settings takes. */
static void plan_memory(struct mmr_work *work, const struct probe_settings *probe) {
    const struct mmr_settings *settings = work->settings;
    const struct model *student = work->student, *teacher = work->teacher;
    struct backend *backend = work->backend;
    struct probe_memory *memory = &work->memory;
    struct memory_plan *plan = &work->outcome->memory;
    bool on_cpu = !backend->discrete;
    probe_engine_memory(memory, student, teacher, work->set, probe);
    uint64_t host = settings->cache_directory ? 0 : memory->cache;
    /* The teacher's own layers pass through once, before the first probe. */
    uint64_t passing = teacher == student ? 0 : model_layers_present_bytes(teacher, false);
    uint64_t chunks = on_cpu ? 0 : layer_stream_host_bytes();
    *plan = (struct memory_plan){.room = memory_plan_room(backend, settings->device_memory)};
    snprintf(plan->where, sizeof plan->where, "%s", backend->name);
    char together[64] = "";
    if (probe->together > 1)
        snprintf(together, sizeof together, ", %d probes in lock step", probe->together);
    if (probe->stream_layers) mmr_traffic(work->traffic, sizeof work->traffic, work);
    snprintf(plan->work, sizeof plan->work, "%zu layers, %lld steps of %d rows, layers %s%s%s%s%s",
             work->layers.count, (long long)probe->steps, probe->batch,
             probe->stream_layers ? "streamed" : "kept",
             probe->recompute ? ", blocks computed again for their gradients" : "", together,
             work->traffic[0] ? "; " : "", work->traffic);
    memory_plan_add(plan, "weights", memory->weights, chunks);
    memory_plan_add(plan, "teacher's layers in passing", passing, passing ? chunks : 0);
    memory_plan_add(plan, "activations", memory->activations, 0);
    memory_plan_add(plan, "shared inputs in passing",
                    memory->embedding > memory->advancing ? memory->embedding : memory->advancing,
                    0);
    memory_plan_add(plan, "optimizer", memory->optimizer, 0);
    memory_plan_add(plan, "saved training state", on_cpu ? saving_bytes(work) : 0,
                    on_cpu ? 0 : saving_bytes(work));
    memory_plan_add(plan, "logits", memory->logits, 0);
    memory_plan_add(plan, "shared inputs", on_cpu ? host : 0, on_cpu ? 0 : host);
    memory_plan_add(plan, "scratch and transfers", memory_plan_own(backend), 0);
}

/* Groups of up to `together` probes: the first one's layers are the earliest in each place. */
static void group_probes(struct mmr_work *work, struct probe_settings *probe, int together) {
    work->together = probe->together = together;
    for (int i = 0; i < together; i++)
        work->first_layers[i] = work->layers.values[i / work->settings->seeds];
    probe->first_layers = work->first_layers;
    plan_memory(work, probe);
}

/* As many together as fit, and then no more than the same number of groups needs. */
static void grow_groups(struct mmr_work *work, struct probe_settings *probe, int probes) {
    const struct memory_plan *plan = &work->outcome->memory;
    int fits = 1, beyond = probes + 1;
    while (beyond - fits > 1) {
        int middle = fits + (beyond - fits) / 2;
        group_probes(work, probe, middle);
        if (plan->device <= plan->room)
            fits = middle;
        else
            beyond = middle;
    }
    int groups = (probes + fits - 1) / fits;
    group_probes(work, probe, (probes + groups - 1) / groups);
}

/* The states of one round are of use to nobody after it. */
static struct probe_cache cache_of(const struct mmr_settings *settings) {
    return (struct probe_cache){.directory = settings->cache_directory,
                                .kept = settings->stable_steps == 0};
}

/* What the cache takes on its disk. */
static enum status plan_cache(struct mmr_work *work, const struct probe_settings *probe) {
    const struct mmr_settings *settings = work->settings;
    struct memory_plan *plan = &work->outcome->memory;
    struct probe_cache cache = cache_of(settings);
    int64_t steps = probe->steps;
    if (!cache.directory) return STATUS_OK;
    if (!cache.kept && steps > MMR_ROUND_STEPS) steps = MMR_ROUND_STEPS;
    plan->cache_directory = cache.directory;
    if (!file_free_bytes(&plan->cache_free, cache.directory)) plan->cache_free = UINT64_MAX;
    return probe_cache_size(&plan->cache, &plan->cache_there, work->student, work->teacher,
                            work->set, probe, &cache, steps);
}

/* The fastest way that fits: with everything kept, with activations computed again, with layers
 * loaded for each pass as well, and then for as many probes at once as fit. All give the same bits.
 * A refusal when none fits. */
static enum status foresee(struct mmr_work *work, struct probe_settings *probe) {
    const struct mmr_settings *settings = work->settings;
    struct probe_memory *memory = &work->memory;
    struct memory_plan *plan = &work->outcome->memory;
    bool in_file = settings->cache_directory != NULL;
    int probes = (int)work->layers.count * settings->seeds;
    work->first_layers = memory_calloc((size_t)probes, sizeof *work->first_layers);
    if (!work->first_layers) return STATUS_FAILED;
    probe->recompute = settings->recompute;
    int asked = settings->together < probes ? settings->together : probes;
    group_probes(work, probe, asked ? asked : 1);
    if (plan->device > plan->room) {
        probe->recompute = true;
        plan_memory(work, probe);
    }
    if (plan->device > plan->room && probe->scope == TRAIN_MIXER) {
        probe->stream_layers = true;
        plan_memory(work, probe);
        if (!asked && plan->device <= plan->room) grow_groups(work, probe, probes);
    }
    work->outcome->together = work->together;
    probe->keep_logits = probe->loss != LOSS_CROSS_ENTROPY && probes > 1 &&
                         worth_keeping(memory->kept_logits, plan->device, plan->room);
    work->kept_logits = probe->keep_logits ? memory->kept_logits : 0;
    memory_plan_add(plan, "kept teacher logits", work->kept_logits, 0);
    work->outcome->recomputed = probe->recompute;
    work->outcome->predicted_bytes = predict(work);
    enum status status = plan_cache(work, probe);
    if (status) return status;
    return memory_plan_check(plan, work->backend, "the probe", settings->device_memory,
                             in_file ? "use a smaller --batch"
                                     : "use a smaller --batch or --cache-dir");
}

static void tell(const struct mmr_work *work) {
    const struct probe_memory *memory = &work->memory;
    const struct memory_plan *plan = &work->outcome->memory;
    char text[6][32], total[32];
    log_note("memory: weights %s, activations %s, optimizer %s, logits %s, kept teacher logits "
             "%s, shared inputs %s%s; in all %s",
             memory_format(text[0], memory->weights), memory_format(text[1], memory->activations),
             memory_format(text[2], memory->optimizer), memory_format(text[3], memory->logits),
             memory_format(text[4], work->kept_logits), memory_format(text[5], memory->cache),
             work->settings->cache_directory ? " (in the cache directory)" : "",
             memory_format(total, work->outcome->predicted_bytes));
    if (plan->cache_directory)
        log_note("cache: %s in \"%s\", of which %s are there; %s free",
                 memory_format(text[0], plan->cache), plan->cache_directory,
                 memory_format(text[1], plan->cache_there),
                 memory_format(text[2], plan->cache_free));
    if (work->outcome->recomputed)
        log_note("blocks are computed again in the backward pass%s",
                 work->settings->recompute ? "" : ": keeping their activations does not fit");
    if (work->together > 1) log_note("%d probes advance in lock step", work->together);
    if (work->traffic[0]) log_note("layers are streamed: %s", work->traffic);
}

enum status mmr_run(struct mmr_outcome *outcome, const struct mmr_settings *settings) {
    struct mmr_work work = {.settings = settings, .outcome = outcome, .base_bytes = memory_peak()};
    struct probe_settings probe = settings->probe;
    enum store_run_state state = STORE_RUN_NEW;
    *outcome = (struct mmr_outcome){0};
    enum status status = open_inputs(&work);
    if (!status) status = foresee(&work, &probe);
    if (status || settings->dry_run) goto done;
    status = model_load(work.teacher);
    if (!status && work.student != work.teacher) status = model_load(work.student);
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
    tell(&work);
    struct probe_cache cache = cache_of(settings);
    status = probe_engine_open(&work.engine, work.student, work.teacher, work.set, &probe, &cache);
    if (!status) status = settings->stable_steps ? mmr_run_rounds(&work) : mmr_run_layers(&work);
    if (!status) probe_engine_finish(work.engine);
    status = record_finish(work.store, work.run, status);
    outcome->device_peak = work.backend->memory_peak(work.backend);
done:
    probe_engine_close(work.engine);
    store_close(work.store);
    if (work.student != work.teacher) model_close(work.student);
    model_close(work.teacher);
    tokenset_free(work.set);
    list_free(&work.layers);
    free(work.first_layers);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
