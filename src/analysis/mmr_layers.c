/* Training and measuring the probes of one layer after another, with everything in the database. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mmr_work.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/text.h"
#include "scores/statistics.h"

const char *mmr_loss_name(enum loss_kind loss) {
    return loss == LOSS_REVERSE_KL ? "rkl" : loss == LOSS_FORWARD_KL ? "fkl" : "ce";
}

/* Losses of steps [first, first + count) that are not in the database yet. */
struct pending {
    int64_t first, count;
    double losses[MMR_SAVE_STEPS];
};

/* Losses and, with `with_state`, the training state of so many steps in one transaction. */
static enum status save(struct mmr_work *work, const struct probe *probe, int layer, int64_t seed,
                        struct pending *pending, bool with_state) {
    double start = log_seconds();
    with_state = with_state && mmr_state_fits(work, probe);
    enum status status = store_begin(work->store);
    for (int64_t i = 0; !status && i < pending->count; i++)
        status = store_put_probe_step(work->store, work->run, layer, seed, pending->first + i,
                                      pending->losses[i]);
    if (!status && with_state)
        status = mmr_state_put(work, probe, layer, seed, pending->first + pending->count);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    pending->first += pending->count;
    pending->count = 0;
    if (with_state) {
        work->state_saved = true;
        work->saved_at = log_seconds();
        work->save_seconds = work->saved_at - start;
    }
    return status;
}

/* A large mixer's state takes seconds to write: never more than about 5 % of the time. */
static bool is_due(const struct mmr_work *work) {
    return log_seconds() - work->saved_at >= 20 * work->save_seconds;
}

static void warn_diverged(int layer, int64_t seed, int64_t step) {
    log_warn("layer %d, seed %lld: the loss is not finite at step %lld; the probe ends", layer,
             (long long)seed, (long long)step);
}

