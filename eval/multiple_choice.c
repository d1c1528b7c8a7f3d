#include "eval/multiple_choice.h"

#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/scorer.h"
#include "model/forward.h"

struct work {
    const struct multiple_choice_settings *settings;
    struct model *model;
    const struct choice_set *set;
    int64_t group_tokens;
    struct forward *forward;
    struct scorer *scorer;
    void *hidden; /* acc [tokens of the largest group, D] */
};

static enum status prepare(struct work *work) {
    const struct choice_set *set = work->set;
    struct backend *backend = work->model->backend;
    int64_t max_tokens, max_rows;
    choice_set_measure_groups(&max_rows, &max_tokens, set, work->group_tokens);
    if (max_tokens > INT32_MAX) return status_fail("an item of %ld tokens is too long", max_tokens);
    size_t bytes =
        (size_t)max_tokens * (size_t)work->model->config->hidden_size * dtype_size(backend->acc);
    work->hidden = backend->alloc(backend, bytes, "hidden states");
    if (!work->hidden) return STATUS_FAILED;
    enum status status = forward_open(&work->forward, work->model, (int)max_rows, max_tokens,
                                      (int)tokenset_longest_row(&set->set));
    if (!status) status = scorer_open(&work->scorer, work->model, work->model, 0);
    return status;
}

static void keep_items(struct multiple_choice_result *out, const struct choice_set *set,
                       size_t first, size_t end, const double *sums, const int64_t *greedy) {
    size_t first_choice = set->items[first].first;
    for (size_t i = first; i < end; i++) {
        const struct choice_item *item = &set->items[i];
        struct multiple_choice_item *result = &out->items[item->number];
        const double *own = sums + (item->first - first_choice) * METRIC_COUNT;
        const int64_t *own_greedy = greedy + (item->first - first_choice);
        result->likelihoods = out->likelihoods + item->first;
        result->greedy = out->greedy + item->first;
        for (int c = 0; c < item->choices; c++) {
            result->likelihoods[c] = -own[(size_t)c * METRIC_COUNT + METRIC_CE];
            result->greedy[c] = own_greedy[c];
        }
        item_score(&result->score, set, item, own, own_greedy);
    }
}

static enum status run_group(struct work *work, struct multiple_choice_result *out, size_t first,
                             size_t end) {
    const struct choice_set *set = work->set;
    const struct choice_item *last = &set->items[end - 1];
    int64_t first_row = set->items[first].first_row;
    struct token_batch batch = {0};
    struct predictions predictions = {0};
    double *sums = NULL;
    int64_t *greedy = NULL;
    enum status status = predictions_of_choices(&predictions, set, first, end);
    if (!status) {
        sums = memory_calloc((size_t)predictions.slots * METRIC_COUNT, sizeof *sums);
        greedy = memory_calloc((size_t)predictions.slots, sizeof *greedy);
        status = sums && greedy ? STATUS_OK : STATUS_FAILED;
    }
    if (!status)
        status = token_batch_create(&batch, work->model->backend, set->set.ids,
                                    set->set.row_offsets + first_row,
                                    (int)(last->first_row + last->rows - first_row));
    if (!status) status = forward_run(work->forward, work->hidden, &batch);
    if (!status)
        status = scorer_score(work->scorer, &predictions, work->hidden, work->hidden, 0, 0, sums,
                              greedy);
    if (!status) keep_items(out, set, first, end, sums, greedy);
    predictions_free(&predictions);
    token_batch_free(&batch);
    free(sums);
    free(greedy);
    return status;
}

/* Hand a group's items to the caller. */
static enum status save_group(struct work *work, struct multiple_choice_result *out, size_t first,
                              size_t end) {
    if (!work->settings->save) return STATUS_OK;
    const struct multiple_choice_item **items = memory_calloc(end - first, sizeof *items);
    if (!items) return STATUS_FAILED;
    for (size_t i = first; i < end; i++) items[i - first] = &out->items[work->set->items[i].number];
    enum status status = work->settings->save(work->settings->context, items, end - first);
    free(items);
    return status;
}

static bool all_done(const struct work *work, size_t first, size_t end) {
    if (!work->settings->done) return false;
    for (size_t i = first; i < end; i++)
        if (!work->settings->done[work->set->items[i].number]) return false;
    return true;
}

static enum status run_groups(struct work *work, struct multiple_choice_result *out) {
    const struct choice_set *set = work->set;
    struct progress progress;
    enum status status = STATUS_OK;
    progress_begin(&progress, work->settings->name, "tokens", (double)set->set.tokens, 0);
    for (size_t first = 0, end; !status && first < set->items_count; first = end) {
        end = choice_set_group(set, first, work->group_tokens);
        if (all_done(work, first, end)) continue;
        progress_unit((double)(choice_set_tokens(set, 0, end) - choice_set_tokens(set, 0, first)));
        status = run_group(work, out, first, end);
        if (!status) status = save_group(work, out, first, end);
        progress_update(&progress, (double)choice_set_tokens(set, 0, end));
        if (!status && end < set->items_count && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    progress_end(&progress);
    return status;
}

enum status multiple_choice_run(struct multiple_choice_result *out,
                                const struct multiple_choice_settings *settings) {
    const struct choice_set *set = settings->set;
    struct model *model = settings->model;
    struct work work = {.settings = settings,
                        .model = model,
                        .set = set,
                        .group_tokens = settings->group_tokens > 0 ? settings->group_tokens : 4096};
    double start = log_seconds();
    *out = (struct multiple_choice_result){.count = set->items_count};
    out->items = memory_calloc(set->items_count, sizeof *out->items);
    out->likelihoods = memory_calloc(set->choices_count, sizeof *out->likelihoods);
    out->greedy = memory_calloc(set->choices_count, sizeof *out->greedy);
    bool all = out->items && out->likelihoods && out->greedy;
    for (size_t i = 0; all && i < set->items_count; i++)
        out->items[set->items[i].number].item = &set->items[i];
    enum status status = all ? prepare(&work) : STATUS_FAILED;
    if (!status) status = run_groups(&work, out);
    out->seconds = log_seconds() - start;
    scorer_close(work.scorer);
    forward_close(work.forward);
    model->backend->free(model->backend, work.hidden);
    if (status) multiple_choice_free(out);
    return status;
}

void multiple_choice_free(struct multiple_choice_result *result) {
    free(result->items);
    free(result->likelihoods);
    free(result->greedy);
    *result = (struct multiple_choice_result){0};
}
