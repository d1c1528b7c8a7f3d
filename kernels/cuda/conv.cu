/* Causal depthwise convolution with SiLU, after the repetition of x. The usual shape (4 taps,
 * sub-heads of whole vectors) has kernels that slide over a strip of tokens with the taps' inputs
 * in registers; any other shape has plain ones. A tap `age` tokens back counts when the token's
 * position is at least `age`: no sequence bounds are needed. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

enum { TAPS = 4, STRIP = 32, WIDE = 4, GROUP = 4, MOST_REPEATS = 8, THREADS = 128 };

struct conv {
    const bf16 *x;
    int64_t x_stride;
    const float *w, *bias; /* bias may be NULL */
    const int32_t *positions;
    int64_t tokens;
    int channels, sources, states, repeat, taps; /* I, X, N, I / X, K */
};

__device__ static int source_of(const struct conv &conv, int channel) {
    return channel / conv.states / conv.repeat * conv.states + channel % conv.states;
}

/* The first of `repeat` channels that read a source channel; the others follow N apart. */
__device__ static int channel_of(const struct conv &conv, int source) {
    return source / conv.states * conv.repeat * conv.states + source % conv.states;
}

template <int WIDTH>
__device__ static void load_bias(float (&to)[WIDTH], const struct conv &conv, int channel) {
    if (conv.bias)
        load(to, conv.bias + channel);
    else
#pragma unroll
        for (int i = 0; i < WIDTH; i++) to[i] = 0;
}

/* To the next token: its inputs come in, those of another sequence go. */
template <int WIDTH>
__device__ static void slide_window(float (&window)[TAPS][WIDTH], const float (&x)[WIDTH],
                                    int position) {
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
#pragma unroll
        for (int tap = 0; tap < TAPS - 1; tap++) window[tap][i] = position ? window[tap + 1][i] : 0;
        window[TAPS - 1][i] = x[i];
    }
}

/* The inputs of the tokens before `token` in its sequence, as one slide expects them: the token
 * `age` back in row TAPS - age. */
template <int WIDTH>
__device__ static void fill_window(float (&window)[TAPS][WIDTH], const struct conv &conv,
                                   int64_t token, int source) {
    int position = conv.positions[token];
#pragma unroll
    for (int i = 0; i < WIDTH; i++) window[0][i] = 0;
#pragma unroll
    for (int age = 1; age < TAPS; age++) {
        if (age <= position)
            load(window[TAPS - age], conv.x + (token - age) * conv.x_stride + source);
        else
#pragma unroll
            for (int i = 0; i < WIDTH; i++) window[TAPS - age][i] = 0;
    }
}

/* x of GROUP tokens on their way at once, so that the walk does not wait for each. */
template <int WIDTH> struct ahead {
    struct packed<WIDTH> x[GROUP];
    int position[GROUP];
};

template <int WIDTH>
__device__ static void look_ahead(struct ahead<WIDTH> *ahead, const struct conv &conv,
                                  int64_t token, int64_t end, int source) {
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        if (token + g >= end) break;
        ahead->position[g] = conv.positions[token + g];
        ahead->x[g] = read_packed<WIDTH>(conv.x + (token + g) * conv.x_stride + source);
    }
}

/* out = silu(the taps' sum + bias): a thread takes WIDE neighbouring channels along a strip of
 * STRIP tokens, with the taps' weights and the last TAPS inputs in registers. */
__global__ void __launch_bounds__(THREADS) conv_silu(bf16 *out, struct conv conv) {
    int channel = (int)(blockIdx.y * THREADS + threadIdx.x) * WIDE;
    if (channel >= conv.channels) return;
    int source = source_of(conv, channel);
    int64_t first = (int64_t)blockIdx.x * STRIP;
    int64_t end = first + STRIP < conv.tokens ? first + STRIP : conv.tokens;
    float w[WIDE][TAPS], bias[WIDE], window[TAPS][WIDE];
#pragma unroll
    for (int i = 0; i < WIDE; i++) load(w[i], conv.w + (int64_t)(channel + i) * TAPS);
    load_bias(bias, conv, channel);
    fill_window(window, conv, first, source);
    struct ahead<WIDE> now, then;
    look_ahead(&now, conv, first, end, source);
    for (int64_t start = first; start < end; start += GROUP) {
        look_ahead(&then, conv, start + GROUP, end, source);
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            if (start + g >= end) break;
            float sums[WIDE];
            widen(sums, now.x[g]);
            slide_window(window, sums, now.position[g]);
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                sums[i] = bias[i];
#pragma unroll
                for (int tap = 0; tap < TAPS; tap++) sums[i] += w[i][tap] * window[tap][i];
                sums[i] *= sigmoid(sums[i]);
            }
            store(out + (start + g) * conv.channels + channel, sums);
        }
        now = then;
    }
}

