/* Mamba-2 (Dao and Gu 2024), as GraniteMoeHybrid computes it. H heads of P channels, G groups of N
 * states; head h reads B and C of group h / (H / G). With u the mixer's input, for each head
 *
 *     x, B, C = silu(convolution(in_proj u)),  dt = softplus(dt + dt_bias),  A = -exp(A_log)
 *     S <- exp(dt A) S + dt x B^T;  y = S C + D x
 *     out = out_proj(rmsnorm(y silu(z)) norm.weight)
 *
 * One decay for a head's whole state. The norm runs over the channels of a group, after the gate;
 * its epsilon is that of the model's norms. */
#ifndef MIXERS_MAMBA2_MAMBA2_H
#define MIXERS_MAMBA2_MAMBA2_H

#include "kernels/ops/conv.h"
#include "kernels/ops/gated_norm.h"
#include "kernels/ops/ssd.h"
#include "mixers/buffers.h"
#include "mixers/choices.h"
#include "mixers/past.h"
#include "mixers/sizes.h"

extern const struct mixer_kind mamba2_kind;

enum mamba2_size {
    MAMBA2_HEADS,
    MAMBA2_HEAD_DIM,
    MAMBA2_GROUPS,
    MAMBA2_D_STATE,
    MAMBA2_D_CONV,
    MAMBA2_BIAS,      /* in_proj and out_proj have biases */
    MAMBA2_CONV_BIAS, /* the convolution has a bias */
    MAMBA2_SIZES,
};

/* In the order of checkpoints. */
enum mamba2_tensor {
    MAMBA2_T_IN_PROJ, /* [2 H P + 2 G N + H, D]: z, x, B, C, dt */
    MAMBA2_T_IN_PROJ_BIAS,
    MAMBA2_T_CONV, /* [H P + 2 G N, 1, K] */
    MAMBA2_T_CONV_BIAS,
    MAMBA2_T_DT_BIAS, /* [H] */
    MAMBA2_T_A_LOG,   /* [H] */
    MAMBA2_T_D,       /* [H] */
    MAMBA2_T_NORM,    /* [H P] */
    MAMBA2_T_OUT,     /* [D, H P] */
    MAMBA2_T_OUT_BIAS,
    MAMBA2_TENSORS,
};

enum mamba2_weight {
    MAMBA2_OUT, /* act [D, H P] */
    MAMBA2_OUT_BIAS,
    MAMBA2_IN_PROJ, /* act [2 H P + 2 G N + H, D] */
    MAMBA2_IN_PROJ_BIAS,
    MAMBA2_CONV, /* acc [H P + 2 G N, K] */
    MAMBA2_CONV_BIAS_WEIGHT,
    MAMBA2_DT_BIAS, /* acc [H] */
    MAMBA2_A_LOG,   /* acc [H] */
    MAMBA2_D,       /* acc [H] */
    MAMBA2_NORM,    /* acc [H P] */
    MAMBA2_WEIGHTS,
};

enum mamba2_buffer {
    MAMBA2_B_PROJECTED,   /* act [n, 2 H P + 2 G N + H] */
    MAMBA2_B_CONVOLVED,   /* act [n, H P + 2 G N]: x, B, C */
    MAMBA2_B_CHECKPOINTS, /* of the recurrence; only for gradients */
    MAMBA2_B_READ,        /* act [n, H P]: y */
    MAMBA2_B_RSTD,        /* acc [n, G] */
    MAMBA2_B_MIXED,       /* act [n, H P]: input of the output projection */
    MAMBA2_B_DPROJECTED,  /* gradients */
    MAMBA2_B_DCONVOLVED,
    MAMBA2_B_DREAD,
    MAMBA2_B_DMIXED,
    MAMBA2_BUFFERS,
};

enum mamba2_past {
    MAMBA2_CONV_STATES, /* act [slots, K - 1, H P + 2 G N] */
    MAMBA2_SSD_STATES,  /* acc [slots, H, P, N] */
    MAMBA2_PAST,
};

/* The widths that all of it is laid out by, and the sizes as the ops take them. */
struct mamba2_layout {
    int64_t inner, shared, convolved, projected; /* H P, G N, of …_B_CONVOLVED, …_B_PROJECTED */
    struct ssd_shape ssd;
    struct mamba_shape conv;
    struct gated_norm_shape norm;
};
struct mamba2_layout mamba2_layout_of(const struct mixer_sizes *sizes,
                                      const struct mixer_host *host);
struct ssd_inputs mamba2_locate(const struct mixer_pass *pass, const struct mamba2_layout *layout);

void mamba2_forward(const struct mixer_pass *pass, struct acc *h);
void mamba2_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                     void *const *gradients);

/* Choices of how it begins. */
enum mamba2_choice {
    MAMBA2_MEMORY,
    MAMBA2_SCALE,
    MAMBA2_FIT_OUT,
    MAMBA2_PROJ_BIAS, /* it has the biases of MAMBA2_BIAS */
    MAMBA2_CHOICES,
};
extern const struct choice_row mamba2_choices[MAMBA2_CHOICES];
extern const struct fit_rules mamba2_fitting;
void mamba2_settle(struct mixer_sizes *sizes, const struct mixer_choices *choices,
                   const struct mixer_host *host);

/* A new mixer from attention (see init.c). */
enum status mamba2_init(float *out, int tensor, const struct mixer_sizes *sizes,
                        const struct mixer_choices *choices, const struct attention_source *source);
char *mamba2_origin(int tensor, const struct mixer_sizes *sizes,
                    const struct mixer_choices *choices, const struct attention_source *source);
const char *mamba2_drops(enum mixer_part part, const struct mixer_choices *choices,
                         const struct mixer_host *host);

#endif
