#include "analysis/loo/loo_task.h"

#include <stdio.h>
#include <stdlib.h>

#include "analysis/record.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/item_score.h"

struct work {
    const struct choice_set *set;
    const struct int_list *layers;
    struct sweep *sweep;
    struct store *store;
    int64_t run;
    bool *done;      /* [items] by number */
    double *sums;    /* [1 + branches][slots][METRIC_COUNT] of the group */
    int64_t *greedy; /* [1 + branches][slots] */
};

static enum status find_done(struct work *work, int64_t *found) {
    struct store_row_list rows = {0};
    enum status status = store_get_rows(&rows, work->store, work->run);
    for (size_t i = 0; i < rows.count; i++)
        if (rows.rows[i] >= 0 && (size_t)rows.rows[i] < work->set->items_count)
            work->done[rows.rows[i]] = true;
    *found = (int64_t)rows.count;
    store_row_list_free(&rows);
    return status;
}

static enum status put(struct work *work, int layer, int64_t row, enum item_metric metric,
                       double value) {
    char name[32];
    snprintf(name, sizeof name, "%s%s", item_metric_name(metric),
             layer == STORE_TRUNK ? "" : "_drop");
    return store_put_sequence_score(work->store, work->run, layer, row, name, value, 1);
}

/* One item of the trunk and of every branch. `slot` is that of its first choice in the group. */
static enum status save_item(struct work *work, const struct choice_item *item, size_t slot,
                             size_t slots) {
    const struct choice_set *set = work->set;
    struct item_score trunk, branch;
    enum status status = record_item(work->store, work->run, set, item);
    item_score(&trunk, set, item, work->sums + slot * METRIC_COUNT, work->greedy + slot);
    for (int m = 0; !status && m < ITEM_METRICS; m++)
        status = put(work, STORE_TRUNK, item->number, (enum item_metric)m, trunk.values[m]);
    for (size_t b = 0; !status && b < work->layers->count; b++) {
        size_t at = (b + 1) * slots + slot;
        item_score(&branch, set, item, work->sums + at * METRIC_COUNT, work->greedy + at);
        for (int m = 0; !status && m < ITEM_METRICS; m++)
            status = put(work, work->layers->values[b], item->number, (enum item_metric)m,
                         trunk.values[m] - branch.values[m]);
    }
    return status;
}

static enum status save_group(struct work *work, size_t first, size_t end, size_t slots) {
    enum status status = store_begin(work->store);
    if (status) return status;
    for (size_t i = first; !status && i < end; i++) {
        const struct choice_item *item = &work->set->items[i];
        status = save_item(work, item, item->first - work->set->items[first].first, slots);
    }
    if (!status) return store_commit(work->store);
    store_rollback(work->store);
    return status;
}

static enum status run_group(struct work *work, size_t first, size_t end) {
    const struct choice_set *set = work->set;
    const struct choice_item *last = &set->items[end - 1];
    int64_t row = set->items[first].first_row;
    struct predictions predictions = {0};
    enum status status = predictions_of_choices(&predictions, set, first, end);
    size_t slots = (size_t)predictions.slots, entries = (work->layers->count + 1) * slots;
    if (!status) {
        work->sums = memory_calloc(entries * METRIC_COUNT, sizeof *work->sums);
        work->greedy = memory_calloc(entries, sizeof *work->greedy);
        status = work->sums && work->greedy ? STATUS_OK : STATUS_FAILED;
    }
    if (!status)
        status = sweep_run(work->sweep, &set->set, row, (int)(last->first_row + last->rows - row),
                           &predictions, work->sums, work->greedy);
    if (!status) status = save_group(work, first, end, slots);
    predictions_free(&predictions);
    free(work->sums);
    free(work->greedy);
    work->sums = NULL;
    work->greedy = NULL;
    return status;
}

static bool all_done(const struct work *work, size_t first, size_t end) {
    for (size_t i = first; i < end; i++)
        if (!work->done[work->set->items[i].number]) return false;
    return true;
}

enum status loo_task_groups(struct loo_outcome *outcome, struct sweep *sweep,
                            const struct loo_settings *settings, const struct int_list *layers,
                            int64_t group_tokens, struct store *store) {
    const struct choice_set *set = settings->items;
    struct work work = {
        .set = set, .layers = layers, .sweep = sweep, .store = store, .run = outcome->run};
    struct progress progress;
    double start = log_seconds();
    work.done = memory_calloc(set->items_count, sizeof *work.done);
    enum status status = work.done ? find_done(&work, &outcome->rows_before) : STATUS_FAILED;
    if (!status && outcome->rows_before)
        log_note("run %lld continues: %lld of %lld items are there", (long long)outcome->run,
                 (long long)outcome->rows_before, (long long)outcome->rows);
    progress_begin(&progress, "loo", "tokens", (double)set->set.tokens, 0);
    for (size_t first = 0, end; !status && first < set->items_count; first = end) {
        end = choice_set_group(set, first, group_tokens);
        if (all_done(&work, first, end)) continue;
        progress_unit((double)(choice_set_tokens(set, 0, end) - choice_set_tokens(set, 0, first)));
        status = run_group(&work, first, end);
        if (!status) progress_update(&progress, (double)choice_set_tokens(set, 0, end));
    }
    progress_end(&progress);
    outcome->seconds = log_seconds() - start;
    free(work.done);
    return status;
}