/* Steps [from, to) of a probe. `*diverged` is the step whose loss was not finite, or stays. */
static enum status train(struct mmr_work *work, struct probe *probe, int layer, int64_t seed,
                         int64_t from, int64_t to, int64_t *diverged) {
    struct pending pending = {.first = from};
    enum status status = STATUS_OK;
    for (int64_t step = from; !status && step < to; step++) {
        double loss, start = log_seconds();
        status = probe_step(probe, step, &loss);
        if (status) break;
        work->outcome->seconds += log_seconds() - start;
        work->outcome->steps++;
        if (!isfinite(loss)) {
            *diverged = step;
            warn_diverged(layer, seed, step);
            break;
        }
        pending.losses[pending.count++] = loss;
        progress_update(&work->progress, ++work->done);
        int64_t limit = work->settings->limit_steps;
        bool stop = interrupt_requested() || (limit && work->outcome->steps >= limit);
        /* Rounds go on from the state of the round before. */
        bool needed = stop || (work->settings->stable_steps && step + 1 == to);
        if (pending.count == MMR_SAVE_STEPS || step + 1 == to || stop)
            status = save(work, probe, layer, seed, &pending, needed || is_due(work));
        if (!status && stop) status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    if (!status && pending.count) status = save(work, probe, layer, seed, &pending, true);
    return status;
}

/* Sums of held-out metrics, seeds added up; counts are of one seed. */
struct heldout {
    double *before, *after; /* [rows][METRIC_COUNT] */
    int64_t *counts;        /* likewise */
    double *one;            /* scratch */
    double *after_rkl;      /* [seeds]: mean over positions, for the spread */
    int64_t rows;
    int seeds;           /* that came to their end */
    int64_t diverged_at; /* -1: none */
};

static enum status heldout_create(struct heldout *out, const struct mmr_work *work) {
    size_t values = (size_t)work->settings->probe.heldout * METRIC_COUNT;
    *out = (struct heldout){.rows = work->settings->probe.heldout, .diverged_at = -1};
    out->before = memory_calloc(values, sizeof *out->before);
    out->after = memory_calloc(values, sizeof *out->after);
    out->one = memory_calloc(values, sizeof *out->one);
    out->counts = memory_calloc(values, sizeof *out->counts);
    out->after_rkl = memory_calloc((size_t)work->settings->seeds, sizeof *out->after_rkl);
    bool good = out->before && out->after && out->one && out->counts && out->after_rkl;
    return good ? STATUS_OK : STATUS_FAILED;
}

static void heldout_free(struct heldout *heldout) {
    free(heldout->before);
    free(heldout->after);
    free(heldout->one);
    free(heldout->counts);
    free(heldout->after_rkl);
}

/* `*finite`: whether every value is; only then do they enter `into`. */
static enum status measure(struct heldout *heldout, struct probe *probe, double *into,
                           bool *finite) {
    int64_t values = heldout->rows * METRIC_COUNT;
    enum status status = probe_evaluate(probe, heldout->one, heldout->counts);
    *finite = true;
    for (int64_t i = 0; !status && i < values; i++) *finite &= isfinite(heldout->one[i]) != 0;
    for (int64_t i = 0; !status && *finite && i < values; i++) into[i] += heldout->one[i];
    return status;
}

static enum status measure_before(struct heldout *heldout, struct probe *probe, int layer) {
    bool finite;
    enum status status = measure(heldout, probe, heldout->before, &finite);
    if (!status && !finite)
        status =
            status_fail("layer %d: a held-out metric is not finite before any training", layer);
    return status;
}

/* After the last step: the seed's own held-out loss is remembered for the spread. */
static enum status measure_after(struct heldout *heldout, struct probe *probe, bool *finite) {
    enum status status = measure(heldout, probe, heldout->after, finite);
    if (status || !*finite) return status;
    double sum = 0;
    int64_t count = 0;
    for (int64_t row = 0; row < heldout->rows; row++) {
        sum += heldout->one[row * METRIC_COUNT + METRIC_RKL];
        count += heldout->counts[row * METRIC_COUNT + METRIC_RKL];
    }
    heldout->after_rkl[heldout->seeds++] = count ? sum / (double)count : 0;
    return STATUS_OK;
}

/* Per-row values of one metric, and their mean, before or after training. */
static enum status put_metric(struct mmr_work *work, int layer, const struct heldout *heldout,
                              enum metric metric, const double *sums, int seeds, const char *when) {
    size_t rows = (size_t)heldout->rows;
    struct sequence_value *values = memory_calloc(rows, sizeof *values);
    char *name = text_format("heldout_%s_%s", metric_name(metric), when);
    int64_t first = (int64_t)work->set->rows - heldout->rows;
    enum status status = values && name ? STATUS_OK : STATUS_FAILED;
    for (size_t row = 0; !status && row < rows; row++) {
        int64_t count = heldout->counts[row * METRIC_COUNT + metric];
        double sum = sums[row * METRIC_COUNT + metric];
        values[row] = (struct sequence_value){.row = first + (int64_t)row,
                                              .count = count,
                                              .value = count ? sum / (double)count / seeds : 0};
        status = store_put_sequence_score(work->store, work->run, layer, values[row].row, name,
                                          values[row].value, count);
    }
    struct statistics mean;
    bool counted = false; /* held-out rows of one token have no ce */
    for (size_t row = 0; !status && row < rows; row++) counted |= values[row].count > 0;
    if (!status && counted) status = statistics_mean(&mean, values, rows);
    if (!status && counted)
        status = store_put_score(work->store, work->run, layer, name, mean.mean, mean.stderr_mean,
                                 mean.n);
    free(values);
    free(name);
    return status;
}

/* Mean and standard error of the mean; the error is NAN for one value. */
static struct statistics summarise(const double *values, int count) {
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) sum += values[i];
    double mean = count ? sum / count : NAN;
    for (int i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
    double error = count > 1 ? sqrt(squares / (count - 1) / count) : NAN;
    return (struct statistics){.mean = mean, .stderr_mean = error, .n = count};
}

enum { LAST_STEPS = 10 };

/* Loss at step 0 (standard error over seeds), and the mean of the last ten steps (over them). */
static enum status put_training(struct mmr_work *work, int layer) {
    struct store_step_list list;
    const char *loss = mmr_loss_name(work->settings->probe.loss);
    enum status status = store_get_probe_steps(&list, work->store, work->run, layer);
    if (status) return status;
    double *first = memory_calloc(list.count, sizeof *first);
    double *last = memory_calloc(list.count, sizeof *last);
    int firsts = 0, lasts = 0;
    if (!first || !last) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < list.count; i++) {
        /* The list is by seed, then step: how far is this seed's end? */
        size_t end = i;
        while (end + 1 < list.count && list.steps[end + 1].seed == list.steps[i].seed) end++;
        if (list.steps[i].step == 0) first[firsts++] = list.steps[i].loss;
        if (end - i < LAST_STEPS) last[lasts++] = list.steps[i].loss;
    }
    const struct {
        const char *when;
        struct statistics statistics;
    } puts[] = {{"first", summarise(first, firsts)}, {"last", summarise(last, lasts)}};
    for (int i = 0; !status && i < 2; i++) {
        char *name = text_format("train_%s_%s", loss, puts[i].when);
        status = !name ? STATUS_FAILED
                 : puts[i].statistics.n == 0
                     ? STATUS_OK
                     : store_put_score(work->store, work->run, layer, name, puts[i].statistics.mean,
                                       puts[i].statistics.stderr_mean, puts[i].statistics.n);
        free(name);
    }
    free(first);
    free(last);
    store_step_list_free(&list);
    return status;
}

