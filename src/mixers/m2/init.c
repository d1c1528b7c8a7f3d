/* MIL: an m2 mixer that starts from attention: x <- W_V, B <- W_K, C <- W_Q, out_proj <- W_O, and
 * Mamba's own beginnings for the rest, in the published and an improved form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/m2/m2.h"
#include "mixers/start.h"

const struct choice_row m2_choices[M2_CHOICES] = {
    [M2_ALIGN] = {.name = "align",
                  .option = "align",
                  .words = {"paper", "gqa"},
                  .of_init = true,
                  .help = "order of the query sub-heads"},
    [M2_CONV_INIT] = {.name = "conv_init",
                      .option = "conv-init",
                      .words = {"random", "identity"},
                      .of_init = true,
                      .help = "what the convolution starts as"},
    [M2_DT_DRAW] = {.name = "dt_bias",
                    .option = "dt-bias",
                    .words = {"twice", "once"},
                    .of_init = true,
                    .help = "how often the draw of the step sizes is added"},
    /* z is random in the published initialisation, so that silu(z) scales every channel of the
     * copied heads by a small factor of either sign. An open gate starts at silu(z) = 1 for every
     * input: its weights are zero, its bias is silu^-1(1), and the mixer has biases for it. */
    [M2_GATE] = {.name = "gate",
                 .option = "gate",
                 .words = {"random", "open"},
                 .of_init = true,
                 .enters = ENTERS_ESTIMATE | ENTERS_FAST_LLM,
                 .help = "drawn at random, or open: silu(z) starts as 1, which takes biases"},
    /* D adds x itself to the scan's output; attention has no such path. */
    [M2_SKIP] = {.name = "skip",
                 .option = "skip",
                 .words = {"one", "zero"},
                 .of_init = true,
                 .help = "what D starts as"},
    /* Attention divides its scores by sqrt(head_dim); the scan's products of C and B stay as large
     * as the queries and keys make them, unless C is divided so here. */
    [M2_C_SCALE] = {.name = "c_scale",
                    .option = "c-scale",
                    .words = {"one", "head"},
                    .of_init = true,
                    .help = "C as the query is, or (head) divided by sqrt(head_dim)"},
    [M2_QKV_BIAS] = {.name = "qkv_bias",
                     .option = "qkv-bias",
                     .words = {"drop", "keep"},
                     .usual = 1,
                     .enters = ENTERS_ESTIMATE | ENTERS_FAST_LLM,
                     .help = "what becomes of attention biases (keep)"},
    /* -1 in all: every key channel of a head decays alike, as q . k needs it. */
    [M2_A_INIT] = {.name = "a_init",
                   .option = "a-init",
                   .words = {"s4d", "one"},
                   .quiet = true,
                   .help = "A starts as -1 to -N over the states, or as -1 in all (s4d)"},
    [M2_DT_RANGE] = {.name = "dt_range",
                     .option = "dt-range",
                     .enters = ENTERS_FAST_LLM | ENTERS_SURGERY,
                     .help = "range of the step sizes that they start with (0.001,0.1)",
                     .low_name = "dt_min",
                     .high_name = "dt_max",
                     .least = M2_DT_FLOOR,
                     .most = 10,
                     .low = M2_USUAL_DT_MIN,
                     .high = M2_USUAL_DT_MAX},
    [M2_MEMORY] = START_MEMORY_ROW,
    [M2_SCALE] = START_SCALE_ROW,
    [M2_FIT_OUT] = START_FIT_OUT_ROW,
};

static int64_t units(const struct mixer_sizes *m2) {
    return m2->value[M2_D_INNER] / m2->value[M2_D_STATE];
}

static int64_t channel(const struct mixer_sizes *m2, const struct mixer_choices *choices,
                       const struct mixer_host *host, int64_t position) {
    int states = (int)m2->value[M2_D_STATE];
    return (int64_t)m2_subhead(host, states, choices->word[M2_ALIGN], (int)position) * states;
}

