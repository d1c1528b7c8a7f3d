#include "analysis/loo/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"
#include "model/forward.h"
#include "model/loading.h"
#include "model/parked.h"
#include "model/sequences.h"

struct sweep {
    struct model *model;
    struct sweep_options options;
    int copies;         /* states that go through a block at once */
    int64_t max_tokens; /* of a group */
    struct acc *states; /* [on_device, tokens, D]: the trunk, then branches as they leave */
    int on_device;      /* of 1 + branches states; the others are parked */
    struct parked *parked;
    struct trace trace;
    struct forward *teacher; /* through the teacher, whose last states [tokens, D] are … */
    struct acc *reference;   /* … here; both NULL: branches are compared with the trunk */
    struct scorer *scorer;
    double passes, passed; /* of a group, for the progress; see count_passes */
    double passing;        /* in the layer under way */
    int layer;
};

static int choose_copies(const struct sweep_options *options, int64_t tokens) {
    int64_t pass = options->pass_tokens > 0 ? options->pass_tokens : 4096;
    int64_t copies = tokens > 0 ? pass / tokens : 1;
    if (copies > options->branches + 1) copies = options->branches + 1;
    return copies < 1 ? 1 : (int)copies;
}

static size_t state_bytes(const struct model *model, int64_t tokens) {
    return (size_t)tokens * (size_t)model->config->hidden_size * dtype_size(model->backend->acc);
}

static int states_on_device(const struct sweep_options *options) {
    int all = 1 + options->branches;
    return options->on_device > 0 && options->on_device < all ? options->on_device : all;
}

/* What the passes of `rows` rows through any layer take. */
static struct trace_needs needs_of(const struct model *model, const struct sweep_options *options,
                                   int rows, int64_t tokens, int longest) {
    struct trace_needs needs = trace_needs_of(model, rows, tokens, longest);
    for (int i = 0; options->placed && i < options->placed->sizes_count; i++)
        trace_needs_add(&needs, model, &options->placed->sizes[i]);
    return needs;
}

void sweep_budget(struct memory_budget *budget, const struct model *model,
                  const struct sweep_options *options, int rows, int64_t tokens, int longest) {
    int copies = choose_copies(options, tokens), here = states_on_device(options);
    int parked = 1 + options->branches - here;
    uint64_t bytes = state_bytes(model, tokens);
    struct trace_needs needs = needs_of(model, options, copies * rows, copies * tokens, longest);
    memory_budget_add(budget, "trunk and branches",
                      (uint64_t)(here + (parked ? PARKED_PLACES : 0)) * bytes,
                      (uint64_t)parked * bytes);
    memory_budget_add(budget, "activations", trace_bytes(model, &needs), 0);
    memory_budget_add(budget, "logits", scorer_bytes(model), 0);
    if (!options->teacher) return;
    struct trace_needs teacher = trace_needs_of(options->teacher, rows, tokens, longest);
    memory_budget_add(budget, "teacher in passing",
                      trace_bytes(options->teacher, &teacher) + bytes +
                          model_outside_bytes(options->teacher, longest) +
                          model_layers_present_bytes(options->teacher, false),
                      0);
}

enum status sweep_open(struct sweep **out, struct model *model, const struct sweep_options *options,
                       int rows, int64_t tokens, int longest) {
    struct sweep *sweep = memory_calloc(1, sizeof *sweep);
    if (!sweep) return STATUS_FAILED;
    struct backend *backend = model->backend;
    sweep->model = model;
    sweep->options = *options;
    sweep->copies = choose_copies(options, tokens);
    sweep->max_tokens = tokens;
    struct trace_needs needs =
        needs_of(model, options, sweep->copies * rows, sweep->copies * tokens, longest);
    enum status status = model_prepare(model, longest);
    if (!status) status = trace_alloc(&sweep->trace, model, &needs);
    struct model *teacher = options->teacher ? options->teacher : model;
    if (!status) status = scorer_open(&sweep->scorer, teacher, model, 0);
    if (!status && options->teacher) {
        sweep->reference = backend->alloc(backend, state_bytes(model, tokens), "teacher's states");
        if (!sweep->reference) status = STATUS_FAILED;
        if (!status) status = forward_open(&sweep->teacher, teacher, rows, tokens, longest);
    }
    sweep->on_device = states_on_device(options);
    int parked = 1 + options->branches - sweep->on_device;
    if (!status) {
        size_t bytes = state_bytes(model, tokens);
        sweep->states = backend->alloc(backend, (size_t)sweep->on_device * bytes, "branches");
        if (!sweep->states) status = STATUS_FAILED;
        if (!status && parked) status = parked_open(&sweep->parked, backend, parked, bytes);
    }
    if (status)
        sweep_close(sweep);
    else
        *out = sweep;
    return status;
}

