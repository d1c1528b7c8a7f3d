/* Training and measuring groups of probes, with everything in the database. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mmr/mmr_heldout.h"
#include "analysis/mmr/mmr_work.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "train/loss.h"
#include "train/state.h"

/* A probe of a group, and how far it is. */
struct member {
    struct probe *probe;
    int layer;
    int64_t seed, step;             /* the next step */
    int64_t diverged_at;            /* -1: it has not */
    double pending[MMR_SAVE_STEPS]; /* the last losses, not in the database yet */
    int64_t pending_count;
};

struct group {
    struct probe_group *probes;
    struct member *members; /* [count] */
    bool *takes_part;       /* [count]: in the present step or measurement */
    double *losses;         /* [count] */
    int count;
};

/* Pending losses and, with `with_state`, the training state behind them in one transaction. */
static enum status save(struct mmr_work *work, struct member *member, bool with_state) {
    int64_t first = member->step - member->pending_count;
    enum status status = store_begin(work->store);
    for (int64_t i = 0; !status && i < member->pending_count; i++)
        status = store_put_probe_step(work->store, work->run, member->layer, member->seed,
                                      first + i, member->pending[i]);
    if (!status && with_state)
        status = saved_state_put(&work->saved, probe_parameters(member->probe), member->layer,
                                 member->seed, member->step);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    member->pending_count = 0;
    work->saved.saved |= with_state;
    return status;
}

static void warn_diverged(const struct member *member) {
    log_warn("layer %d, seed %lld: the loss is not finite at step %lld; the probe ends",
             member->layer, (long long)member->seed, (long long)member->diverged_at);
}

/* Who takes step `step`: the probes that stand at it. `*count`: how many. */
static void choose_standing_at(struct group *group, int64_t step, int *count) {
    *count = 0;
    for (int i = 0; i < group->count; i++) {
        const struct member *member = &group->members[i];
        group->takes_part[i] = member->diverged_at < 0 && member->step == step;
        *count += group->takes_part[i];
    }
}

/* Enter the losses of `step`. A probe whose loss is not finite ends. */
static void note_losses(struct mmr_work *work, struct group *group, int64_t step) {
    for (int i = 0; i < group->count; i++) {
        struct member *member = &group->members[i];
        if (!group->takes_part[i]) continue;
        if (isfinite(group->losses[i])) {
            member->pending[member->pending_count++] = group->losses[i];
            member->step++;
            progress_within(1, "layer %d, %s %.4g", member->layer,
                            loss_name(work->settings->probe.loss.kind), group->losses[i]);
            progress_update(&work->progress, ++work->done);
        } else {
            member->diverged_at = step;
            warn_diverged(member);
        }
    }
}

/* Save the probes that took step `step`, where it is time to. */
static enum status save_group(struct mmr_work *work, struct group *group, int64_t step, int64_t to,
                              bool stop) {
    /* A large mixer's state takes seconds to write: never more than about 5 % of the time. */
    double start = log_seconds();
    bool due = start - work->saved_at >= 20 * work->save_seconds, saved = false;
    /* Rounds go on from the state of the round before. */
    bool last = step + 1 == to, needed = stop || (work->settings->stable_steps && last);
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < group->count; i++) {
        struct member *member = &group->members[i];
        bool ended = member->diverged_at >= 0, with_state = needed || due || ended;
        if (!group->takes_part[i] || !member->pending_count) continue;
        if (!stop && !last && !ended && member->pending_count < MMR_SAVE_STEPS) continue;
        with_state = with_state &&
                     saved_state_fits(&work->saved, state_bytes(probe_parameters(member->probe)));
        status = save(work, member, with_state);
        saved |= with_state;
    }
    if (!saved) return status;
    work->saved_at = log_seconds();
    work->save_seconds = work->saved_at - start;
    return status;
}

/* Up to step `to` of all probes of a group, in lock step from the step of the one that is furthest
 * behind: after an interruption it catches up first, and a probe that is ahead joins it at its own
 * step. */