const struct fit_rules m2_fitting = {.mixed = M2_B_MIXED,
                                     .out = M2_T_OUT_PROJ,
                                     .memory = M2_MEMORY,
                                     .scale = M2_SCALE,
                                     .fit_out = M2_FIT_OUT,
                                     .memory_weight = M2_DT_BIAS,
                                     .write_weight = -1,
                                     .scale_weight = M2_OUT,
                                     .units = units,
                                     .channel = channel};

void m2_settle(struct mixer_sizes *m2, const struct mixer_choices *choices,
               const struct mixer_host *host) {
    bool biased = host->q_bias || host->k_bias || host->v_bias || host->o_bias;
    m2->value[M2_BIAS] = (biased && choices->word[M2_QKV_BIAS] == M2_BIAS_KEEP) ||
                         choices->word[M2_GATE] == M2_GATE_OPEN;
    mixer_choices_range(&m2->real[M2_DT_MIN], &m2->real[M2_DT_MAX], choices, M2_DT_RANGE);
}

int m2_subhead(const struct mixer_host *host, int d_state, int align, int position) {
    if (align == M2_ALIGN_PAPER) return position;
    int group = host->heads / host->kv_heads, blocks = host->head_dim / d_state;
    int r = position % group, block = position / group % blocks;
    int kv = position / (group * blocks);
    return (kv * group + r) * blocks + block;
}

/* What the tensor functions below share. */
struct mil {
    const struct attention_source *source;
    const struct mixer_host *host;
    const struct mixer_sizes *m2;
    const struct mixer_choices *choices;
};

static bool chosen(const struct mil *mil, enum m2_choice choice, int word) {
    return mil->choices->word[choice] == word;
}

/* Where a tensor's values come from; NULL for a bias that the attention does not have or that is
 * left out. */
static const char *name_of(const struct mil *mil, int tensor) {
    bool bias = tensor == ATTENTION_Q_BIAS || tensor == ATTENTION_K_BIAS ||
                tensor == ATTENTION_V_BIAS || tensor == ATTENTION_O_BIAS;
    if (bias && chosen(mil, M2_QKV_BIAS, M2_BIAS_DROP)) return NULL;
    return mil->source->name(mil->source->context, tensor);
}

static enum status read_rows(float *out, const struct mil *mil, int tensor, int64_t first,
                             int64_t count) {
    if (name_of(mil, tensor))
        return mil->source->read(mil->source->context, tensor, first, count, out);
    memset(out, 0, (size_t)count * sizeof *out);
    return STATUS_OK;
}

/* The C rows: query rows (or biases, `width` 1), sub-head by sub-head in the chosen order, scaled.
 */
static enum status read_queries(float *out, const struct mil *mil, int role, int64_t width) {
    int states = (int)mil->m2->value[M2_D_STATE];
    int heads = (int)mil->m2->value[M2_D_INNER] / states;
    int64_t block = (int64_t)states * width;
    enum status status = STATUS_OK;
    for (int j = 0; j < heads && !status; j++) {
        int old = m2_subhead(mil->host, states, mil->choices->word[M2_ALIGN], j);
        status = read_rows(out + j * block, mil, role, old * block, block);
    }
    if (chosen(mil, M2_C_SCALE, M2_C_ONE)) return status;
    float scale = 1 / sqrtf((float)mil->host->head_dim);
    for (int64_t i = 0; i < heads * block; i++) out[i] = start_rounded(out[i] * scale, mil->source);
    return status;
}

static void fill_uniform(float *out, int64_t count, double bound, const struct mil *mil, int role) {
    start_uniform(out, count, bound, m2_kind.tensors[role].name, mil->choices->seed, mil->source);
}

static void fill_gate(float *out, const struct mil *mil, bool bias) {
    bool open = chosen(mil, M2_GATE, M2_GATE_OPEN);
    int64_t width = mil->host->hidden, inner = mil->m2->value[M2_D_INNER];
    if (!bias && !open) {
        fill_uniform(out, inner * width, 1 / sqrt((double)width), mil, M2_T_IN_PROJ);
        return;
    }
    float value = bias && open ? start_rounded((float)START_OPEN_GATE, mil->source) : 0;
    for (int64_t i = 0; i < inner * (bias ? 1 : width); i++) out[i] = value;
}

