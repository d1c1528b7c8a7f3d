/* The last layers of a model as a pass that will be differentiated.
 *
 * Between the forward and the backward pass each block's input, middle and trace are kept; or, with
 * `recompute`, only its input, and the backward pass runs the block forward again (Chen et al.
 * 2016, "Training deep nets with sublinear memory cost", with one block a segment): one more
 * forward pass for a memory of one block. Both give the same bits, also when the inputs are parked
 * in host memory until the backward pass comes by. */
#ifndef TRAIN_TAPE_H
#define TRAIN_TAPE_H

#include "model/block.h"
#include "model/parked.h"
#include "train/parameters.h"

struct tape;

struct tape_options {
    int first;                       /* passes start at this layer or a later one */
    struct sequences sequences;      /* the largest batch: count, tokens and longest are read */
    const struct mixer_sizes *mixer; /* of mixers put in a layer's place; NULL: there are none */
    const bool *without_mixer;       /* [L] or NULL: layers that go without their mixer … */
    bool without_block;              /* … or, when set, altogether */
    bool recompute;
    bool park; /* with `recompute`: the inputs of blocks wait in host memory, see tape_park; then
                  the backward pass takes no visitor */
};

/* Buffers for passes through the layers of `model`, which must outlive the tape. */
enum status tape_open(struct tape **out, struct model *model,
                      const struct tape_options *options) STATUS_CHECKED;
void tape_close(struct tape *tape); /* accepts NULL */

/* Another tape like `lender`, which must outlive it, for passes that start at `first`. What only
 * the present block needs is the lender's: one of the two goes through a block at a time. */
enum status tape_open_beside(struct tape **out, const struct tape *lender,
                             int first) STATUS_CHECKED;

/* Where a tape that parks keeps the inputs of its blocks, before its first pass: states [state,
 * state + tape_parked_count). Borrowed; tapes that go through the model together share it. */
void tape_park(struct tape *tape, struct parked *parked, int state);
int tape_parked_count(const struct model *model, int first);

/* Device bytes that tape_open and tape_open_beside take. */
uint64_t tape_bytes(const struct model *model, const struct tape_options *options);
uint64_t tape_beside_bytes(const struct model *model, const struct tape_options *options);

/* acc [tokens, D]: where the input of `layer` (n_layers: the output of the last) stands; it is put
 * there before tape_forward starts at that layer. */
struct acc *tape_stream(struct tape *tape, int layer);

/* acc [tokens, D]: the gradient of the last layer's output, to be set before tape_backward. */
struct acc *tape_gradient(struct tape *tape);

/* One layer of tape_forward; several tapes go through the model together in this way. `mixer` (or
 * NULL) stands in the place of the layer's own. */
enum status tape_forward_layer(struct tape *tape, int index, const struct mixer *mixer,
                               const struct sequences *sequences) STATUS_CHECKED;

/* Layers [first, L). `mixer` stands in the place of layer `first`'s own (NULL: its own). */
enum status tape_forward(struct tape *tape, int first, const struct mixer *mixer,
                         const struct sequences *sequences) STATUS_CHECKED;

/* Called as the backward pass comes by. `place`: the gradient dh acc [tokens, D] is that of the
 * layer's output, or of the stream between its mixer and its MLP; `before` is the layer's input,
 * `here` the stream at the place. */
enum tape_place { TAPE_OUTPUT, TAPE_MIDDLE };
struct tape_visitor {
    enum status (*visit)(void *context, int layer, enum tape_place place, const struct acc *dh,
                         const struct acc *before, const struct acc *here);
    void *context;
};

/* One layer of tape_backward. With `stop` the gradient of the layer's input is not needed. */
enum status tape_backward_layer(struct tape *tape, int index, const struct parameters *parameters,
                                bool stop, const struct tape_visitor *visitor,
                                const struct sequences *sequences) STATUS_CHECKED;

/* Back through the layers that tape_forward went through, down to `first`. The gradients of
 * `parameters` (or NULL: all weights are frozen) are accumulated. The gradient of the input of
 * layer `first` is computed only when `input` says so; it stands in tape_gradient then. May be
 * called again for another gradient of the output. */
enum status tape_backward(struct tape *tape, int first, const struct parameters *parameters,
                          bool input, const struct tape_visitor *visitor,
                          const struct sequences *sequences) STATUS_CHECKED;

#endif
