/* An exponential that the compiler can vectorise: within 2.5e-7 (2.1 ulp) of exp for float32 in
 * [-87.3, 88.3], 0 below, 2.4e38 above; NaN stays NaN. Range reduction by ln 2 in two parts, a
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
    float clamped = -87.3f > x ? -87.3f : x;
    clamped = 88.37f < clamped ? 88.37f : clamped; /* beyond, the exponent field overflows */
    /* Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the low bits. */
    float shifted = clamped * 1.44269504088896341f + 12582912.0f;
    uint32_t bits;
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
    bits = (bits << 23) + 0x3F800000u; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    /* An exact zero, so that no subnormal slows what follows. */
    return x < -87.3f ? 0.0f : p * scale;
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
