/* One block, forward and backward, over a batch of tokens.
 *
 * A trace holds what a forward pass computes inside one block. Without gradients one trace serves
 * every block as scratch; with gradients each block keeps its own until its backward pass (or the
 * block is run forward again first). */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "mixers/buffers.h"
#include "mixers/past.h"
#include "model/model.h"

/* Buffers of a block; those of its mixer stand behind them, by the rows of its kind. */
enum block_buffer {
    BLOCK_NORMED,     /* act [n, D]: input of mixer, then of MLP */
    BLOCK_MIXER_RSTD, /* acc [n] */
    BLOCK_MLP_RSTD,   /* acc [n] */
    BLOCK_GATE_UP,    /* act [n, 2F] */
    BLOCK_MLP_INNER,  /* act [n, F] */
    BLOCK_DOUT,    /* act [n, D]: the residual gradient as a matrix input; NULL when act is acc */
    BLOCK_DNORMED, /* gradients */
    BLOCK_DGATE_UP,
    BLOCK_DMLP_INNER,
    BLOCK_BUFFERS,
};

/* What a trace must be able to hold: begun by trace_needs_begin, then told of every mixer that it
 * serves. */
struct trace_needs {
    struct buffer_room room;
    size_t mixer, mixer_backward; /* bytes of the largest mixer's buffers */
};

struct trace {
    struct buffer_room room;
    void *buffer[BLOCK_BUFFERS]; /* of the forward pass */
    char *memory, *mixer;        /* all of it; and where the mixer's buffers begin */
};

struct trace_needs trace_needs_begin(const struct model *model, const struct sequences *largest,
                                     bool gradients);
void trace_needs_add(struct trace_needs *needs, const struct model *model,
                     const struct mixer_sizes *mixer);

/* For every layer of the model, without gradients. */
struct trace_needs trace_needs_of(const struct model *model, int rows, int64_t tokens, int longest);

/* trace_free accepts a zeroed struct. */
enum status trace_alloc(struct trace *out, const struct model *model,
                        const struct trace_needs *needs) STATUS_CHECKED;
uint64_t trace_bytes(const struct model *model, const struct trace_needs *needs);
void trace_free(struct trace *trace, struct backend *backend);

/* h acc [n, D] += mixer(rmsnorm(h)): the first half of a block, with `mixer` in the place of the
 * layer's own. `from` is what is normalised (acc [n, D]); it may be h itself. */
void block_mix(const struct model *model, const struct layer *layer, const struct mixer *mixer,
               struct trace *trace, struct acc *h, const struct acc *from,
               const struct sequences *sequences);

/* The same for generation: what later tokens need is kept in `past`; with past->step every sequence
 * is one token that continues it (sequences->positions say where). */
void block_mix_past(const struct model *model, const struct layer *layer, const struct mixer *mixer,
                    struct trace *trace, struct acc *h, const struct acc *from,
                    const struct sequences *sequences, const struct past_use *past);

/* h acc [n, D] += mlp(rmsnorm(from)): the second half. */
void block_mlp(const struct model *model, const struct layer *layer, struct trace *trace,
               struct acc *h, const struct acc *from, int64_t tokens);

/* Where the backward pass keeps activation gradients; one serves every block. */
struct backward {
    struct buffer_room room;
    void *buffer[BLOCK_BUFFERS]; /* of the backward pass */
    char *memory, *mixer;
};

enum status backward_alloc(struct backward *out, const struct model *model,
                           const struct trace_needs *needs) STATUS_CHECKED;
uint64_t backward_bytes(const struct model *model, const struct trace_needs *needs);
void backward_free(struct backward *backward, struct backend *backend);

/* One block's forward pass as its backward pass needs it: `input`, `middle` and `output` (acc
 * [n, D]) are the residual stream before, between and after the two halves; all are kept. */
struct block_state {
    const struct layer *layer;
    const struct mixer *mixer; /* NULL: the layer goes without one, middle = input */
    struct trace *trace;       /* with gradients */
    const struct acc *input;
    struct acc *middle, *output;
};

void block_forward(const struct model *model, const struct block_state *state,
                   const struct sequences *sequences);

/* Back through a block by halves. dh acc [n, D], the gradient of the output, becomes that of the
 * middle, then that of the input. `gradients` [WEIGHT_COUNT] (or NULL) holds acc arrays to
 * accumulate into, NULL for frozen weights: those cost nothing. With `stop` the input's gradient is
 * not needed, and dh is left undefined. */
void block_backward_mlp(const struct model *model, const struct block_state *state,
                        struct backward *scratch, struct acc *dh, void *const *gradients,
                        const struct sequences *sequences);
void block_backward_mixer(const struct model *model, const struct block_state *state,
                          struct backward *scratch, struct acc *dh, void *const *gradients,
                          bool stop, const struct sequences *sequences);

/* Final norm and head of rows of h: logits acc [rows, V]. `normed` act [rows, D] is scratch. */
void model_logits(const struct model *model, struct acc *logits, struct act *normed,
                  struct acc *rstd, const struct acc *h, int64_t rows);

#endif
