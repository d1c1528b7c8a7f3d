/* apriel-tool scores: what the database holds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cmd/commands.h"
#include "cmd/document.h"
#include "cmd/options.h"
#include "cmd/scores.h"
#include "cmd/table.h"
#include "scores/ranking.h"
#include "scores/store.h"

/* ---- numbers and runs as text */

int number_digits(const struct ranking *ranking) {
    double largest = 0;
    for (size_t i = 0; i < ranking->count; i++)
        if (fabs(ranking->entries[i].value) > largest) largest = fabs(ranking->entries[i].value);
    int digits = largest > 0 ? 4 - (int)floor(log10(largest)) : 5;
    return digits < 3 ? 3 : digits > 12 ? 12 : digits;
}

/* Layers that the layout of a run's base has replaced; -1: no layout. */
static int replaced_in(const char *base) {
    int count = 0;
    for (const char *letter = base; *letter; letter++) count += *letter == 'm';
    return *base ? count : -1;
}

struct json *run_to_json(const struct store_run *run) {
    struct json *object = js_new_object();
    js_set_integer(object, "run", run->id);
    js_set_string(object, "kind", run->kind);
    js_set_string(object, "model", run->model_name);
    js_set_string(object, "dataset", run->dataset_path);
    js_set_string(object, "base", run->base);
    struct json *parameters = NULL;
    if (js_parse(&parameters, run->parameters, strlen(run->parameters), "parameters") != STATUS_OK)
        parameters = js_new_string(run->parameters);
    js_set(object, "parameters", parameters);
    js_set_integer(object, "seed", run->seed);
    js_set_string(object, "device", run->device);
    js_set_string(object, "tool", run->version);
    js_set_string(object, "commit", run->revision);
    js_set_integer(object, "numbers_version", run->numbers); /* unknown: 0 */
    js_set_bool(object, "older_fingerprint", *store_fingerprint_remark(run->fingerprint_kind));
    js_set_string(object, "status", run->status);
    js_set_string(object, "started", run->started);
    js_set_string(object, "finished", run->finished);
    js_set_integer(object, "layers", run->layers);
    js_set_integer(object, "rows", run->rows);
    return object;
}

/* ---- the list of runs */

static enum status print_runs(const struct store_run_list *list) {
    if (!list->count) {
        puts("no runs yet");
        return STATUS_OK;
    }
    struct table table;
    table_begin(&table, "rllrrrrllll");
    const char *headings[] = {"run",  "kind",    "status", "layers", "rows",      "seed",
                              "base", "started", "model",  "tokens", "parameters"};
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        table_cell(&table, "%s", headings[i]);
    for (size_t i = 0; i < list->count; i++) {
        const struct store_run *run = &list->runs[i];
        int replaced = replaced_in(run->base);
        table_cell(&table, "%lld", (long long)run->id);
        table_cell(&table, "%s", run->kind);
        table_cell(&table, "%s", run->status);
        table_cell(&table, "%lld", (long long)run->layers);
        table_cell(&table, "%lld", (long long)run->rows);
        table_cell(&table, "%lld", (long long)run->seed);
        if (replaced > 0)
            table_cell(&table, "%d replaced", replaced);
        else
            table_cell(&table, "-");
        table_cell(&table, "%.16s", run->started);
        table_cell(&table, "%s", run->model_name);
        table_cell(&table, "%s", run->dataset_path);
        table_cell(&table, "%s", run->parameters);
    }
    return table_print(&table, stdout);
}