/* z is the gate, x, B and C are the value, key and query projections. */
static enum status fill_in_proj(float *out, const struct mil *mil, bool bias) {
    int64_t width = bias ? 1 : mil->host->hidden;
    int64_t inner = mil->m2->value[M2_D_INNER] * width, shared = mil->m2->value[M2_D_XB] * width;
    fill_gate(out, mil, bias);
    float *x = out + inner, *b = x + shared, *c = b + shared;
    enum status status = read_rows(x, mil, bias ? ATTENTION_V_BIAS : ATTENTION_V, 0, shared);
    if (!status) status = read_rows(b, mil, bias ? ATTENTION_K_BIAS : ATTENTION_K, 0, shared);
    if (!status) status = read_queries(c, mil, bias ? ATTENTION_Q_BIAS : ATTENTION_Q, width);
    return status;
}

/* W_O with its columns in the order of C's sub-heads. */
static enum status read_out_proj(float *out, const struct mil *mil) {
    int64_t width = mil->host->hidden, inner = mil->m2->value[M2_D_INNER];
    int states = (int)mil->m2->value[M2_D_STATE];
    enum status status = read_rows(out, mil, ATTENTION_O, 0, width * inner);
    if (status || chosen(mil, M2_ALIGN, M2_ALIGN_PAPER)) return status;
    float *row = memory_calloc((size_t)inner, sizeof *row);
    if (!row) return STATUS_FAILED;
    for (int64_t d = 0; d < width; d++) {
        memcpy(row, out + d * inner, (size_t)inner * sizeof *row);
        for (int64_t j = 0; j < inner / states; j++) {
            int old = m2_subhead(mil->host, states, mil->choices->word[M2_ALIGN], (int)j);
            memcpy(out + d * inner + j * states, row + (int64_t)old * states,
                   (size_t)states * sizeof *row);
        }
    }
    free(row);
    return STATUS_OK;
}

static enum status fill_out_proj(float *out, const struct mil *mil) {
    enum status status = read_out_proj(out, mil);
    const struct mixer_fit *fit = start_fit(mil->choices, M2_SCALE);
    if (!status)
        start_out(out, mil->m2->value[M2_D_INNER], fit ? fit->scale : NULL,
                  mil->m2->value[M2_D_STATE], start_fit(mil->choices, M2_FIT_OUT), mil->source);
    return status;
}

/* Steps that do not depend on the token: with A = -1, one over the memory of each sub-head. */
static void fill_fitted_dt_bias(float *out, const struct mil *mil, const struct mixer_fit *fit) {
    for (int64_t i = 0; i < mil->m2->value[M2_D_INNER]; i++) {
        double b = start_inverse_softplus(1 / fit->memory[i / mil->m2->value[M2_D_STATE]]);
        out[i] = 2 * start_rounded((float)(b / 2), mil->source);
    }
}

/* softplus^-1 of a log-uniform draw, the inverse as Mamba computes it. */
static void fill_dt_bias(float *out, const struct mil *mil) {
    if (start_fit(mil->choices, M2_MEMORY)) {
        fill_fitted_dt_bias(out, mil, mil->choices->fit);
        return;
    }
    struct random_stream stream =
        start_stream(m2_kind.tensors[M2_T_DT_PROJ_BIAS].name, mil->choices->seed, mil->source);
    double factor = chosen(mil, M2_DT_DRAW, M2_DT_TWICE) ? 2 : 1, low, high;
    mixer_choices_range(&low, &high, mil->choices, M2_DT_RANGE);
    for (int64_t i = 0; i < mil->m2->value[M2_D_INNER]; i++) {
        double u = random_uniform(&stream, (uint64_t)i);
        double dt = fmax(exp(log(low) + u * (log(high) - log(low))), M2_DT_FLOOR);
        double b = factor * (dt + log(-expm1(-dt)));
        out[i] = 2 * start_rounded((float)(b / 2), mil->source);
    }
}

/* A small tap, for which SiLU is nearly linear, needs a scale that makes up for it. */
static double identity_tap(const struct mixer_choices *choices) {
    return choices->word[M2_SCALE] ? 0.25 : 1;
}

