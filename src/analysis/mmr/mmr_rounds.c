/* All layers a few steps at a time, until it is clear which are the best. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mmr/mmr_work.h"
#include "base/memory.h"

struct candidate {
    int layer;
    double loss;
};

static int by_loss(const void *a, const void *b) {
    const struct candidate *left = a, *right = b;
    if (left->loss != right->loss) return left->loss < right->loss ? -1 : 1;
    return left->layer - right->layer;
}

/* Mark the `group` layers whose mean loss over the round [from, to) is lowest. */
static enum status choose_best(struct mmr_work *work, int64_t from, int64_t to, bool *best) {
    struct candidate *candidates = memory_calloc(work->layers.count, sizeof *candidates);
    enum status status = candidates ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < work->layers.count; i++) {
        struct store_step_list list;
        double sum = 0;
        int64_t count = 0;
        candidates[i].layer = work->layers.values[i];
        status = store_get_probe_steps(&list, work->store, work->run, candidates[i].layer);
        if (status) break;
        for (size_t s = 0; s < list.count; s++)
            if (list.steps[s].step >= from && list.steps[s].step < to) {
                sum += list.steps[s].loss;
                count++;
            }
        candidates[i].loss = count ? sum / (double)count : HUGE_VAL;
        store_step_list_free(&list);
    }
    memset(best, 0, (size_t)work->student->config->n_layers * sizeof *best);
    if (!status) qsort(candidates, work->layers.count, sizeof *candidates, by_loss);
    for (size_t i = 0; !status && i < work->layers.count && (int)i < work->settings->group; i++)
        best[candidates[i].layer] = true;
    free(candidates);
    return status;
}

enum status mmr_run_rounds(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    size_t layers = (size_t)work->student->config->n_layers;
    bool *best = memory_calloc(layers, sizeof *best), *before = memory_calloc(layers, sizeof *best);
    enum status status = best && before ? STATUS_OK : STATUS_FAILED;
    int64_t steps = settings->probe.schedule.steps, done = 0, stable = 0;
    mmr_begin_progress(work);
    while (!status && done < steps && stable < settings->stable_steps) {
        int64_t to = done + MMR_ROUND_STEPS < steps ? done + MMR_ROUND_STEPS : steps;
        status = probe_engine_load(work->engine, done, to - done);
        if (!status) status = mmr_run_probes(work, NULL, done, to, false);
        if (!status) status = choose_best(work, done, to, best);
        if (status) break;
        bool same = done > 0 && memcmp(best, before, layers * sizeof *best) == 0;
        stable = same ? stable + (to - done) : 0;
        memcpy(before, best, layers * sizeof *best);
        done = to;
        work->done = (double)done * (double)work->layers.count * settings->seeds;
    }
    if (!status && done < steps) {
        work->outcome->steps_saved = (steps - done) * (int64_t)work->layers.count * settings->seeds;
        log_note("the %d best layers stayed the same for %lld steps: stopping at step %lld of %lld",
                 settings->group, (long long)stable, (long long)done, (long long)steps);
    }
    if (!status) status = probe_engine_load(work->engine, 0, 1);
    if (!status) status = mmr_run_probes(work, NULL, done, done, true);
    progress_end(&work->progress);
    free(best);
    free(before);
    return status;
}