void sweep_close(struct sweep *sweep) {
    if (!sweep) return;
    struct backend *backend = sweep->model->backend;
    trace_free(&sweep->trace, backend);
    scorer_close(sweep->scorer);
    forward_close(sweep->teacher);
    backend->free(backend, sweep->reference);
    parked_close(sweep->parked);
    backend->free(backend, sweep->states);
    free(sweep);
}

static void *state(const struct sweep *sweep, int index, int64_t tokens) {
    return (char *)sweep->states + (size_t)index * state_bytes(sweep->model, tokens);
}

/* The first `copies` copies of a batch that holds its rows several times over. */
static struct sequences first_copies(const struct sequences *all, int copies, int rows,
                                     int64_t tokens) {
    struct sequences part = *all;
    part.count = copies * rows;
    part.tokens = copies * tokens;
    return part;
}

/* What a group costs in all: bytes of weights that states pass, those of the head included. */
static void count_passes(struct sweep *sweep) {
    const struct model_config *config = sweep->model->config;
    const struct sweep_options *options = &sweep->options;
    int active = 1;
    sweep->passed = sweep->passing = 0;
    sweep->passes = (double)(1 + options->branches) * (double)config->vocab_size *
                    (double)config->hidden_size * (double)dtype_size(DTYPE_BF16);
    for (int l = 0, next = 0; l < config->n_layers; l++) {
        sweep->passes += active * (double)layer_bytes(sweep->model, l);
        while (next < options->branches && options->layers[next] == l) active++, next++;
    }
}

static void begin_layer(struct sweep *sweep, int layer, int active) {
    sweep->passed += sweep->passing;
    sweep->passing = active * (double)layer_bytes(sweep->model, layer);
    sweep->layer = layer;
}

/* `share` of the states are through the layer. */
static void tell(const struct sweep *sweep, double share) {
    progress_within((sweep->passed + share * sweep->passing) / sweep->passes, "layer %d",
                    sweep->layer);
}

/* One layer of one group. */
struct pass {
    struct sweep *sweep;
    const struct layer *layer;
    const struct sequences *batch;
    int rows;
    int64_t tokens;
    bool mixes, feeds; /* the layer's mixer and its MLP are there */
};

/* States [first, end) on the device, `copies` at a time, through the mixer or the MLP. */
static enum status advance_here(const struct pass *pass, int first, int end, bool mixer) {
    struct sweep *sweep = pass->sweep;
    for (int s = first; s < end; s += sweep->copies) {
        enum status status = interrupt_check();
        if (status) return status;
        tell(sweep, (double)(s - first) / (end - first) / 2 + (mixer ? 0 : 0.5));
        int copies = end - s < sweep->copies ? end - s : sweep->copies;
        struct sequences part = first_copies(pass->batch, copies, pass->rows, pass->tokens);
        void *h = state(sweep, s, pass->tokens);
        if (mixer)
            block_mix(sweep->model, pass->layer, &pass->layer->mixer, &sweep->trace, h, h, &part);
        else
            block_mlp(sweep->model, pass->layer, &sweep->trace, h, h, part.tokens);
    }
    return STATUS_OK;
}

/* Parked states [0, end), one after another, through the layer; `leaving` is the place of a state
 * that has just left the trunk and will be number `end`, or NULL. */