static void fill_conv(float *out, const struct mil *mil) {
    int64_t taps = mil->m2->value[M2_D_CONV], count = mil->m2->value[M2_D_INNER] * taps;
    if (chosen(mil, M2_CONV_INIT, M2_CONV_RANDOM)) {
        fill_uniform(out, count, 1 / sqrt((double)taps), mil, M2_T_CONV);
        return;
    }
    start_taps(out, mil->m2->value[M2_D_INNER], taps, identity_tap(mil->choices), mil->source);
}

static void fill_conv_bias(float *out, const struct mil *mil) {
    int64_t count = mil->m2->value[M2_D_INNER];
    if (chosen(mil, M2_CONV_INIT, M2_CONV_RANDOM))
        fill_uniform(out, count, 1 / sqrt((double)mil->m2->value[M2_D_CONV]), mil, M2_T_CONV_BIAS);
    else
        memset(out, 0, (size_t)count * sizeof *out);
}

/* A = -1 in all states. */
static bool decays_alike(const struct mixer_choices *choices) {
    return choices->word[M2_A_INIT] == M2_A_ONE || choices->word[M2_MEMORY];
}

enum status m2_init(float *out, int role, const struct mixer_sizes *m2,
                    const struct mixer_choices *choices, const struct attention_source *source) {
    const struct mil mil = {source, source->host, m2, choices};
    int64_t width = source->host->hidden, inner = m2->value[M2_D_INNER];
    int64_t rank = m2->value[M2_DT_RANK], states = m2->value[M2_D_STATE];
    switch (role) {
    case M2_T_IN_PROJ:
    case M2_T_IN_PROJ_BIAS:
        return fill_in_proj(out, &mil, role == M2_T_IN_PROJ_BIAS);
    case M2_T_DT_IN_PROJ:
        fill_uniform(out, rank * width, 1 / sqrt((double)width), &mil, role);
        return STATUS_OK;
    case M2_T_DT_IN_PROJ_BIAS:
        memset(out, 0, (size_t)rank * sizeof *out);
        return STATUS_OK;
    case M2_T_DT_PROJ:
        if (choices->word[M2_MEMORY])
            memset(out, 0, (size_t)(inner * rank) * sizeof *out);
        else
            fill_uniform(out, inner * rank, 1 / sqrt((double)rank), &mil, role);
        return STATUS_OK;
    case M2_T_DT_PROJ_BIAS:
        fill_dt_bias(out, &mil);
        return STATUS_OK;
    case M2_T_CONV:
        fill_conv(out, &mil);
        return STATUS_OK;
    case M2_T_CONV_BIAS:
        fill_conv_bias(out, &mil);
        return STATUS_OK;
    case M2_T_A_LOG:
        for (int64_t i = 0; i < inner * states; i++)
            out[i] = decays_alike(choices) ? 0 : (float)log((double)(i % states + 1));
        return STATUS_OK;
    case M2_T_D:
        for (int64_t i = 0; i < inner; i++) out[i] = chosen(&mil, M2_SKIP, M2_SKIP_ZERO) ? 0 : 1;
        return STATUS_OK;
    case M2_T_OUT_PROJ:
        return fill_out_proj(out, &mil);
    case M2_T_OUT_PROJ_BIAS:
        return read_rows(out, &mil, ATTENTION_O_BIAS, 0, width);
    default:
        return status_fail("\"%s\" is not a tensor of a Mamba mixer", m2_kind.tensors[role].name);
    }
}

static const char *origin_of(const struct mil *mil, int tensor) {
    const char *name = name_of(mil, tensor);
    return name ? name : "zeros";
}

