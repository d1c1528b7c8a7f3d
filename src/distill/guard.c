#include "distill/guard.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* How many standard deviations a value lies above the mean of the window. */
static double deviations(const double *window, int count, double value) {
    double mean = 0, squares = 0;
    for (int i = 0; i < count; i++) mean += window[i];
    mean /= count;
    for (int i = 0; i < count; i++) squares += (window[i] - mean) * (window[i] - mean);
    double deviation = sqrt(squares / (count - 1));
    return value > mean ? (value - mean) / deviation : 0; /* infinite where nothing varied */
}

static bool skip(struct guard *guard, int64_t *counter) {
    guard->in_a_row++;
    ++*counter;
    return false;
}

bool guard_accepts(struct guard *guard, double loss, double norm) {
    if (!isfinite(loss) || !isfinite(norm)) {
        snprintf(guard->why, sizeof guard->why, "its %s was not finite",
                 isfinite(loss) ? "gradient's norm" : "loss");
        return skip(guard, &guard->not_finite);
    }
    const double *windows[] = {guard->losses, guard->norms}, values[] = {loss, norm};
    for (int i = 0; guard->count == GUARD_WINDOW && i < 2; i++) {
        double far = deviations(windows[i], GUARD_WINDOW, values[i]);
        if (!(far > GUARD_DEVIATIONS)) continue;
        snprintf(guard->why, sizeof guard->why,
                 "its %s of %.6g lay %.1f standard deviations above the last %d",
                 i ? "gradient's norm" : "loss", values[i], far, GUARD_WINDOW);
        return skip(guard, &guard->far_out);
    }
    guard->losses[guard->next] = loss;
    guard->norms[guard->next] = norm;
    guard->next = (guard->next + 1) % GUARD_WINDOW;
    if (guard->count < GUARD_WINDOW) guard->count++;
    guard->in_a_row = 0;
    return true;
}

enum status guard_check(const struct guard *guard, int64_t step) {
    if (guard->in_a_row < GUARD_IN_A_ROW) return STATUS_OK;
    return status_fail("%d steps in a row were skipped, up to step %lld: %s; try a smaller --lr",
                       guard->in_a_row, (long long)step, guard->why);
}

void guard_forget_window(struct guard *guard) {
    guard->count = guard->next = 0;
}

struct json *guard_to_json(const struct guard *guard) {
    struct json *json = js_new_object(), *losses = js_new_array(), *norms = js_new_array();
    for (int i = 0; i < guard->count; i++) {
        js_append(losses, js_new_number(guard->losses[i]));
        js_append(norms, js_new_number(guard->norms[i]));
    }
    js_set(json, "losses", losses);
    js_set(json, "norms", norms);
    js_set_integer(json, "next", guard->next);
    js_set_integer(json, "in_a_row", guard->in_a_row);
    js_set_integer(json, "not_finite", guard->not_finite);
    js_set_integer(json, "far_out", guard->far_out);
    js_set_string(json, "why", guard->why);
    return json;
}

static enum status get_count(int64_t *out, const struct json *json, const char *key, int64_t high,
                             const char *source) {
    return js_get_integer(out, json, key, 0, high, source);
}

enum status guard_from_json(struct guard *out, const struct json *json, const char *source) {
    const struct json *losses = js_member(json, "losses"), *norms = js_member(json, "norms");
    int64_t next = 0, in_a_row = 0;
    *out = (struct guard){0};
    size_t count = js_count(losses);
    if (!js_is_array(losses) || !js_is_array(norms) || count > GUARD_WINDOW ||
        js_count(norms) != count)
        return status_fail("\"%s\": \"losses\" and \"norms\" are not two equal lists of at most %d",
                           source, GUARD_WINDOW);
    out->count = (int)count;
    for (size_t i = 0; i < count; i++) {
        out->losses[i] = js_number_or(js_element(losses, i), NAN);
        out->norms[i] = js_number_or(js_element(norms, i), NAN);
        if (!isfinite(out->losses[i]) || !isfinite(out->norms[i]))
            return status_fail("\"%s\": \"losses\" and \"norms\" must be numbers", source);
    }
    enum status status = get_count(&next, json, "next", GUARD_WINDOW - 1, source);
    if (!status) status = get_count(&in_a_row, json, "in_a_row", GUARD_IN_A_ROW, source);
    if (!status) status = get_count(&out->not_finite, json, "not_finite", INT64_MAX, source);
    if (!status) status = get_count(&out->far_out, json, "far_out", INT64_MAX, source);
    out->next = (int)next;
    out->in_a_row = (int)in_a_row;
    snprintf(out->why, sizeof out->why, "%s", js_string_or(js_member(json, "why"), ""));
    return status;
}
