#include "scores/ranking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "scores/kinds.h"
#include "scores/metrics.h"

bool ranking_is_estimate(const char *kind) {
    const struct run_kind *row = run_kind_find(kind);
    return row && row->estimate;
}

bool ranking_ascending(const char *metric) {
    const struct metric_row *row = metric_row_find(metric);
    return !row || !row->larger_is_better;
}

const char *ranking_default_metric(const char *kind) {
    const struct run_kind *row = run_kind_find(kind);
    return row ? row->metric : NULL;
}

static int compare_layers(int a, int b) {
    return (a > b) - (a < b);
}

static int by_value_ascending(const void *left, const void *right) {
    const struct ranking_entry *a = left, *b = right;
    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    return compare_layers(a->layer, b->layer);
}

static int by_value_descending(const void *left, const void *right) {
    const struct ranking_entry *a = left, *b = right;
    if (a->value != b->value) return a->value > b->value ? -1 : 1;
    return compare_layers(a->layer, b->layer);
}

void ranking_sort(struct ranking *ranking) {
    if (ranking->count)
        qsort(ranking->entries, ranking->count, sizeof *ranking->entries,
              ranking->ascending ? by_value_ascending : by_value_descending);
    for (size_t i = 0; i < ranking->count; i++) ranking->entries[i].rank = (int)i + 1;
}

static enum status are_tied(bool *tied, const struct ranking_entry *a,
                            const struct ranking_entry *b) {
    double difference = a->value - b->value, error;
    if (a->values_count && b->values_count) {
        struct statistics paired;
        enum status status =
            statistics_difference(&paired, a->values, a->values_count, b->values, b->values_count);
        if (status)
            return status_fail("layers %d and %d: %s", a->layer, b->layer, status_message());
        difference = paired.mean;
        error = paired.stderr_mean;
    } else {
        error = hypot(a->stderr_value, b->stderr_value);
    }
    /* A NAN error (unknown) compares false. */
    *tied = difference == 0 || fabs(difference) <= 2 * error;
    return STATUS_OK;
}

enum status ranking_group(struct ranking *ranking) {
    size_t first = 0;
    int group = 1;
    for (size_t i = 0; i < ranking->count; i++) {
        bool tied = true;
        enum status status = STATUS_OK;
        if (i > first) status = are_tied(&tied, &ranking->entries[i], &ranking->entries[first]);
        if (status) return status;
        if (!tied) {
            first = i;
            group++;
        }
        ranking->entries[i].tie_group = group;
    }
    return STATUS_OK;
}

enum status ranking_drop(struct ranking *ranking, const bool *skip, int layers) {
    size_t kept = 0;
    for (size_t i = 0; i < ranking->count; i++) {
        struct ranking_entry *entry = &ranking->entries[i];
        if (entry->layer < 0 || entry->layer >= layers || skip[entry->layer])
            free(entry->values);
        else
            ranking->entries[kept++] = *entry;
    }
    ranking->count = kept;
    ranking_sort(ranking);
    return ranking_group(ranking);
}

void ranking_free(struct ranking *ranking) {
    for (size_t i = 0; i < ranking->count; i++) free(ranking->entries[i].values);
    free(ranking->entries);
    *ranking = (struct ranking){0};
}

/* ---- from the store */

static enum status fail_for_metric(const struct store_score_list *scores,
                                   const struct store_run *run, const char *metric) {
    struct text has = {0};
    const char *last = "";
    for (size_t i = 0; i < scores->count; i++) {
        if (scores->scores[i].layer < 0 || strcmp(scores->scores[i].metric, last) == 0) continue;
        text_append(&has, "%s%s", *last ? ", " : "", scores->scores[i].metric);
        last = scores->scores[i].metric;
    }
    char *list = text_finish(&has);
    enum status status;
    if (!list || !*list)
        status = status_fail("run %lld (%s) has no scores yet", (long long)run->id, run->kind);
    else
        status = status_fail("run %lld (%s) has no metric \"%s\"; it has: %s", (long long)run->id,
                             run->kind, metric ? metric : "", list);
    free(list);
    return status;
}

static enum status add_entry(struct ranking *out, struct store *store, const struct store_run *run,
                             const struct store_score *score) {
    struct store_sequence_list values;
    enum status status =
        store_get_sequence_scores(&values, store, run->id, score->layer, score->metric);
    if (status) return status;
    out->entries[out->count++] = (struct ranking_entry){
        .layer = score->layer,
        .value = score->value,
        .stderr_value = score->stderr_value,
        .n = score->n,
        .values = values.values, /* taken over */
        .values_count = values.count,
    };
    return STATUS_OK;
}

enum status ranking_load(struct ranking *out, struct store *store, const struct store_run *run,
                         const char *metric) {
    *out = (struct ranking){0};
    struct store_score_list scores;
    enum status status = store_get_scores(&scores, store, run->id);
    if (status) return status;
    if (!metric) metric = ranking_default_metric(run->kind);
    out->ascending = metric && ranking_ascending(metric);
    out->entries = memory_calloc(scores.count, sizeof *out->entries);
    if (!out->entries) status = STATUS_FAILED;
    for (size_t i = 0; !status && i < scores.count; i++) {
        const struct store_score *score = &scores.scores[i];
        if (score->layer >= 0 && metric && strcmp(score->metric, metric) == 0)
            status = add_entry(out, store, run, score);
    }
    if (!status && !out->count) status = fail_for_metric(&scores, run, metric);
    if (!status) {
        ranking_sort(out);
        status = ranking_group(out);
    }
    store_score_list_free(&scores);
    if (status) ranking_free(out);
    return status;
}