char *m2_origin(int role, const struct mixer_sizes *m2, const struct mixer_choices *choices,
                const struct attention_source *source) {
    const struct mil mil = {source, source->host, m2, choices};
    const char *scale = chosen(&mil, M2_C_SCALE, M2_C_HEAD) ? " / sqrt(head_dim)" : "";
    const char *order = chosen(&mil, M2_ALIGN, M2_ALIGN_GQA) ? " (gqa order)" : "";
    bool random = chosen(&mil, M2_CONV_INIT, M2_CONV_RANDOM);
    double width = (double)source->host->hidden, low, high;
    mixer_choices_range(&low, &high, choices, M2_DT_RANGE);
    switch (role) {
    case M2_T_IN_PROJ:
    case M2_T_IN_PROJ_BIAS: {
        bool bias = role == M2_T_IN_PROJ_BIAS;
        bool open = chosen(&mil, M2_GATE, M2_GATE_OPEN);
        char *z = open && bias   ? text_format("%.4g", (double)(float)START_OPEN_GATE)
                  : open || bias ? text_format("zeros")
                                 : text_format("uniform +-%.4g", 1 / sqrt(width));
        char *text =
            text_format("z: %s; x: %s; B: %s; C: %s%s%s", z ? z : "",
                        origin_of(&mil, bias ? ATTENTION_V_BIAS : ATTENTION_V),
                        origin_of(&mil, bias ? ATTENTION_K_BIAS : ATTENTION_K),
                        origin_of(&mil, bias ? ATTENTION_Q_BIAS : ATTENTION_Q), scale, order);
        free(z);
        return text;
    }
    case M2_T_DT_IN_PROJ:
        return text_format("uniform +-%.4g", 1 / sqrt(width));
    case M2_T_DT_PROJ:
        if (choices->word[M2_MEMORY]) return text_format("zeros");
        return text_format("uniform +-%.4g", 1 / sqrt((double)m2->value[M2_DT_RANK]));
    case M2_T_DT_PROJ_BIAS:
        if (choices->word[M2_MEMORY])
            return text_format("half of softplus^-1(1 / memory), fitted for each sub-head");
        return text_format("half of %ssoftplus^-1(log-uniform %g..%g)",
                           chosen(&mil, M2_DT_DRAW, M2_DT_TWICE) ? "2 " : "", low, high);
    case M2_T_CONV:
        return random ? text_format("uniform +-%.4g", 1 / sqrt((double)m2->value[M2_D_CONV]))
                      : text_format("last tap %g, others 0", identity_tap(choices));
    case M2_T_CONV_BIAS:
        return random ? text_format("uniform +-%.4g", 1 / sqrt((double)m2->value[M2_D_CONV]))
                      : text_format("zeros");
    case M2_T_A_LOG:
        if (decays_alike(choices)) return text_format("zeros");
        return text_format("log(1..%d)", (int)m2->value[M2_D_STATE]);
    case M2_T_D:
        return text_format(chosen(&mil, M2_SKIP, M2_SKIP_ZERO) ? "zeros" : "ones");
    case M2_T_OUT_PROJ:
        return text_format("%s%s%s%s", choices->word[M2_FIT_OUT] ? "least squares from " : "",
                           origin_of(&mil, ATTENTION_O), order,
                           choices->word[M2_SCALE] && !choices->word[M2_FIT_OUT]
                               ? " times the rms of each part of the attention's heads over it"
                               : "");
    case M2_T_OUT_PROJ_BIAS:
        return text_format("%s", origin_of(&mil, ATTENTION_O_BIAS));
    default:
        return text_format("zeros");
    }
}

void m2_remark(struct text *text, const struct mixer_choices *choices) {
    bool ones = choices->word[M2_A_INIT] == M2_A_ONE;
    double low, high;
    if (choices->word[M2_MEMORY]) return;
    if (!ones && !(choices->low[M2_DT_RANGE] > 0)) return;
    mixer_choices_range(&low, &high, choices, M2_DT_RANGE);
    text_append(text, "new mixers: A %s, dt from %g to %g\n", ones ? "-1" : "-1 to -N", low, high);
}

const char *m2_drops(enum mixer_part part, const struct mixer_choices *choices,
                     const struct mixer_host *host) {
    bool biased = host->q_bias || host->k_bias || host->v_bias || host->o_bias;
    if (part == DROPS_NORMS && host->qk_norm)
        return "query and key norms of replaced layers are dropped; a Mamba mixer has none";
    if (part == DROPS_BIASES && biased && choices->word[M2_QKV_BIAS] == M2_BIAS_DROP)
        return "attention biases of replaced layers are dropped";
    return NULL;
}
