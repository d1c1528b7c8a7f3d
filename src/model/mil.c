#include "model/mil.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "mixers/attention/attention.h"
#include "mixers/m2/m2.h"

/* silu^-1(1). */
static const float open_gate = 1.2784645f;

static enum status choose(int *out, const char *word, const char *option, const char *zero,
                          const char *one) {
    if (!word) return STATUS_OK;
    if (strcmp(word, zero) != 0 && strcmp(word, one) != 0)
        return status_set(STATUS_USAGE, "%s must be %s or %s, not \"%s\"", option, zero, one, word);
    *out = strcmp(word, one) == 0;
    return STATUS_OK;
}

void mil_dt_range(double *low, double *high, const struct mil_options *options) {
    *low = options->dt_min > 0 ? options->dt_min : M2_USUAL_DT_MIN;
    *high = options->dt_max > 0 ? options->dt_max : M2_USUAL_DT_MAX;
}

/* "0.01,0.3" */
static enum status parse_range(struct mil_options *out, const char *text) {
    if (!text) return STATUS_OK;
    char *comma, *end = NULL;
    double low = strtod(text, &comma), high = 0;
    bool good = comma != text && *comma == ',';
    if (good) high = strtod(comma + 1, &end);
    if (!good || end == comma + 1 || *end || !(low >= M2_DT_FLOOR) || !(high >= low) ||
        !(high <= 10))
        return status_set(STATUS_USAGE,
                          "--dt-range must be two numbers from %g to 10 like 0.001,0.1, not \"%s\"",
                          M2_DT_FLOOR, text);
    out->dt_min = low;
    out->dt_max = high;
    return STATUS_OK;
}

enum status mil_options_parse(struct mil_options *out, const struct mil_words *words) {
    int improved = 1, keep = 1, one = 0;
    enum status status = choose(&improved, words->init, "--init", "published", "improved");
    if (status) return status;
    int align = improved, conv = improved, dt = improved, gate = improved, skip = improved;
    int c_scale = improved;
    status = choose(&align, words->align, "--align", "paper", "gqa");
    if (!status) status = choose(&conv, words->conv_init, "--conv-init", "random", "identity");
    if (!status) status = choose(&dt, words->dt_bias, "--dt-bias", "twice", "once");
    if (!status) status = choose(&gate, words->gate, "--gate", "random", "open");
    if (!status) status = choose(&skip, words->skip, "--skip", "one", "zero");
    if (!status) status = choose(&c_scale, words->c_scale, "--c-scale", "one", "head");
    if (!status) status = choose(&keep, words->qkv_bias, "--qkv-bias", "drop", "keep");
    if (!status) status = choose(&one, words->a_init, "--a-init", "s4d", "one");
    if (!status) status = parse_range(out, words->dt_range);
    if (status) return status;
    out->align = align ? MIL_ALIGN_GQA : MIL_ALIGN_PAPER;
    out->conv_init = conv ? MIL_CONV_IDENTITY : MIL_CONV_RANDOM;
    out->dt_bias = dt ? MIL_DT_ONCE : MIL_DT_TWICE;
    out->gate = gate ? MIL_GATE_OPEN : MIL_GATE_RANDOM;
    out->skip = skip ? MIL_SKIP_ZERO : MIL_SKIP_ONE;
    out->c_scale = c_scale ? MIL_C_HEAD : MIL_C_ONE;
    out->keep_biases = keep;
    out->a_init = one ? MIL_A_ONE : MIL_A_S4D;
    return STATUS_OK;
}

struct json *mil_options_to_json(const struct mil_options *options,
                                 const struct mixer_sizes *mamba) {
    struct json *object = js_new_object();
    js_set_string(object, "align", options->align == MIL_ALIGN_GQA ? "gqa" : "paper");
    js_set_string(object, "conv_init",
                  options->conv_init == MIL_CONV_IDENTITY ? "identity" : "random");
    js_set_string(object, "dt_bias", options->dt_bias == MIL_DT_ONCE ? "once" : "twice");
    js_set_string(object, "gate", options->gate == MIL_GATE_OPEN ? "open" : "random");
    js_set_string(object, "skip", options->skip == MIL_SKIP_ZERO ? "zero" : "one");
    js_set_string(object, "c_scale", options->c_scale == MIL_C_HEAD ? "head" : "one");
    js_set_string(object, "qkv_bias", options->keep_biases ? "keep" : "drop");
    /* Runs of before these choices have parameters without them. */
    if (options->a_init != MIL_A_S4D) js_set_string(object, "a_init", "one");
    if (options->dt_min > 0) {
        js_set_number(object, "dt_min", options->dt_min);
        js_set_number(object, "dt_max", options->dt_max);
    }
    js_set_integer(object, "d_state", mamba->value[M2_D_STATE]);
    js_set_integer(object, "dt_rank", mamba->value[M2_DT_RANK]);
    js_set_integer(object, "d_conv", mamba->value[M2_D_CONV]);
    return object;
}

