/* Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024), as Qwen3.5 and Apriel2 compute it. HK key
 * heads of DK channels, HV value heads of DV; value head j reads key head j / (HV / HK). With u the
 * mixer's input, for each value head
 *
 *     q, k, v = silu(convolution(in_proj u)),  q <- q / |q| DK^-1/2,  k <- k / |k|
 *     beta = sigmoid(b),  g = -exp(A_log) softplus(a + dt_bias)
 *     S <- exp(g) S;  S <- S + k (beta (v - S^T k))^T;  o = S^T q
 *     out = out_proj(rmsnorm(o) norm.weight silu(z))
 *
 * The memory is corrected towards v at k, instead of only added to. The norm's weights are shared
 * by all heads, its epsilon is that of the model's norms. */
#ifndef MIXERS_GDN_GDN_H
#define MIXERS_GDN_GDN_H

#include "kernels/ops/conv.h"
#include "kernels/ops/delta.h"
#include "kernels/ops/gated_norm.h"
#include "mixers/buffers.h"
#include "mixers/choices.h"
#include "mixers/past.h"
#include "mixers/sizes.h"

extern const struct mixer_kind gdn_kind;

enum gdn_size { GDN_KEY_HEADS, GDN_VALUE_HEADS, GDN_KEY_DIM, GDN_VALUE_DIM, GDN_D_CONV, GDN_SIZES };

/* In the order of checkpoints. */
enum gdn_tensor {
    GDN_T_IN_PROJ, /* [2 HK DK + 2 HV DV, D]: q, k, v, z */
    GDN_T_GATES,   /* [2 HV, D]: b, a */
    GDN_T_CONV,    /* [2 HK DK + HV DV, 1, K] */
    GDN_T_DT_BIAS, /* [HV] */
    GDN_T_A_LOG,   /* [HV] */
    GDN_T_NORM,    /* [DV] */
    GDN_T_OUT,     /* [D, HV DV] */
    GDN_TENSORS,
};

enum gdn_weight {
    GDN_OUT,     /* act [D, HV DV] */
    GDN_IN_PROJ, /* act [2 HK DK + 2 HV DV + 2 HV, D]: q, k, v, z, b, a */
    GDN_CONV,    /* acc [2 HK DK + HV DV, K] */
    GDN_DT_BIAS, /* acc [HV] */
    GDN_A_LOG,   /* acc [HV] */
    GDN_NORM,    /* acc [DV] */
    GDN_WEIGHTS,
};

enum gdn_buffer {
    GDN_B_PROJECTED,   /* act [n, 2 HK DK + 2 HV DV + 2 HV] */
    GDN_B_CONVOLVED,   /* act [n, 2 HK DK + HV DV]: q, k, v */
    GDN_B_CHECKPOINTS, /* of the delta rule; only for gradients */
    GDN_B_READ,        /* act [n, HV DV]: o */
    GDN_B_RSTD,        /* acc [n, HV] */
    GDN_B_MIXED,       /* act [n, HV DV]: input of the output projection */
    GDN_B_DPROJECTED,  /* gradients */
    GDN_B_DCONVOLVED,
    GDN_B_DREAD,
    GDN_B_DMIXED,
    GDN_BUFFERS,
};

enum gdn_past {
    GDN_CONV_STATES,  /* act [slots, K - 1, 2 HK DK + HV DV] */
    GDN_DELTA_STATES, /* acc [slots, HV, DK, DV] */
    GDN_PAST,
};

/* The widths that all of it is laid out by, and the sizes as the ops take them. */
struct gdn_layout {
    int64_t keys, inner, convolved,
        projected; /* HK DK, HV DV, of GDN_B_CONVOLVED, GDN_B_PROJECTED */
    struct delta_shape delta;
    struct mamba_shape conv;
    struct gated_norm_shape norm;
};
struct gdn_layout gdn_layout_of(const struct mixer_sizes *sizes, const struct mixer_host *host);
struct delta_inputs gdn_locate(const struct mixer_pass *pass, const struct gdn_layout *layout);

void gdn_forward(const struct mixer_pass *pass, struct acc *h);
void gdn_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                  void *const *gradients);

/* Choices of how it begins. */
enum gdn_choice { GDN_MEMORY, GDN_SCALE, GDN_GATE, GDN_FIT_OUT, GDN_CHOICES };
extern const struct choice_row gdn_choices[GDN_CHOICES];
extern const struct fit_rules gdn_fitting;

/* A new mixer from attention (see init.c). */
enum status gdn_init(float *out, int tensor, const struct mixer_sizes *sizes,
                     const struct mixer_choices *choices, const struct attention_source *source);
char *gdn_origin(int tensor, const struct mixer_sizes *sizes, const struct mixer_choices *choices,
                 const struct attention_source *source);
const char *gdn_drops(enum mixer_part part, const struct mixer_choices *choices,
                      const struct mixer_host *host);

#endif
