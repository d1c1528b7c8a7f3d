/* One block, forward and backward, over a batch of tokens.
 *
 * A trace holds what a forward pass computes inside one block. Without gradients one trace serves
 * every block as scratch; with gradients each block keeps its own until its backward pass (or the
 * block is run forward again first). */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/model.h"
#include "model/past.h"

struct trace {
    int64_t tokens;   /* capacity */
    void *normed;     /* act [n, D]: input of mixer, then of MLP */
    void *mixer_rstd; /* acc [n] */
    void *mlp_rstd;   /* acc [n] */
    void *gate_up;    /* act [n, 2F] */
    void *mlp_inner;  /* act [n, F] */
    /* attention */
    void *qkv;             /* act [n, (H + 2G) E]; rotated in place unless q/k norms exist */
    void *qk;              /* act [n, (H + G) E]: normalised and rotated; only with q/k norms */
    void *q_rstd, *k_rstd; /* acc [n, H], [n, G] */
    void *lse;             /* acc [H, n]; only for gradients */
    /* Mamba */
    void *projected;   /* act [n, 2I + 2X]: z, x, B, C */
    void *dt_low;      /* act [n, R] */
    void *dt;          /* act [n, I] */
    void *convolved;   /* act [n, I] */
    void *checkpoints; /* of the scan; only for gradients */
    /* both */
    void *mixed; /* act [n, H E] or [n, I]: input of the output projection */
};

/* What a trace must be able to hold. */
struct trace_needs {
    struct sequences sequences;       /* the largest batch */
    bool attention;                   /* blocks with attention */
    const struct mamba_config *mamba; /* blocks with Mamba mixers up to this size, or NULL */
    bool gradients;                   /* a backward pass follows */
};

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
               struct trace *trace, void *h, const void *from, const struct sequences *sequences);

/* The same for generation: what later tokens need is kept in `past`; with past->step every sequence
 * is one token that continues it (sequences->positions say where). */
void block_mix_past(const struct model *model, const struct layer *layer, const struct mixer *mixer,
                    struct trace *trace, void *h, const void *from,
                    const struct sequences *sequences, const struct past_use *past);

/* h acc [n, D] += mlp(rmsnorm(from)): the second half. */
void block_mlp(const struct model *model, const struct layer *layer, struct trace *trace, void *h,
               const void *from, int64_t tokens);

/* Where the backward pass keeps activation gradients; one serves every block. */
struct backward {
    void *dout;             /* act [n, D]: the residual gradient as a matrix input; NULL when act
                               is acc */
    void *dnormed;          /* act [n, D] */
    void *dgate_up;         /* act [n, 2F] */
    void *dmlp_inner;       /* act [n, F] */
    void *dqkv, *dqk;       /* act, as in the trace */
    void *dprojected;       /* act [n, 2I + 2X] */
    void *ddt, *dconvolved; /* act [n, I] */
    void *ddt_low;          /* act [n, R] */
    void *dmixed;           /* act [n, max(H E, I)] */
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
    const void *input;
    void *middle, *output;
};

void block_forward(const struct model *model, const struct block_state *state,
                   const struct sequences *sequences);

/* Back through a block by halves. dh acc [n, D], the gradient of the output, becomes that of the
 * middle, then that of the input. `gradients` [WEIGHT_COUNT] (or NULL) holds acc arrays to
 * accumulate into, NULL for frozen weights: those cost nothing. With `stop` the input's gradient is
 * not needed, and dh is left undefined. */
void block_backward_mlp(const struct model *model, const struct block_state *state,
                        struct backward *scratch, void *dh, void *const *gradients,
                        const struct sequences *sequences);
void block_backward_mixer(const struct model *model, const struct block_state *state,
                          struct backward *scratch, void *dh, void *const *gradients, bool stop,
                          const struct sequences *sequences);

/* Final norm and head of rows of h: logits acc [rows, V]. `normed` act [rows, D] is scratch. */
void model_logits(const struct model *model, void *logits, void *normed, void *rstd, const void *h,
                  int64_t rows);

#endif
