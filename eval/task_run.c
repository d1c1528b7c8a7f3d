#include "eval/task_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/record.h"
#include "base/log.h"
#include "base/memory.h"
#include "eval/task_record.h"
#include "scores/store.h"

struct work {
    const struct task_run_settings *settings;
    struct store *store;
    int64_t run;
    bool *done;     /* [items] by number: found in the database */
    double *values; /* [ITEM_METRICS][items] by number */
};

/* ---- the database */

static enum status begin(struct work *work, enum store_run_state *state) {
    const struct task_run_settings *settings = work->settings;
    struct tokenset about = settings->set->set;
    about.rows = settings->set->items_count;
    struct task_record record = {.model = settings->model,
                                 .numbers = "eval-choices",
                                 .parameters = settings->parameters,
                                 .seed = settings->seed,
                                 .path = settings->path,
                                 .about = &about};
    return task_record_begin(&work->run, state, work->store, &record);
}

/* Values of items that an earlier call has computed. */
static enum status load(struct work *work, int64_t *found) {
    size_t items = work->settings->set->items_count;
    enum status status = STATUS_OK;
    for (int m = 0; !status && m < ITEM_METRICS; m++)
        status = task_record_load(found, work->done, work->values + (size_t)m * items, 1, items,
                                  work->store, work->run, item_metric_name((enum item_metric)m));
    return status;
}

static enum status save_item(struct work *work, const struct multiple_choice_item *result) {
    const struct choice_set *set = work->settings->set;
    const struct choice_item *item = result->item;
    enum status status = record_item(work->store, work->run, set, item);
    for (int c = 0; !status && c < item->choices; c++) {
        const struct choice *choice = &set->choices[item->first + (size_t)c];
        struct store_choice row = {.row = item->number,
                                   .choice = c,
                                   .tokens = choice->count,
                                   .characters = choice->characters,
                                   .greedy = result->greedy[c],
                                   .loglikelihood = result->likelihoods[c]};
        status = store_put_choice(work->store, work->run, &row);
    }
    for (int m = 0; !status && m < ITEM_METRICS; m++)
        status = store_put_sequence_score(work->store, work->run, STORE_TRUNK, item->number,
                                          item_metric_name((enum item_metric)m),
                                          result->score.values[m], 1);
    return status;
}

static enum status save(void *context, const struct multiple_choice_item *const *items,
                        size_t count) {
    struct work *work = context;
    size_t all = work->settings->set->items_count;
    for (size_t i = 0; i < count; i++)
        for (int m = 0; m < ITEM_METRICS; m++)
            work->values[(size_t)m * all + (size_t)items[i]->item->number] =
                items[i]->score.values[m];
    if (!work->store) return STATUS_OK;
    enum status status = store_begin(work->store);
    if (status) return status;
    for (size_t i = 0; !status && i < count; i++) status = save_item(work, items[i]);
    if (!status) return store_commit(work->store);
    store_rollback(work->store);
    return status;
}

/* ---- means */

/* Over the items of one category; -1: all. */
static enum status take_means(struct task_means *out, const struct work *work, int category) {
    const struct choice_set *set = work->settings->set;
    size_t all = set->items_count;
    struct sequence_value *values = memory_calloc(all, sizeof *values);
    enum status status = values ? STATUS_OK : STATUS_FAILED;
    out->category = category < 0 ? NULL : set->categories[category];
    for (int m = 0; !status && m < ITEM_METRICS; m++) {
        size_t count = 0;
        for (size_t i = 0; i < all; i++) {
            const struct choice_item *item = &set->items[i];
            if (category >= 0 && item->category != category) continue;
            values[count++] = (struct sequence_value){
                .row = item->number,
                .count = 1,
                .value = work->values[(size_t)m * all + (size_t)item->number]};
        }
        status = statistics_mean(&out->metrics[m], values, count);
    }
    free(values);
    return status;
}

static enum status summarise(struct task_run_result *out, const struct work *work) {
    const struct choice_set *set = work->settings->set;
    enum status status = take_means(&out->all, work, -1);
    out->normalised = item_score_normalised(set);
    out->categories = memory_calloc(set->categories_count, sizeof *out->categories);
    if (!out->categories) return STATUS_FAILED;
    for (size_t i = 0; !status && i < set->categories_count; i++)
        status = take_means(&out->categories[out->categories_count++], work, (int)i);
    return status;
}

static enum status compute(struct task_run_result *out, struct work *work) {
    struct multiple_choice_settings settings = {.model = work->settings->model,
                                                .set = work->settings->set,
                                                .group_tokens = work->settings->group_tokens,
                                                .name = work->settings->name,
                                                .done = work->done,
                                                .save = save,
                                                .context = work};
    struct multiple_choice_result result;
    if (out->items_found)
        log_note("run %lld continues: %lld of %lld items are there", (long long)work->run,
                 (long long)out->items_found, (long long)out->items);
    enum status status = multiple_choice_run(&result, &settings);
    out->seconds = result.seconds;
    multiple_choice_free(&result);
    return status;
}

enum status task_run(struct task_run_result *out, const struct task_run_settings *settings) {
    const struct choice_set *set = settings->set;
    struct work work = {.settings = settings};
    enum store_run_state state = STORE_RUN_NEW;
    *out = (struct task_run_result){.items = (int64_t)set->items_count,
                                    .rows = (int64_t)set->set.rows,
                                    .tokens = (int64_t)set->set.tokens};
    work.done = memory_calloc(set->items_count, sizeof *work.done);
    work.values = memory_calloc(ITEM_METRICS * set->items_count, sizeof *work.values);
    enum status status = work.done && work.values ? STATUS_OK : STATUS_FAILED;
    if (!status) status = record_check_items(settings->model, set);
    if (!status && settings->database) {
        status = store_open(&work.store, settings->database, STORE_WRITE);
        if (!status) status = begin(&work, &state);
        out->run = work.run;
        if (!status) status = load(&work, &out->items_found);
        const struct task_record_state as_found = {work.run, settings->database,
                                                   state == STORE_RUN_FINISHED};
        if (!status) status = task_record_check(&as_found, work.done, set->items_count);
    }
    if (!status && state != STORE_RUN_FINISHED) {
        status = compute(out, &work);
        if (!status && work.store) status = store_summarise_run(work.store, work.run);
        if (work.store) status = record_finish(work.store, work.run, status);
    }
    if (!status) status = summarise(out, &work);
    store_close(work.store);
    free(work.done);
    free(work.values);
    return status;
}

void task_run_free(struct task_run_result *result) {
    free(result->categories);
    *result = (struct task_run_result){0};
}
