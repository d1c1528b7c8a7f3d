/* Causal depthwise convolution with SiLU, after the repetition of x. The usual shape (4 taps,
 * sub-heads of whole vectors) has kernels that slide over a strip of tokens with the taps' inputs
 * in registers; any other shape has plain ones. A tap `age` tokens back counts when the token's
 * position is at least `age`: no sequence bounds are needed. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

enum { TAPS = 4, STRIP = 16, WIDE = 8, BACK_STRIP = 32, BACK_WIDE = 2, THREADS = 128 };

struct conv {
    const bf16 *x;
    int64_t x_stride;
    const float *w, *bias;
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

/* The inputs of the TAPS tokens up to `token`, the last of them in row TAPS - 1. */
template <int WIDTH>
__device__ static void fill_window(float (&window)[TAPS][WIDTH], const struct conv &conv,
                                   int64_t token, int source) {
    int position = conv.positions[token];
#pragma unroll
    for (int age = 0; age < TAPS; age++) {
        if (age <= position)
            load(window[TAPS - 1 - age], conv.x + (token - age) * conv.x_stride + source);
        else
#pragma unroll
            for (int i = 0; i < WIDTH; i++) window[TAPS - 1 - age][i] = 0;
    }
}

/* From `token` to the next: its inputs come in, those of another sequence go. */
template <int WIDTH>
__device__ static void slide_window(float (&window)[TAPS][WIDTH], const struct conv &conv,
                                    int64_t token, int position, int source) {
#pragma unroll
    for (int tap = 0; tap < TAPS - 1; tap++)
#pragma unroll
        for (int i = 0; i < WIDTH; i++) window[tap][i] = position ? window[tap + 1][i] : 0;
    load(window[TAPS - 1], conv.x + token * conv.x_stride + source);
}

__global__ void __launch_bounds__(THREADS) conv_silu(bf16 *out, struct conv conv) {
    int channel = (int)(blockIdx.y * THREADS + threadIdx.x) * WIDE;
    if (channel >= conv.channels) return;
    int source = source_of(conv, channel);
    int64_t first = (int64_t)blockIdx.x * STRIP;
    int64_t end = first + STRIP < conv.tokens ? first + STRIP : conv.tokens;
    float w[WIDE][TAPS], bias[WIDE], window[TAPS][WIDE];
#pragma unroll
    for (int i = 0; i < WIDE; i++) load(w[i], conv.w + (int64_t)(channel + i) * TAPS);
    load(bias, conv.bias + channel);
    fill_window(window, conv, first, source);
    for (int64_t token = first; token < end; token++) {
        if (token > first) slide_window(window, conv, token, conv.positions[token], source);
        float sums[WIDE];
#pragma unroll
        for (int i = 0; i < WIDE; i++) {
            sums[i] = bias[i];
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++) sums[i] += w[i][tap] * window[tap][i];
            sums[i] *= sigmoid(sums[i]);
        }
        store(out + token * conv.channels + channel, sums);
    }
}

__device__ static float convolve_plain(const struct conv &conv, int64_t token, int channel,
                                       int source) {
    float sum = conv.bias[channel];
    int position = conv.positions[token];
    for (int age = 0; age < conv.taps && age <= position; age++)
        sum += conv.w[(int64_t)channel * conv.taps + conv.taps - 1 - age] *
               __bfloat162float(conv.x[(token - age) * conv.x_stride + source]);
    return sum;
}

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

/* A thread takes BACK_WIDE source channels over a strip of tokens, one repeat after the other; dx
 * of the strip gathers in shared memory, each thread in its own columns. Tokens past the strip are
 * visited for what they send back into it. dw_parts [strips, I, TAPS] and dbias_parts [strips, I]
 * (both or neither NULL) receive the strip's sums. */
