/* What a run of mmr takes, and how it is cut to fit. */
#include <stdio.h>
#include <unistd.h>

#include "analysis/mmr/mmr_work.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/device.h"
#include "model/stream.h"

/* The teacher's logits of all batches are worth keeping where they leave half of the room free. */
static bool worth_keeping(uint64_t kept, uint64_t needed, uint64_t room) {
    return needed <= room && kept <= (room - needed) / 2;
}

/* What the program had when the run began, rounded up so that the same settings give the same
 * budget. */
static uint64_t program_bytes(const struct mmr_work *work) {
    const uint64_t step = (uint64_t)16 << 20;
    return (work->base_bytes + step - 1) / step * step;
}

/* What libraries take beside this program's own arrays on the host: oneDNN packs panels and
 * threads have stacks, about 2 MB each; SQLite and HDF5 have caches. */
static uint64_t library_bytes(void) {
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    return ((uint64_t)8 << 20) + ((uint64_t)(threads > 0 ? threads : 1) << 21);
}

size_t mmr_state_part(const struct mmr_settings *settings) {
    return settings->state_part ? settings->state_part : MMR_STATE_PART;
}

/* A part of a training state on its way to the database, which holds a copy. */
static uint64_t saving_bytes(const struct mmr_work *work) {
    uint64_t part = mmr_state_part(work->settings);
    return 2 * (work->memory.state < part ? work->memory.state : part);
}

/* What is held at one time only: while a probe trains, or while the shared inputs begin or move on
 * between two probes. On the host memory goes back in between and the larger counts; a device's
 * allocator keeps it, and all of it counts. */
static void add_phases(struct memory_budget *budget, const struct mmr_work *work, uint64_t passing,
                       uint64_t chunks) {
    const struct probe_memory *memory = &work->memory;
    bool on_cpu = !work->backend->discrete;
    bool several =
        work->layers.count * (size_t)work->settings->seeds > (size_t)work->arrangement.together;
    uint64_t moving = memory->advancing, saving = saving_bytes(work);
    uint64_t beginning = memory->embedding > moving ? memory->embedding : moving;
    uint64_t probe = memory->optimizer + saving;
    bool training =
        memory->activations + memory->logits + (several && moving > probe ? moving : probe) >=
        beginning + passing;
    bool trains = !on_cpu || training;
    bool optimizes = !on_cpu || (training && !(several && moving > probe));
    bool moves = !on_cpu || !training || !optimizes;
    bool begins = !on_cpu || !training;
    memory_budget_add(budget, "teacher's layers in passing", begins ? passing : 0,
                      begins && passing ? chunks : 0);
    memory_budget_add(budget, "activations", trains ? memory->activations : 0, 0);
    memory_budget_add(budget, "logits", trains ? memory->logits : 0, 0);
    memory_budget_add(budget, "shared inputs in passing",
                      !moves   ? 0
                      : begins ? beginning
                               : moving,
                      0);
    memory_budget_add(budget, "optimizer", optimizes ? memory->optimizer : 0, 0);
    memory_budget_add(budget, "saved training state", optimizes && on_cpu ? saving : 0,
                      on_cpu ? 0 : saving);
}

/* What a run with these settings takes. */
static enum status budget_memory(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    const struct train_memory *ways = &work->arrangement.memory;
    const struct model *student = work->student, *teacher = work->teacher;
    struct backend *backend = work->backend;
    struct probe_memory *memory = &work->memory;
    struct memory_budget *budget = &work->outcome->memory;
    bool on_cpu = !backend->discrete;
    enum status status =
        probe_engine_memory(memory, student, teacher, work->set, probe, &work->arrangement);
    if (status) return status;
    uint64_t host = settings->cache_directory ? 0 : memory->cache;
    /* The teacher's own layers pass through once, before the first probe. */
    uint64_t passing = teacher == student ? 0 : model_layers_present_bytes(teacher, false);
    uint64_t chunks = on_cpu ? 0 : layer_stream_host_bytes();
    memory_budget_begin(budget, backend, settings->device_memory);
    char together[64] = "";
    if (work->arrangement.together > 1)
        snprintf(together, sizeof together, ", %d probes in lock step", work->arrangement.together);
    if (ways->stream_layers) mmr_traffic(work->traffic, sizeof work->traffic, work);
    snprintf(budget->work, sizeof budget->work,
             "%zu layers, %lld steps of %d rows, layers %s%s%s%s%s%s", work->layers.count,
             (long long)probe->schedule.steps, probe->data.batch,
             ways->stream_layers ? "streamed" : "kept",
             ways->recompute ? ", blocks computed again for their gradients" : "",
             ways->park ? " from inputs in host memory" : "", together,
             work->traffic[0] ? "; " : "", work->traffic);
    memory_budget_add(budget, "weights", memory->weights, chunks);
    add_phases(budget, work, passing, chunks);
    memory_budget_add(budget, "inputs of blocks", 0, memory->parked);
    memory_budget_add(budget, "shared inputs", on_cpu ? host : 0, on_cpu ? 0 : host);
    memory_budget_add(budget, "program and libraries",
                      on_cpu ? program_bytes(work) + library_bytes() : 0, 0);
    memory_budget_add(budget, "scratch and transfers", memory_budget_own(backend), 0);
    return STATUS_OK;
}

