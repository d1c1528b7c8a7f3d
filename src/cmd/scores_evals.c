/* apriel-tool scores --compare of evaluations: by how much two models differ on the same rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/table.h"
#include "cmd/scores.h"

/* One metric of two runs, over the rows that both have. */
struct difference {
    size_t a, b; /* of the chosen runs */
    char *metric;
    struct statistics of_a, of_b, paired; /* paired: a - b */
};

struct differences {
    struct store_run *runs; /* [count] */
    size_t count;
    struct difference *pairs; /* [n_pairs] */
    size_t n_pairs;
};

static void differences_free(struct differences *all) {
    for (size_t i = 0; i < all->count; i++) store_run_free(&all->runs[i]);
    for (size_t i = 0; i < all->n_pairs; i++) free(all->pairs[i].metric);
    free(all->runs);
    free(all->pairs);
}

/* ---- whether rows of two runs are the same question */

static char *task_of(const struct store_run *run) {
    struct json *parameters = NULL;
    char *task = NULL;
    if (js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters") == STATUS_OK)
        task = memory_copy_string(js_string_or(js_member(parameters, "task"), ""));
    js_free(parameters);
    return task;
}

/* Items of a task are the same where their answers are: models with other tokenizers have other
 * token sets of them. */
static enum status check_items(const struct store_run *a, const struct store_run *b,
                               struct store *store) {
    struct store_item_list left = {0}, right = {0};
    enum status status = store_get_items(&left, store, a->id);
    if (!status) status = store_get_items(&right, store, b->id);
    for (size_t i = 0, j = 0; !status && i < left.count && j < right.count;) {
        const struct store_item *one = &left.items[i], *other = &right.items[j];
        if (one->row == other->row && strcmp(one->gold, other->gold) != 0)
            status = status_fail("runs %lld and %lld have another right answer of item %lld",
                                 (long long)a->id, (long long)b->id, (long long)one->row);
        i += one->row <= other->row;
        j += other->row <= one->row;
    }
    store_item_list_free(&left);
    store_item_list_free(&right);
    return status;
}

static enum status check_same_rows(const struct store_run *a, const struct store_run *b,
                                   struct store *store) {
    char *one = task_of(a), *other = task_of(b);
    enum status status = one && other ? STATUS_OK : STATUS_FAILED;
    if (!status && strcmp(one, other) != 0)
        status = status_fail("run %lld is of %s and run %lld of %s: choose runs of one task",
                             (long long)a->id, *one ? one : "a token set", (long long)b->id,
                             *other ? other : "a token set");
    if (!status && !*one && strcmp(a->dataset_fingerprint, b->dataset_fingerprint) != 0)
        status = status_fail("runs %lld and %lld are of different token sets (\"%s\" and \"%s\")",
                             (long long)a->id, (long long)b->id, a->dataset_path, b->dataset_path);
    if (!status && *one) status = check_items(a, b, store);
    free(one);
    free(other);
    return status;
}

/* ---- differences */

/* Leave the rows of `list` that `other` has too, with positions in both. */
static void keep_common(struct store_sequence_list *list, const struct store_sequence_list *other) {
    size_t kept = 0, j = 0;
    for (size_t i = 0; i < list->count; i++) {
        while (j < other->count && other->values[j].row < list->values[i].row) j++;
        if (j < other->count && other->values[j].row == list->values[i].row &&
            list->values[i].count && other->values[j].count)
            list->values[kept++] = list->values[i];
    }
    list->count = kept;
}

static enum status measure(struct difference *out, struct store *store, int64_t a, int64_t b) {
    struct store_sequence_list left = {0}, right = {0};
    enum status status = store_get_sequence_scores(&left, store, a, STORE_TRUNK, out->metric);
    if (!status) status = store_get_sequence_scores(&right, store, b, STORE_TRUNK, out->metric);
    keep_common(&left, &right);
    keep_common(&right, &left);
    if (!status) status = statistics_mean(&out->of_a, left.values, left.count);
    if (!status) status = statistics_mean(&out->of_b, right.values, right.count);
    if (!status)
        status =
            statistics_difference(&out->paired, left.values, left.count, right.values, right.count);
    if (status)
        status = status_fail("runs %lld and %lld, \"%s\": %s", (long long)a, (long long)b,
                             out->metric, status_message());
    store_sequence_list_free(&left);
    store_sequence_list_free(&right);
    return status;
}

static enum status add_metric(struct differences *all, struct store *store, size_t a, size_t b,
                              const char *metric) {
    struct difference *more = memory_resize(all->pairs, all->n_pairs + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    all->pairs = more;
    struct difference *pair = &all->pairs[all->n_pairs];
    *pair = (struct difference){.a = a, .b = b, .metric = memory_copy_string(metric)};
    if (!pair->metric) return STATUS_FAILED;
    all->n_pairs++;
    return measure(pair, store, all->runs[a].id, all->runs[b].id);
}

/* Every metric that both have, or the one that is asked for. */
static enum status add_pair(struct differences *all, struct store *store, size_t a, size_t b,
                            const char *metric) {
    struct store_score_list left = {0}, right = {0};
    size_t before = all->n_pairs;
    enum status status = check_same_rows(&all->runs[a], &all->runs[b], store);
    if (!status) status = store_get_scores(&left, store, all->runs[a].id);
    if (!status) status = store_get_scores(&right, store, all->runs[b].id);
    for (size_t i = 0; !status && i < left.count; i++)
        for (size_t j = 0; !status && j < right.count; j++)
            if (strcmp(left.scores[i].metric, right.scores[j].metric) == 0 &&
                (!metric || strcmp(metric, left.scores[i].metric) == 0))
                status = add_metric(all, store, a, b, left.scores[i].metric);
    if (!status && all->n_pairs == before)
        status = status_fail("runs %lld and %lld have %s%s in common", (long long)all->runs[a].id,
                             (long long)all->runs[b].id, metric ? "no metric " : "no metric",
                             metric ? metric : "");
    store_score_list_free(&left);
    store_score_list_free(&right);
    return status;
}

static enum status load(struct differences *all, struct store *store,
                        const struct scores_choice *choice) {
    size_t count = choice->runs.count;
    all->runs = memory_calloc(count, sizeof *all->runs);
    enum status status = all->runs ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < count; i++) {
        status = store_get_run(&all->runs[i], store, choice->runs.items[i].run);
        if (!status) all->count++;
    }
    for (size_t a = 0; a < count; a++)
        for (size_t b = a + 1; !status && b < count; b++)
            status = add_pair(all, store, a, b, choice_metric(choice, a));
    return status;
}

/* ---- output */

static void put(struct table *table, double value) {
    if (isfinite(value))
        table_cell(table, "%.4f", value);
    else
        table_cell(table, "-");
}

static enum status print_text(const struct differences *all) {
    for (size_t i = 0; i < all->count; i++) {
        char *task = task_of(&all->runs[i]);
        quote_print(stdout, "run %lld: %s on %s%s%s", (long long)all->runs[i].id,
                    all->runs[i].model_name, task && *task ? task : "", task && *task ? ", " : "",
                    all->runs[i].dataset_path);
        free(task);
    }
    puts("\nover the rows that both have; errors are those of the paired difference\n");
    struct table table;
    table_begin(&table, "llrrrrr");
    static const char *const headings[] = {"runs",       "metric", "first", "second",
                                           "difference", "+-",     "rows"};
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        table_cell(&table, "%s", headings[i]);
    for (size_t i = 0; i < all->n_pairs; i++) {
        const struct difference *pair = &all->pairs[i];
        table_cell(&table, "%lld, %lld", (long long)all->runs[pair->a].id,
                   (long long)all->runs[pair->b].id);
        table_cell(&table, "%s", pair->metric);
        put(&table, pair->of_a.mean);
        put(&table, pair->of_b.mean);
        put(&table, pair->paired.mean);
        put(&table, pair->paired.stderr_mean);
        table_cell(&table, "%lld", (long long)pair->paired.n);
    }
    return table_print(&table, stdout);
}

static enum status print_document(const struct differences *all) {
    struct json *document = document_begin("scores"), *array = js_new_array();
    for (size_t i = 0; i < all->n_pairs; i++) {
        const struct difference *pair = &all->pairs[i];
        struct json *object = js_new_object(), *runs = js_new_array(), *values = js_new_array();
        js_append(runs, js_new_integer(all->runs[pair->a].id));
        js_append(runs, js_new_integer(all->runs[pair->b].id));
        js_append(values, js_new_number(pair->of_a.mean));
        js_append(values, js_new_number(pair->of_b.mean));
        js_set(object, "runs", runs);
        js_set_string(object, "metric", pair->metric);
        js_set(object, "values", values);
        js_set_number(object, "difference", pair->paired.mean);
        js_set_number(object, "stderr", pair->paired.stderr_mean);
        js_set_integer(object, "n", pair->paired.n);
        js_append(array, object);
    }
    js_set(document, "differences", array);
    return document_print(document);
}

enum status show_differences(struct store *store, const struct scores_choice *choice, bool json) {
    struct differences all = {0};
    enum status status = load(&all, store, choice);
    if (!status) status = json ? print_document(&all) : print_text(&all);
    differences_free(&all);
    return status;
}
