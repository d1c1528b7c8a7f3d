/* Gated DeltaNet from attention: q, k, v <- W_Q, W_K, W_V, the keys and values of a head repeated
 * for its query heads, out_proj <- W_O. The rest without data: the convolution the present token,
 * so small that SiLU is nearly linear (the norms take the scale out again), decays that do not
 * depend on the token, with memories of 2 to 64 tokens over the heads, corrections of a half. There
 * is no bias that could open the gate, so z is drawn. The norm's weights are shared by the heads:
 * the size of a head's values, halved, goes into its columns of out_proj. With data (fit.h) decays,
 * corrections and sizes are those that come closest to each head of the attention, and the gate is
 * opened by the row that is closest to a constant, where one is close enough. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/gdn/gdn.h"
#include "mixers/start.h"

static const double small_tap = 0.25;

const struct choice_row gdn_choices[GDN_CHOICES] = {
    [GDN_MEMORY] = START_MEMORY_ROW,
    [GDN_SCALE] = START_SCALE_ROW,
    [GDN_GATE] = {.name = "gate",
                  .option = "gate",
                  .words = {"random", "open"},
                  .quiet = true,
                  .needs_data = true,
                  .usual_of_data = true,
                  .help = "drawn at random, or open: silu(z) starts as 1"},
    [GDN_FIT_OUT] = START_FIT_OUT_ROW,
};

static int64_t units(const struct mixer_sizes *gdn) {
    return gdn->value[GDN_VALUE_HEADS];
}

static int64_t channel(const struct mixer_sizes *gdn, const struct mixer_choices *choices,
                       const struct mixer_host *host, int64_t head) {
    return head * gdn->value[GDN_VALUE_DIM];
}

/* For the gate, and for b, whose rows are logits of the correction times it. */
static bool needs_constant(const struct mixer_sizes *gdn, const struct mixer_choices *choices) {
    return choices->word[GDN_GATE] || choices->word[GDN_MEMORY];
}

const struct fit_rules gdn_fitting = {.mixed = GDN_B_MIXED,
                                      .out = GDN_T_OUT,
                                      .memory = GDN_MEMORY,
                                      .scale = GDN_SCALE,
                                      .fit_out = GDN_FIT_OUT,
                                      .memory_weight = GDN_DT_BIAS,
                                      .write_weight = GDN_IN_PROJ,
                                      .scale_weight = GDN_OUT,
                                      .units = units,
                                      .channel = channel,
                                      .constant = needs_constant};

static enum status fill_in_proj(float *out, const struct gdn_layout *layout,
                                const struct mixer_choices *choices,
                                const struct attention_source *source) {
    int64_t width = source->host->hidden;
    float *k = out + layout->keys * width, *v = k + layout->keys * width;
    enum status status =
        start_keys(out, k, layout->delta.key_heads, layout->delta.key_dim, false, source);
    if (!status) status = start_heads(v, ATTENTION_V, width, source);
    start_gate(v + layout->inner * width, layout->inner, gdn_kind.tensors[GDN_T_IN_PROJ].name,
               start_fit(choices, GDN_GATE), choices->seed, source);
    return status;
}

/* Rows of b, then of a, which stay zero. */
static void fill_gates(float *out, const struct gdn_layout *layout, const struct mixer_fit *fit,
                       const struct attention_source *source) {
    int64_t width = source->host->hidden;
    int heads = layout->delta.value_heads;
    memset(out, 0, (size_t)(2 * heads * width) * sizeof *out);
    for (int h = 0; h < heads && fit; h++) {
        double logit = log(fit->write[h] / (1 - fit->write[h]));
        for (int64_t i = 0; i < width; i++)
            out[h * width + i] = start_rounded((float)(logit * (double)fit->constant[i]), source);
    }
}

static void fill_dt_bias(float *out, int heads, const struct mixer_fit *fit) {
    for (int h = 0; h < heads; h++)
        out[h] = (float)start_inverse_softplus(1 / (fit ? fit->memory[h] : start_memory(h, heads)));
}

/* W_O with each head's columns as large as its values. */
static enum status fill_out_proj(float *out, const struct gdn_layout *layout,
                                 const struct mixer_choices *choices,
                                 const struct attention_source *source) {
    int64_t width = source->host->hidden;
    int heads = layout->delta.value_heads;
    const struct mixer_fit *fit = start_fit(choices, GDN_SCALE);
    double *scale = memory_calloc((size_t)heads, sizeof *scale);
    enum status status = !scale ? STATUS_FAILED : fit ? STATUS_OK : start_value_rms(scale, source);
    for (int h = 0; h < heads && !status; h++) scale[h] = fit ? fit->scale[h] : scale[h] / 2;
    if (!status) status = source->read(source->context, ATTENTION_O, 0, width * layout->inner, out);
    if (!status)
        start_out(out, layout->inner, scale, layout->delta.value_dim,
                  start_fit(choices, GDN_FIT_OUT), source);
    free(scale);
    return status;
}

