/* Mamba-2 from attention: x <- W_V, B <- W_K, C <- W_Q, out_proj <- W_O, the keys and values of a
 * head repeated for its query heads, so that every head has a group of its own. The rest starts as
 * what is closest to attention without data: the gate open, the convolution the present token, so
 * small that SiLU is nearly linear (the norm takes the scale out again), steps of one, memories of
 * 2 to 64 tokens over the heads, no skip, and the norm's weights half the size that the weights
 * alone say the head's values have. With data (fit.h) the memories and the norm's weights are those
 * that come closest to each head of the attention. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/mamba2/mamba2.h"
#include "mixers/start.h"

static const double small_tap = 0.25;

const struct choice_row mamba2_choices[MAMBA2_CHOICES] = {
    [MAMBA2_MEMORY] = START_MEMORY_ROW,
    [MAMBA2_SCALE] = START_SCALE_ROW,
    [MAMBA2_FIT_OUT] = START_FIT_OUT_ROW,
    [MAMBA2_PROJ_BIAS] = {.name = "proj_bias",
                          .option = "proj-bias",
                          .words = {"no", "yes"},
                          .usual = 1,
                          .quiet = true,
                          .enters = ENTERS_ESTIMATE,
                          .help = "biases of in_proj and out_proj, the first of which opens the "
                                  "gate"},
};

void mamba2_settle(struct mixer_sizes *mamba2, const struct mixer_choices *choices,
                   const struct mixer_host *host) {
    mamba2->value[MAMBA2_BIAS] = choices->word[MAMBA2_PROJ_BIAS];
}

static int64_t units(const struct mixer_sizes *mamba2) {
    return mamba2->value[MAMBA2_HEADS];
}

static int64_t channel(const struct mixer_sizes *mamba2, const struct mixer_choices *choices,
                       const struct mixer_host *host, int64_t head) {
    return head * mamba2->value[MAMBA2_HEAD_DIM];
}

static bool needs_constant(const struct mixer_sizes *mamba2, const struct mixer_choices *choices) {
    return !mamba2->value[MAMBA2_BIAS];
}

const struct fit_rules mamba2_fitting = {.mixed = MAMBA2_B_MIXED,
                                         .out = MAMBA2_T_OUT,
                                         .memory = MAMBA2_MEMORY,
                                         .scale = MAMBA2_SCALE,
                                         .fit_out = MAMBA2_FIT_OUT,
                                         .memory_weight = MAMBA2_A_LOG,
                                         .write_weight = -1,
                                         .scale_weight = MAMBA2_NORM,
                                         .units = units,
                                         .channel = channel,
                                         .constant = needs_constant};

/* Rows z, x, B, C, dt, or their biases. */
static enum status fill_in_proj(float *out, const struct mamba2_layout *layout, bool bias,
                                const struct mixer_choices *choices,
                                const struct attention_source *source) {
    int64_t width = bias ? 1 : source->host->hidden, heads = layout->ssd.heads;
    float *x = out + layout->inner * width, *b = x + layout->inner * width;
    float *c = b + layout->shared * width, *dt = c + layout->shared * width;
    if (bias || choices->word[MAMBA2_PROJ_BIAS])
        start_fill(out, layout->inner * width, bias ? START_OPEN_GATE : 0, source);
    else
        start_gate(out, layout->inner, mamba2_kind.tensors[MAMBA2_T_IN_PROJ].name, choices->fit,
                   choices->seed, source);
    start_fill(dt, heads * width, 0, source);
    enum status status = start_heads(x, bias ? ATTENTION_V_BIAS : ATTENTION_V, width, source);
    if (!status) status = start_keys(c, b, layout->ssd.groups, layout->ssd.d_state, bias, source);
    return status;
}

/* Attention divides its scores by sqrt(head_dim); C's taps do it here. */
static void fill_taps(float *out, const struct mamba2_layout *layout,
                      const struct attention_source *source) {
    int64_t taps = layout->conv.d_conv, before = layout->inner + layout->shared;
    start_taps(out, before, taps, small_tap, source);
    start_taps(out + before * taps, layout->shared, taps,
               small_tap / sqrt((double)source->host->head_dim), source);
}

static enum status fill_norm(float *out, const struct mamba2_layout *layout,
                             const struct mixer_fit *fit, const struct attention_source *source) {
    int heads = layout->ssd.heads, width = layout->ssd.head_dim;
    for (int h = 0; h < heads && fit; h++)
        start_fill(out + (int64_t)h * width, width, fit->scale[h], source);
    if (fit) return STATUS_OK;
    double *rms = memory_calloc((size_t)heads, sizeof *rms);
    enum status status = rms ? start_value_rms(rms, source) : STATUS_FAILED;
    for (int h = 0; h < heads && !status; h++)
        start_fill(out + (int64_t)h * width, width, rms[h] / 2, source);
    free(rms);
    return status;
}

static void fill_a_log(float *out, int heads, const struct mixer_fit *fit) {
    for (int h = 0; h < heads; h++)
        out[h] = (float)-log(fit ? fit->memory[h] : start_memory(h, heads));
}

static enum status fill_out(float *out, const struct mamba2_layout *layout,
                            const struct mixer_choices *choices,
                            const struct attention_source *source) {
    int64_t count = source->host->hidden * layout->inner;
    enum status status = source->read(source->context, ATTENTION_O, 0, count, out);
    if (!status) start_out(out, layout->inner, NULL, 1, start_fit(choices, MAMBA2_FIT_OUT), source);
    return status;
}