static enum status train(struct mmr_work *work, struct group *group, int64_t from, int64_t to) {
    enum status status = STATUS_OK;
    for (int64_t step = from; !status && step < to; step++) {
        int count;
        choose_standing_at(group, step, &count);
        if (!count) continue;
        double start = log_seconds();
        uint64_t loaded = work->student->loaded_bytes;
        progress_unit(count);
        status = probe_group_step(group->probes, group->takes_part, step, group->losses);
        if (status == STATUS_INTERRUPTED) { /* in the step, which has changed nothing yet */
            enum status saved = save_group(work, group, step, to, true);
            return saved ? saved : interrupt_check();
        }
        if (status) break;
        work->outcome->seconds += log_seconds() - start;
        work->outcome->loaded_bytes += work->student->loaded_bytes - loaded;
        work->outcome->steps += count;
        note_losses(work, group, step);
        int64_t limit = work->settings->limit_steps;
        bool stop = interrupt_requested() || (limit && work->outcome->steps >= limit);
        status = save_group(work, group, step, to, stop);
        if (!status && stop) status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    return status;
}

static enum status open_group(struct group *group, struct mmr_work *work,
                              const struct probe_choice *choices, int count) {
    size_t places = (size_t)count;
    *group = (struct group){.count = count};
    group->members = memory_calloc(places, sizeof *group->members);
    group->takes_part = memory_calloc(places, sizeof *group->takes_part);
    group->losses = memory_calloc(places, sizeof *group->losses);
    bool good = group->members && group->takes_part && group->losses;
    enum status status = good ? STATUS_OK : STATUS_FAILED;
    if (!status) status = probe_group_begin(&group->probes, work->engine, choices, count);
    for (int i = 0; !status && i < count; i++)
        group->members[i] = (struct member){.probe = probe_group_member(group->probes, i),
                                            .layer = choices[i].layer,
                                            .seed = (int64_t)choices[i].seed,
                                            .diverged_at = -1};
    return status;
}

static void close_group(struct group *group) {
    probe_group_end(group->probes);
    free(group->members);
    free(group->takes_part);
    free(group->losses);
}

/* Where each probe stands. One that stopped before `from` has diverged. */
static enum status resume(struct mmr_work *work, struct group *group, int64_t from) {
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < group->count; i++) {
        struct member *member = &group->members[i];
        status = saved_state_restore(&work->saved, probe_parameters(member->probe), member->layer,
                                     member->seed, &member->step);
        if (status) break;
        if (member->step < from)
            member->diverged_at = member->step;
        else
            work->done += (double)(member->step - from);
    }
    return status;
}

/* Held-out metrics of the probes that have not diverged. */
struct measured {
    double *sums;    /* [count][rows][METRIC_COUNT] */
    int64_t *counts; /* [rows][METRIC_COUNT] */
    size_t values;   /* of a probe */
};

static enum status measure(struct measured *out, struct mmr_work *work, struct group *group) {
    bool any = false;
    *out = (struct measured){.values = (size_t)work->settings->probe.data.heldout * METRIC_COUNT};
    for (int i = 0; i < group->count; i++)
        any |= group->takes_part[i] = group->members[i].diverged_at < 0;
    out->sums = memory_calloc((size_t)group->count * out->values, sizeof *out->sums);
    out->counts = memory_calloc(out->values, sizeof *out->counts);
    if (!out->sums || !out->counts) return STATUS_FAILED;
    if (!any) return STATUS_OK;
    return probe_group_evaluate(group->probes, group->takes_part, out->sums, out->counts);
}

static void measured_free(struct measured *measured) {
    free(measured->sums);
    free(measured->counts);
}

static enum status measure_before(struct mmr_work *work, struct group *group,
                                  struct heldout *heldouts) {
    struct measured measured;
    enum status status = measure(&measured, work, group);
    for (int i = 0; !status && i < group->count; i++) {
        int layer = group->members[i].layer;
        if (!heldouts[layer].before) status = heldout_create(&heldouts[layer], work);
        if (!status)
            status =
                heldout_add_before(&heldouts[layer], measured.sums + (size_t)i * measured.values,
                                   measured.counts, layer);
    }
    measured_free(&measured);
    return status;
}

static enum status measure_after(struct mmr_work *work, struct group *group, int64_t to,
                                 struct heldout *heldouts) {
    struct measured measured;
    enum status status = measure(&measured, work, group);
    for (int i = 0; !status && i < group->count; i++) {
        struct member *member = &group->members[i];
        struct heldout *heldout = &heldouts[member->layer];
        const double *sums = measured.sums + (size_t)i * measured.values;
        if (member->diverged_at < 0 && !heldout_add_after(heldout, sums, measured.counts)) {
            member->diverged_at = to; /* the last update did it: no further loss shows it */
            warn_diverged(member);
        }
        if (member->diverged_at >= 0) heldout->diverged_at = member->diverged_at;
    }
    measured_free(&measured);
    return status;
}

