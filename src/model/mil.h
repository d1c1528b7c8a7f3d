/* MIL initialisation: the Mamba mixer that takes an attention mixer's place, made from its weights
 * (DESIGN section 3). `mmr` probes and `convert` both call this, so a probe starts from exactly the
 * values that a converted checkpoint holds. */
#ifndef MODEL_MIL_H
#define MODEL_MIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/checkpoint.h"

enum mil_alignment {
    MIL_ALIGN_PAPER, /* query sub-heads in their old order */
    MIL_ALIGN_GQA,   /* each query sub-head meets the key block it meets in attention */
};

enum mil_conv_init {
    MIL_CONV_RANDOM,
    MIL_CONV_IDENTITY, /* last tap 1, all else 0 */
};

enum mil_dt_bias {
    MIL_DT_TWICE, /* b is twice the draw: what the published code amounts to */
    MIL_DT_ONCE,
};

/* z is random in the published initialisation, so that silu(z) scales every channel of the copied
 * heads by a small factor of either sign. An open gate starts at silu(z) = 1 for every input: its
 * weights are zero, its bias is silu^-1(1), and the mixer has biases for it. */
enum mil_gate { MIL_GATE_RANDOM, MIL_GATE_OPEN };

/* D adds x itself to the scan's output; attention has no such path. */
enum mil_skip { MIL_SKIP_ONE, MIL_SKIP_ZERO };

/* Attention divides its scores by sqrt(head_dim); the scan's products of C and B stay as large as
 * the queries and keys make them, unless C is divided so here. */
enum mil_c_scale { MIL_C_ONE, MIL_C_HEAD };
enum mil_a_init {
    MIL_A_S4D, /* A = -1, -2, .. -N over the states, as Mamba has it */
    MIL_A_ONE, /* A = -1 in all: every key channel of a head decays alike, as q . k needs it */
};

struct mil_options {
    enum mil_alignment align;
    enum mil_conv_init conv_init;
    enum mil_dt_bias dt_bias;
    enum mil_gate gate;
    enum mil_skip skip;
    enum mil_c_scale c_scale;
    enum mil_a_init a_init;
    double dt_min, dt_max;        /* range of the draw of dt; both 0: Mamba's, 0.001 to 0.1 */
    bool keep_biases;             /* attention biases become biases of in_proj and out_proj */
    int d_state, dt_rank, d_conv; /* 0: the default of config_mamba_for */
    uint64_t seed;
};

/* The options as the command line spells them; NULL takes the default. STATUS_USAGE names a wrong
 * word. `init` published|improved sets the choices up to `skip`, which the others override. */
struct mil_words {
    const char *init;      /* published|improved; improved */
    const char *align;     /* paper|gqa */
    const char *conv_init; /* random|identity */
    const char *dt_bias;   /* twice|once */
    const char *gate;      /* random|open */
    const char *skip;      /* one|zero */
    const char *c_scale;   /* one|head */
    const char *qkv_bias;  /* keep|drop; keep */
    const char *a_init;    /* s4d|one; s4d */
    const char *dt_range;  /* "LOW,HIGH"; 0.001,0.1 */
};
enum status mil_options_parse(struct mil_options *out,
                              const struct mil_words *words) STATUS_CHECKED;

/* The range of the draw of dt. */
void mil_dt_range(double *low, double *high, const struct mil_options *options);

/* The choices as a JSON object, for run parameters and provenance; the caller frees. */
struct json *mil_options_to_json(const struct mil_options *options,
                                 const struct mixer_sizes *mamba);

/* Sizes of the new mixer; STATUS_USAGE when they do not divide (see config_mixer_for). */
enum status mil_mamba(struct mixer_sizes *out, const struct model_config *config,
                      const struct mil_options *options) STATUS_CHECKED;

/* Fill `out` with one tensor of the new mixer of attention layer `layer`, `role` an
 * enum m2_tensor. M2_T_DT_PROJ_BIAS is the effective bias b; checkpoints store b/2. A random value
 * depends on (seed, layer, tensor name, index) only, and is rounded to the type of the layer's
 * query weight (b: such that b/2 is exact), so storing it loses nothing. */
enum status mil_tensor(float *out, const struct checkpoint *checkpoint, int layer,
                       const struct mixer_sizes *mamba, const struct mil_options *options,
                       int role) STATUS_CHECKED;

/* What mil_tensor makes a tensor from, in words, for `convert --dry-run`. The caller frees. */
char *mil_tensor_origin(const struct checkpoint *checkpoint, int layer,
                        const struct mixer_sizes *mamba, const struct mil_options *options,
                        int role);

/* Old number of the query sub-head that stands at position `position`; sub-heads have `d_state`
 * channels. The identity for MIL_ALIGN_PAPER. */
int mil_subhead(const struct model_config *config, int d_state, enum mil_alignment align,
                int position);

#endif
