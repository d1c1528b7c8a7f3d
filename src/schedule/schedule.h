/* The iterative schedule of Apriel-H1: the first stage by leave-one-out, then MMR on top of the
 * hybrid that exists so far, a few layers at a time. Each step scores, plans and converts.
 *
 * A step's results lie in the work directory: plan-N.json and hybrid-N for each number N of
 * replaced layers on the way, plan.json with all stages at the end. A directory hybrid-N-distilled
 * is taken in the place of hybrid-N. What is there already is not made again, so the same schedule
 * continues where it stopped; what is there and was made for another one (check.h) is a failure.
 *
 * The caller goes through the steps in order: schedule_look, then schedule_score, schedule_plan and
 * schedule_convert for what was not found; after the last, schedule_plan_all. */
#ifndef SCHEDULE_SCHEDULE_H
#define SCHEDULE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/loo/loo.h"
#include "analysis/mmr/mmr.h"
#include "convert/conversion.h"

struct schedule_settings {
    const char *counts; /* "25,27,30": layers replaced after each stage */
    int64_t group;      /* layers that one MMR run decides */
    const char *keep;   /* layers that are never replaced, or NULL */
    const char *work;   /* the directory */
    /* What the steps are asked. All three have the same model, loo and mmr the same data and
     * database; mmr.hybrid, and plan, from and output of convert, are set for each step. */
    struct loo_settings loo;
    struct mmr_settings mmr;
    struct conversion_settings convert;
    bool kind_asked; /* that of convert was named; else each command takes the usual one */
};

struct schedule_step {
    int before, after; /* replaced layers; before is 0 for the first, which leave-one-out decides */
    bool ends_stage;
    int64_t run;             /* that decides it; 0: not known yet */
    bool planned, converted; /* found by schedule_look */
};

struct schedule {
    struct schedule_settings settings; /* convert.format: what is asked for, or the first that can
                                          hold the hybrids where convert takes another by itself */
    struct schedule_step *steps;       /* [count] */
    size_t count;
};

/* Cut the stages into steps, and check before hours of work that the model has so many layers, that
 * the format can hold its hybrids, and that nothing in the work directory stands behind a plan that
 * is missing. The caller frees with schedule_close, after a failure too. */
enum status schedule_open(struct schedule *out,
                          const struct schedule_settings *settings) STATUS_CHECKED;

/* The kind of the new mixers, as `plan --kind` takes it; NULL: none was asked for. */
const char *schedule_kind(char out[MIXER_TEXT_SIZE], const struct schedule *schedule);
void schedule_close(struct schedule *schedule);

/* The work directory, made unless it is there. */
enum status schedule_make_directory(const struct schedule *schedule) STATUS_CHECKED;

/* What is there of a step already: its run, `planned` and `converted`. */
enum status schedule_look(struct schedule *schedule, size_t index) STATUS_CHECKED;

/* The run that schedule_score would find or continue, into step->run, where the database has one;
 * what cannot be opened yet has none. Nothing is written. */
enum status schedule_find_run(struct schedule *schedule, size_t index) STATUS_CHECKED;

/* The run of a step, into step->run: loo_run's outcome for the first, else mmr_run's. */
struct schedule_outcome {
    struct loo_outcome loo;
    struct mmr_outcome mmr;
};
enum status schedule_score(struct schedule_outcome *out, struct schedule *schedule,
                           size_t index) STATUS_CHECKED;

/* The plan of a step, written and recorded in the database. The caller frees with plan_free. */
enum status schedule_plan(struct plan *out, struct schedule *schedule, size_t index) STATUS_CHECKED;

/* The hybrid of a step. The conversion borrows `settings`, which receives what it was asked;
 * schedule_conversion_free frees both, after a failure too. */
struct schedule_conversion {
    struct conversion_settings settings;
    struct conversion made;
    char *plan, *from, *output;
};
enum status schedule_convert(struct schedule_conversion *out, const struct schedule *schedule,
                             size_t index) STATUS_CHECKED;
void schedule_conversion_free(struct schedule_conversion *conversion);

/* All stages in one plan, once every run is known; one of an earlier call is replaced. */
enum status schedule_plan_all(struct plan *out, const struct schedule *schedule) STATUS_CHECKED;

/* Paths in the work directory; the caller frees, NULL when out of memory. `count` is a number of
 * replaced layers. schedule_base_path: what the next step starts from, the distilled hybrid when
 * there is one. */
char *schedule_plan_path(const struct schedule *schedule, int count);
char *schedule_hybrid_path(const struct schedule *schedule, int count);
char *schedule_base_path(const struct schedule *schedule, int count);
char *schedule_plan_all_path(const struct schedule *schedule);

#endif