/* Groups of up to `together` probes: the first one's layers are the earliest in each place. */
static enum status group_probes(struct mmr_work *work, int together) {
    work->arrangement.together = together;
    for (int i = 0; i < together; i++)
        work->first_layers[i] = work->layers.values[i / work->settings->seeds];
    return budget_memory(work);
}

/* As many of the `probes` together as fit, but `most`, and then no more than the same number of
 * groups needs. */
static enum status grow_groups(struct mmr_work *work, int probes, int most) {
    int together = 1, beyond = (most < probes ? most : probes) + 1;
    while (beyond - together > 1) {
        int middle = together + (beyond - together) / 2;
        enum status status = group_probes(work, middle);
        if (status) return status;
        if (memory_budget_fits(&work->outcome->memory))
            together = middle;
        else
            beyond = middle;
    }
    int groups = (probes + together - 1) / together;
    return group_probes(work, (probes + groups - 1) / groups);
}

/* Layers do not fit: they are streamed for as many probes as fit. While so few tokens pass through
 * a layer for each time that it is loaded that the bus sets the pace and not the arithmetic,
 * parking the inputs of blocks in host memory makes room for more probes. */
static enum status stream_layers(struct mmr_work *work, int probes) {
    struct train_memory *ways = &work->arrangement.memory;
    const struct memory_budget *budget = &work->outcome->memory;
    bool asked = work->settings->together > 0;
    int enough = (int)(device_tokens_a_load(&device_h100) / (work->memory.tokens + 1)) + 1;
    ways->stream_layers = true;
    enum status status = group_probes(work, work->arrangement.together);
    if (!status && !asked) status = grow_groups(work, probes, probes);
    if (status) return status;
    bool fit = memory_budget_fits(budget);
    int before = work->arrangement.together;
    if (!work->backend->discrete || (fit && (asked || before >= enough))) return STATUS_OK;
    ways->park = true;
    status = group_probes(work, before);
    if (!status && !asked) status = grow_groups(work, probes, enough);
    if (status || !fit || work->arrangement.together > before) return status;
    ways->park = false;
    return group_probes(work, before);
}

/* The states of one round are of use to nobody after it. */
struct probe_cache mmr_cache_of(const struct mmr_settings *settings) {
    return (struct probe_cache){.directory = settings->cache_directory,
                                .kept = settings->stable_steps == 0};
}

/* What the cache takes on its disk. */
static enum status budget_cache(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    struct memory_budget *budget = &work->outcome->memory;
    struct probe_cache cache = mmr_cache_of(settings);
    int64_t steps = probe->schedule.steps;
    if (!cache.directory) return STATUS_OK;
    if (!cache.kept && steps > MMR_ROUND_STEPS) steps = MMR_ROUND_STEPS;
    budget->cache_directory = cache.directory;
    if (!file_free_bytes(&budget->cache_free, cache.directory)) budget->cache_free = UINT64_MAX;
    return probe_cache_size(&budget->cache, &budget->cache_there, work->student, work->teacher,
                            work->set, probe, &cache, steps);
}

/* The fastest way that fits: with everything kept, with activations computed again, with layers
 * loaded for each pass as well, with the inputs of blocks in host memory. All give the same bits. A
 * refusal when none fits. */
enum status mmr_budget(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    struct train_memory *ways = &work->arrangement.memory;
    struct probe_memory *memory = &work->memory;
    struct memory_budget *budget = &work->outcome->memory;
    bool in_file = settings->cache_directory != NULL;
    int probes = (int)work->layers.count * settings->seeds;
    work->first_layers = memory_calloc((size_t)probes, sizeof *work->first_layers);
    if (!work->first_layers) return STATUS_FAILED;
    work->arrangement.first_layers = work->first_layers;
    ways->recompute = settings->recompute;
    int asked = settings->together < probes ? settings->together : probes;
    enum status status = group_probes(work, asked ? asked : 1);
    if (!status && budget->device > budget->room) {
        ways->recompute = true;
        status = budget_memory(work);
    }
    if (!status && budget->device > budget->room && probe->parts.count == PROBE_MIXER + 1)
        status = stream_layers(work, probes);
    if (status) return status;
    work->outcome->together = work->arrangement.together;
    ways->keep_logits = probe->loss.kind != LOSS_CROSS_ENTROPY && probes > 1 &&
                        worth_keeping(memory->kept_logits, budget->device, budget->room);
    work->kept_logits = ways->keep_logits ? memory->kept_logits : 0;
    memory_budget_add(budget, "kept teacher logits", work->kept_logits, 0);
    work->outcome->recomputed = ways->recompute;
    work->outcome->predicted_bytes = budget->device;
    status = budget_cache(work);
    if (status) return status;
    return memory_budget_check(budget, work->backend, "the probe", settings->device_memory,
                               in_file ? "use a smaller --batch"
                                       : "use a smaller --batch or --cache-dir");
}