enum status mil_mamba(struct mixer_sizes *out, const struct model_config *config,
                      const struct mil_options *options) {
    const struct mixer_sizes asked = {.kind = &m2_kind,
                                      .value = {[M2_D_STATE] = options->d_state,
                                                [M2_DT_RANK] = options->dt_rank,
                                                [M2_D_CONV] = options->d_conv}};
    enum status status = config_mixer_for(out, config, &asked);
    if (status) return status;
    bool biased = config->q_bias || config->k_bias || config->v_bias || config->o_bias;
    out->value[M2_BIAS] = (biased && options->keep_biases) || options->gate == MIL_GATE_OPEN;
    mil_dt_range(&out->real[M2_DT_MIN], &out->real[M2_DT_MAX], options);
    return STATUS_OK;
}

int mil_subhead(const struct model_config *config, int d_state, enum mil_alignment align,
                int position) {
    if (align == MIL_ALIGN_PAPER) return position;
    int group = config->n_heads / config->n_kv_heads, blocks = config->head_dim / d_state;
    int r = position % group, block = position / group % blocks;
    int kv = position / (group * blocks);
    return (kv * group + r) * blocks + block;
}

/* What the tensor functions below share. */
struct mil {
    const struct checkpoint *checkpoint;
    const struct model_config *config;
    const struct mixer_sizes *mamba;
    const struct mil_options *options;
    int layer;
    enum dtype dtype; /* of the attention weights */
};

/* Where a tensor's values come from; NULL for a bias that the attention does not have or that is
 * left out. */
static const struct checkpoint_tensor *source_of(const struct checkpoint *checkpoint, int layer,
                                                 const struct mil_options *options, int role) {
    bool bias = role == ATTENTION_Q_BIAS || role == ATTENTION_K_BIAS || role == ATTENTION_V_BIAS ||
                role == ATTENTION_O_BIAS;
    return bias && !options->keep_biases
               ? NULL
               : checkpoint_find_mixer(checkpoint, layer, &attention_kind, role);
}

static enum status read_rows(float *out, const struct mil *mil, int role, int64_t first,
                             int64_t count) {
    const struct checkpoint_tensor *tensor =
        source_of(mil->checkpoint, mil->layer, mil->options, role);
    if (!tensor) {
        memset(out, 0, (size_t)count * sizeof *out);
        return STATUS_OK;
    }
    return checkpoint_read_f32(mil->checkpoint, tensor, first, count, out);
}

static float rounded(float value, enum dtype dtype) {
    uint16_t bits;
    if (dtype != DTYPE_BF16 && dtype != DTYPE_F16) return value;
    dtype_from_f32(&bits, dtype, &value, 1);
    dtype_to_f32(&value, &bits, dtype, 1);
    return value;
}

/* The C rows: query rows (or biases, `width` 1), sub-head by sub-head in the chosen order, scaled.
 */
static enum status read_queries(float *out, const struct mil *mil, int role, int64_t width) {
    int states = (int)mil->mamba->value[M2_D_STATE];
    int heads = (int)mil->mamba->value[M2_D_INNER] / states;
    int64_t block = (int64_t)states * width;
    enum status status = STATUS_OK;
    for (int j = 0; j < heads && !status; j++) {
        int old = mil_subhead(mil->config, states, mil->options->align, j);
        status = read_rows(out + j * block, mil, role, old * block, block);
    }
    if (mil->options->c_scale == MIL_C_ONE) return status;
    float scale = 1 / sqrtf((float)mil->config->head_dim);
    for (int64_t i = 0; i < heads * block; i++) out[i] = rounded(out[i] * scale, mil->dtype);
    return status;
}

static struct random_stream stream_of(const struct mil *mil, int role) {
    char name[TENSOR_NAME_SIZE] = "mixer.";
    strncat(name, m2_kind.tensors[role].name, sizeof name - strlen(name) - 1);
    return random_stream_for(mil->options->seed, mil->layer, name);
}

static void fill_uniform(float *out, int64_t count, double bound, const struct mil *mil, int role) {
    struct random_stream stream = stream_of(mil, role);
#pragma omp parallel for schedule(static) if (count > 1 << 16)
    for (int64_t i = 0; i < count; i++) {
        double value = bound * (2 * random_uniform(&stream, (uint64_t)i) - 1);
        out[i] = rounded((float)value, mil->dtype);
    }
}

