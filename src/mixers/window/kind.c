/* Attention over the last W tokens, the present one included, with the weights of the attention
 * that it replaces: no kernel of its own, and nothing that must train. */
#include "mixers/window/window.h"

#include "mixers/attention/attention.h"
#include "mixers/choices.h"

/* Where attention has its own window: its functions read it there. */
static const struct size_row sizes[ATTENTION_SIZES] = {
    [ATTENTION_WINDOW] = {.name = "window", .low = 1, .high = INT32_MAX, .inspected = true},
};

static const struct config_row of_blocks[] = {
    {.key = "window_size", .size = ATTENTION_WINDOW},
    {.key = NULL},
};

enum { TRAIN, CHOICES };
static const struct choice_row choices[CHOICES] = {
    [TRAIN] = {.name = "train_window",
               .option = "train-window",
               .words = {"no", "yes"},
               .flag = true,
               .quiet = true,
               .help = "train a window's projections in its probe, which else trains nothing"},
};

static bool is_frozen(const struct mixer_choices *begun, int weight) {
    bool norm = weight == ATTENTION_QUERY_NORM || weight == ATTENTION_KEY_NORM;
    return norm || !begun->word[TRAIN];
}

const struct mixer_kind window_kind = {
    .name = "window",
    .adjective = "window",
    .singular = "window mixer",
    .plural = "window mixers",
    .letter = 'w',
    .parameter = ATTENTION_WINDOW,
    .attends = true,
    .type = {NULL, "attention", "attention", "attention"},
    .owner = {"self_attn", "mixer"},
    .sizes = sizes,
    .n_sizes = ATTENTION_SIZES,
    .config =
        {[MIXER_APRIEL2] = of_blocks, [MIXER_FAST_LLM] = of_blocks, [MIXER_SURGERY] = of_blocks},
    .tensors = attention_tensors,
    .n_tensors = ATTENTION_TENSORS,
    .weights = attention_weights,
    .n_weights = ATTENTION_WEIGHTS,
    .buffers = attention_buffers,
    .n_buffers = ATTENTION_BUFFERS,
    .past = attention_past,
    .n_past = ATTENTION_PAST,
    .choices = choices,
    .n_choices = CHOICES,
    .shape = attention_tensor_shape,
    .forward = attention_forward,
    .backward = attention_backward,
    .past_rows = attention_past_rows,
    .operations = attention_operations,
    .frozen = is_frozen,
};
