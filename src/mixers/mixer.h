/* What a token mixer is: one table a kind, and loops over its rows for everything else.
 *
 * A kind is a folder here and a line in registry.c. It sees a backend, its sizes and weights, the
 * buffers that its rows ask for, sequences, and the attention it starts from by a callback; never a
 * model or a checkpoint. Its rows say the rest: which sizes there are and what config.json calls
 * them (sizes.h), which tensors checkpoints hold (here), which buffers a pass needs (buffers.h),
 * what decoding keeps (past.h), how it may begin (choices.h).
 *
 * To add a kind: a folder with its table (`struct mixer_kind`) and its forward and backward pass, a
 * line in registry.c, the files in meson.build, and a golden file that tests/test_mixers.c looks
 * for: that program runs every kind and fails for one without. */
#ifndef MIXERS_MIXER_H
#define MIXERS_MIXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "kernels/backend.h"

enum {
    MIXER_MAX_KINDS = 8,
    MIXER_MAX_SIZES = 16,
    MIXER_MAX_TENSORS = 24, /* of a checkpoint */
    MIXER_MAX_WEIGHTS = 24, /* on a device */
    MIXER_MAX_BUFFERS = 24,
    MIXER_MAX_PAST = 4,
};

/* Whose config.json, or configuration, names sizes and types. */
enum mixer_format {
    MIXER_APRIEL_H1, /* and the transformers it extends */
    MIXER_APRIEL2,
    MIXER_FAST_LLM, /* model.base_model of Fast-LLM's own configuration; only written */
    MIXER_SURGERY,  /* of apriel2/convert.py --surgery; only written */
    MIXER_GRANITE,  /* GraniteMoeHybrid without experts */
    MIXER_QWEN35,
    MIXER_FORMATS,
};

/* Parts of attention that not every kind has. */
enum mixer_part { DROPS_NORMS, DROPS_BIASES };

struct mixer_kind;

/* The sizes of one mixer, by the rows of its kind: whole numbers and flags in `value`, what is no
 * part of the function in `real`. */
struct mixer_sizes {
    const struct mixer_kind *kind;
    int64_t value[MIXER_MAX_SIZES];
    double real[MIXER_MAX_SIZES];
};

/* What surrounds a mixer in its model. */
struct mixer_host {
    int64_t hidden, intermediate;  /* D, F */
    int heads, kv_heads, head_dim; /* H, G, E of the model's attention; all 0: it has none left */
    double norm_eps;               /* of the model's RMS norms */
    bool q_bias, k_bias, v_bias, o_bias;
    bool qk_norm; /* RMSNorm of each query and key head before RoPE */
    double q_norm_eps, k_norm_eps;
};

/* ---- tensors, as checkpoints hold them, and weights, as a device does */

enum { MIXER_MAX_RANK = 3 };

struct tensor_shape {
    int64_t dims[MIXER_MAX_RANK]; /* up to the first 0 */
    bool present;                 /* checkpoints have it with these sizes */
};

/* What made-up weights hold in a tensor. */
enum tensor_usual { USUAL_DRAWN, USUAL_ONE, USUAL_LOG /* log(1), log(2), … along a row */ };

struct mixer_sizes;
struct mixer_host;

/* How a format keeps a tensor otherwise than under its own name and with its own values. */
struct tensor_keeping {
    const char *name; /* NULL: the row's */
    const char *rest; /* the rows from `split` on have a tensor of their own, called so; or NULL */
    int64_t (*split)(const struct mixer_sizes *, const struct mixer_host *);
    double scale;  /* times the values; 0: 1 */
    bool less_one; /* values are stored less one */
    bool gated;    /* behind the rows of each head stand as many of an output gate */
};

/* A tensor of checkpoints, in the order of their files. */
struct tensor_row {
    const char *name; /* "q_proj.weight": below the mixer, in random streams, in messages */
    int weight;       /* where it goes; those of one weight stand row on row */
    double stored;    /* times the weight is what checkpoints hold; 0: 1 */
    bool keeps_f32;   /* else it has the type of the attention's weights */
    enum tensor_usual usual;
    bool reads_input; /* its columns are the channels of the mixer's input */
    struct tensor_keeping kept[MIXER_FORMATS];
};

/* A weight on the device. */
struct weight_row {
    const char *name;
    bool act;    /* a matrix input, which decays; else acc */
    bool always; /* also where checkpoints have none of its tensors: zeros */
};

/* ---- the kind */

struct mixer {
    struct mixer_sizes sizes;
    void *weights[MIXER_MAX_WEIGHTS]; /* device, by the kind's rows; NULL where absent */
    bool frozen[MIXER_MAX_WEIGHTS];   /* does not train */
};

struct past_use;
struct size_row;
struct config_row;
struct buffer_row;
struct past_row;
struct choice_row;
struct mixer_choices;
struct attention_source;
struct fit_rules;
struct text;

/* All that a pass needs. */
struct mixer_pass {
    struct backend *backend;
    const struct mixer *mixer;
    const struct mixer_host *host;
    const struct acc *rope;          /* [positions, 2, E/2] of this layer, or NULL */
    void *buffer[MIXER_MAX_BUFFERS]; /* by the kind's rows */
    const struct sequences *sequences;
    const struct past_use *past; /* NULL: nothing is kept */
    const struct act *input;     /* [n, D], normalised */
};

