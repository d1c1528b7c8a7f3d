/* What trains: weights by groups, with everything that an optimizer keeps of them in one arena.
 *
 * The arena is one allocation of acc values in four sections:
 *
 *   gradients | first moments | second moments | master weights
 *
 * In the first three a parameter has the same place. The fourth holds only what the passes read in
 * another type than acc; where they read acc the weight itself is updated. What lies behind the
 * last layer comes first, then the last layer, then the one before: a backward pass fills the
 * gradients from the beginning on, so that what is complete is one stretch. Each parameter begins
 * at a multiple of PARAMETER_ALIGNMENT bytes, as an allocation of its own would on a GPU: plans of
 * matrix products are chosen by it. */
#ifndef TRAIN_PARAMETERS_H
#define TRAIN_PARAMETERS_H

#include "model/model.h"

enum { PARAMETER_ALIGNMENT = 256 };

/* Parameters that train alike. */
struct parameter_group {
    const char *name;
    double rate;  /* times the schedule's learning rate */
    double decay; /* weight decay of its matrices: no norm, no bias, none of the scan's vectors
                     (A_log, D) and no convolution decays */
    bool frozen;  /* stays as it is for now: costs no arithmetic */
};

struct parameter {
    int group, layer; /* n_layers: behind the last layer; -1: before the first */
    int64_t count;
    bool decays;
    void *live;       /* what the passes read; NULL in parameters that are only measured */
    void **slot;      /* where the gradient's address goes */
    size_t at;        /* its place in a section of the arena, in values … */
    size_t master_at; /* … and in the last one */
    struct acc *gradient, *moment1, *moment2; /* [count] */
    struct acc *master; /* [count]: the live weight itself when it has that type */
};

struct parameters {
    const struct model *model;
    const struct parameter_group *groups; /* borrowed */
    struct parameter *list;               /* [count], in the order in which they were added */
    size_t count, capacity;
    void *(*gradients)[WEIGHT_COUNT]; /* [L] */
    bool *trains;                     /* [L] */
    struct acc *head_gradient, *norm_gradient, *embedding_gradient;
    char *arena;
    size_t section;                 /* values in each of the first three sections */
    double *squares, *host_squares; /* [count]: of each gradient, on the device and fetched */
};

/* None yet, of a model that must outlive them, as `groups` must. */
enum status parameters_create(struct parameters **out, const struct model *model,
                              const struct parameter_group *groups) STATUS_CHECKED;
void parameters_free(struct parameters *parameters); /* accepts NULL */

/* Add the weights of a mixer in layer `layer`; a layer's norms, its MLP, or both; the final norm;
 * a head of its own; the embedding, which may be the head too. Weights that are not loaded (NULL)
 * count, for parameters_bytes; mixers and layers must outlive the parameters otherwise. */
enum status parameters_add_mixer(struct parameters *parameters, int group, int layer,
                                 const struct mixer *mixer) STATUS_CHECKED;
enum status parameters_add_block(struct parameters *parameters, int group,
                                 const struct layer *layer) STATUS_CHECKED;
enum status parameters_add_norms(struct parameters *parameters, int group,
                                 const struct layer *layer) STATUS_CHECKED;
enum status parameters_add_mlp(struct parameters *parameters, int group,
                               const struct layer *layer) STATUS_CHECKED;
enum status parameters_add_final_norm(struct parameters *parameters, int group) STATUS_CHECKED;
enum status parameters_add_head(struct parameters *parameters, int group) STATUS_CHECKED;
enum status parameters_add_embedding(struct parameters *parameters, int group) STATUS_CHECKED;

/* Nothing more is added: the arena is allocated, gradients and moments are zero, and training
 * begins at the live weights. */
enum status parameters_allocate(struct parameters *parameters) STATUS_CHECKED;

/* From now on these say how each group trains, and what is frozen; the optimizer begins anew. */
void parameters_set_groups(struct parameters *parameters, const struct parameter_group *groups);

/* Device bytes of the arena. */
uint64_t parameters_bytes(const struct parameters *parameters);

/* Numbers that train. */
int64_t parameters_count(const struct parameters *parameters);

/* Somebody has set the live weights: training goes on from their values. And the other way: they
 * follow the master weights, which somebody has set. */
enum status parameters_read_live(struct parameters *parameters) STATUS_CHECKED;
void parameters_write_live(const struct parameters *parameters);

/* Where block_backward_mlp and block_backward_mixer accumulate the gradients of a layer's weights
 * [WEIGHT_COUNT]; NULL when it is frozen. Borrowed. */
void *const *parameters_gradients(const struct parameters *parameters, int layer);
void parameters_zero_gradients(struct parameters *parameters);

#endif
