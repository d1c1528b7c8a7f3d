/* The replacement of each layer alone, by kl, rkl, ce and top1 on the held-out rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/align/align_work.h"
#include "base/memory.h"
#include "base/text.h"

struct scoring {
    struct align_work *work;
    struct align_kind *kind;
    int *layers; /* [branches] */
    int branches;
    struct mixer mixer; /* of the branch that left last */
    bool there;
};

/* Branches of a layer alternate where the start is scored: it comes first. */
static bool is_start(const struct align_work *work, int branch) {
    return work->start && branch % 2 == 0;
}

int align_branches(int *layers, const struct align_work *work, const struct align_kind *kind) {
    int count = 0;
    for (size_t i = 0; i < work->layers.count; i++) {
        int layer = work->layers.values[i];
        if (kind->diverged && kind->diverged[layer]) continue;
        if (work->start) layers[count++] = layer;
        layers[count++] = layer;
    }
    return count;
}

static void drop(struct scoring *scoring) {
    if (scoring->there) mixer_free(&scoring->mixer, scoring->work->backend);
    scoring->there = false;
}

static enum status load(const struct mixer **out, void *context, int branch) {
    struct scoring *scoring = context;
    const struct align_work *work = scoring->work;
    const struct library *from = is_start(work, branch) ? work->start : work->library;
    const struct library_entry *entry;
    drop(scoring);
    enum status status = library_need(&entry, from, scoring->layers[branch], &scoring->kind->sizes);
    if (!status) status = library_load(&scoring->mixer, from, entry, work->model);
    scoring->there = !status;
    *out = &scoring->mixer;
    return status;
}

/* The trunk's ce, and all of each branch; what is of the start has its own names. */
static enum status put_value(const struct scoring *scoring, int branch, int64_t row, int m,
                             double sum, int64_t count) {
    const struct align_work *work = scoring->work;
    bool trunk = branch < 0;
    char name[32];
    if (trunk && m != METRIC_CE) return STATUS_OK;
    snprintf(name, sizeof name, "%s%s", metric_name((enum metric)m),
             !trunk && is_start(work, branch) ? "_before" : "");
    return store_put_sequence_score(work->store, scoring->kind->saved.run,
                                    trunk ? STORE_TRUNK : scoring->layers[branch], row, name,
                                    count ? sum / (double)count : 0, count);
}

static enum status save_group(const struct scoring *scoring, int64_t first, int rows,
                              const double *sums, const int64_t *counts) {
    struct store *store = scoring->work->store;
    enum status status = store_begin(store);
    for (int branch = -1; !status && branch < scoring->branches; branch++)
        for (int row = 0; !status && row < rows; row++)
            for (int m = 0; !status && m < METRIC_COUNT; m++) {
                size_t at = ((size_t)(branch + 1) * (size_t)rows + (size_t)row) * METRIC_COUNT;
                status = put_value(scoring, branch, first + row, m, sums[at + (size_t)m],
                                   counts[row * METRIC_COUNT + m]);
            }
    if (!status) status = store_commit(store);
    if (status) store_rollback(store);
    return status;
}

static bool is_done(const struct store_row_list *done, int64_t row) {
    for (size_t i = 0; i < done->count; i++)
        if (done->rows[i] == row) return true;
    return false;
}

static enum status run_group(struct scoring *scoring, struct sweep *sweep,
                             const struct tokenset *set, int64_t first, int rows) {
    size_t values = (size_t)rows * METRIC_COUNT;
    double *sums = memory_calloc(((size_t)scoring->branches + 1) * values, sizeof *sums);
    int64_t *counts = memory_calloc(values, sizeof *counts);
    enum status status = sums && counts ? STATUS_OK : STATUS_FAILED;
    if (!status) status = sweep_group(sweep, set, first, rows, sums, counts);
    if (!status)
        status = save_group(scoring, scoring->work->rows.training + first, rows, sums, counts);
    free(sums);
    free(counts);
    return status;
}

static enum status run_groups(struct scoring *scoring, struct sweep *sweep) {
    struct align_work *work = scoring->work;
    const struct tokenset heldout = align_heldout(work);
    int64_t rows = (int64_t)heldout.rows;
    struct store_row_list done = {0};
    struct progress progress;
    enum status status = store_get_rows(&done, work->store, scoring->kind->saved.run);
    if (status) return status;
    progress_begin(&progress, "align, scores", "rows", (double)rows, (double)done.count);
    for (int64_t first = 0, end; !status && first < rows; first = end) {
        end = tokenset_group_end(&heldout, first, rows, work->cut.group_tokens);
        progress_unit((double)(end - first));
        if (!is_done(&done, work->rows.training + first))
            status = run_group(scoring, sweep, &heldout, first, (int)(end - first));
        if (!status) progress_update(&progress, (double)end);
    }
    progress_end(&progress);
    store_row_list_free(&done);
    return status;
}

/* The library says what was measured of its mixers. */
static enum status tell_library(const struct scoring *scoring) {
    const struct align_work *work = scoring->work;
    struct store_score_list list;
    enum status status = store_get_scores(&list, work->store, scoring->kind->saved.run);
    if (status) return status;
    for (size_t i = 0; i < work->layers.count; i++) {
        struct json *scores = js_new_object();
        for (size_t k = 0; k < list.count; k++) {
            const struct store_score *score = &list.scores[k];
            if (score->layer != work->layers.values[i] ||
                (!strstr("kl rkl ce top1", score->metric) && !strstr(score->metric, "_before")))
                continue;
            struct json *item = js_new_object();
            js_set_number(item, "value", score->value);
            js_set_number(item, "stderr", score->stderr_value);
            js_set_integer(item, "n", score->n);
            js_set(scores, score->metric, item);
        }
        library_say(work->library, work->layers.values[i], &scoring->kind->sizes, "scores", scores);
    }
    store_score_list_free(&list);
    return library_save(work->library);
}

enum status align_score(struct align_work *work, struct align_kind *kind) {
    struct scoring scoring = {.work = work, .kind = kind};
    struct sweep *sweep = NULL;
    scoring.layers = memory_calloc(2 * work->layers.count, sizeof *scoring.layers);
    if (!scoring.layers) return STATUS_FAILED;
    scoring.branches = align_branches(scoring.layers, work, kind);
    const struct sweep_placed placed = {
        .load = load, .context = &scoring, .sizes = &kind->sizes, .sizes_count = 1};
    const struct sweep_options options = {.layers = scoring.layers,
                                          .branches = scoring.branches,
                                          .placed = &placed,
                                          .teacher =
                                              work->model == work->teacher ? NULL : work->teacher,
                                          .on_device = work->cut.on_device};
    enum status status =
        sweep_open(&sweep, work->model, &options, work->cut.rows, work->cut.tokens, work->longest);
    if (!status) status = run_groups(&scoring, sweep);
    if (!status) status = store_summarise_run(work->store, kind->saved.run);
    if (!status) status = tell_library(&scoring);
    sweep_close(sweep);
    drop(&scoring);
    free(scoring.layers);
    return status;
}