/* Runs of releases whose numbers and fingerprints are not those of this one. */
static enum status print_older(const struct store_run_list *list) {
    int *older = memory_calloc(list->count, sizeof *older);
    size_t count = 0;
    if (!older) return STATUS_FAILED;
    for (size_t i = 0; i < list->count; i++)
        if (!list->runs[i].numbers || *store_fingerprint_remark(list->runs[i].fingerprint_kind))
            older[count++] = (int)list->runs[i].id;
    char *text = count ? list_format(older, count) : NULL;
    if (text)
        printf("run%s %s: of an older apriel-tool, whose fingerprint reads samples of the model's "
               "weights; kept to be read and planned from, not continued or used by new runs\n",
               count == 1 ? "" : "s", text);
    free(text);
    free(older);
    return count && !text ? STATUS_FAILED : STATUS_OK;
}

static enum status show_list(struct store *store, bool json) {
    struct store_run_list list;
    enum status status = store_list_runs(&list, store);
    if (status) return status;
    if (json) {
        struct json *document = document_begin("scores"), *runs = js_new_array();
        for (size_t i = 0; i < list.count; i++) js_append(runs, run_to_json(&list.runs[i]));
        js_set(document, "runs", runs);
        status = document_print(document);
    } else {
        status = print_runs(&list);
        if (!status) status = print_older(&list);
    }
    store_run_list_free(&list);
    return status;
}

/* ---- the table of a run */

static int by_layer(const void *left, const void *right) {
    const struct ranking_entry *a = left, *b = right;
    return (a->layer > b->layer) - (a->layer < b->layer);
}

static enum status print_ranking(const struct ranking *ranking, const char *metric) {
    int digits = number_digits(ranking);
    struct table table;
    table_begin(&table, "rrrrr");
    table_cell(&table, "rank");
    table_cell(&table, "layer");
    table_cell(&table, "%s", metric);
    table_cell(&table, "stderr");
    table_cell(&table, "tie group");
    for (size_t i = 0; i < ranking->count; i++) {
        const struct ranking_entry *entry = &ranking->entries[i];
        table_cell(&table, "%d", entry->rank);
        table_cell(&table, "%d", entry->layer);
        table_cell(&table, "%.*f", digits, entry->value);
        if (isfinite(entry->stderr_value))
            table_cell(&table, "%.*f", digits, entry->stderr_value);
        else
            table_cell(&table, "-");
        table_cell(&table, "%d", entry->tie_group);
    }
    return table_print(&table, stdout);
}

static enum status print_trunk(struct store *store, const struct store_run *run) {
    struct store_score_list scores;
    enum status status = store_get_scores(&scores, store, run->id);
    for (size_t i = 0; !status && i < scores.count; i++) {
        const struct store_score *score = &scores.scores[i];
        if (score->layer != STORE_TRUNK) continue;
        printf("unmodified model: %s %.5f", score->metric, score->value);
        if (isfinite(score->stderr_value)) printf(" +- %.5f", score->stderr_value);
        printf(" over %lld row%s\n", (long long)score->n, score->n == 1 ? "" : "s");
    }
    store_score_list_free(&scores);
    return status;
}

static enum status print_run(struct store *store, const struct store_run *run,
                             const struct ranking *ranking, const char *metric) {
    int replaced = replaced_in(run->base);
    quote_print(stdout, "run %lld: %s of %s on %s", (long long)run->id, run->kind, run->model_name,
                run->dataset_path);
    if (replaced > 0) quote_print(stdout, "base: %d layers replaced, %s", replaced, run->base);
    quote_print(stdout, "%s, %lld layers, %lld rows%s; device %s, seed %lld, parameters %s",
                run->status, (long long)run->layers, (long long)run->rows,
                strcmp(run->status, STORE_STATUS_DONE) == 0 ? "" : " so far", run->device,
                (long long)run->seed, run->parameters);
    enum status status = print_trunk(store, run);
    if (status) return status;
    if (ranking_is_estimate(run->kind))
        printf("an estimate: apriel-tool loo without --estimate measures what it stands for\n");
    quote_print(stdout, "%s is unimportant for %s",
                ranking->ascending ? "a small value" : "a large value", metric);
    puts("");
    return print_ranking(ranking, metric);
}

