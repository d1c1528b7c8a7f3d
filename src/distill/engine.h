/* Student and teacher in memory, and the passes of a step through both.
 *
 * The teacher's pass is one without gradients. Layers that both models have alike, and below which
 * nothing has trained, are gone through once, by the teacher; then the student goes on from what
 * the teacher has there. Rows start anew: sequences are never mixed. */
#ifndef DISTILL_ENGINE_H
#define DISTILL_ENGINE_H

#include "distill/phases.h"
#include "distill/rows.h"
#include "measure/scorer.h"
#include "scores/statistics.h"
#include "train/step.h"

/* What training is told; nothing in here is changed by it. */
struct distill_training {
    struct distill_phases phases;
    struct train_data data;         /* rows a step, rows held out */
    bool in_order;                  /* of the file, in every epoch */
    uint64_t seed;                  /* of the order otherwise */
    struct train_schedule schedule; /* of every phase, see distill_phase_schedule */
    struct train_optimizer optimizer;
    struct train_loss loss;
};

/* How it is done in the memory there is. */
struct distill_arrangement {
    int micro;      /* rows that pass at a time: a step's gradient is the same but for rounding */
    bool recompute; /* blocks, in the backward pass: the same bits */
    bool keep_teacher; /* its layers stay loaded, else each comes for every pass: the same bits */
};

struct distill_engine {
    const struct distill_training *training;
    struct distill_arrangement arrangement;
    struct model *student, *teacher;
    struct backend *backend;
    const struct tokenset *set;
    struct distill_rows rows;
    int alike;         /* layers from the first on that both models had alike at the beginning */
    int phase;         /* that is under way; -1: none yet */
    int first;         /* layer in which something trains in it */
    int shared;        /* layers that one pass goes through for both models */
    bool trains_input; /* the embedding trains */
    struct student state;
    struct student *students[1];
    int64_t room;       /* tokens that can pass at a time */
    struct trace trace; /* of passes without gradients */
    struct acc *target; /* [tokens, D]: the teacher's last states */
    struct loss *loss;
    struct scorer *scorer;
    struct distill_micro *micros; /* [micro_count]: of the present step */
    struct loss_batch *batches;
    int micro_count;
};

/* Both models' layers that both have alike from the first on, by every value; the embedding counts
 * as below the first: -1 where it differs. */
enum status distill_count_alike(int *out, const struct model *student,
                                const struct model *teacher) STATUS_CHECKED;

/* Student and teacher are loaded (model_load) and outlive the engine, as `training` must. */
enum status distill_engine_open(struct distill_engine **out, struct model *student,
                                struct model *teacher, const struct tokenset *set, const char *path,
                                const struct distill_training *training,
                                const struct distill_arrangement *arrangement) STATUS_CHECKED;
void distill_engine_close(struct distill_engine *engine); /* accepts NULL */

/* Bytes on the backend, by what takes them; of models that need only be described. */
struct distill_memory {
    uint64_t student, teacher, activations, optimizer, logits;
    int64_t tokens; /* that pass at a time */
};
enum status distill_engine_memory(struct distill_memory *out, struct model *student,
                                  const struct model *teacher, const struct tokenset *set,
                                  const char *path, const struct distill_training *training,
                                  const struct distill_arrangement *arrangement) STATUS_CHECKED;

/* What trains at step `step` trains from now on. A phase that begins with it begins with a new
 * optimizer: to be called before the state of a step in its middle is restored. */
void distill_engine_enter(struct distill_engine *engine, int64_t step);

/* Step `step`, of the phase that was entered. Loss, norm and whether it was taken stand in
 * engine->state. After STATUS_INTERRUPTED nothing has changed. */
enum status distill_engine_step(struct distill_engine *engine, int64_t step,
                                const struct step_judge *judge) STATUS_CHECKED;
/* Tokens of a step's rows, and its learning rate. */
int64_t distill_engine_tokens(struct distill_engine *engine, int64_t step);
double distill_engine_rate(const struct distill_engine *engine, int64_t step);

/* The student against the teacher on the rows that are held out. */
enum status distill_engine_validate(struct distill_engine *engine,
                                    struct statistics out[METRIC_COUNT]) STATUS_CHECKED;

#endif