static void fill_gate(float *out, const struct mil *mil, bool bias) {
    bool open = mil->options->gate == MIL_GATE_OPEN;
    int64_t width = mil->config->hidden_size, inner = mil->mamba->value[M2_D_INNER];
    if (!bias && !open) {
        fill_uniform(out, inner * width, 1 / sqrt((double)width), mil, M2_T_IN_PROJ);
        return;
    }
    float value = bias && open ? rounded(open_gate, mil->dtype) : 0;
    for (int64_t i = 0; i < inner * (bias ? 1 : width); i++) out[i] = value;
}

/* z is the gate, x, B and C are the value, key and query projections. */
static enum status fill_in_proj(float *out, const struct mil *mil, bool bias) {
    int64_t width = bias ? 1 : mil->config->hidden_size;
    int64_t inner = mil->mamba->value[M2_D_INNER] * width,
            shared = mil->mamba->value[M2_D_XB] * width;
    fill_gate(out, mil, bias);
    float *x = out + inner, *b = x + shared, *c = b + shared;
    enum status status = read_rows(x, mil, bias ? ATTENTION_V_BIAS : ATTENTION_V, 0, shared);
    if (!status) status = read_rows(b, mil, bias ? ATTENTION_K_BIAS : ATTENTION_K, 0, shared);
    if (!status) status = read_queries(c, mil, bias ? ATTENTION_Q_BIAS : ATTENTION_Q, width);
    return status;
}

/* W_O with its columns in the order of C's sub-heads. */
static enum status fill_out_proj(float *out, const struct mil *mil) {
    int64_t width = mil->config->hidden_size, inner = mil->mamba->value[M2_D_INNER];
    int states = (int)mil->mamba->value[M2_D_STATE];
    enum status status = read_rows(out, mil, ATTENTION_O, 0, width * inner);
    if (status || mil->options->align == MIL_ALIGN_PAPER) return status;
    float *row = memory_calloc((size_t)inner, sizeof *row);
    if (!row) return STATUS_FAILED;
    for (int64_t d = 0; d < width; d++) {
        memcpy(row, out + d * inner, (size_t)inner * sizeof *row);
        for (int64_t j = 0; j < inner / states; j++) {
            int old = mil_subhead(mil->config, states, mil->options->align, (int)j);
            memcpy(out + d * inner + j * states, row + (int64_t)old * states,
                   (size_t)states * sizeof *row);
        }
    }
    free(row);
    return STATUS_OK;
}

/* softplus^-1 of a log-uniform draw, the inverse as Mamba computes it. */
static void fill_dt_bias(float *out, const struct mil *mil) {
    struct random_stream stream = stream_of(mil, M2_T_DT_PROJ_BIAS);
    double factor = mil->options->dt_bias == MIL_DT_TWICE ? 2 : 1, low, high;
    mil_dt_range(&low, &high, mil->options);
    for (int64_t i = 0; i < mil->mamba->value[M2_D_INNER]; i++) {
        double u = random_uniform(&stream, (uint64_t)i);
        double dt = fmax(exp(log(low) + u * (log(high) - log(low))), M2_DT_FLOOR);
        double b = factor * (dt + log(-expm1(-dt)));
        out[i] = 2 * rounded((float)(b / 2), mil->dtype);
    }
}

static void fill_conv(float *out, const struct mil *mil) {
    int64_t taps = mil->mamba->value[M2_D_CONV], count = mil->mamba->value[M2_D_INNER] * taps;
    if (mil->options->conv_init == MIL_CONV_RANDOM) {
        fill_uniform(out, count, 1 / sqrt((double)taps), mil, M2_T_CONV);
        return;
    }
    for (int64_t i = 0; i < count; i++) out[i] = i % taps == taps - 1;
}

static void fill_conv_bias(float *out, const struct mil *mil) {
    int64_t count = mil->mamba->value[M2_D_INNER];
    if (mil->options->conv_init == MIL_CONV_RANDOM)
        fill_uniform(out, count, 1 / sqrt((double)mil->mamba->value[M2_D_CONV]), mil,
                     M2_T_CONV_BIAS);
    else
        memset(out, 0, (size_t)count * sizeof *out);
}