struct mixer_kind {
    const char *name;                /* "m2": on command lines and in databases */
    const char *former;              /* "mamba": in JSON and texts, as they always were; or NULL */
    const char *singular;            /* "Mamba mixer" */
    const char *adjective;           /* "Mamba": what a layer with it is */
    const char *plural;              /* "Mamba mixers": in messages */
    const char *unequal;             /* several sizes of it, in messages of formats that hold one */
    char letter;                     /* in layouts */
    int parameter;                   /* the size that the name is written with, as in "name:16";
                                        -1: none */
    bool attends;                    /* computes attention with the host's heads, and rotates */
    const char *type[MIXER_FORMATS]; /* NULL: the format cannot hold it */
    const char *owner[MIXER_FORMATS]; /* below which name of a layer its tensors stand */
    const struct size_row *sizes;
    int n_sizes;
    const struct config_row *config[MIXER_FORMATS]; /* what config.json says of it, in order; ends
                                                       with a row without a key; or NULL */
    const struct tensor_row *tensors;
    int n_tensors;
    const struct weight_row *weights;
    int n_weights;
    const struct buffer_row *buffers;
    int n_buffers;
    const struct past_row *past;
    int n_past;
    const struct choice_row *choices;
    int n_choices;
    const struct fit_rules *fitting; /* to data (fit.h); NULL: there is nothing to fit */
    /* The shape of a tensor with these sizes. */
    struct tensor_shape (*shape)(int tensor, const struct mixer_sizes *, const struct mixer_host *);
    /* What the sizes must divide, STATUS_FAILED naming `source` and `layer`; or NULL. */
    enum status (*check)(const struct mixer_sizes *, const char *source, int layer);
    /* The same of the sizes of a new mixer: STATUS_USAGE naming an option; or NULL. */
    enum status (*check_new)(const struct mixer_sizes *, const struct mixer_host *);
    /* h acc [n, D] += mixer(pass->input); one more token a sequence with pass->past->step. */
    void (*forward)(const struct mixer_pass *, struct acc *h);
    /* From the gradient dout act [n, D] of what forward added: gradients of the weights, added to
     * acc arrays `gradients` (by weight, NULL entries are frozen), and dinput act [n, D], that of
     * the input, unless it is NULL. The buffers hold what the forward pass left. */
    void (*backward)(const struct mixer_pass *, const struct act *dout, struct act *dinput,
                     void *const *gradients);
    /* Rows of a sequence of `tokens` tokens that the past keeps; NULL: one, whatever it is. */
    int64_t (*past_rows)(const struct mixer_sizes *, int64_t tokens);
    /* Operations a token besides the products with weights: with `rows` rows kept in the past. */
    double (*operations)(const struct mixer_sizes *, const struct mixer_host *, double rows);
    /* What the choices say of the sizes; or NULL. */
    void (*settle)(struct mixer_sizes *, const struct mixer_choices *, const struct mixer_host *);
    /* A tensor of a new mixer, and what it is made from (see choices.h); NULL where the weights are
     * the attention's own. */
    enum status (*init)(float *out, int tensor, const struct mixer_sizes *,
                        const struct mixer_choices *, const struct attention_source *);
    char *(*origin)(int tensor, const struct mixer_sizes *, const struct mixer_choices *,
                    const struct attention_source *);
    /* Lines for people about choices that are not as usual, "new mixers: …"; or NULL. */
    void (*remark)(struct text *, const struct mixer_choices *);
    /* What of the host's attention a new mixer does not keep, in words; NULL: all of it, or NULL
     * for the whole. */
    const char *(*drops)(enum mixer_part, const struct mixer_choices *, const struct mixer_host *);
    /* Whether a probe leaves a weight as it is; NULL: it trains all. */
    bool (*frozen)(const struct mixer_choices *, int weight);
    /* What the fingerprint of a model says of a layer: those of earlier releases stay. NULL: the
     * sizes by name. */
    int (*identify)(char *out, size_t size, const struct mixer_sizes *, bool sampled);
};

/* All kinds: attention first, which is what the others replace. NULL behind the last. */
extern const struct mixer_kind *const mixer_kinds[];
int mixer_kind_index(const struct mixer_kind *kind);

/* Whether an attention mixer of the model stands here: others have been put in its place. */
bool mixer_is_attention(const struct mixer_sizes *sizes);

/* Of the same kind and sizes, as far as they change what is computed. */
bool mixer_same(const struct mixer_sizes *a, const struct mixer_sizes *b);

struct tensor_shape mixer_tensor_shape(const struct mixer_sizes *sizes,
                                       const struct mixer_host *host, int tensor);

int64_t tensor_shape_count(const struct tensor_shape *shape); /* elements */

struct weight_shape {
    int64_t rows, columns; /* vectors have one row; rows 0: the weight does not exist here */
    bool act;              /* a matrix input; else acc */
    int64_t count;         /* rows * columns */
};
struct weight_shape mixer_weight_shape(const struct mixer_sizes *sizes,
                                       const struct mixer_host *host, int weight);

/* Allocate the weights of a mixer whose sizes are set (contents undefined). mixer_free accepts a
 * zeroed struct. */
enum status mixer_alloc(struct mixer *mixer, struct backend *backend,
                        const struct mixer_host *host) STATUS_CHECKED;
void mixer_free(struct mixer *mixer, struct backend *backend);

/* Put one weight from float32 values in host memory. */
void mixer_set(struct mixer *mixer, struct backend *backend, const struct mixer_host *host,
               int weight, const float *values);

/* Another mixer of the same sizes, with the same values. */
enum status mixer_copy(struct mixer *out, struct backend *backend, const struct mixer_host *host,
                       const struct mixer *from) STATUS_CHECKED;

/* Bytes of a mixer's weights on the backend. */
uint64_t mixer_bytes(const struct mixer_sizes *sizes, const struct backend *backend,
                     const struct mixer_host *host);

#endif
