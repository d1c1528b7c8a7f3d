/* Shared by the files of distill_run. */
#ifndef DISTILL_WORK_H
#define DISTILL_WORK_H

#include "analysis/record.h"
#include "base/log.h"
#include "distill/distill.h" /* circle: private to it and its parts */

struct distill_work {
    const struct distill_settings *settings;
    struct distill_outcome *outcome;
    struct backend *backend;
    struct model *student, *teacher;
    struct tokenset *set;
    struct distill_arrangement arrangement;
    uint64_t base_bytes; /* resident before anything was opened */
    struct distill_folder folder;
    struct json *identity, *provenance;
    char *database;
    struct store *store;
    int64_t run;
    struct distill_engine *engine;
    struct distill_state state;
    int64_t saved;                       /* the step of the last state that was written; -1: none */
    struct store_training_step *pending; /* [pending_count]: not yet in the database */
    size_t pending_count, pending_room;
    double written_at;
    bool rising; /* it was said that the held-out value rises */
    struct progress progress;
};

/* Fill work->outcome->memory and work->arrangement: the fastest way that fits. */
enum status distill_budget(struct distill_work *work) STATUS_CHECKED;

/* How long the run will take, into work->outcome->memory: a part of a step is done and timed, where
 * that takes seconds only. Nothing is changed. */
enum status distill_predict(struct distill_work *work) STATUS_CHECKED;

/* What makes a run another run, also for its output. */
struct json *distill_describe(const struct distill_work *work);

/* Steps and measurements on their way to the database; what is pending goes there at the latest
 * with the next state. */
enum status distill_note_step(struct distill_work *work, int64_t step) STATUS_CHECKED;
enum status distill_note_values(struct distill_work *work,
                                const struct statistics values[METRIC_COUNT]) STATUS_CHECKED;
enum status distill_write_notes(struct distill_work *work) STATUS_CHECKED;

/* All steps from where the state stands. */
enum status distill_train(struct distill_work *work) STATUS_CHECKED;

#endif