enum status mil_tensor(float *out, const struct checkpoint *checkpoint, int layer,
                       const struct mixer_sizes *mamba, const struct mil_options *options,
                       int role) {
    const struct checkpoint_tensor *query =
        checkpoint_find_mixer(checkpoint, layer, &attention_kind, ATTENTION_Q);
    if (!query)
        return status_fail("\"%s\": layer %d has no attention to start a Mamba mixer from",
                           checkpoint_directory(checkpoint), layer);
    struct mil mil = {.checkpoint = checkpoint,
                      .config = checkpoint_config(checkpoint),
                      .mamba = mamba,
                      .options = options,
                      .layer = layer,
                      .dtype = query->dtype};
    int64_t width = mil.config->hidden_size, inner = mamba->value[M2_D_INNER],
            rank = mamba->value[M2_DT_RANK];
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
        for (int64_t i = 0; i < inner * mamba->value[M2_D_STATE]; i++)
            out[i] = options->a_init == MIL_A_ONE
                         ? 0
                         : (float)log((double)(i % mamba->value[M2_D_STATE] + 1));
        return STATUS_OK;
    case M2_T_D:
        for (int64_t i = 0; i < inner; i++) out[i] = options->skip == MIL_SKIP_ZERO ? 0 : 1;
        return STATUS_OK;
    case M2_T_OUT_PROJ:
        return fill_out_proj(out, &mil);
    case M2_T_OUT_PROJ_BIAS:
        return read_rows(out, &mil, ATTENTION_O_BIAS, 0, width);
    default:
        return status_fail("\"%s\" is not a tensor of a Mamba mixer", m2_kind.tensors[role].name);
    }
}

static const char *name_of(const struct checkpoint *checkpoint, int layer,
                           const struct mil_options *options, int role) {
    const struct checkpoint_tensor *tensor = source_of(checkpoint, layer, options, role);
    return tensor ? tensor->name : "zeros";
}

char *mil_tensor_origin(const struct checkpoint *checkpoint, int layer,
                        const struct mixer_sizes *mamba, const struct mil_options *options,
                        int role) {
    const char *scale = options->c_scale == MIL_C_HEAD ? " / sqrt(head_dim)" : "";
    const char *order = options->align == MIL_ALIGN_GQA ? " (gqa order)" : "";
    bool random = options->conv_init == MIL_CONV_RANDOM;
    double width = checkpoint_config(checkpoint)->hidden_size, low, high;
    mil_dt_range(&low, &high, options);
    switch (role) {
    case M2_T_IN_PROJ:
    case M2_T_IN_PROJ_BIAS: {
        bool bias = role == M2_T_IN_PROJ_BIAS;
        bool open = options->gate == MIL_GATE_OPEN;
        char *z = open && bias   ? text_format("%.4g", (double)open_gate)
                  : open || bias ? text_format("zeros")
                                 : text_format("uniform +-%.4g", 1 / sqrt(width));
        char *text =
            text_format("z: %s; x: %s; B: %s; C: %s%s%s", z ? z : "",
                        name_of(checkpoint, layer, options, bias ? ATTENTION_V_BIAS : ATTENTION_V),
                        name_of(checkpoint, layer, options, bias ? ATTENTION_K_BIAS : ATTENTION_K),
                        name_of(checkpoint, layer, options, bias ? ATTENTION_Q_BIAS : ATTENTION_Q),
                        scale, order);
        free(z);
        return text;
    }
    case M2_T_DT_IN_PROJ:
        return text_format("uniform +-%.4g", 1 / sqrt(width));
    case M2_T_DT_PROJ:
        return text_format("uniform +-%.4g", 1 / sqrt((double)mamba->value[M2_DT_RANK]));
    case M2_T_DT_PROJ_BIAS:
        return text_format("half of %ssoftplus^-1(log-uniform %g..%g)",
                           options->dt_bias == MIL_DT_TWICE ? "2 " : "", low, high);
    case M2_T_CONV:
        return random ? text_format("uniform +-%.4g", 1 / sqrt((double)mamba->value[M2_D_CONV]))
                      : text_format("last tap 1, others 0");
    case M2_T_CONV_BIAS:
        return random ? text_format("uniform +-%.4g", 1 / sqrt((double)mamba->value[M2_D_CONV]))
                      : text_format("zeros");
    case M2_T_A_LOG:
        if (options->a_init == MIL_A_ONE) return text_format("zeros");
        return text_format("log(1..%d)", (int)mamba->value[M2_D_STATE]);
    case M2_T_D:
        return text_format(options->skip == MIL_SKIP_ZERO ? "zeros" : "ones");
    case M2_T_OUT_PROJ:
        return text_format("%s%s", name_of(checkpoint, layer, options, ATTENTION_O), order);
    case M2_T_OUT_PROJ_BIAS:
        return text_format("%s", name_of(checkpoint, layer, options, ATTENTION_O_BIAS));
    default:
        return text_format("zeros");
    }
}