static enum status advance_parked(const struct pass *pass, int end, void *leaving,
                                  bool leaving_feeds) {
    struct sweep *sweep = pass->sweep;
    struct model *model = sweep->model;
    size_t bytes = state_bytes(model, pass->tokens);
    struct sequences one = first_copies(pass->batch, 1, pass->rows, pass->tokens);
    for (int i = 0; i < end && (pass->mixes || pass->feeds); i++) {
        enum status status = interrupt_check();
        if (status) return status;
        void *h = parked_fetch(sweep->parked, i, 0, bytes);
        if (pass->mixes)
            block_mix(model, pass->layer, &pass->layer->mixer, &sweep->trace, h, h, &one);
        if (pass->feeds) block_mlp(model, pass->layer, &sweep->trace, h, h, pass->tokens);
        parked_store(sweep->parked, i, h, bytes);
    }
    if (!leaving) return STATUS_OK;
    if (leaving_feeds) block_mlp(model, pass->layer, &sweep->trace, leaving, leaving, pass->tokens);
    parked_store(sweep->parked, end, leaving, bytes);
    return STATUS_OK;
}

/* Branch `branch` leaves with a mixer of its own, and goes through the layer by itself. */
static enum status leave_placed(const struct pass *pass, int branch, int *active) {
    struct sweep *sweep = pass->sweep;
    struct model *model = sweep->model;
    const struct sweep_placed *placed = sweep->options.placed;
    const struct mixer *mixer;
    struct sequences one = first_copies(pass->batch, 1, pass->rows, pass->tokens);
    bool here = *active < sweep->on_device;
    enum status status = interrupt_check();
    if (!status) status = placed->load(&mixer, placed->context, branch);
    if (status) return status;
    void *h = here ? state(sweep, *active, pass->tokens) : parked_room(sweep->parked);
    model->backend->copy(model->backend, h, state(sweep, 0, pass->tokens),
                         state_bytes(model, pass->tokens));
    block_mix(model, pass->layer, mixer, &sweep->trace, h, h, &one);
    block_mlp(model, pass->layer, &sweep->trace, h, h, pass->tokens);
    if (!here)
        parked_store(sweep->parked, *active - sweep->on_device, h,
                     state_bytes(model, pass->tokens));
    ++*active;
    return model->backend->sync(model->backend); /* the next mixer may take this one's place */
}

/* The branches of layer `index` from `*next` on leave the trunk before it goes through. */
static enum status leave_all(struct sweep *sweep, const struct sequences *batch, int rows,
                             int64_t tokens, int index, int *next, int *active) {
    const struct sweep_options *options = &sweep->options;
    struct pass pass = {.sweep = sweep, .batch = batch, .rows = rows, .tokens = tokens};
    enum status status = model_layer(&pass.layer, sweep->model, index);
    for (; !status && *next < options->branches && options->layers[*next] == index; ++*next)
        status = leave_placed(&pass, *next, active);
    return status;
}

/* Take the trunk and `active - 1` branches through one layer; when `leaving`, a new branch starts
 * as the trunk's copy at the layer's input. */
static enum status advance(struct sweep *sweep, const struct sequences *batch, int rows,
                           int64_t tokens, int index, int *active, bool leaving) {
    struct model *model = sweep->model;
    struct backend *backend = model->backend;
    struct pass pass = {.sweep = sweep, .batch = batch, .rows = rows, .tokens = tokens};
    enum status status = model_layer(&pass.layer, model, index);
    if (status) return status;
    bool removed = sweep->options.removed && sweep->options.removed[index];
    bool block = sweep->options.ablation == ABLATE_BLOCK;
    pass.mixes = !removed;
    pass.feeds = !(removed && block);
    int here = *active < sweep->on_device ? *active : sweep->on_device;
    bool leaves_here = leaving && *active < sweep->on_device, feeds = pass.feeds && !block;
    void *place = NULL;
    if (leaving) {
        void *to = leaves_here ? state(sweep, *active, tokens) : parked_room(sweep->parked);
        if (!leaves_here) place = to;
        backend->copy(backend, to, state(sweep, 0, tokens), state_bytes(model, tokens));
    }
    begin_layer(sweep, index, *active);
    if (pass.mixes) status = advance_here(&pass, 0, here, true);
    if (!status && pass.feeds)
        status = advance_here(&pass, 0, here + (leaves_here && feeds), false);
    if (!status && sweep->parked) status = advance_parked(&pass, *active - here, place, feeds);
    if (leaving) ++*active;
    return status;
}

