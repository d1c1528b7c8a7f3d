/* Element types, with the names safetensors uses, and conversion to and from float32. */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F64,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_COUNT,
};

size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype); /* "F32", "BF16", … */
bool dtype_from_name(enum dtype *out, const char *name);

/* `count` elements of a float type to float32 / float64, exactly (F64 to float32 rounds). */
void dtype_to_f32(float *out, const void *in, enum dtype in_dtype, size_t count);
void dtype_to_f64(double *out, const void *in, enum dtype in_dtype, size_t count);

/* float32 to a float type, rounding to nearest even; NaN stays NaN. */
void dtype_from_f32(void *out, enum dtype out_dtype, const float *in, size_t count);

uint16_t dtype_bf16_from_f32(float value);
float dtype_f32_from_bf16(uint16_t bits);

#endif
