#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* The share of its largest rate that a schedule has after `progress` (0 to 1) of its fall. */
static double falling(const struct train_schedule *schedule, double progress) {
    double shape =
        schedule->kind == SCHEDULE_COSINE ? 0.5 * (1 + cos(PI * progress)) : 1 - progress;
    return schedule->floor + (1 - schedule->floor) * shape;
}

double train_schedule_rate(const struct train_schedule *schedule, int64_t step) {
    if (step < schedule->warmup)
        return schedule->rate * (double)(step + 1) / (double)schedule->warmup;
    if (schedule->kind == SCHEDULE_CONSTANT) return schedule->rate;
    int64_t first =
        schedule->kind == SCHEDULE_WSD ? schedule->steps - schedule->cooldown : schedule->warmup;
    if (first < schedule->warmup) first = schedule->warmup;
    if (step >= schedule->steps) return schedule->rate * falling(schedule, 1);
    if (step <= first) return schedule->rate;
    double span = (double)(schedule->steps - first);
    return schedule->rate * falling(schedule, (double)(step - first) / span);
}

static const char *const names[SCHEDULE_COUNT] = {
    [SCHEDULE_CONSTANT] = "constant", [SCHEDULE_COSINE] = "cosine", [SCHEDULE_WSD] = "wsd"};

const char *train_schedule_name(enum schedule_kind kind) {
    return names[kind];
}

enum status train_schedule_from_name(enum schedule_kind *out, const char *name) {
    for (int kind = 0; kind < SCHEDULE_COUNT; kind++)
        if (strcmp(name, names[kind]) == 0) {
            *out = (enum schedule_kind)kind;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "there is no schedule \"%s\"", name);
}
