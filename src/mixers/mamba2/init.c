/* Mamba-2 from attention: x <- W_V, B <- W_K, C <- W_Q, out_proj <- W_O, the keys and values of a
 * head repeated for its query heads, so that every head has a group of its own. The rest starts as
 * what is closest to attention without data: the gate open, the convolution the present token, so
 * small that SiLU is nearly linear (the norm takes the scale out again), steps of one, memories of
 * 2 to 64 tokens over the heads, no skip, and the norm's weights half the size that the weights
 * alone say the head's values have. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/mamba2/mamba2.h"
#include "mixers/start.h"

static const double small_tap = 0.25;

/* Rows z, x, B, C, dt, or their biases. */
static enum status fill_in_proj(float *out, const struct mamba2_layout *layout, bool bias,
                                const struct attention_source *source) {
    int64_t width = bias ? 1 : source->host->hidden, heads = layout->ssd.heads;
    float *x = out + layout->inner * width, *b = x + layout->inner * width;
    float *c = b + layout->shared * width, *dt = c + layout->shared * width;
    start_fill(out, layout->inner * width, bias ? START_OPEN_GATE : 0, source);
    start_fill(dt, heads * width, 0, source);
    enum status status = start_heads(x, bias ? ATTENTION_V_BIAS : ATTENTION_V, width, source);
    if (!status) status = start_heads(b, bias ? ATTENTION_K_BIAS : ATTENTION_K, width, source);
    if (!status) status = start_heads(c, bias ? ATTENTION_Q_BIAS : ATTENTION_Q, width, source);
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
                             const struct attention_source *source) {
    int heads = layout->ssd.heads, width = layout->ssd.head_dim;
    double *rms = memory_calloc((size_t)heads, sizeof *rms);
    enum status status = rms ? start_value_rms(rms, source) : STATUS_FAILED;
    for (int h = 0; h < heads && !status; h++)
        start_fill(out + (int64_t)h * width, width, rms[h] / 2, source);
    free(rms);
    return status;
}

static enum status check_sizes(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    const int64_t *value = mamba2->value;
    if (value[MAMBA2_HEADS] == host->heads && value[MAMBA2_GROUPS] == host->heads &&
        value[MAMBA2_HEAD_DIM] == host->head_dim && value[MAMBA2_D_STATE] == host->head_dim)
        return STATUS_OK;
    return status_fail("a new Mamba-2 mixer has the attention's %d heads of %d, each a group of as "
                       "many states",
                       host->heads, host->head_dim);
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
        return fill_in_proj(out, &layout, tensor == MAMBA2_T_IN_PROJ_BIAS, source);
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
        for (int h = 0; h < heads; h++) out[h] = (float)-log(start_memory(h, heads));
        return STATUS_OK;
    case MAMBA2_T_D:
        for (int h = 0; h < heads; h++) out[h] = 0;
        return STATUS_OK;
    case MAMBA2_T_NORM:
        return fill_norm(out, &layout, source);
    case MAMBA2_T_OUT:
        return source->read(source->context, ATTENTION_O, 0, host->hidden * layout.inner, out);
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

static const char *named(const struct attention_source *source, int tensor) {
    const char *name = source->name(source->context, tensor);
    return name ? name : "zeros";
}

char *mamba2_origin(int tensor, const struct mixer_sizes *mamba2,
                    const struct mixer_choices *choices, const struct attention_source *source) {
    switch ((enum mamba2_tensor)tensor) {
    case MAMBA2_T_IN_PROJ:
        return text_format("z: zeros; x: %s; B: %s; C: %s, for each query head; dt: zeros",
                           named(source, ATTENTION_V), named(source, ATTENTION_K),
                           named(source, ATTENTION_Q));
    case MAMBA2_T_IN_PROJ_BIAS:
        return text_format("z: %.4g; x: %s; B: %s; C: %s, for each query head; dt: zeros",
                           START_OPEN_GATE, named(source, ATTENTION_V_BIAS),
                           named(source, ATTENTION_K_BIAS), named(source, ATTENTION_Q_BIAS));
    case MAMBA2_T_CONV:
        return text_format("last tap %g (C: / sqrt(head_dim)), others 0", small_tap);
    case MAMBA2_T_DT_BIAS:
        return text_format("softplus^-1(1)");
    case MAMBA2_T_A_LOG:
        return text_format("-log(memory), 2 to 64 tokens over the heads");
    case MAMBA2_T_NORM:
        return text_format("half the rms of the values, estimated from %s",
                           named(source, ATTENTION_V));
    case MAMBA2_T_OUT:
        return text_format("%s", named(source, ATTENTION_O));
    case MAMBA2_T_OUT_BIAS:
        return text_format("%s", named(source, ATTENTION_O_BIAS));
    default:
        return text_format("zeros");
    }
}

const char *mamba2_drops(enum mixer_part part, const struct mixer_choices *choices,
                         const struct mixer_host *host) {
    if (part == DROPS_NORMS && host->qk_norm)
        return "query and key norms of replaced layers are dropped; a Mamba-2 mixer has none";
    return NULL;
}