__device__ static float convolve_plain(const struct conv &conv, int64_t token, int channel,
                                       int source) {
    float sum = conv.bias ? conv.bias[channel] : 0;
    int position = conv.positions[token];
    for (int age = 0; age < conv.taps && age <= position; age++)
        sum += conv.w[(int64_t)channel * conv.taps + conv.taps - 1 - age] *
               __bfloat162float(conv.x[(token - age) * conv.x_stride + source]);
    return sum;
}

/* The same for any shape: a thread an output, a block a token. */
__global__ void conv_silu_plain(bf16 *out, struct conv conv) {
    int channel = (int)(blockIdx.y * THREADS + threadIdx.x);
    if (channel >= conv.channels) return;
    float sum = convolve_plain(conv, blockIdx.x, channel, source_of(conv, channel));
    out[(int64_t)blockIdx.x * conv.channels + channel] = __float2bfloat16(sum * sigmoid(sum));
}

/* The derivative of silu at `sum`. */
__device__ static float silu_slope(float sum) {
    float s = sigmoid(sum);
    return s * (1 + sum * (1 - s));
}

/* One repeat's parameters and their gradients over a strip. */
template <int WIDTH> struct repeat_sums {
    float w[WIDTH][TAPS], bias[WIDTH], dw[WIDTH][TAPS], dbias[WIDTH];
};

/* A token's step through one repeat: `own` is 0 for tokens that the next strip counts, `position`
 * bounds what is sent back (to the tokens up to this one, in rows as in window). */
template <int WIDTH>
__device__ static void step_back(struct repeat_sums<WIDTH> *sums, float (&sent)[TAPS][WIDTH],
                                 const float (&window)[TAPS][WIDTH],
                                 const struct packed<WIDTH> &dout, float own, int position) {
    float d[WIDTH];
    widen(d, dout);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        float sum = sums->bias[i];
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++) sum += sums->w[i][tap] * window[tap][i];
        d[i] *= silu_slope(sum);
        sums->dbias[i] += own * d[i];
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++) {
            sums->dw[i][tap] += own * d[i] * window[tap][i];
            if (TAPS - 1 - tap <= position) sent[tap][i] += d[i] * sums->w[i][tap];
        }
    }
}

/* A thread takes WIDTH source channels, with all their repeats, over a strip of tokens; tokens past
 * the strip are visited for what they send back into it. dw_parts [strips, I, TAPS] and dbias_parts
 * [strips, I] (both or neither NULL) receive the strip's sums. */
template <int REPEATS, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    conv_silu_backward(bf16 *dx, int64_t dx_stride, float *dw_parts, float *dbias_parts,
                       const bf16 *dout, int strip, struct conv conv) {
    int source = (int)(blockIdx.y * THREADS + threadIdx.x) * WIDTH;
    if (source >= conv.sources) return;
    int channel = channel_of(conv, source);
    int64_t first = (int64_t)blockIdx.x * strip;
    int64_t end = first + strip < conv.tokens ? first + strip : conv.tokens;
    int64_t last = end + TAPS - 1 < conv.tokens ? end + TAPS - 1 : conv.tokens;
    struct repeat_sums<WIDTH> sums[REPEATS] = {};
    float window[TAPS][WIDTH], sent[TAPS][WIDTH] = {};
#pragma unroll
    for (int r = 0; r < REPEATS; r++) {
        int64_t mine = channel + r * conv.states;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) load(sums[r].w[i], conv.w + (mine + i) * TAPS);
        load_bias(sums[r].bias, conv, mine);
    }
    fill_window(window, conv, first, source);
    for (int64_t start = first; start < last; start += GROUP) {
        struct ahead<WIDTH> ahead;
        struct packed<WIDTH> dout_ahead[GROUP][REPEATS];
        look_ahead(&ahead, conv, start, last, source);
#pragma unroll
        for (int g = 0; g < GROUP; g++)
#pragma unroll
            for (int r = 0; r < REPEATS; r++)
                if (start + g < last)
                    dout_ahead[g][r] = read_packed<WIDTH>(dout + (start + g) * conv.channels +
                                                          channel + r * conv.states);
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            int64_t token = start + g;
            if (token >= last) break;
            float x[WIDTH];
            widen(x, ahead.x[g]);
            slide_window(window, x, ahead.position[g]);
#pragma unroll
            for (int r = 0; r < REPEATS; r++)
                step_back(&sums[r], sent, window, dout_ahead[g][r], token < end ? 1.0f : 0.0f,
                          ahead.position[g]);
            /* The oldest token of the window has received all. */
            if (token - (TAPS - 1) >= first)
                store(dx + (token - (TAPS - 1)) * dx_stride + source, sent[0]);
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                    sent[tap][i] = tap < TAPS - 1 ? sent[tap + 1][i] : 0;
        }
    }
    /* The tokens may have ended before the window had passed the strip. */
