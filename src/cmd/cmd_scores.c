/* apriel-tool scores: what the database holds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cli/run_text.h"
#include "cli/score_list.h"
#include "cli/table.h"
#include "cmd/commands.h"
#include "cmd/scores.h"
#include "scores/kinds.h"
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
    char time[32];
    int replaced = run_replaced(run);
    quote_print(stdout, "run %lld: %s of %s on %s", (long long)run->id, run->kind, run->model_name,
                run->dataset_path);
    if (replaced > 0) quote_print(stdout, "base: %d layers replaced, %s", replaced, run->base);
    quote_print(stdout, "%s, %lld layers, %lld rows%s; begun %s, time %s", run->status,
                (long long)run->layers, (long long)run->rows,
                strcmp(run->status, STORE_STATUS_DONE) == 0 ? "" : " so far", run->started,
                run_format_seconds(time, run_seconds(run)));
    quote_print(stdout, "device %s, seed %lld, parameters %s", run->device, (long long)run->seed,
                run->parameters);
    if (run->note) quote_print(stdout, "note: %s", run->note);
    enum status status = print_trunk(store, run);
    if (status) return status;
    if (ranking_is_estimate(run->kind))
        printf("an estimate: apriel-tool loo without --estimate measures what it stands for\n");
    quote_print(stdout, "%s is unimportant for %s",
                ranking->ascending ? "a small value" : "a large value", metric);
    puts("");
    return print_ranking(ranking, metric);
}

/* The unmodified model's scores, which print_trunk shows. */
static enum status trunk_to_json(struct json *object, struct store *store, int64_t run) {
    struct store_score_list scores;
    struct json *array = js_new_array();
    enum status status = store_get_scores(&scores, store, run);
    for (size_t i = 0; !status && i < scores.count; i++)
        if (scores.scores[i].layer == STORE_TRUNK)
            js_append(array, score_to_json(&scores.scores[i]));
    js_set(object, "unmodified", array);
    store_score_list_free(&scores);
    return status;
}

