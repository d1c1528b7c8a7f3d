/* An exponential that the compiler can vectorise: within 2 ulp of exp for float32 in [-87, 88],
 * 0 below -87.3, infinity above 88.7; NaN stays NaN. Range reduction by ln 2 in two parts, a
 * degree-6 polynomial on [-ln2/2, ln2/2] (Taylor coefficients: remainder under 1e-7), and the power
 * of two assembled in the exponent field. The double build uses exp. */
#ifndef KERNELS_CPU_EXP_H
#define KERNELS_CPU_EXP_H

#include <stdint.h>
#include <string.h>

#include "kernels/cpu/real.h"

#ifdef CPU_REAL_DOUBLE
static inline double fast_exp(double x) {
    return exp(x);
}
#else
static inline float fast_exp(float x) {
    float clamped = x < -87.3f ? -87.3f : x > 88.7f ? 88.7f : x;
    /* Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits. */
    float shifted = clamped * 1.44269504088896341f + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    float n = shifted - 12582912.0f;
    float r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* Two factors, so that n = 128 does not overflow the exponent field. */
    int32_t whole = bits - 0x4B400000, half = whole >> 1;
    uint32_t first = (uint32_t)(half + 127) << 23, second = (uint32_t)(whole - half + 127) << 23;
    float scale1, scale2;
    memcpy(&scale1, &first, sizeof scale1);
    memcpy(&scale2, &second, sizeof scale2);
    float y = p * scale1 * scale2;
    y = x < -87.3f ? 0.0f : y;
    y = x > 88.7f ? HUGE_VALF : y;
    return x == x ? y : x;
}
#endif

/* x * sigmoid(x) */
static inline real fast_silu(real x) {
    return x / (1 + fast_exp(-x));
}

static inline real fast_sigmoid(real x) {
    return 1 / (1 + fast_exp(-x));
}

/* log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|): log1p by the series of the inverse
 * hyperbolic tangent, log1p(u) = 2 artanh(u / (2 + u)), whose argument is at most 1/3. */
static inline real fast_softplus(real x) {
#ifdef CPU_REAL_DOUBLE
    return fmax(x, 0) + log1p(exp(-fabs(x)));
#else
    float u = fast_exp(-fabsf(x)), s = u / (2 + u), q = s * s;
    float p = 1.0f / 15;
    p = p * q + 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    return (x > 0 ? x : 0) + 2 * (s + s * q * p);
#endif
}

#endif