static enum status check_sizes(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    const int64_t *value = mamba2->value;
    if (value[MAMBA2_HEADS] == host->heads && value[MAMBA2_HEAD_DIM] == host->head_dim)
        return STATUS_OK;
    return status_fail("a new Mamba-2 mixer has the attention's %d heads of %d", host->heads,
                       host->head_dim);
}

enum status mamba2_init(float *out, int tensor, const struct mixer_sizes *mamba2,
                        const struct mixer_choices *choices,
                        const struct attention_source *source) {
    const struct mixer_host *host = source->host;
    const struct mamba2_layout layout = mamba2_layout_of(mamba2, host);
    int heads = layout.ssd.heads;
    if (check_sizes(mamba2, source->host)) return STATUS_FAILED;
    switch ((enum mamba2_tensor)tensor) {
    case MAMBA2_T_IN_PROJ:
    case MAMBA2_T_IN_PROJ_BIAS:
        return fill_in_proj(out, &layout, tensor == MAMBA2_T_IN_PROJ_BIAS, choices, source);
    case MAMBA2_T_CONV:
        fill_taps(out, &layout, source);
        return STATUS_OK;
    case MAMBA2_T_CONV_BIAS:
        start_fill(out, layout.convolved, 0, source);
        return STATUS_OK;
    case MAMBA2_T_DT_BIAS:
        for (int h = 0; h < heads; h++) out[h] = (float)start_inverse_softplus(1);
        return STATUS_OK;
    case MAMBA2_T_A_LOG:
        fill_a_log(out, heads, start_fit(choices, MAMBA2_MEMORY));
        return STATUS_OK;
    case MAMBA2_T_D:
        for (int h = 0; h < heads; h++) out[h] = 0;
        return STATUS_OK;
    case MAMBA2_T_NORM:
        return fill_norm(out, &layout, start_fit(choices, MAMBA2_SCALE), source);
    case MAMBA2_T_OUT:
        return fill_out(out, &layout, choices, source);
    case MAMBA2_T_OUT_BIAS:
        if (source->name(source->context, ATTENTION_O_BIAS))
            return source->read(source->context, ATTENTION_O_BIAS, 0, host->hidden, out);
        start_fill(out, host->hidden, 0, source);
        return STATUS_OK;
    case MAMBA2_TENSORS:
        break;
    }
    return status_fail("tensor %d is not one of a Mamba-2 mixer", tensor);
}

/* Of the rows of z, in words. */
static const char *gate_origin(const struct mixer_choices *choices) {
    if (choices->word[MAMBA2_PROJ_BIAS]) return "zeros";
    return mixer_fit_has_constant(choices->fit) ? "the row closest to silu^-1(1)" : "drawn";
}

static const char *named(const struct attention_source *source, int tensor) {
    const char *name = source->name(source->context, tensor);
    return name ? name : "zeros";
}

char *mamba2_origin(int tensor, const struct mixer_sizes *mamba2,
                    const struct mixer_choices *choices, const struct attention_source *source) {
    switch ((enum mamba2_tensor)tensor) {
    case MAMBA2_T_IN_PROJ:
        return text_format("z: %s; x: %s; B: %s; C: %s, for each query head; dt: zeros",
                           gate_origin(choices), named(source, ATTENTION_V),
                           named(source, ATTENTION_K), named(source, ATTENTION_Q));
    case MAMBA2_T_IN_PROJ_BIAS:
        return text_format("z: %.4g; x: %s; B: %s; C: %s, for each query head; dt: zeros",
                           START_OPEN_GATE, named(source, ATTENTION_V_BIAS),
                           named(source, ATTENTION_K_BIAS), named(source, ATTENTION_Q_BIAS));
    case MAMBA2_T_CONV:
        return text_format("last tap %g (C: / sqrt(head_dim)), others 0", small_tap);
    case MAMBA2_T_DT_BIAS:
        return text_format("softplus^-1(1)");
    case MAMBA2_T_A_LOG:
        if (choices->word[MAMBA2_MEMORY]) return text_format("-log(memory), fitted for each head");
        return text_format("-log(memory), 2 to 64 tokens over the heads");
    case MAMBA2_T_NORM:
        if (choices->word[MAMBA2_SCALE]) return text_format("rms of the attention's head over it");
        return text_format("half the rms of the values, estimated from %s",
                           named(source, ATTENTION_V));
    case MAMBA2_T_OUT:
        return text_format("%s%s", choices->word[MAMBA2_FIT_OUT] ? "least squares from " : "",
                           named(source, ATTENTION_O));
    case MAMBA2_T_OUT_BIAS:
        return text_format("%s", named(source, ATTENTION_O_BIAS));
    default:
        return text_format("zeros");
    }
}

const char *mamba2_drops(enum mixer_part part, const struct mixer_choices *choices,
                         const struct mixer_host *host) {
    bool biased = host->q_bias || host->k_bias || host->v_bias || host->o_bias;
    if (part == DROPS_NORMS && host->qk_norm)
        return "query and key norms of replaced layers are dropped; a Mamba-2 mixer has none";
    if (part == DROPS_BIASES && biased && !choices->word[MAMBA2_PROJ_BIAS])
        return "attention biases of replaced layers are dropped";
    return NULL;
}
