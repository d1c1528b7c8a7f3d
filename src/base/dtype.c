#include "base/dtype.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} table[DTYPE_COUNT] = {
    [DTYPE_F64] = {"F64", 8},   [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2},
    [DTYPE_BF16] = {"BF16", 2}, [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4},
    [DTYPE_I16] = {"I16", 2},   [DTYPE_I8] = {"I8", 1},   [DTYPE_U8] = {"U8", 1},
    [DTYPE_BOOL] = {"BOOL", 1},
};

size_t dtype_size(enum dtype dtype) {
    return table[dtype].size;
}

const char *dtype_name(enum dtype dtype) {
    return table[dtype].name;
}

bool dtype_from_name(enum dtype *out, const char *name) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

static float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float dtype_f32_from_bf16(uint16_t bits) {
    return float_from_bits((uint32_t)bits << 16);
}

uint16_t dtype_bf16_from_f32(float value) {
    uint32_t bits = bits_from_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static float f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1fu, mantissa = half & 0x3ffu;
    if (exponent == 0x1f) return float_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

static uint16_t f16_from_f32(float value) {
    uint32_t bits = bits_from_float(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u; /* rounds beyond 65504 */
    if (magnitude < 0x38800000u) {
        /* Subnormal: the integer nearest to value * 2^24, ties to even (rintf). */
        return sign | (uint16_t)rintf(fabsf(value) * 0x1p24f);
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return sign | (uint16_t)((rounded - 0x38000000u) >> 13);
}

void dtype_to_f32(float *out, const void *in, enum dtype in_dtype, size_t count) {
    const uint16_t *halves = in;
    switch (in_dtype) {
    case DTYPE_F32:
        memcpy(out, in, count * sizeof *out);
        break;
    case DTYPE_F64:
        for (size_t i = 0; i < count; i++) out[i] = (float)((const double *)in)[i];
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < count; i++) out[i] = dtype_f32_from_bf16(halves[i]);
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < count; i++) out[i] = f32_from_f16(halves[i]);
        break;
    default:
        break;
    }
}

void dtype_to_f64(double *out, const void *in, enum dtype in_dtype, size_t count) {
    if (in_dtype == DTYPE_F64) {
        memcpy(out, in, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float value = 0;
        dtype_to_f32(&value, (const char *)in + i * dtype_size(in_dtype), in_dtype, 1);
        out[i] = value;
    }
}

void dtype_from_f32(void *out, enum dtype out_dtype, const float *in, size_t count) {
    uint16_t *halves = out;
    switch (out_dtype) {
    case DTYPE_F32:
        memcpy(out, in, count * sizeof *in);
        break;
    case DTYPE_F64:
        for (size_t i = 0; i < count; i++) ((double *)out)[i] = in[i];
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < count; i++) halves[i] = dtype_bf16_from_f32(in[i]);
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < count; i++) halves[i] = f16_from_f32(in[i]);
        break;
    default:
        break;
    }
}
