#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cli/document.h"
#include "cli/table.h"
#include "cmd/scores.h"
#include "scores/comparison.h"

struct pair {
    size_t a, b; /* of the chosen runs */
    struct comparison comparison;
};

struct pairs {
    struct scored_run *runs; /* [n_runs] */
    size_t n_runs;
    struct pair *pairs; /* [n_pairs] */
    size_t n_pairs;
};

static void pairs_free(struct pairs *all) {
    for (size_t i = 0; i < all->n_runs; i++) scored_run_free(&all->runs[i]);
    for (size_t i = 0; i < all->n_pairs; i++) comparison_free(&all->pairs[i].comparison);
    free(all->runs);
    free(all->pairs);
}

static enum status compare_pair(struct pairs *all, size_t a, size_t b) {
    struct pair *pair = &all->pairs[all->n_pairs];
    const struct store_run *left = &all->runs[a].run, *right = &all->runs[b].run;
    if (left->model != right->model)
        return status_fail("runs %lld and %lld score different models (\"%s\"%s and \"%s\"%s)",
                           (long long)left->id, (long long)right->id, left->model_name,
                           store_fingerprint_remark(left->fingerprint_kind), right->model_name,
                           store_fingerprint_remark(right->fingerprint_kind));
    enum status status =
        comparison_build(&pair->comparison, &all->runs[a].ranking, &all->runs[b].ranking);
    if (status)
        return status_fail("runs %lld and %lld: %s", (long long)left->id, (long long)right->id,
                           status_message());
    pair->a = a;
    pair->b = b;
    all->n_pairs++;
    return STATUS_OK;
}

static enum status compare_all(struct pairs *all, struct store *store,
                               const struct scores_choice *choice) {
    size_t count = choice->runs.count;
    all->runs = memory_calloc(count, sizeof *all->runs);
    all->pairs = memory_calloc(count * (count - 1) / 2, sizeof *all->pairs);
    enum status status = all->runs && all->pairs ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < count; i++) {
        status =
            load_choice(&all->runs[i], store, choice->runs.items[i].run, choice_metric(choice, i));
        if (!status) all->n_runs++;
    }
    for (size_t a = 0; a < count; a++)
        for (size_t b = a + 1; !status && b < count; b++) status = compare_pair(all, a, b);
    return status;
}

/* ---- text */

static void number_or_dash(struct table *table, double value) {
    if (isfinite(value))
        table_cell(table, "%.4f", value);
    else
        table_cell(table, "-");
}

/* "3", or "3'" for the second metric of run 3, as a column heading can have it. */
static const char *name_of(char out[32], const struct pairs *all, size_t index) {
    int earlier = 0;
    for (size_t i = 0; i < index; i++) earlier += all->runs[i].run.id == all->runs[index].run.id;
    snprintf(out, 32, "%lld%.*s", (long long)all->runs[index].run.id, earlier, "''''''''");
    return out;
}

static enum status print_agreement(const struct pairs *all) {
    struct table table;
    table_begin(&table, "lrrr");
    table_cell(&table, "runs");
    table_cell(&table, "layers");
    table_cell(&table, "Spearman");
    table_cell(&table, "Kendall");
    for (size_t i = 0; i < all->n_pairs; i++) {
        const struct pair *pair = &all->pairs[i];
        char a[32], b[32];
        table_cell(&table, "%s (%s %s), %s (%s %s)", name_of(a, all, pair->a),
                   all->runs[pair->a].run.kind, all->runs[pair->a].metric, name_of(b, all, pair->b),
                   all->runs[pair->b].run.kind, all->runs[pair->b].metric);
        table_cell(&table, "%d", pair->comparison.layers);
        number_or_dash(&table, pair->comparison.spearman);
        number_or_dash(&table, pair->comparison.kendall);
    }
    return table_print(&table, stdout);
}

static enum status print_jaccard(const struct pairs *all) {
    char *alignment = memory_calloc(all->n_pairs + 2, 1);
    if (!alignment) return STATUS_FAILED;
    int most = 0;
    for (size_t i = 0; i <= all->n_pairs; i++) alignment[i] = 'r';
    struct table table;
    table_begin(&table, alignment);
    table_cell(&table, "k");
    for (size_t i = 0; i < all->n_pairs; i++) {
        const struct pair *pair = &all->pairs[i];
        char a[32], b[32];
        table_cell(&table, "%s,%s", name_of(a, all, pair->a), name_of(b, all, pair->b));
        if (pair->comparison.layers > most) most = pair->comparison.layers;
    }
    for (int k = 1; k <= most; k++) {
        table_cell(&table, "%d", k);
        for (size_t i = 0; i < all->n_pairs; i++)
            number_or_dash(&table, k <= all->pairs[i].comparison.layers
                                       ? all->pairs[i].comparison.jaccard[k - 1]
                                       : NAN);
    }
    enum status status = table_print(&table, stdout);
    free(alignment);
    return status;
}

/* ---- JSON */

static struct json *pair_to_json(const struct pairs *all, const struct pair *pair) {
    struct json *object = js_new_object(), *runs = js_new_array(), *metrics = js_new_array();
    struct json *kinds = js_new_array();
    const size_t sides[] = {pair->a, pair->b};
    for (size_t i = 0; i < 2; i++) {
        js_append(runs, js_new_integer(all->runs[sides[i]].run.id));
        js_append(metrics, js_new_string(all->runs[sides[i]].metric));
        js_append(kinds, js_new_string(all->runs[sides[i]].run.kind));
    }
    js_set(object, "runs", runs);
    js_set(object, "kinds", kinds);
    js_set(object, "metrics", metrics);
    js_set_integer(object, "layers", pair->comparison.layers);
    js_set_number(object, "spearman", pair->comparison.spearman); /* undefined: null */
    js_set_number(object, "kendall", pair->comparison.kendall);
    struct json *jaccard = js_new_array();
    for (int k = 0; k < pair->comparison.layers; k++)
        js_append(jaccard, js_new_number(pair->comparison.jaccard[k]));
    js_set(object, "jaccard", jaccard);
    return object;
}

enum status show_comparison(struct store *store, const struct scores_choice *choice, bool json) {
    struct pairs all = {0};
    enum status status = compare_all(&all, store, choice);
    if (!status && json) {
        struct json *document = document_begin("scores"), *pairs = js_new_array();
        for (size_t i = 0; i < all.n_pairs; i++)
            js_append(pairs, pair_to_json(&all, &all.pairs[i]));
        js_set(document, "pairs", pairs);
        status = document_print(document);
    } else if (!status) {
        status = print_agreement(&all);
        if (!status) puts("\nJaccard index of the k least important layers:\n");
        if (!status) status = print_jaccard(&all);
    }
    pairs_free(&all);
    return status;
}