/* Everything about a layer in one transaction; the training states are not needed any more. */
static enum status finish_layer(struct mmr_work *work, int layer, const struct heldout *heldout) {
    enum status status = store_begin(work->store);
    int seeds = work->settings->seeds;
    if (!status) status = put_training(work, layer);
    for (int m = 0; !status && m < METRIC_COUNT; m++)
        status = put_metric(work, layer, heldout, (enum metric)m, heldout->before, seeds, "before");
    for (int m = 0; !status && m < METRIC_COUNT && heldout->seeds; m++)
        status = put_metric(work, layer, heldout, (enum metric)m, heldout->after, heldout->seeds,
                            "after");
    if (!status && heldout->seeds > 1) {
        struct statistics spread = summarise(heldout->after_rkl, heldout->seeds);
        status = store_put_score(work->store, work->run, layer, "heldout_rkl_after_spread",
                                 spread.stderr_mean * sqrt(heldout->seeds), NAN, heldout->seeds);
    }
    if (!status && heldout->diverged_at >= 0)
        status = store_put_score(work->store, work->run, layer, "diverged_at_step",
                                 (double)heldout->diverged_at, NAN, 1);
    for (int s = 0; !status && s < seeds; s++)
        status = store_drop_probe_state(work->store, work->run, layer,
                                        (int64_t)work->settings->seed + s);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    return status;
}

/* One seed: measure, train up to `to` from where it stands, measure. */
static enum status run_seed(struct mmr_work *work, int layer, int64_t seed, int64_t to,
                            struct heldout *heldout) {
    struct probe *probe;
    int64_t step, diverged = -1;
    enum status status = probe_begin(&probe, work->engine, layer, (uint64_t)seed);
    if (status) return status;
    status = measure_before(heldout, probe, layer);
    if (!status) status = mmr_state_restore(work, probe, layer, seed, &step);
    if (!status) {
        work->done += (double)step;
        /* After rounds only a diverged probe stands before the end. */
        if (step < to && work->settings->stable_steps)
            diverged = step;
        else
            status = train(work, probe, layer, seed, step, to, &diverged);
    }
    bool finite = true;
    if (!status && diverged < 0) status = measure_after(heldout, probe, &finite);
    if (!status && !finite) {
        diverged = to; /* the last update did it: there is no further loss to show it */
        warn_diverged(layer, seed, to);
    }
    if (diverged >= 0) heldout->diverged_at = diverged;
    probe_end(probe);
    return status;
}

