/* What trains in a distillation, and when: phases one after another, each with a share of the
 * learning rate for every group of weights. A phase begins its optimizer and its schedule anew. */
#ifndef DISTILL_PHASES_H
#define DISTILL_PHASES_H

#include "train/parameters.h"
#include "train/schedule.h"

enum distill_group {
    DISTILL_MIXER, /* of layers whose mixer is not of the teacher's kind */
    DISTILL_NORM,
    DISTILL_MLP,
    DISTILL_ATTENTION, /* mixers that the teacher has too */
    DISTILL_EMBEDDING, /* also where it is the head */
    DISTILL_HEAD,
    DISTILL_GROUPS,
};

enum { DISTILL_PHASES = 16 };

struct distill_phase {
    const char *name; /* "mixers", "all" */
    int64_t steps;
    struct parameter_group groups[DISTILL_GROUPS];
};

struct distill_phases {
    struct distill_phase list[DISTILL_PHASES];
    int count;
};

/* The shares of the learning rate unless an option says others: 1 for the new mixers, a tenth for
 * what the teacher has already, none for the embedding. */
void distill_factors_default(double factors[DISTILL_GROUPS]);

/* "mlp=0.1,embedding=0" over what is there. STATUS_USAGE when it says no such thing. */
enum status distill_factors_parse(double factors[DISTILL_GROUPS], const char *text) STATUS_CHECKED;

/* "mixers:200,all:300": in a phase "mixers" the new mixers train alone, in a phase "all" every
 * group with a factor that is not 0. `decay` is that of matrices. */
enum status distill_phases_parse(struct distill_phases *out, const char *text,
                                 const double factors[DISTILL_GROUPS], double decay) STATUS_CHECKED;

/* Steps of all phases; the phase of a step (the last one's for the step behind the last), and its
 * first step. */
int64_t distill_phases_steps(const struct distill_phases *phases);
int distill_phase_of(const struct distill_phases *phases, int64_t step, int64_t *first);

/* `whole` with the steps of one phase: a warm-up of -1 becomes a twentieth of them, a cool-down of
 * -1 a fifth. */
struct train_schedule distill_phase_schedule(const struct train_schedule *whole,
                                             const struct distill_phase *phase);

/* Whether layer `layer` of the student has a mixer of another kind than the teacher's. */
bool distill_layer_is_new(const struct model_config *student, const struct model_config *teacher,
                          int layer);

/* The first layer in which something trains in `phase` (0 where the embedding does); the number of
 * layers where nothing in the layers does. */
int distill_phase_first(const struct distill_phase *phase, const struct model_config *student,
                        const struct model_config *teacher);

/* Add everything that trains in any phase; with `loaded` as the student's kept layers have it, else
 * as sizes. */
enum status distill_phases_add(struct parameters *parameters, const struct distill_phases *phases,
                               struct model *student, const struct model_config *teacher,
                               bool loaded) STATUS_CHECKED;

#endif
