#include "analysis/loo/loo_budget.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/device.h"
#include "model/stream.h"

/* Products and sums that one token costs in layer `index`, attention's own left out. */
static double layer_flops(const struct model *model, int index) {
    return (double)layer_bytes(model, index); /* 2 operations a parameter of 2 bytes */
}

/* A layer takes the longer of its arithmetic and its transfers. */
static double predict(const struct model *model, const struct sweep_options *options,
                      const struct loo_cut *cut) {
    const struct model_config *config = model->config;
    double state = (double)cut->tokens * config->hidden_size * (double)dtype_size(DTYPE_F32);
    int active = 1, next = 0, here = cut->on_device;
    double seconds = 0;
    for (int l = 0; l < config->n_layers; l++) {
        while (next < options->branches && options->layers[next] == l) active++, next++;
        double arithmetic =
            active * (double)cut->tokens * layer_flops(model, l) / device_h100.products;
        double transfer = cut->keeps_layers ? 0 : (double)layer_bytes(model, l);
        if (active > here) transfer += (active - here) * state;
        transfer /= device_h100.bus;
        seconds += arithmetic > transfer ? arithmetic : transfer;
    }
    return seconds * (double)cut->groups;
}

struct search {
    const struct model *model;
    const struct tokenset *set;
    const struct choice_set *items; /* or NULL */
    const struct sweep_options *options;
    const struct estimator_options *estimate;
    struct memory_budget empty;
    int longest;
    struct loo_cut *best, *smallest;
    bool found;
};

static void describe(struct loo_cut *cut, const struct search *search) {
    const struct model_config *config = search->model->config;
    int states = 1 + search->options->branches;
    char groups[64], parked[64] = "";
    snprintf(groups, sizeof groups, "%lld group%s of up to %lld tokens", (long long)cut->groups,
             cut->groups == 1 ? "" : "s", (long long)cut->tokens);
    if (cut->on_device < states)
        snprintf(parked, sizeof parked, ", %d of %d states in host memory", states - cut->on_device,
                 states);
    snprintf(cut->budget.work, sizeof cut->budget.work, "%s%s, layers %s", groups, parked,
             cut->keeps_layers || config->n_layers == 1 ? "kept" : "streamed");
}

/* The budget of one cut, which takes the search's lead when it fits and is faster. */
static void consider(struct search *search, struct loo_cut cut) {
    const struct model *model = search->model;
    struct sweep_options options = *search->options;
    options.on_device = cut.on_device;
    const char *layers = cut.keeps_layers ? "layers, all" : "layers, two at a time";
    if (!model->backend->discrete) layers = "one layer";
    cut.budget = search->empty;
    memory_budget_add(&cut.budget, "embedding and head",
                      model_outside_bytes(model, search->longest), 0);
    memory_budget_add(&cut.budget, layers, model_layers_present_bytes(model, cut.keeps_layers),
                      model->backend->discrete ? layer_stream_host_bytes() : 0);
    if (search->estimate)
        memory_budget_add(
            &cut.budget, "estimator",
            estimator_bytes(model, search->estimate, cut.rows, cut.tokens, search->longest), 0);
    else
        sweep_budget(&cut.budget, model, &options, cut.rows, cut.tokens, search->longest);
    memory_budget_add(&cut.budget, "scratch and transfers", memory_budget_own(model->backend), 0);
    cut.seconds = predict(model, search->options, &cut);
    describe(&cut, search);
    if (memory_budget_fits(&cut.budget) &&
        (!search->found || cut.seconds < search->best->seconds)) {
        *search->best = cut;
        search->found = true;
    }
    if (search->smallest->budget.count == 0 || cut.budget.device < search->smallest->budget.device)
        *search->smallest = cut;
}

/* The groups of rows, or of items, that `group_tokens` makes. */
static void cut_groups(struct loo_cut *cut, const struct search *search) {
    const struct choice_set *items = search->items;
    int64_t rows = (int64_t)search->set->rows;
    cut->groups = 0;
    if (!items) {
        tokenset_measure_groups(&cut->rows, &cut->tokens, search->set, rows, cut->group_tokens);
        for (int64_t first = 0; first < rows; cut->groups++)
            first = tokenset_group_end(search->set, first, rows, cut->group_tokens);
        return;
    }
    choice_set_measure_groups(&rows, &cut->tokens, items, cut->group_tokens);
    cut->rows = (int)rows;
    for (size_t first = 0; first < items->items_count; cut->groups++)
        first = choice_set_group(items, first, cut->group_tokens);
}

/* With these groups: all states on the device, or as many as fit. */
static void consider_group(struct search *search, int64_t group_tokens) {
    struct loo_cut cut = {.group_tokens = group_tokens, .on_device = 1 + search->options->branches};
    cut_groups(&cut, search);
    consider(search, cut);
    if (!search->model->backend->discrete) return;
    struct loo_cut kept = cut;
    kept.keeps_layers = true;
    if (cut.groups > 1) consider(search, kept);
    while (cut.on_device > 1) {
        cut.on_device--;
        consider(search, cut);
    }
}

enum status loo_budget(struct loo_cut *out, const struct model *model, const struct tokenset *set,
                       const struct choice_set *items, const struct sweep_options *options,
                       const struct estimator_options *estimate, int64_t group_tokens,
                       uint64_t device_memory) {
    struct loo_cut smallest = {0};
    struct search search = {.model = model,
                            .set = set,
                            .items = items,
                            .options = options,
                            .estimate = estimate,
                            .longest = (int)tokenset_longest_row(set),
                            .best = out,
                            .smallest = &smallest};
    memory_budget_begin(&search.empty, model->backend, device_memory);
    bool discrete = model->backend->discrete;
    int64_t rows, least = search.longest; /* tokens of a group that cannot be made smaller */
    if (items) choice_set_measure_groups(&rows, &least, items, 0);
    int64_t first = group_tokens > 0 ? group_tokens : discrete ? 1 << 14 : 1 << 12;
    for (int64_t tokens = first; tokens > 0; tokens /= 2) {
        consider_group(&search, tokens);
        /* On the CPU larger groups are never slower. */
        bool enough = search.found && !discrete;
        if (enough || group_tokens > 0 || tokens <= least) break;
    }
    if (search.found) return STATUS_OK;
    *out = smallest;
    return memory_budget_check(&out->budget, model->backend, "the sweep", device_memory,
                               "use shorter rows or fewer --layers");
}