static struct json *ranking_to_json(const struct store_run *run, const struct ranking *ranking,
                                    const char *metric) {
    struct json *object = run_to_json(run), *layers = js_new_array();
    js_set_string(object, "metric", metric);
    js_set_string(object, "unimportant", ranking->ascending ? "small" : "large");
    for (size_t i = 0; i < ranking->count; i++) {
        const struct ranking_entry *entry = &ranking->entries[i];
        struct json *layer = js_new_object();
        js_set_integer(layer, "layer", entry->layer);
        js_set_number(layer, "value", entry->value);
        js_set_number(layer, "stderr", entry->stderr_value); /* unknown: null */
        js_set_integer(layer, "n", entry->n);
        js_set_integer(layer, "rank", entry->rank);
        js_set_integer(layer, "tie_group", entry->tie_group);
        js_append(layers, layer);
    }
    js_set(object, "scores", layers);
    return object;
}

enum status load_choice(struct scored_run *out, struct store *store, int64_t id,
                        const char *metric) {
    *out = (struct scored_run){0};
    enum status status = store_get_run(&out->run, store, id);
    if (!status) status = ranking_load(&out->ranking, store, &out->run, metric);
    out->metric = metric || status ? metric : ranking_default_metric(out->run.kind);
    if (status) scored_run_free(out);
    return status;
}

void scored_run_free(struct scored_run *scored) {
    store_run_free(&scored->run);
    ranking_free(&scored->ranking);
}

static enum status show_run(struct json *array, struct store *store, int64_t id, const char *metric,
                            bool by_layers) {
    struct scored_run scored;
    struct store_run run;
    enum status status = store_get_run(&run, store, id);
    if (status) return status;
    bool evaluation = strcmp(run.kind, "eval") == 0;
    if (evaluation) status = show_evaluation(array, store, &run);
    store_run_free(&run);
    if (evaluation || status) return status;
    status = load_choice(&scored, store, id, metric);
    if (status) return status;
    if (by_layers)
        qsort(scored.ranking.entries, scored.ranking.count, sizeof *scored.ranking.entries,
              by_layer);
    if (array)
        js_append(array, ranking_to_json(&scored.run, &scored.ranking, scored.metric));
    else
        status = print_run(store, &scored.run, &scored.ranking, scored.metric);
    scored_run_free(&scored);
    return status;
}

static enum status show_runs(struct store *store, const struct scores_choice *choice, bool json) {
    struct json *array = json ? js_new_array() : NULL;
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < choice->runs.count; i++) {
        if (!json && i) puts("");
        status = show_run(array, store, choice->runs.items[i].run, choice_metric(choice, i),
                          choice->by_layers);
    }
    if (!status && json) {
        struct json *document = document_begin("scores");
        js_set(document, "runs", array);
        return document_print(document);
    }
    js_free(array);
    return status;
}

/* ---- the command */

const char *choice_metric(const struct scores_choice *choice, size_t index) {
    if (choice->runs.items[index].metric) return choice->runs.items[index].metric;
    if (!choice->n_metrics) return NULL;
    return choice->metrics[choice->n_metrics == 1 ? 0 : index];
}

/* Cuts "kl,rkl" in place. */
static enum status split_metrics(struct scores_choice *choice, char *text) {
    while (text) {
        const char **more =
            memory_resize(choice->metrics, choice->n_metrics + 1, sizeof *choice->metrics);
        if (!more) return STATUS_FAILED;
        choice->metrics = more;
        choice->metrics[choice->n_metrics++] = text;
        text = strchr(text, ',');
        if (text) *text++ = '\0';
    }
    if (choice->n_metrics > 1 && choice->n_metrics != choice->runs.count)
        return status_set(STATUS_USAGE, "scores: %zu metrics for %zu runs; give one, or one a run",
                          choice->n_metrics, choice->runs.count);
    return STATUS_OK;
}

