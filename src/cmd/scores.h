/* The parts of `apriel-tool scores`: lists and tables (scores_list.c, cmd_scores.c), comparisons
 * and export (scores_compare.c, scores_evals.c, scores_export.c). */
#ifndef CMD_SCORES_H
#define CMD_SCORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "cli/run_choice.h"
#include "scores/ranking.h"
#include "scores/store.h"

struct scores_choice {
    struct run_choices runs;
    const char **metrics; /* [n_metrics]: none, one for all, or one a run */
    size_t n_metrics;
    bool by_layers;
};

/* The metric of the run at `index`: its own, or that of --metric; NULL: the default of its kind. */
const char *choice_metric(const struct scores_choice *choice, size_t index);

struct scored_run {
    struct store_run run;
    struct ranking ranking;
    const char *metric; /* that ranks it; borrowed */
};

enum status load_choice(struct scored_run *out, struct store *store, int64_t id,
                        const char *metric) STATUS_CHECKED;
void scored_run_free(struct scored_run *scored);

/* Decimals that show five digits of the largest value. */
int number_digits(const struct ranking *ranking);

/* The runs and the throughput series of the database. */
enum status show_list(struct store *store, bool json) STATUS_CHECKED;

/* Paired differences of every pair of the chosen runs, which are of eval. */
enum status show_differences(struct store *store, const struct scores_choice *choice,
                             bool json) STATUS_CHECKED;

/* Spearman, Kendall and the Jaccard index at each k of every pair of the chosen runs. */
enum status show_comparison(struct store *store, const struct scores_choice *choice,
                            bool json) STATUS_CHECKED;

/* A run of tasks as a table: means and standard errors by category, then of all items; or the same
 * added to `array`. */
enum status show_evaluation(struct json *array, struct store *store,
                            const struct store_run *run) STATUS_CHECKED;

/* CSV on stdout of the chosen runs, or of all: "csv", "sequences", "steps", "items", "choices" or
 * "answers". */
enum status export_scores(struct store *store, const struct scores_choice *choice,
                          const char *what) STATUS_CHECKED;

#endif