static struct json *ranking_to_json(const struct store_run *run, const struct ranking *ranking,
                                    const char *metric) {
    struct json *object = run_to_json(run), *layers = js_new_array();
    js_set_bool(object, "estimate", ranking_is_estimate(run->kind));
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
    bool evaluation = run_kind_is_eval(run.kind);
    if (evaluation) status = show_evaluation(array, store, &run);
    store_run_free(&run);
    if (evaluation || status) return status;
    status = load_choice(&scored, store, id, metric);
    if (status) return status;
    if (by_layers)
        qsort(scored.ranking.entries, scored.ranking.count, sizeof *scored.ranking.entries,
              by_layer);
    if (array) {
        struct json *object = ranking_to_json(&scored.run, &scored.ranking, scored.metric);
        status = trunk_to_json(object, store, id);
        js_append(array, object);
    } else {
        status = print_run(store, &scored.run, &scored.ranking, scored.metric);
    }
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

/* ---- which runs */

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

/* ---- changes */

/* "3", "last", "bench:3" or "plan:2". */
static enum status delete_entry(struct store *store, const char *text) {
    static const struct {
        const char *prefix, *what;
        enum status (*run)(struct store *store, int64_t id);
    } kinds[] = {{"bench:", "throughput series", store_delete_bench},
                 {"plan:", "plan", store_delete_plan},
                 {"", "run", store_delete_run}};
    size_t kind = 0;
    while (strncmp(text, kinds[kind].prefix, strlen(kinds[kind].prefix)) != 0) kind++;
    struct run_choices runs = {0};
    enum status status =
        run_choices_add(&runs, text + strlen(kinds[kind].prefix), "scores: --delete");
    if (!status && runs.count != 1)
        status = status_set(STATUS_USAGE, "scores: --delete takes one run, not \"%s\"", text);
    if (!status && *kinds[kind].prefix && runs.items[0].run == RUN_LAST)
        status = status_set(STATUS_USAGE, "scores: --delete %s needs a number", kinds[kind].prefix);
    if (!status) status = run_choices_resolve(&runs, store);
    if (!status) status = kinds[kind].run(store, runs.items[0].run);
    if (!status) printf("deleted %s %lld\n", kinds[kind].what, (long long)runs.items[0].run);
    run_choices_free(&runs);
    return status;
}

static enum status note(struct store *store, const char *text, const char *note) {
    struct run_choices runs = {0};
    enum status status = run_choices_add(&runs, text, "scores: --note");
    if (!status && runs.count != 1)
        status = status_set(STATUS_USAGE, "scores: --note takes one run, not \"%s\"", text);
    if (!status) status = run_choices_resolve(&runs, store);
    if (!status) status = store_set_note(store, runs.items[0].run, note);
    if (!status)
        quote_print(stdout, *note ? "run %lld: \"%s\"" : "run %lld has no note any more",
                    (long long)runs.items[0].run, note);
    run_choices_free(&runs);
    return status;
}

/* ---- the command */

struct scores_options {
    const char *db, *metric, *compare, *sort, *export, *note, *note_text, *deleted;
    struct string_list runs;
};

/* Options that do not go together. */
static enum status check(const struct scores_options *options,
                         const struct command_arguments *arguments) {
    size_t texts = options->note ? 1 : 0;
    bool shows = options->runs.count || options->compare || options->export || options->metric;
    if (options->note && arguments->positional.count != 1)
        return status_set(STATUS_USAGE,
                          "scores: --note needs a text, as in --note 3 \"with the new data\"; \"\" "
                          "takes the note away");
    if (arguments->positional.count != texts)
        return status_set(STATUS_USAGE, "scores: takes no argument; give the database as --db");
    if (!options->db) return status_set(STATUS_USAGE, "scores: --db FILE is missing");
    if ((options->note || options->deleted) &&
        (shows || arguments->json || (options->note && options->deleted)))
        return status_set(STATUS_USAGE, "scores: %s goes with --db alone",
                          options->deleted ? "--delete" : "--note");
    if (options->export && arguments->json)
        return status_set(STATUS_USAGE, "scores: --export is CSV, not JSON: leave --json out");
    if (options->export && (options->compare || options->metric))
        return status_set(STATUS_USAGE, "scores: --export takes no %s",
                          options->compare ? "--compare" : "--metric");
    return STATUS_OK;
}

/* Runs of eval are compared row by row, others by their rankings. */
static enum status compare(struct store *store, const struct scores_choice *choice, bool json) {
    size_t evaluations = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < choice->runs.count; i++) {
        struct store_run run;
        status = store_get_run(&run, store, choice->runs.items[i].run);
        if (status) break;
        evaluations += run_kind_is_eval(run.kind);
        store_run_free(&run);
    }
    if (status) return status;
    if (evaluations == choice->runs.count) return show_differences(store, choice, json);
    if (evaluations)
        return status_fail("runs of eval compare with runs of eval, not with rankings of layers");
    return show_comparison(store, choice, json);
}

/* After the list a run's ranking, after rankings a plan by them. */
static enum status print_next(struct store *store, const struct scores_choice *choice,
                              const char *db) {
    struct store_run_list list;
    struct text line;
    bool ranked = false;
    enum status status = store_list_runs(&list, store);
    for (size_t i = 0; !status && choice->runs.count && i < list.count; i++)
        if (list.runs[i].id == choice->runs.items[0].run)
            ranked = ranking_default_metric(list.runs[i].kind) != NULL;
    if (!status && list.count && !choice->runs.count) {
        next_begin(&line, "scores");
        next_path(&line, "--db", db);
        next_words(&line, "--run %lld", (long long)list.runs[list.count - 1].id);
        next_print(&line, false);
    } else if (!status && ranked) {
        next_begin(&line, "plan");
        next_path(&line, "--db", db);
        next_words(&line, "--run %lld -o plan.json", (long long)choice->runs.items[0].run);
        next_print(&line, false);
    }
    store_run_list_free(&list);
    return status;
}