static enum status read_choice(struct scores_choice *choice, const struct string_list *runs,
                               const char *compare, char *metrics, const char *sort) {
    enum status status = STATUS_OK;
    if (runs->count && compare)
        return status_set(STATUS_USAGE, "scores: give --run or --compare, not both");
    for (size_t i = 0; !status && i < runs->count; i++)
        status = run_choices_add(&choice->runs, runs->values[i], "scores: --run");
    if (!status && compare) status = run_choices_add(&choice->runs, compare, "scores: --compare");
    if (!status && compare && choice->runs.count < 2)
        status = status_set(STATUS_USAGE, "scores: --compare needs two runs or more, as in 1,2");
    if (!status && metrics) status = split_metrics(choice, metrics);
    choice->by_layers = strcmp(sort, "layer") == 0;
    return status;
}

enum status cmd_scores(int argc, char **argv) {
    const char *db = NULL, *metric = NULL, *compare = NULL, *sort = "rank", *export = NULL;
    struct string_list runs = {0};
    struct option options[] = {
        {"db", OPTION_STRING, &db, "FILE", "the score database", .group = GROUP_FILES,
         .completes = "*.db"},
        {"run", OPTION_LIST, &runs, "N[:METRIC]", "table of this run, also 1,3-5 (may be repeated)",
         .group = GROUP_SHOW},
        {"metric", OPTION_STRING, &metric, "NAME",
         "rank by this metric (default: kl for loo, heldout_rkl_after for mmr, est_* for "
         "estimates); one a run: A,B",
         .group = GROUP_SHOW},
        {"sort", OPTION_CHOICE, &sort, NULL, "order of the table: rank (default) or layer",
         .group = GROUP_SHOW, .choices = "rank|layer"},
        {"compare", OPTION_STRING, &compare, "N[:METRIC],M", "how well runs, or metrics, agree",
         .group = GROUP_SHOW},
        {"export", OPTION_CHOICE, &export, NULL,
         "CSV of --run, or of all runs: csv (a line a layer and metric), sequences, steps; of "
         "tasks: items, choices, answers",
         .group = GROUP_SHOW, .choices = "csv|sequences|steps|items|choices|answers"},
    };
    const struct command_line line = {
        .command = "scores",
        .usage = "--db FILE [--run N] [--compare N[:METRIC],M] [options]",
        .about = "List the runs of a score database; with --run, rank a run's layers. Layers of "
                 "one tie group differ by at most two standard errors of their paired difference "
                 "over the rows.",
        .options = options,
        .count = sizeof options / sizeof *options,
        .epilogue = "examples:\n"
                    "  apriel-tool scores --db scores.db\n"
                    "  apriel-tool scores --db scores.db --run 1\n"
                    "  apriel-tool scores --db scores.db --compare 1,2,3:heldout_rkl_before,3",
    };
    struct command_arguments arguments;
    struct scores_choice choice = {0};
    struct store *store = NULL;
    char *metrics = NULL;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (status || arguments.help) goto done;
    if (!db || arguments.positional.count) {
        status =
            status_set(STATUS_USAGE, arguments.positional.count
                                         ? "scores: takes no argument; give the database as --db"
                                         : "scores: --db FILE is missing");
        goto done;
    }
    if (metric && !(metrics = memory_copy_string(metric))) {
        status = STATUS_FAILED;
        goto done;
    }
    status = read_choice(&choice, &runs, compare, metrics, sort);
    if (!status) status = store_open(&store, db, STORE_READ);
    if (status) goto done;
    if (export)
        status = export_scores(store, &choice, export);
    else if (compare)
        status = show_comparison(store, &choice, arguments.json);
    else if (choice.runs.count)
        status = show_runs(store, &choice, arguments.json);
    else
        status = show_list(store, arguments.json);
done:
    store_close(store);
    run_choices_free(&choice.runs);
    free(choice.metrics);
    free(metrics);
    options_free(&arguments, &line);
    return status;
}