#pragma unroll
    for (int tap = 0; tap < TAPS - 1; tap++) {
        int64_t token = last - (TAPS - 1) + tap;
        if (token >= first && token < end) store(dx + token * dx_stride + source, sent[tap]);
    }
    if (!dw_parts) return;
#pragma unroll
    for (int r = 0; r < REPEATS; r++) {
        int64_t mine = blockIdx.x * (int64_t)conv.channels + channel + r * conv.states;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) store(dw_parts + (mine + i) * TAPS, sums[r].dw[i]);
        store(dbias_parts + mine, sums[r].dbias);
    }
}

/* dsum [tokens, I]: the gradient before SiLU. */
__global__ void differentiate_plain(float *dsum, const bf16 *dout, struct conv conv) {
    int channel = (int)(blockIdx.y * THREADS + threadIdx.x);
    if (channel >= conv.channels) return;
    int64_t i = (int64_t)blockIdx.x * conv.channels + channel;
    dsum[i] = __bfloat162float(dout[i]) *
              silu_slope(convolve_plain(conv, blockIdx.x, channel, source_of(conv, channel)));
}

/* dx [tokens, X]: what the taps of this and later tokens of the sequence took from it, over all
 * repeats. A thread an input, a block a token. */
__global__ void dx_plain(bf16 *dx, int64_t dx_stride, const float *dsum, struct conv conv) {
    int source = (int)(blockIdx.y * THREADS + threadIdx.x);
    if (source >= conv.sources) return;
    int64_t token = blockIdx.x;
    float sum = 0;
    for (int r = 0; r < conv.repeat; r++) {
        int channel = channel_of(conv, source) + r * conv.states;
        for (int age = 0; age < conv.taps && token + age < conv.tokens; age++) {
            if (conv.positions[token + age] < age) break; /* the next sequence */
            sum += dsum[(token + age) * conv.channels + channel] *
                   conv.w[(int64_t)channel * conv.taps + conv.taps - 1 - age];
        }
    }
    dx[token * dx_stride + source] = __float2bfloat16(sum);
}

/* A block a channel (blockIdx.x) and tap (blockIdx.y); one more tap stands for the bias. */
__global__ void parameters_plain(float *dw, float *dbias, const float *dsum, struct conv conv) {
    __shared__ float shared[32];
    int channel = blockIdx.x, age = conv.taps - 1 - (int)blockIdx.y;
    bool is_bias = age < 0;
    if (is_bias ? !dbias : !dw) return;
    int source = source_of(conv, channel);
    float sum = 0;
    for (int64_t token = threadIdx.x; token < conv.tokens; token += THREADS) {
        float d = dsum[token * conv.channels + channel];
        if (is_bias)
            sum += d;
        else if (conv.positions[token] >= age)
            sum += d * __bfloat162float(conv.x[(token - age) * conv.x_stride + source]);
    }
    sum = sum_block(sum, shared);
    if (threadIdx.x) return;
    if (is_bias)
        dbias[channel] += sum;
    else
        dw[(int64_t)channel * conv.taps + blockIdx.y] += sum;
}

static struct conv describe(const void *x, int64_t x_stride, const void *w, const void *bias,
                            const struct sequences *sequences, const struct mamba_shape *shape) {
    struct conv conv;
    conv.x = (const bf16 *)x;
    conv.x_stride = x_stride;
    conv.w = (const float *)w;
    conv.bias = (const float *)bias;
    conv.positions = sequences->positions;
    conv.tokens = sequences->tokens;
    conv.channels = shape->d_inner;
    conv.sources = shape->d_xb;
    conv.states = shape->d_state;
    conv.repeat = shape->d_inner / shape->d_xb;
    conv.taps = shape->d_conv;
    return conv;
}