__global__ void __launch_bounds__(THREADS)
    conv_silu_backward(bf16 *dx, int64_t dx_stride, float *dw_parts, float *dbias_parts,
                       const bf16 *dout, struct conv conv) {
    __shared__ float gathered[BACK_STRIP][THREADS * BACK_WIDE];
    int source = (int)(blockIdx.y * THREADS + threadIdx.x) * BACK_WIDE;
    if (source >= conv.sources) return; /* no barrier follows */
    int64_t first = (int64_t)blockIdx.x * BACK_STRIP;
    int64_t end = first + BACK_STRIP < conv.tokens ? first + BACK_STRIP : conv.tokens;
    int64_t last = end + TAPS - 1 < conv.tokens ? end + TAPS - 1 : conv.tokens;
    float *mine = &gathered[0][threadIdx.x * BACK_WIDE];
    for (int row = 0; row < BACK_STRIP; row++)
#pragma unroll
        for (int i = 0; i < BACK_WIDE; i++) mine[row * THREADS * BACK_WIDE + i] = 0;
    for (int r = 0; r < conv.repeat; r++) {
        int channel = channel_of(conv, source) + r * conv.states;
        float w[BACK_WIDE][TAPS], bias[BACK_WIDE], window[TAPS][BACK_WIDE];
        float dw[BACK_WIDE][TAPS] = {}, dbias[BACK_WIDE] = {};
        float sent[TAPS][BACK_WIDE] = {}; /* to the tokens up to this one, as in window */
#pragma unroll
        for (int i = 0; i < BACK_WIDE; i++) load(w[i], conv.w + (int64_t)(channel + i) * TAPS);
        load(bias, conv.bias + channel);
        fill_window(window, conv, first, source);
        for (int64_t token = first; token < last; token++) {
            int position = conv.positions[token];
            if (token > first) slide_window(window, conv, token, position, source);
            float d[BACK_WIDE];
            load(d, dout + token * conv.channels + channel);
#pragma unroll
            for (int i = 0; i < BACK_WIDE; i++) {
                float sum = bias[i];
#pragma unroll
                for (int tap = 0; tap < TAPS; tap++) sum += w[i][tap] * window[tap][i];
                d[i] *= silu_slope(sum);
                if (token < end) dbias[i] += d[i];
#pragma unroll
                for (int tap = 0; tap < TAPS; tap++) {
                    if (token < end) dw[i][tap] += d[i] * window[tap][i];
                    if (TAPS - 1 - tap <= position) sent[tap][i] += d[i] * w[i][tap];
                }
            }
            /* The oldest token of the window has all of this repeat. */
            int64_t row = token - first - (TAPS - 1);
            if (row >= 0)
#pragma unroll
                for (int i = 0; i < BACK_WIDE; i++)
                    mine[row * THREADS * BACK_WIDE + i] += sent[0][i];
#pragma unroll
            for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
                for (int i = 0; i < BACK_WIDE; i++)
                    sent[tap][i] = tap < TAPS - 1 ? sent[tap + 1][i] : 0;
        }
        /* What is left when the tokens end before the window has passed: rows after last - TAPS. */
#pragma unroll
        for (int tap = 0; tap < TAPS - 1; tap++) {
            int64_t row = last - first - (TAPS - 1) + tap;
            if (row >= 0 && row < end - first)
#pragma unroll
                for (int i = 0; i < BACK_WIDE; i++)
                    mine[row * THREADS * BACK_WIDE + i] += sent[tap][i];
        }
        if (!dw_parts) continue;
#pragma unroll
        for (int i = 0; i < BACK_WIDE; i++)
            store(dw_parts + (blockIdx.x * (int64_t)conv.channels + channel + i) * TAPS, dw[i]);
        store(dbias_parts + blockIdx.x * (int64_t)conv.channels + channel, dbias);
    }
    for (int64_t token = first; token < end; token++) {
        float sums[BACK_WIDE];
#pragma unroll
        for (int i = 0; i < BACK_WIDE; i++)
            sums[i] = mine[(token - first) * THREADS * BACK_WIDE + i];
        store(dx + token * dx_stride + source, sums);
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

static void cuda_conv_silu(struct backend *backend, void *out, const void *x, int64_t x_stride,
                           const void *w, const void *bias, const struct sequences *sequences,
                           const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct conv conv = describe(x, x_stride, w, bias, sequences, shape);
    if (conv.taps == TAPS && conv.states % WIDE == 0 && x_stride % WIDE == 0 && aligned_to(x, 16) &&
        aligned_to(out, 16) && aligned_to(w, 16) && aligned_to(bias, 16))
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

static void cuda_conv_silu_backward(struct backend *backend, void *dx, int64_t dx_stride, void *dw,
                                    void *dbias, const void *dout, const void *x, int64_t x_stride,
                                    const void *w, const void *bias,
                                    const struct sequences *sequences,
                                    const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct conv conv = describe(x, x_stride, w, bias, sequences, shape);
    if (conv.taps != TAPS || conv.states % BACK_WIDE != 0 || x_stride % BACK_WIDE != 0 ||
        dx_stride % BACK_WIDE != 0 || !aligned_to(x, 4) || !aligned_to(dx, 4) ||
        !aligned_to(dout, 4) || !aligned_to(w, 16) || !aligned_to(bias, 8)) {
        backward_plain(cuda, (bf16 *)dx, dx_stride, (float *)dw, (float *)dbias, (const bf16 *)dout,
                       &conv);
        return;
    }
    int64_t strips = ceil_div(conv.tokens, BACK_STRIP), channels = conv.channels;
    float *dw_parts = NULL, *dbias_parts = NULL;
    if (dw || dbias) {
        dw_parts =
            (float *)cuda_scratch(cuda, (size_t)(strips * channels * (TAPS + 1)) * sizeof(float));
        if (!dw_parts) return;
        dbias_parts = dw_parts + strips * channels * TAPS;
    }
    CUDA_LAUNCH(cuda, conv_silu_backward,
                dim3((unsigned)strips, (unsigned)ceil_div(conv.sources, THREADS * BACK_WIDE)),
                THREADS, 0, (bf16 *)dx, dx_stride, dw_parts, dbias_parts, (const bf16 *)dout, conv);
    if (dw) cuda_add_partials(cuda, (float *)dw, dw_parts, strips, channels * TAPS);
    if (dbias) cuda_add_partials(cuda, (float *)dbias, dbias_parts, strips, channels);
}

void cuda_table_conv(struct cuda_backend *cuda) {
    cuda->base.conv_silu = cuda_conv_silu;
    cuda->base.conv_silu_backward = cuda_conv_silu_backward;
}
