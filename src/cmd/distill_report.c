#include "cmd/distill_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/quote.h"
#include "cli/document.h"
#include "scores/kinds.h"
#include "scores/store.h"

static struct json *values_to_json(const struct statistics values[METRIC_COUNT]) {
    struct json *json = js_new_object();
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        struct json *one = js_new_object();
        js_set_number(one, "value", values[metric].mean);
        js_set_number(one, "stderr", values[metric].stderr_mean);
        js_set(json, metric_name((enum metric)metric), one);
    }
    return json;
}

static enum status print_json(const struct distill_outcome *outcome,
                              const struct distill_settings *settings) {
    const struct distill_state *state = &outcome->state;
    struct json *document = document_begin("distill");
    js_set_integer(document, "run", outcome->run);
    js_set_string(document, "output", settings->output);
    js_set_integer(document, "steps", outcome->steps);
    js_set_integer(document, "steps_found", outcome->first);
    js_set_integer(document, "best_step", state->best);
    js_set_bool(document, "stopped_early", outcome->stopped);
    js_set_integer(document, "skipped_not_finite", state->guard.not_finite);
    js_set_integer(document, "skipped_far_out", state->guard.far_out);
    js_set_number(document, "seconds", outcome->seconds);
    js_set_number(document, "tokens_per_second",
                  outcome->seconds > 0 ? outcome->tokens / outcome->seconds : 0);
    js_set_integer(document, "predicted_bytes", (int64_t)outcome->memory.device);
    js_set_number(document, "step_operations", outcome->operations);
    if (outcome->measured) {
        js_set(document, "before", values_to_json(outcome->before));
        js_set(document, "after", values_to_json(outcome->after));
    }
    return document_print(document);
}

static void print_measurements(const struct distill_outcome *outcome) {
    printf("%-12s %12s %12s %8s\n", "held out", "before", "after", "+-");
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        char error[32] = "-";
        if (isfinite(outcome->after[metric].stderr_mean))
            snprintf(error, sizeof error, "%.2g", outcome->after[metric].stderr_mean);
        printf("%-12s %12.6f %12.6f %8s\n", metric_name((enum metric)metric),
               outcome->before[metric].mean, outcome->after[metric].mean, error);
    }
}

enum status distill_report(const struct distill_outcome *outcome,
                           const struct distill_settings *settings, bool json) {
    if (json) return print_json(outcome, settings);
    const struct distill_state *state = &outcome->state;
    long long done = (long long)(outcome->steps - outcome->first);
    if (outcome->complete)
        printf("run %lld was complete: nothing computed\n", (long long)outcome->run);
    else
        printf("run %lld: %lld steps in %.1f s, %.0f tokens/s\n", (long long)outcome->run, done,
               outcome->seconds, outcome->seconds > 0 ? outcome->tokens / outcome->seconds : 0);
    if (state->guard.not_finite + state->guard.far_out)
        printf("skipped: %lld steps that were not finite, %lld far out\n",
               (long long)state->guard.not_finite, (long long)state->guard.far_out);
    if (outcome->measured) print_measurements(outcome);
    quote_print(stdout, "\"%s\" holds step %lld", settings->output,
                (long long)(state->best >= 0 ? state->best : state->step));
    return STATUS_OK;
}

/* ---- --status */

static int64_t count_steps(const struct json *about) {
    const struct json *phases = js_member(js_member(about, "settings"), "phases");
    int64_t steps = 0;
    for (size_t i = 0; i < js_count(phases); i++)
        steps += js_integer_or(js_member(js_element(phases, i), "steps"), 0);
    return steps;
}

/* The curves of the last distillation in a database. */
static enum status read_curves(struct store_training *out, const char *path) {
    struct store *store = NULL;
    struct store_run_list runs = {0};
    enum status status = store_open(&store, path, STORE_READ);
    *out = (struct store_training){0};
    if (!status) status = store_list_runs(&runs, store);
    for (size_t i = runs.count; !status && i > 0; i--)
        if (strcmp(runs.runs[i - 1].kind, RUN_DISTILL) == 0) {
            status = store_get_training(out, store, runs.runs[i - 1].id);
            break;
        }
    store_run_list_free(&runs);
    store_close(store);
    return status;
}

