/* Apriel-H1's Mamba: a selective scan whose x, B and C come from the value, key and query rows of
 * the attention it replaces (MIL). I = d_inner, X = d_xb, N = d_state, R = dt_rank, K = d_conv; N
 * divides X and I, and X divides I. Channel c of sub-head s has
 *
 *     dt_c = softplus((dt_proj dt_in_proj u)_c + b_c),  A = -exp(A_log)
 *     state_c <- exp(dt_c A_c) state_c + dt_c x_c B_s;  y_c = <state_c, C_s> + D_c x_c
 *     out = out_proj(y silu(z))
 *
 * with x after a causal depthwise convolution and SiLU. The published runtimes add dt_proj's bias
 * twice, in the linear layer and again inside the scan: so checkpoints hold half of b. */
#ifndef MIXERS_M2_M2_H
#define MIXERS_M2_M2_H

#include "kernels/ops/conv.h"
#include "kernels/ops/scan.h"
#include "mixers/buffers.h"
#include "mixers/choices.h"
#include "mixers/past.h"
#include "mixers/sizes.h"

extern const struct mixer_kind m2_kind;

enum m2_size {
    M2_D_INNER,
    M2_D_XB,
    M2_D_STATE,
    M2_DT_RANK,
    M2_D_CONV,
    M2_BIAS,         /* in_proj, dt_in_proj and out_proj have biases */
    M2_CONV_BIAS,    /* conv1d has a bias */
    M2_DT_PROJ_BIAS, /* dt_proj has a bias */
    M2_DT_MIN,       /* what the step sizes started as */
    M2_DT_MAX,
    M2_SIZES,
};

/* What Mamba starts with, and the least step size. */
#define M2_USUAL_DT_MIN 1e-3
#define M2_USUAL_DT_MAX 1e-1
#define M2_DT_FLOOR 1e-4

/* In the order of checkpoints. */
enum m2_tensor {
    M2_T_IN_PROJ, /* [2I + 2X, D]: z, x, B, C */
    M2_T_IN_PROJ_BIAS,
    M2_T_DT_IN_PROJ, /* [R, D] */
    M2_T_DT_IN_PROJ_BIAS,
    M2_T_DT_PROJ,      /* [I, R] */
    M2_T_DT_PROJ_BIAS, /* [I] */
    M2_T_CONV,         /* [I, 1, K] */
    M2_T_CONV_BIAS,    /* [I] */
    M2_T_A_LOG,        /* [I, N] */
    M2_T_D,            /* [I] */
    M2_T_OUT_PROJ,     /* [D, I] */
    M2_T_OUT_PROJ_BIAS,
    M2_TENSORS,
};

/* In the order in which states of training hold them. */
enum m2_weight {
    M2_OUT, /* act [D, I] */
    M2_OUT_BIAS,
    M2_IN_PROJ, /* act [2I + 2X, D]: z, x, B, C rows */
    M2_IN_PROJ_BIAS,
    M2_DT_IN, /* act [R, D] */
    M2_DT_IN_BIAS,
    M2_DT_PROJ, /* act [I, R] */
    M2_DT_BIAS, /* acc [I]: the effective bias */
    M2_CONV,    /* acc [I, K] */
    M2_CONV_BIAS_WEIGHT,
    M2_A_LOG, /* acc [I, N] */
    M2_D,     /* acc [I] */
    M2_WEIGHTS,
};

enum m2_buffer {
    M2_B_PROJECTED,   /* act [n, 2I + 2X]: z, x, B, C */
    M2_B_DT_LOW,      /* act [n, R] */
    M2_B_DT,          /* act [n, I] */
    M2_B_CONVOLVED,   /* act [n, I] */
    M2_B_CHECKPOINTS, /* of the scan; only for gradients */
    M2_B_MIXED,       /* act [n, I]: input of the output projection */
    M2_B_DPROJECTED,  /* gradients */
    M2_B_DDT,
    M2_B_DCONVOLVED,
    M2_B_DDT_LOW,
    M2_B_DMIXED,
    M2_BUFFERS,
};

enum m2_past {
    M2_CONV_STATES, /* act [slots, K - 1, X] */
    M2_SCAN_STATES, /* acc [slots, I, N] */
    M2_PAST,
};

/* How a mixer starts (init.c); the words of each, 0 and 1. */
enum m2_choice {
    M2_ALIGN,
    M2_CONV_INIT,
    M2_DT_DRAW,
    M2_GATE,
    M2_SKIP,
    M2_C_SCALE,
    M2_QKV_BIAS,
    M2_A_INIT,
    M2_DT_RANGE,
    M2_MEMORY,
    M2_SCALE,
    M2_FIT_OUT,
    M2_CHOICES,
};
enum { M2_ALIGN_PAPER, M2_ALIGN_GQA /* each query sub-head meets its key block of attention */ };
enum { M2_CONV_RANDOM, M2_CONV_IDENTITY /* last tap 1, all else 0 */ };
enum { M2_DT_TWICE /* b is twice the draw: what the published code amounts to */, M2_DT_ONCE };
enum { M2_GATE_RANDOM, M2_GATE_OPEN };
enum { M2_SKIP_ONE, M2_SKIP_ZERO };
enum { M2_C_ONE, M2_C_HEAD };
enum { M2_BIAS_DROP, M2_BIAS_KEEP };
enum { M2_A_S4D, M2_A_ONE };
extern const struct choice_row m2_choices[M2_CHOICES];
extern const struct fit_rules m2_fitting;

void m2_settle(struct mixer_sizes *m2, const struct mixer_choices *choices,
               const struct mixer_host *host);
/* M2_T_DT_PROJ_BIAS is the effective bias b, such that b/2 is exact in the source's type. */
enum status m2_init(float *out, int tensor, const struct mixer_sizes *m2,
                    const struct mixer_choices *choices,
                    const struct attention_source *source) STATUS_CHECKED;
char *m2_origin(int tensor, const struct mixer_sizes *m2, const struct mixer_choices *choices,
                const struct attention_source *source);

const char *m2_drops(enum mixer_part part, const struct mixer_choices *choices,
                     const struct mixer_host *host);
void m2_remark(struct text *text, const struct mixer_choices *choices);

/* Old number of the query sub-head that stands at position `position`; sub-heads have `d_state`
 * channels. The identity for M2_ALIGN_PAPER. */
int m2_subhead(const struct mixer_host *host, int d_state, int align, int position);

void m2_forward(const struct mixer_pass *pass, struct acc *h);
void m2_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                 void *const *gradients);

/* The sizes as the ops take them. */
struct mamba_shape m2_shape_of(const struct mixer_sizes *sizes);
/* The scan's inputs; rows of what was projected are z, x, B, C. */
struct scan_inputs m2_locate(const struct mixer_pass *pass);

#endif