static void cuda_conv_silu(struct backend *backend, struct act *out, const struct act *x,
                           int64_t x_stride, const struct acc *w, const struct acc *bias,
                           const struct sequences *sequences, const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct conv conv = describe(x, x_stride, w, bias, sequences, shape);
    if (conv.taps == TAPS && conv.states % WIDE == 0 && x_stride % WIDE == 0 && aligned_to(x, 8) &&
        aligned_to(out, 8) && aligned_to(w, 16) && aligned_to(bias, 16))
        CUDA_LAUNCH(cuda, conv_silu,
                    dim3((unsigned)ceil_div(conv.tokens, STRIP),
                         (unsigned)ceil_div(conv.channels, THREADS * WIDE)),
                    THREADS, 0, (bf16 *)out, conv);
    else
        CUDA_LAUNCH(cuda, conv_silu_plain,
                    dim3((unsigned)conv.tokens, (unsigned)ceil_div(conv.channels, THREADS)),
                    THREADS, 0, (bf16 *)out, conv);
}

static void backward_plain(struct cuda_backend *cuda, bf16 *dx, int64_t dx_stride, float *dw,
                           float *dbias, const bf16 *dout, const struct conv *conv) {
    float *dsum =
        (float *)cuda_scratch(cuda, (size_t)(conv->tokens * conv->channels) * sizeof(float));
    if (!dsum) return;
    unsigned tokens = (unsigned)conv->tokens;
    CUDA_LAUNCH(cuda, differentiate_plain,
                dim3(tokens, (unsigned)ceil_div(conv->channels, THREADS)), THREADS, 0, dsum, dout,
                *conv);
    CUDA_LAUNCH(cuda, dx_plain, dim3(tokens, (unsigned)ceil_div(conv->sources, THREADS)), THREADS,
                0, dx, dx_stride, dsum, *conv);
    CUDA_LAUNCH(cuda, parameters_plain, dim3((unsigned)conv->channels, (unsigned)conv->taps + 1),
                THREADS, 0, dw, dbias, dsum, *conv);
}

struct conv_gradients {
    bf16 *dx;
    int64_t dx_stride;
    float *dw, *dbias; /* each may be NULL */
    const bf16 *dout;
};

template <int REPEATS>
static void launch_backward(struct cuda_backend *cuda, const struct conv_gradients *op,
                            const struct conv *conv) {
    const int width = REPEATS <= 2 ? 2 : 1; /* more warps beat wider loads */
    int strip = conv->tokens < 8192 ? 32 : 64;
    int64_t strips = ceil_div(conv->tokens, strip), channels = conv->channels;
    float *dw_parts = NULL, *dbias_parts = NULL;
    if (op->dw || op->dbias) {
        dw_parts =
            (float *)cuda_scratch(cuda, (size_t)(strips * channels * (TAPS + 1)) * sizeof(float));
        if (!dw_parts) return;
        dbias_parts = dw_parts + strips * channels * TAPS;
    }
    CUDA_LAUNCH(cuda, (conv_silu_backward<REPEATS, width>),
                dim3((unsigned)strips, (unsigned)ceil_div(conv->sources, THREADS * width)), THREADS,
                0, op->dx, op->dx_stride, dw_parts, dbias_parts, op->dout, strip, *conv);
    if (op->dw) cuda_add_partials(cuda, op->dw, dw_parts, strips, channels * TAPS);
    if (op->dbias) cuda_add_partials(cuda, op->dbias, dbias_parts, strips, channels);
}

static void cuda_conv_silu_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                                    struct acc *dw, struct acc *dbias, const struct act *dout,
                                    const struct act *x, int64_t x_stride, const struct acc *w,
                                    const struct acc *bias, const struct sequences *sequences,
                                    const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct conv conv = describe(x, x_stride, w, bias, sequences, shape);
    const struct conv_gradients op = {(bf16 *)dx, dx_stride, (float *)dw, (float *)dbias,
                                      (const bf16 *)dout};
    static void (*const by_repeats[MOST_REPEATS])(
        struct cuda_backend *, const struct conv_gradients *, const struct conv *) = {
        launch_backward<1>, launch_backward<2>, launch_backward<3>, launch_backward<4>,
        launch_backward<5>, launch_backward<6>, launch_backward<7>, launch_backward<8>};
    bool whole = conv.states % 2 == 0 && x_stride % 2 == 0 && dx_stride % 2 == 0 &&
                 aligned_to(x, 4) && aligned_to(dx, 4) && aligned_to(dout, 4) &&
                 aligned_to(w, 16) && aligned_to(bias, 8);
    if (conv.taps == TAPS && conv.repeat <= MOST_REPEATS && whole)
        by_repeats[conv.repeat - 1](cuda, &op, &conv);
    else
        backward_plain(cuda, op.dx, dx_stride, op.dw, op.dbias, op.dout, &conv);
}

const struct conv_ops cuda_conv_ops = {
    .conv_silu = cuda_conv_silu,
    .conv_silu_backward = cuda_conv_silu_backward,
    .conv_store = cuda_conv_store,
    .conv_step = cuda_conv_step,
};
