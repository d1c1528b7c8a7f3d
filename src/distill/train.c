/* The steps of a distillation: what is measured, saved and said between them. */
#include <math.h>

#include "base/interrupt.h"
#include "distill/work.h"

enum metric distill_judged_by(const struct distill_training *training) {
    return training->loss.ce >= 0.5 || training->loss.kind == LOSS_CROSS_ENTROPY ? METRIC_CE
           : training->loss.kind == LOSS_FORWARD_KL                              ? METRIC_KL
                                                                                 : METRIC_RKL;
}

static bool accepts(void *context, double loss, double norm) {
    struct distill_work *work = context;
    return guard_accepts(&work->state.guard, loss, norm);
}

static enum status save(struct distill_work *work) {
    enum status status = distill_write_notes(work);
    if (!status)
        status = distill_state_write(&work->folder, &work->state, work->student,
                                     work->engine->state.parameters, work->provenance);
    if (status) return status;
    work->saved = work->state.step;
    return distill_states_prune(&work->folder, work->settings->keep, work->state.best);
}

/* A value that is worse than the best one seen: say so once for each rise. */
static void tell_of_rise(struct distill_work *work, double value) {
    const struct distill_state *state = &work->state;
    const char *name = metric_name(distill_judged_by(&work->settings->training));
    if (work->rising) return;
    work->rising = true;
    log_note("the held-out %s rises: %.4g at step %lld, %.4g at step %lld, which is kept", name,
             value, (long long)state->step, state->best_value, (long long)state->best);
}

/* Measure; `*better`: than at any step before. */
static enum status validate(struct distill_work *work, bool *better) {
    struct distill_state *state = &work->state;
    struct statistics values[METRIC_COUNT];
    enum metric judged = distill_judged_by(&work->settings->training);
    enum status status = distill_engine_validate(work->engine, values);
    if (status) return status;
    double value = values[judged].mean;
    log_note("step %lld: held-out kl %.4g, rkl %.4g, ce %.4g, top1 %.1f %%", (long long)state->step,
             values[METRIC_KL].mean, values[METRIC_RKL].mean, values[METRIC_CE].mean,
             100 * values[METRIC_TOP1].mean);
    state->measured = state->step;
    *better = state->best < 0 || value < state->best_value;
    if (*better) {
        state->best = state->step;
        state->best_value = value;
        state->worse = 0;
        work->rising = false;
    } else {
        state->worse++;
        tell_of_rise(work, value);
    }
    return distill_note_values(work, values);
}

/* Other groups of weights train from this step on. */
static void enter_phase(struct distill_work *work) {
    const struct distill_phases *phases = &work->settings->training.phases;
    int before = work->engine->phase;
    distill_engine_enter(work->engine, work->state.step);
    if (work->engine->phase == before) return;
    const struct distill_phase *phase = &phases->list[work->engine->phase];
    if (before >= 0) guard_forget_window(&work->state.guard);
    if (phases->count > 1)
        log_note("phase \"%s\" from step %lld on: %lld steps", phase->name,
                 (long long)work->state.step, (long long)phase->steps);
}

static enum status take_step(struct distill_work *work) {
    const struct step_judge judge = {accepts, work};
    const struct student *student = &work->engine->state;
    struct distill_state *state = &work->state;
    int64_t skipped = state->guard.not_finite + state->guard.far_out;
    double start = log_seconds();
    enum status status = distill_engine_step(work->engine, state->step, &judge);
    if (status) return status;
    /* The judge is not asked about a loss that is not finite. */
    if (!isfinite(student->loss)) (void)guard_accepts(&state->guard, student->loss, student->norm);
    double seconds = log_seconds() - start;
    state->seconds += seconds;
    work->outcome->seconds += seconds;
    work->outcome->tokens += (double)distill_engine_tokens(work->engine, state->step);
    if (state->guard.not_finite + state->guard.far_out > skipped)
        log_warn("step %lld is skipped: %s", (long long)state->step, state->guard.why);
    status = distill_note_step(work, state->step);
    state->step++;
    return status ? status : guard_check(&state->guard, state->step - 1);
}

static bool is_due(const struct distill_work *work, int64_t steps) {
    int64_t step = work->state.step;
    return step == steps || step % work->settings->validate_every == 0;
}

/* Measure and save where it is time for it; `*enough`: no better state is in sight. */
static enum status look(struct distill_work *work, int64_t steps, bool *enough) {
    const struct distill_settings *settings = work->settings;
    struct distill_state *state = &work->state;
    bool due = is_due(work, steps), better = false;
    int64_t every = settings->save_every;
    bool saves = state->step == steps || (every ? state->step % every == 0 : due);
    enum status status = STATUS_OK;
    if (due && settings->training.data.heldout && state->measured < state->step) {
        status = validate(work, &better);
        *enough = settings->patience && state->worse >= settings->patience;
        saves |= better || *enough;
    }
    if (!status && *enough)
        log_note("no better held-out value for %lld measurements: stopping at step %lld",
                 (long long)state->worse, (long long)state->step);
    return !status && saves && work->saved != state->step ? save(work) : status;
}

/* What is done is kept when the run is interrupted. */
static enum status save_interrupted(struct distill_work *work, enum status status) {
    if (status != STATUS_INTERRUPTED || work->saved == work->state.step) return status;
    enum status saving = save(work);
    return saving ? saving : status_set(STATUS_INTERRUPTED, "interrupted");
}

enum status distill_train(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    struct distill_state *state = &work->state;
    int64_t steps = distill_phases_steps(&settings->training.phases), began = state->step;
    bool enough = settings->patience && state->worse >= settings->patience;
    enum status status = STATUS_OK;
    progress_begin(&work->progress, "distill", "steps", (double)steps, (double)state->step);
    /* Before the first step; and where an earlier call was interrupted in its measurement. */
    if (is_due(work, steps) && state->measured < state->step) {
        if (!state->step) enter_phase(work);
        status = look(work, steps, &enough);
    }
    while (!status && !enough && state->step < steps) {
        status = interrupt_check();
        if (!status && settings->limit_steps && state->step - began >= settings->limit_steps)
            status = status_set(STATUS_INTERRUPTED, "interrupted");
        if (status) break;
        enter_phase(work);
        progress_unit(1);
        status = take_step(work);
        if (status) break;
        progress_update(&work->progress, (double)state->step);
        status = look(work, steps, &enough);
    }
    status = save_interrupted(work, status);
    progress_end(&work->progress);
    work->outcome->stopped = enough && state->step < steps;
    return status;
}