static enum status check_sizes(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    const int64_t *value = gdn->value;
    if (value[GDN_VALUE_HEADS] == host->heads && value[GDN_VALUE_DIM] == host->head_dim)
        return STATUS_OK;
    return status_fail("a new Gated DeltaNet mixer has the attention's %d heads of %d", host->heads,
                       host->head_dim);
}

enum status gdn_init(float *out, int tensor, const struct mixer_sizes *gdn,
                     const struct mixer_choices *choices, const struct attention_source *source) {
    const struct gdn_layout layout = gdn_layout_of(gdn, source->host);
    int heads = layout.delta.value_heads;
    if (check_sizes(gdn, source->host)) return STATUS_FAILED;
    switch ((enum gdn_tensor)tensor) {
    case GDN_T_IN_PROJ:
        return fill_in_proj(out, &layout, choices, source);
    case GDN_T_GATES:
        fill_gates(out, &layout, start_fit(choices, GDN_MEMORY), source);
        return STATUS_OK;
    case GDN_T_CONV:
        start_taps(out, layout.convolved, layout.conv.d_conv, small_tap, source);
        return STATUS_OK;
    case GDN_T_DT_BIAS:
        fill_dt_bias(out, heads, start_fit(choices, GDN_MEMORY));
        return STATUS_OK;
    case GDN_T_A_LOG:
        for (int h = 0; h < heads; h++) out[h] = 0;
        return STATUS_OK;
    case GDN_T_NORM:
        start_fill(out, layout.delta.value_dim, 1, source);
        return STATUS_OK;
    case GDN_T_OUT:
        return fill_out_proj(out, &layout, choices, source);
    case GDN_TENSORS:
        break;
    }
    return status_fail("tensor %d is not one of a Gated DeltaNet mixer", tensor);
}

/* Of the rows of z, in words that last until the next call. */
static const char *gate_origin(const struct mixer_choices *choices,
                               const struct attention_source *source) {
    static _Thread_local char text[40];
    if (mixer_fit_has_constant(start_fit(choices, GDN_GATE)))
        return "the row closest to silu^-1(1)";
    snprintf(text, sizeof text, "uniform +-%.4g", 1 / sqrt((double)source->host->hidden));
    return text;
}

char *gdn_origin(int tensor, const struct mixer_sizes *gdn, const struct mixer_choices *choices,
                 const struct attention_source *source) {
    const char *(*name)(void *, int) = source->name;
    switch ((enum gdn_tensor)tensor) {
    case GDN_T_IN_PROJ:
        return text_format("q: %s; k: %s; v: %s, for each query head; z: %s",
                           name(source->context, ATTENTION_Q), name(source->context, ATTENTION_K),
                           name(source->context, ATTENTION_V), gate_origin(choices, source));
    case GDN_T_CONV:
        return text_format("last tap %g, others 0", small_tap);
    case GDN_T_GATES:
        if (!choices->word[GDN_MEMORY]) return text_format("zeros");
        return text_format("b: logit of the correction fitted for each head; a: zeros");
    case GDN_T_DT_BIAS:
        if (choices->word[GDN_MEMORY])
            return text_format("softplus^-1(1 / memory), fitted for each head");
        return text_format("softplus^-1(1 / memory), 2 to 64 tokens over the heads");
    case GDN_T_NORM:
        return text_format("ones");
    case GDN_T_OUT:
        if (choices->word[GDN_FIT_OUT])
            return text_format("least squares from %s", name(source->context, ATTENTION_O));
        if (choices->word[GDN_SCALE])
            return text_format("%s times the rms of the attention's head over the mixer's",
                               name(source->context, ATTENTION_O));
        return text_format("%s times half the rms of the values, estimated from %s",
                           name(source->context, ATTENTION_O), name(source->context, ATTENTION_V));
    default:
        return text_format("zeros");
    }
}

const char *gdn_drops(enum mixer_part part, const struct mixer_choices *choices,
                      const struct mixer_host *host) {
    bool biased = host->q_bias || host->k_bias || host->v_bias || host->o_bias;
    if (part == DROPS_NORMS && host->qk_norm)
        return "query and key norms of replaced layers are dropped; Gated DeltaNet norms them to 1";
    if (part == DROPS_BIASES && biased)
        return "attention biases of replaced layers are dropped; a Gated DeltaNet mixer has none";
    return NULL;
}