/* What is known of a run from outside. */
struct standing {
    int64_t steps, seen;        /* in all; in the database */
    struct int_list states;     /* that it can continue from */
    struct distill_state state; /* the last */
    struct store_training curves;
    bool finished;
};

static enum status find_standing(struct standing *out, const char *output, const char *database) {
    struct json *about = NULL;
    *out = (struct standing){.state = {.best = -1}};
    enum status status = distill_folder_read(&about, output);
    if (!status && !about)
        status = status_fail("\"%s\" is no directory of distill: it has no distill.json", output);
    if (!status) status = distill_states_list(&out->states, output);
    if (!status && out->states.count)
        status = distill_state_read(&out->state, NULL, output,
                                    out->states.values[out->states.count - 1]);
    char *path = distill_database(database, output), *config = file_join(output, "config.json");
    if (!path || !config) status = STATUS_FAILED;
    if (!status && file_exists(path)) status = read_curves(&out->curves, path);
    out->steps = count_steps(about);
    out->seen = (int64_t)out->curves.step_count;
    out->finished = !status && file_exists(config);
    free(path);
    free(config);
    js_free(about);
    return status;
}

static double time_left(const struct standing *standing) {
    const struct store_training *curves = &standing->curves;
    if (!curves->step_count || standing->finished) return 0;
    const struct store_training_step *last = &curves->steps[curves->step_count - 1];
    return last->seconds / (double)(last->step + 1) * (double)(standing->steps - last->step - 1);
}

static enum status print_standing_json(const struct standing *standing, const char *output) {
    const struct store_training *curves = &standing->curves;
    struct json *document = document_begin("distill-status"), *values = js_new_array();
    js_set_string(document, "output", output);
    js_set_bool(document, "finished", standing->finished);
    js_set_integer(document, "steps", standing->steps);
    js_set_integer(document, "steps_seen", standing->seen);
    js_set_integer(document, "saved_step", standing->states.count ? standing->state.step : -1);
    js_set_integer(document, "best_step", standing->state.best);
    js_set_number(document, "seconds_left", time_left(standing));
    if (curves->step_count)
        js_set_number(document, "loss", curves->steps[curves->step_count - 1].loss);
    for (size_t i = 0; i < curves->value_count; i++) {
        struct json *one = js_new_object();
        js_set_integer(one, "step", curves->values[i].step);
        js_set_string(one, "metric", curves->values[i].metric);
        js_set_number(one, "value", curves->values[i].value);
        js_append(values, one);
    }
    js_set(document, "measurements", values);
    return document_print(document);
}

static void print_standing(const struct standing *standing, const char *output) {
    const struct store_training *curves = &standing->curves;
    char left[32];
    quote_print(stdout, "\"%s\": %lld of %lld steps%s", output, (long long)standing->seen,
                (long long)standing->steps, standing->finished ? ", finished" : "");
    if (curves->step_count) {
        const struct store_training_step *last = &curves->steps[curves->step_count - 1];
        printf("step %lld: loss %.6g, learning rate %.3g, gradient's norm %.4g, %.3f s a step\n",
               (long long)last->step, last->loss, last->rate, last->norm,
               last->seconds / (double)(last->step + 1));
    }
    if (standing->states.count)
        printf("the last state is of step %lld; the best of step %lld\n",
               (long long)standing->state.step, (long long)standing->state.best);
    if (!standing->finished && curves->step_count)
        printf("about %s left\n", log_format_duration(left, time_left(standing)));
    for (size_t i = 0; i < curves->value_count; i++)
        printf("held-out %-4s at step %6lld: %.6f\n", curves->values[i].metric,
               (long long)curves->values[i].step, curves->values[i].value);
}

enum status distill_report_status(const char *output, const char *database, bool json) {
    struct standing standing;
    enum status status = find_standing(&standing, output, database);
    if (!status && json)
        status = print_standing_json(&standing, output);
    else if (!status)
        print_standing(&standing, output);
    list_free(&standing.states);
    store_training_free(&standing.curves);
    return status;
}