/* One group, as mmr_run_probes. `heldouts` [L] are filled, or NULL: nothing is measured. */
static enum status run_group(struct mmr_work *work, const struct probe_choice *choices, int count,
                             int64_t from, int64_t to, struct heldout *heldouts) {
    struct group group;
    enum status status = open_group(&group, work, choices, count);
    if (!status && heldouts) status = measure_before(work, &group, heldouts);
    if (!status) status = resume(work, &group, from);
    if (!status) status = train(work, &group, from, to);
    if (!status && heldouts) status = measure_after(work, &group, to, heldouts);
    for (int i = 0; !status && heldouts && i < group.count; i++)
        if (group.members[i].diverged_at < 0 &&
            group.members[i].seed == (int64_t)work->settings->seed)
            status = mmr_keep(work, group.members[i].probe, group.members[i].layer);
    close_group(&group);
    return status;
}

static enum status finish_layer(struct mmr_work *work, int layer, const struct heldout *heldout) {
    enum status status = heldout_finish_layer(work, layer, heldout);
    if (!status && heldout->diverged_at >= 0) work->outcome->diverged++;
    return status;
}

/* Every probe of the layers that are not `done`: layers ascending, the seeds of one together. */
static enum status list_probes(struct probe_choice **out, size_t *count,
                               const struct mmr_work *work, const bool *done) {
    size_t seeds = (size_t)work->settings->seeds;
    *count = 0;
    *out = memory_calloc(work->layers.count * seeds, sizeof **out);
    if (!*out) return STATUS_FAILED;
    for (size_t i = 0; i < work->layers.count; i++)
        for (size_t s = 0; s < seeds && !(done && done[work->layers.values[i]]); s++)
            (*out)[(*count)++] = (struct probe_choice){.layer = work->layers.values[i],
                                                       .seed = work->settings->seed + s};
    return STATUS_OK;
}

enum status mmr_run_probes(struct mmr_work *work, const bool *done, int64_t from, int64_t to,
                           bool measured) {
    struct probe_choice *choices;
    size_t count, layers = (size_t)work->student->config->n_layers;
    enum status status = list_probes(&choices, &count, work, done);
    if (status) return status;
    struct heldout *heldouts = measured ? memory_calloc(layers, sizeof *heldouts) : NULL;
    if (measured && !heldouts) status = STATUS_FAILED;
    for (size_t first = 0, end; !status && first < count; first = end) {
        end = first + (size_t)work->arrangement.together < count
                  ? first + (size_t)work->arrangement.together
                  : count;
        status = run_group(work, choices + first, (int)(end - first), from, to, heldouts);
        for (size_t i = first; !status && measured && i < end; i++) {
            int layer = choices[i].layer;
            if (i + 1 == count || choices[i + 1].layer != layer)
                status = finish_layer(work, layer, &heldouts[layer]);
        }
    }
    for (size_t l = 0; heldouts && l < layers; l++) heldout_free(&heldouts[l]);
    free(heldouts);
    free(choices);
    return status;
}

/* Layers whose scores are complete. */
static enum status find_done(struct mmr_work *work, bool *done) {
    struct store_score_list list;
    enum status status = store_get_scores(&list, work->store, work->run);
    for (size_t i = 0; !status && i < list.count; i++)
        if (list.scores[i].layer >= 0 && list.scores[i].layer < work->student->config->n_layers &&
            strcmp(list.scores[i].metric, "heldout_rkl_before") == 0)
            done[list.scores[i].layer] = true;
    if (!status) store_score_list_free(&list);
    return status;
}

void mmr_begin_progress(struct mmr_work *work) {
    double probes = (double)work->layers.count * work->settings->seeds;
    progress_begin(&work->progress, "mmr", "steps",
                   probes * (double)work->settings->probe.schedule.steps, work->done);
}

enum status mmr_run_layers(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    int64_t steps = settings->probe.schedule.steps;
    bool *done = memory_calloc((size_t)work->student->config->n_layers, sizeof *done);
    if (!done) return STATUS_FAILED;
    enum status status = find_done(work, done);
    for (size_t i = 0; !status && i < work->layers.count; i++)
        work->outcome->layers_before += done[work->layers.values[i]];
    if (!status && work->outcome->layers_before)
        log_note("run %lld continues: %d of %d layers are there", (long long)work->run,
                 work->outcome->layers_before, work->outcome->layers);
    work->done = (double)work->outcome->layers_before * settings->seeds * (double)steps;
    mmr_begin_progress(work);
    if (!status) status = probe_engine_load(work->engine, 0, steps);
    progress_restart(&work->progress);
    if (!status) status = mmr_run_probes(work, done, 0, steps, true);
    progress_end(&work->progress);
    free(done);
    return status;
}
