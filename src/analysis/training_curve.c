#include "analysis/training_curve.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"

struct statistics training_curve_summarise(const double *values, int count) {
    double sum = 0, squares = 0;
    for (int i = 0; i < count; i++) sum += values[i];
    double mean = count ? sum / count : NAN;
    for (int i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
    double error = count > 1 ? sqrt(squares / (count - 1) / count) : NAN;
    return (struct statistics){.mean = mean, .stderr_mean = error, .n = count};
}

enum { LAST_STEPS = 10 };

enum status training_curve_put(struct store *store, int64_t run, int layer, const char *loss) {
    struct store_step_list list;
    enum status status = store_get_probe_steps(&list, store, run, layer);
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
    } puts[] = {{"first", training_curve_summarise(first, firsts)},
                {"last", training_curve_summarise(last, lasts)}};
    for (int i = 0; !status && i < 2; i++) {
        char *name = text_format("train_%s_%s", loss, puts[i].when);
        status = !name ? STATUS_FAILED
                 : puts[i].statistics.n == 0
                     ? STATUS_OK
                     : store_put_score(store, run, layer, name, puts[i].statistics.mean,
                                       puts[i].statistics.stderr_mean, puts[i].statistics.n);
        free(name);
    }
    free(first);
    free(last);
    store_step_list_free(&list);
    return status;
}