/* The group's rows `copies` times, so that one batch serves several states. */
static enum status make_batch(struct token_batch *out, const struct sweep *sweep,
                              const struct tokenset *set, int64_t first, int rows) {
    uint64_t start = set->row_offsets[first], tokens = set->row_offsets[first + rows] - start;
    size_t copies = (size_t)sweep->copies;
    uint32_t *ids = memory_calloc(copies * tokens, sizeof *ids);
    uint64_t *offsets = memory_calloc(copies * (size_t)rows + 1, sizeof *offsets);
    enum status status = ids && offsets ? STATUS_OK : STATUS_FAILED;
    for (size_t c = 0; !status && c < copies; c++) {
        memcpy(ids + c * tokens, set->ids + start, tokens * sizeof *ids);
        for (int r = 0; r <= rows; r++)
            offsets[c * (size_t)rows + (size_t)r] =
                c * tokens + set->row_offsets[first + r] - start;
    }
    if (!status)
        status = token_batch_create(out, sweep->model->backend, ids, offsets, (int)copies * rows);
    free(ids);
    free(offsets);
    return status;
}

struct branches {
    struct sweep *sweep;
    int64_t tokens;
};

/* For the scorer: tokens of a branch, wherever it is. */
static const void *branch_rows(void *context, int branch, int64_t from, int64_t rows) {
    const struct branches *branches = context;
    struct sweep *sweep = branches->sweep;
    size_t token = state_bytes(sweep->model, 1);
    int index = 1 + branch;
    if (index < sweep->on_device)
        return (char *)state(sweep, index, branches->tokens) + (size_t)from * token;
    return parked_fetch(sweep->parked, index - sweep->on_device, (size_t)from * token,
                        (size_t)rows * token);
}

/* The teacher's last states of the group. */
static enum status run_teacher(struct sweep *sweep, const struct token_batch *batch, int rows,
                               int64_t tokens) {
    const struct token_batch one = {.sequences = first_copies(&batch->sequences, 1, rows, tokens),
                                    .ids = batch->ids,
                                    .backend = batch->backend};
    return forward_run(sweep->teacher, sweep->reference, &one);
}

enum status sweep_run(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                      const struct predictions *predictions, double *sums, int64_t *greedy) {
    struct model *model = sweep->model;
    struct backend *backend = model->backend;
    struct token_batch batch = {0};
    int64_t tokens = (int64_t)(set->row_offsets[first + rows] - set->row_offsets[first]);
    int active = 1, next = 0;
    count_passes(sweep);
    enum status status = make_batch(&batch, sweep, set, first, rows);
    if (status) goto done;
    backend->embedding->embed(backend, sweep->states, batch.ids, model->embedding, tokens,
                              model->config->hidden_size);
    for (int l = 0; l < model->config->n_layers; l++) {
        bool leaving = next < sweep->options.branches && sweep->options.layers[next] == l;
        int before = active;
        if (leaving && sweep->options.placed) {
            status = leave_all(sweep, &batch.sequences, rows, tokens, l, &next, &active);
            if (!status) status = advance(sweep, &batch.sequences, rows, tokens, l, &before, false);
        } else {
            next += leaving;
            status = advance(sweep, &batch.sequences, rows, tokens, l, &active, leaving);
        }
        if (!status) status = interrupt_check();
        if (status) goto done;
    }
    begin_layer(sweep, model->config->n_layers - 1, 0);
    progress_range(sweep->passed / sweep->passes, 1);
    struct branches branches = {sweep, tokens};
    struct scorer_source source = {sweep->options.branches, branch_rows, &branches};
    const struct acc *reference = sweep->states;
    if (sweep->teacher) {
        status = run_teacher(sweep, &batch, rows, tokens);
        reference = sweep->reference;
    }
    if (!status)
        status = scorer_score_from(sweep->scorer, predictions, reference, &source, sums, greedy);
    if (status == STATUS_FAILED)
        status = status_fail("rows %lld to %lld: %s", (long long)first, (long long)first + rows - 1,
                             status_message());
done:
    token_batch_free(&batch);
    return status;
}

enum status sweep_group(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                        double *sums, int64_t *counts) {
    struct positions positions = {0};
    struct predictions predictions = {0};
    enum status status = positions_create(&positions, set, first, rows);
    if (!status) status = predictions_of_positions(&predictions, &positions);
    if (!status) {
        memcpy(counts, positions.counts, (size_t)rows * METRIC_COUNT * sizeof *counts);
        status = sweep_run(sweep, set, first, rows, &predictions, sums, NULL);
    }
    predictions_free(&predictions);
    positions_free(&positions);
    return status;
}
