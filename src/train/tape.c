#include "train/tape.h"

#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"

struct tape {
    struct model *model;
    struct tape_options options;
    const struct tape *lender; /* of everything that only the present block needs, or NULL */
    struct trace *traces;      /* [L] of the own mixers, or [1] when recomputing */
    struct trace placed;       /* of a mixer in a layer's place; empty when recomputing */
    void **streams; /* [2L + 1]: inputs, middles between them; middles NULL when recomputing. When
                       parking, [2]: the input and the output of the present block */
    struct parked *parked;      /* NULL: inputs are not parked */
    int parked_first;           /* its state for the input of the first layer */
    void *middle, *output;      /* the one block that is recomputed */
    struct block_state *states; /* [L] */
    struct backward backward;
    void *dh;
};

static struct trace_needs needs_begin(const struct tape *tape) {
    return trace_needs_begin(tape->model, &tape->options.sequences, true);
}

/* Of every mixer there can be. */
static struct trace_needs needs_of_all(const struct tape *tape) {
    const struct model_config *config = tape->model->config;
    struct trace_needs needs = needs_begin(tape);
    for (int l = 0; l < config->n_layers; l++)
        trace_needs_add(&needs, tape->model, &config->layers[l].mixer);
    if (tape->options.mixer) trace_needs_add(&needs, tape->model, tape->options.mixer);
    return needs;
}

static struct trace_needs needs_of(const struct tape *tape, const struct mixer_sizes *mixer) {
    struct trace_needs needs = needs_begin(tape);
    trace_needs_add(&needs, tape->model, mixer);
    return needs;
}

static struct trace_needs needs_of_layer(const struct tape *tape, int layer) {
    return needs_of(tape, &tape->model->config->layers[layer].mixer);
}

static size_t stream_bytes(const struct tape *tape) {
    return (size_t)(tape->options.sequences.tokens * tape->model->config->hidden_size) *
           dtype_size(tape->model->backend->acc);
}

static uint64_t bytes_of(const struct model *model, const struct tape_options *options,
                         bool beside) {
    struct tape tape = {.model = (struct model *)(uintptr_t)model, .options = *options};
    const struct model_config *config = model->config;
    uint64_t layers = (uint64_t)(config->n_layers - options->first), stream, bytes;
    stream = stream_bytes(&tape);
    struct trace_needs all = needs_of_all(&tape);
    bytes = stream; /* dh */
    if (!beside) bytes += backward_bytes(model, &all);
    if (options->recompute && !beside) bytes += trace_bytes(model, &all) + 2 * stream;
    if (options->recompute) return bytes + (options->park ? 2 : layers + 1) * stream;
    for (int l = options->first; l < config->n_layers; l++) {
        struct trace_needs needs = needs_of_layer(&tape, l);
        bytes += trace_bytes(model, &needs);
    }
    if (options->mixer) {
        struct trace_needs placed = needs_of(&tape, options->mixer);
        bytes += trace_bytes(model, &placed);
    }
    return bytes + (2 * layers + 1) * stream;
}

uint64_t tape_bytes(const struct model *model, const struct tape_options *options) {
    return bytes_of(model, options, false);
}

uint64_t tape_beside_bytes(const struct model *model, const struct tape_options *options) {
    return bytes_of(model, options, true);
}

static enum status allocate_stream(void **out, const struct tape *tape, const char *what) {
    struct backend *backend = tape->model->backend;
    *out = backend->alloc(backend, stream_bytes(tape), what);
    return *out ? STATUS_OK : STATUS_FAILED;
}

static enum status allocate_traces(struct tape *tape) {
    const struct model *model = tape->model;
    struct trace_needs all = needs_of_all(tape);
    if (tape->options.recompute && tape->lender) {
        tape->traces[0] = tape->lender->traces[0];
        return STATUS_OK;
    }
    if (tape->options.recompute) return trace_alloc(&tape->traces[0], model, &all);
    enum status status = STATUS_OK;
    for (int l = tape->options.first; !status && l < model->config->n_layers; l++) {
        struct trace_needs needs = needs_of_layer(tape, l);
        status = trace_alloc(&tape->traces[l], model, &needs);
    }
    if (status || !tape->options.mixer) return status;
    struct trace_needs placed = needs_of(tape, tape->options.mixer);
    return trace_alloc(&tape->placed, model, &placed);
}

