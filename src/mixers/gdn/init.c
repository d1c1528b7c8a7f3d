/* Gated DeltaNet from attention: q, k, v <- W_Q, W_K, W_V, the keys and values of a head repeated
 * for its query heads, out_proj <- W_O. The rest without data: the convolution the present token,
 * so small that SiLU is nearly linear (the norms take the scale out again), decays that do not
 * depend on the token, with memories of 2 to 64 tokens over the heads, corrections of a half. There
 * is no bias that could open the gate, so z is drawn. The norm's weights are shared by the heads:
 * the size of a head's values, halved, goes into its columns of out_proj. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/gdn/gdn.h"
#include "mixers/start.h"

static const double small_tap = 0.25;

static enum status fill_in_proj(float *out, const struct gdn_layout *layout, uint64_t seed,
                                const struct attention_source *source) {
    int64_t width = source->host->hidden;
    float *k = out + layout->keys * width, *v = k + layout->keys * width;
    enum status status = start_heads(out, ATTENTION_Q, width, source);
    if (!status) status = start_heads(k, ATTENTION_K, width, source);
    if (!status) status = start_heads(v, ATTENTION_V, width, source);
    start_uniform(v + layout->inner * width, layout->inner * width, 1 / sqrt((double)width),
                  gdn_kind.tensors[GDN_T_IN_PROJ].name, seed, source);
    return status;
}

/* W_O with each head's columns as large as its values. */
static enum status fill_out_proj(float *out, const struct gdn_layout *layout,
                                 const struct attention_source *source) {
    int64_t width = source->host->hidden;
    double *rms = memory_calloc((size_t)layout->delta.value_heads, sizeof *rms);
    enum status status = rms ? start_value_rms(rms, source) : STATUS_FAILED;
    if (!status) status = source->read(source->context, ATTENTION_O, 0, width * layout->inner, out);
    for (int64_t d = 0; d < width && !status; d++)
        for (int64_t i = 0; i < layout->inner; i++) {
            float *value = &out[d * layout->inner + i];
            *value = start_rounded((float)(*value * rms[i / layout->delta.value_dim] / 2), source);
        }
    free(rms);
    return status;
}

static enum status check_sizes(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    const int64_t *value = gdn->value;
    if (value[GDN_KEY_HEADS] == host->heads && value[GDN_VALUE_HEADS] == host->heads &&
        value[GDN_KEY_DIM] == host->head_dim && value[GDN_VALUE_DIM] == host->head_dim)
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
        return fill_in_proj(out, &layout, choices->seed, source);
    case GDN_T_GATES:
        start_fill(out, 2 * heads * (int64_t)source->host->hidden, 0, source);
        return STATUS_OK;
    case GDN_T_CONV:
        start_taps(out, layout.convolved, layout.conv.d_conv, small_tap, source);
        return STATUS_OK;
    case GDN_T_DT_BIAS:
        for (int h = 0; h < heads; h++)
            out[h] = (float)start_inverse_softplus(1 / start_memory(h, heads));
        return STATUS_OK;
    case GDN_T_A_LOG:
        for (int h = 0; h < heads; h++) out[h] = 0;
        return STATUS_OK;
    case GDN_T_NORM:
        start_fill(out, layout.delta.value_dim, 1, source);
        return STATUS_OK;
    case GDN_T_OUT:
        return fill_out_proj(out, &layout, source);
    case GDN_TENSORS:
        break;
    }
    return status_fail("tensor %d is not one of a Gated DeltaNet mixer", tensor);
}

char *gdn_origin(int tensor, const struct mixer_sizes *gdn, const struct mixer_choices *choices,
                 const struct attention_source *source) {
    const char *(*name)(void *, int) = source->name;
    switch ((enum gdn_tensor)tensor) {
    case GDN_T_IN_PROJ:
        return text_format("q: %s; k: %s; v: %s, for each query head; z: uniform +-%.4g",
                           name(source->context, ATTENTION_Q), name(source->context, ATTENTION_K),
                           name(source->context, ATTENTION_V),
                           1 / sqrt((double)source->host->hidden));
    case GDN_T_CONV:
        return text_format("last tap %g, others 0", small_tap);
    case GDN_T_DT_BIAS:
        return text_format("softplus^-1(1 / memory), 2 to 64 tokens over the heads");
    case GDN_T_NORM:
        return text_format("ones");
    case GDN_T_OUT:
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