static enum status run_layer(struct mmr_work *work, int layer, int64_t steps) {
    struct heldout heldout;
    enum status status = heldout_create(&heldout, work);
    for (int s = 0; !status && s < work->settings->seeds; s++)
        status = run_seed(work, layer, (int64_t)work->settings->seed + s, steps, &heldout);
    if (!status) status = finish_layer(work, layer, &heldout);
    if (!status && heldout.diverged_at >= 0) work->outcome->diverged++;
    heldout_free(&heldout);
    return status;
}

/* Layers whose scores are complete. */
static enum status find_done(struct mmr_work *work, bool *done) {
    struct store_score_list list;
    enum status status = store_get_scores(&list, work->store, work->run);
    for (size_t i = 0; !status && i < list.count; i++)
        if (list.scores[i].layer >= 0 && strcmp(list.scores[i].metric, "heldout_rkl_before") == 0)
            done[list.scores[i].layer] = true;
    if (!status) store_score_list_free(&list);
    return status;
}

static void begin_progress(struct mmr_work *work) {
    double probes = (double)work->layers.count * work->settings->seeds;
    progress_begin(&work->progress, "mmr", "steps", probes * (double)work->settings->probe.steps,
                   work->done);
}

enum status mmr_run_layers(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    bool *done = memory_calloc((size_t)work->student->config->n_layers, sizeof *done);
    if (!done) return STATUS_FAILED;
    enum status status = find_done(work, done);
    for (size_t i = 0; !status && i < work->layers.count; i++)
        work->outcome->layers_before += done[work->layers.values[i]];
    if (!status && work->outcome->layers_before)
        log_note("run %lld continues: %d of %d layers are there", (long long)work->run,
                 work->outcome->layers_before, work->outcome->layers);
    work->done =
        (double)work->outcome->layers_before * settings->seeds * (double)settings->probe.steps;
    begin_progress(work);
    if (!status) status = probe_engine_load(work->engine, 0, settings->probe.steps);
    for (size_t i = 0; !status && i < work->layers.count; i++)
        if (!done[work->layers.values[i]])
            status = run_layer(work, work->layers.values[i], settings->probe.steps);
    progress_end(&work->progress);
    free(done);
    return status;
}

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

/* Steps [from, to) of every probe that is not there yet. A diverged probe takes no more part. */
static enum status run_round(struct mmr_work *work, int64_t from, int64_t to) {
    enum status status = probe_engine_load(work->engine, from, to - from);
    for (size_t i = 0; !status && i < work->layers.count; i++)
        for (int s = 0; !status && s < work->settings->seeds; s++) {
            int layer = work->layers.values[i];
            int64_t seed = (int64_t)work->settings->seed + s, step, diverged = -1;
            struct probe *probe;
            status = probe_begin(&probe, work->engine, layer, (uint64_t)seed);
            if (status) break;
            status = mmr_state_restore(work, probe, layer, seed, &step);
            if (!status && step >= from && step < to)
                status = train(work, probe, layer, seed, step, to, &diverged);
            probe_end(probe);
        }
    return status;
}

enum status mmr_run_rounds(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    size_t layers = (size_t)work->student->config->n_layers;
    bool *best = memory_calloc(layers, sizeof *best), *before = memory_calloc(layers, sizeof *best);
    enum status status = best && before ? STATUS_OK : STATUS_FAILED;
    int64_t steps = settings->probe.steps, done = 0, stable = 0;
    begin_progress(work);
    while (!status && done < steps && stable < settings->stable_steps) {
        int64_t to = done + MMR_ROUND_STEPS < steps ? done + MMR_ROUND_STEPS : steps;
        status = run_round(work, done, to);
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
    for (size_t i = 0; !status && i < work->layers.count; i++)
        status = run_layer(work, work->layers.values[i], done);
    progress_end(&work->progress);
    free(best);
    free(before);
    return status;
}