/* What one block needs while it is gone through, a lender's or its own. */
static enum status allocate_scratch(struct tape *tape) {
    const struct model *model = tape->model;
    const struct tape *lender = tape->lender;
    struct trace_needs all = needs_of_all(tape);
    if (lender) {
        tape->backward = lender->backward;
        tape->middle = lender->middle;
        tape->output = lender->output;
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    if (tape->options.recompute) status = allocate_stream(&tape->middle, tape, "residual stream");
    if (!status && tape->options.recompute)
        status = allocate_stream(&tape->output, tape, "residual stream");
    return status ? status : backward_alloc(&tape->backward, model, &all);
}

static enum status allocate(struct tape *tape) {
    const struct model *model = tape->model;
    size_t layers = (size_t)model->config->n_layers;
    bool recompute = tape->options.recompute;
    tape->streams = memory_calloc(2 * layers + 1, sizeof *tape->streams);
    tape->states = memory_calloc(layers, sizeof *tape->states);
    tape->traces = memory_calloc(recompute ? 1 : layers, sizeof *tape->traces);
    enum status status = tape->streams && tape->states && tape->traces ? STATUS_OK : STATUS_FAILED;
    bool park = tape->options.park;
    for (size_t i = park ? 0 : 2 * (size_t)tape->options.first;
         !status && i <= (park ? 1 : 2 * layers); i += recompute && !park ? 2 : 1)
        status = allocate_stream(&tape->streams[i], tape, "residual stream");
    if (!status) status = allocate_stream(&tape->dh, tape, "gradient of the residual stream");
    if (!status) status = allocate_traces(tape);
    return status ? status : allocate_scratch(tape);
}

static enum status open(struct tape **out, struct model *model, const struct tape_options *options,
                        const struct tape *lender) {
    struct tape *tape = memory_calloc(1, sizeof *tape);
    if (!tape) return STATUS_FAILED;
    tape->model = model;
    tape->options = *options;
    tape->lender = lender;
    enum status status = model_prepare(model, options->sequences.longest);
    if (!status) status = allocate(tape);
    if (status)
        tape_close(tape);
    else
        *out = tape;
    return status;
}

enum status tape_open(struct tape **out, struct model *model, const struct tape_options *options) {
    return open(out, model, options, NULL);
}

enum status tape_open_beside(struct tape **out, const struct tape *lender, int first) {
    struct tape_options options = lender->options;
    options.first = first;
    return open(out, lender->model, &options, lender);
}

/* What the lender frees is no longer in this tape. */
static void give_back(struct tape *tape) {
    tape->backward = (struct backward){0};
    tape->middle = tape->output = NULL;
    if (tape->options.recompute && tape->traces) tape->traces[0] = (struct trace){0};
}

void tape_close(struct tape *tape) {
    if (!tape) return;
    struct backend *backend = tape->model->backend;
    int layers = tape->model->config->n_layers;
    if (tape->lender) give_back(tape);
    for (int l = 0; tape->traces && l < (tape->options.recompute ? 1 : layers); l++)
        trace_free(&tape->traces[l], backend);
    for (int i = 0; tape->streams && i <= 2 * layers; i++) backend->free(backend, tape->streams[i]);
    trace_free(&tape->placed, backend);
    backward_free(&tape->backward, backend);
    backend->free(backend, tape->middle);
    backend->free(backend, tape->output);
    backend->free(backend, tape->dh);
    free(tape->traces);
    free(tape->streams);
    free(tape->states);
    free(tape);
}

void tape_park(struct tape *tape, struct parked *parked, int state) {
    tape->parked = parked;
    tape->parked_first = state;
}

/* The last block's input is still on the device when the way back begins. */
int tape_parked_count(const struct model *model, int first) {
    return model->config->n_layers - 1 - first;
}

struct acc *tape_stream(struct tape *tape, int layer) {
    return tape->streams[tape->options.park ? layer & 1 : 2 * layer];
}

static bool is_parked(const struct tape *tape, int layer) {
    return tape->parked && layer < tape->model->config->n_layers - 1;
}

static int parked_state(const struct tape *tape, int layer) {
    return tape->parked_first + layer - tape->options.first;
}

static size_t input_bytes(const struct tape *tape, const struct sequences *sequences) {
    return (size_t)(sequences->tokens * tape->model->config->hidden_size) *
           dtype_size(tape->model->backend->acc);
}

struct acc *tape_gradient(struct tape *tape) {
    return tape->dh;
}

static bool left_out(const struct tape *tape, int layer) {
    return tape->options.without_block && tape->options.without_mixer &&
           tape->options.without_mixer[layer];
}

/* Run layer `index` forward from `input` into `output`. */
static enum status run_block(struct tape *tape, int index, const struct mixer *mixer,
                             const void *input, void *output, const struct sequences *sequences) {
    struct block_state *state = &tape->states[index];
    bool recompute = tape->options.recompute;
    bool without = tape->options.without_mixer && tape->options.without_mixer[index];
    const struct layer *layer;
    enum status status = model_layer(&layer, tape->model, index);
    if (status) return status;
    struct trace *own = recompute ? &tape->traces[0] : &tape->traces[index];
    *state = (struct block_state){
        .layer = layer,
        .mixer = mixer     ? mixer
                 : without ? NULL
                           : &layer->mixer,
        .trace = mixer && !recompute ? &tape->placed : own,
        .input = input,
        .middle = recompute ? tape->middle : tape->streams[2 * index + 1],
        .output = output,
    };
    block_forward(tape->model, state, sequences);
    return STATUS_OK;
}

enum status tape_forward_layer(struct tape *tape, int index, const struct mixer *mixer,
                               const struct sequences *sequences) {
    struct backend *backend = tape->model->backend;
    void *input = tape_stream(tape, index), *output = tape_stream(tape, index + 1);
    size_t bytes = input_bytes(tape, sequences);
    if (is_parked(tape, index)) parked_store(tape->parked, parked_state(tape, index), input, bytes);
    /* The output takes the place of the input before. */
    if (tape->parked && index > tape->options.first)
        parked_wait(tape->parked, parked_state(tape, index - 1));
    if (!left_out(tape, index)) return run_block(tape, index, mixer, input, output, sequences);
    backend->copy(backend, output, input, bytes);
    return STATUS_OK;
}

enum status tape_forward(struct tape *tape, int first, const struct mixer *mixer,
                         const struct sequences *sequences) {
    enum status status = STATUS_OK;
    for (int l = first; !status && l < tape->model->config->n_layers; l++)
        if (!(status = interrupt_check())) {
            progress_within((double)l / tape->model->config->n_layers, "layer %d", l);
            status = tape_forward_layer(tape, l, l == first ? mixer : NULL, sequences);
        }
    return status;
}

enum status tape_backward_layer(struct tape *tape, int index, const struct parameters *parameters,
                                bool stop, const struct tape_visitor *visitor,
                                const struct sequences *sequences) {
    void *const *gradients = parameters ? parameters_gradients(parameters, index) : NULL;
    struct block_state *state = &tape->states[index];
    const struct model *model = tape->model;
    enum status status = STATUS_OK;
    if (left_out(tape, index)) return STATUS_OK;
    if (tape->options.recompute) {
        const struct mixer *own = &state->layer->mixer;
        const void *input = tape_stream(tape, index);
        if (is_parked(tape, index))
            input = parked_fetch(tape->parked, parked_state(tape, index), 0,
                                 input_bytes(tape, sequences));
        status = run_block(tape, index, state->mixer == own ? NULL : state->mixer, input,
                           tape->output, sequences);
        if (status) return status;
    }
    if (visitor)
        status = visitor->visit(visitor->context, index, TAPE_OUTPUT, tape->dh, state->input,
                                tape_stream(tape, index + 1));
    block_backward_mlp(model, state, &tape->backward, tape->dh, gradients, sequences);
    if (visitor && !status)
        status = visitor->visit(visitor->context, index, TAPE_MIDDLE, tape->dh, state->input,
                                state->middle);
    block_backward_mixer(model, state, &tape->backward, tape->dh, gradients, stop, sequences);
    return status;
}

enum status tape_backward(struct tape *tape, int first, const struct parameters *parameters,
                          bool input, const struct tape_visitor *visitor,
                          const struct sequences *sequences) {
    enum status status = STATUS_OK;
    for (int l = tape->model->config->n_layers - 1; !status && l >= first; l--)
        if (!(status = interrupt_check())) {
            progress_within(1 - (double)l / tape->model->config->n_layers, "back at layer %d", l);
            status =
                tape_backward_layer(tape, l, parameters, l == first && !input, visitor, sequences);
        }
    return status;
}