static enum status show(struct store *store, struct scores_choice *choice,
                        const struct scores_options *options, bool json) {
    enum status status = run_choices_resolve(&choice->runs, store);
    if (status) return status;
    if (options->export) return export_scores(store, choice, options->export);
    if (options->compare) return compare(store, choice, json);
    status = choice->runs.count ? show_runs(store, choice, json) : show_list(store, json);
    return status || json ? status : print_next(store, choice, options->db);
}

static enum status run(const struct scores_options *options, bool json) {
    bool change = options->note || options->deleted;
    struct scores_choice choice = {0};
    struct store *store = NULL;
    char *metrics = options->metric ? memory_copy_string(options->metric) : NULL;
    enum status status = options->metric && !metrics ? STATUS_FAILED : STATUS_OK;
    if (!status)
        status = read_choice(&choice, &options->runs, options->compare, metrics, options->sort);
    /* What is to be changed must be there. */
    if (!status && change) {
        status = store_open(&store, options->db, STORE_READ);
        store_close(store);
        store = NULL;
    }
    if (!status) status = store_open(&store, options->db, change ? STORE_WRITE : STORE_READ);
    if (!status && options->deleted)
        status = delete_entry(store, options->deleted);
    else if (!status && options->note)
        status = note(store, options->note, options->note_text);
    else if (!status)
        status = show(store, &choice, options, json);
    store_close(store);
    run_choices_free(&choice.runs);
    free(choice.metrics);
    free(metrics);
    return status;
}

enum status cmd_scores(int argc, char **argv) {
    struct scores_options v = {.sort = "rank"};
    struct option options[] = {
        {"db", OPTION_STRING, &v.db, "FILE.db", "the score database", .group = GROUP_FILES,
         .completes = "*.db"},
        {"run", OPTION_LIST, &v.runs, "N[:METRIC]|last",
         "table of this run, also 1,3-5 (may be repeated)", .group = GROUP_SHOW},
        {"metric", OPTION_STRING, &v.metric, "NAME",
         "rank by this metric (default: kl for loo, heldout_rkl_after for mmr, est_* for "
         "estimates); one a run: A,B",
         .group = GROUP_SHOW},
        {"sort", OPTION_CHOICE, &v.sort, NULL, "order of the table: rank (default) or layer",
         .group = GROUP_SHOW, .choices = "rank|layer"},
        {"compare", OPTION_STRING, &v.compare, "N[:METRIC],M",
         "how well runs, or metrics, agree; of runs of eval the paired difference",
         .group = GROUP_SHOW},
        {"export", OPTION_CHOICE, &v.export, NULL,
         "CSV of --run, or of all runs: csv (a line a layer and metric), sequences, steps; of "
         "distill: curve, heldout; of "
         "tasks: items, choices, answers; the list itself: runs, bench (throughput)",
         .group = GROUP_SHOW,
         .choices = "csv|sequences|steps|curve|heldout|items|choices|answers|runs|bench"},
        {"note", OPTION_STRING, &v.note, "RUN",
         "keep the argument TEXT with this run, as in --note 3 \"new data\"", .group = GROUP_FILES},
        {"delete", OPTION_STRING, &v.deleted, "RUN",
         "delete this run with its values, or bench:N, or plan:N, without asking; a run that a "
         "recorded plan was made from stays",
         .group = GROUP_FILES},
    };
    const struct command_line line = {
        .command = "scores",
        .usage = "--db FILE.db [--run N] [--compare N[:METRIC],M] [options]",
        .about = "List the runs of a score database; with --run, rank a run's layers. Layers of "
                 "one tie group differ by at most two standard errors of their paired difference "
                 "over the rows.",
        .options = options,
        .count = sizeof options / sizeof *options,
        .epilogue = "examples:\n"
                    "  apriel-tool scores --db scores.db\n"
                    "  apriel-tool scores --db scores.db --run last\n"
                    "  apriel-tool scores --db scores.db --compare 1,2,3:heldout_rkl_before,3",
    };
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) {
        status = check(&v, &arguments);
        if (!status && v.note) v.note_text = arguments.positional.values[0];
        if (!status) status = run(&v, arguments.json);
    }
    options_free(&arguments, &line);
    return status;
}
