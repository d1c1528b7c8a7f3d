#include "convert/fold.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "mixers/attention/attention.h"

/* Whether the type holds w - 1 so that adding one gives w again. */
static bool is_exact(float w, enum dtype dtype) {
    uint32_t bits;
    float less = w - 1;
    dtype_from_f32(&bits, dtype, &less, 1);
    dtype_to_f32(&less, &bits, dtype, 1);
    return less + 1 == w;
}

/* What reading tensors are multiplied by, and the norm's weight divided. */
static float factor_of(float w, enum dtype dtype) {
    int exponent;
    if (is_exact(w, dtype)) return 1;
    frexpf(w, &exponent); /* |w| = [.5, 1) 2^exponent */
    return copysignf(ldexpf(1, exponent - 1), w);
}

static bool any_but_one(const float *factors, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (factors[i] != 1) return true;
    return false;
}

static enum status read_all(float **out, const struct convert_job *job,
                            const struct checkpoint_tensor *tensor) {
    float *values = memory_calloc((size_t)tensor->count, sizeof *values);
    if (!values) return STATUS_FAILED;
    enum status status = checkpoint_read_f32(job->options.base, tensor, 0, tensor->count, values);
    if (status)
        free(values);
    else
        *out = values;
    return status;
}

/* Of a norm before a mixer, an MLP or the head; NULL where all are one. */
static enum status of_norm(float **out, const struct convert_job *job, int layer,
                           enum tensor_role role) {
    const struct checkpoint_tensor *norm = checkpoint_find(job->options.base, layer, role);
    float *values = NULL;
    *out = NULL;
    enum status status = read_all(&values, job, norm);
    for (int64_t i = 0; !status && i < norm->count; i++)
        values[i] = factor_of(values[i], norm->stored);
    if (!status && any_but_one(values, norm->count))
        *out = values;
    else
        free(values);
    return status;
}

/* ---- query and key norms */

/* A factor on both channels of a pair that RoPE turns comes out of the scores where the keys have
 * its inverse. The power of two nearest to one with which all four values are exact; 0: none. */
static float pair_factor(const float query[2], const float key[2], enum dtype query_type,
                         enum dtype key_type) {
    enum { FARTHEST = 16 };
    for (int e = 0; e <= FARTHEST; e++)
        for (int sign = 1; sign >= -1; sign -= 2) {
            float up = ldexpf(1, sign * e), down = ldexpf(1, -sign * e);
            if (is_exact(query[0] * up, query_type) && is_exact(query[1] * up, query_type) &&
                is_exact(key[0] * down, key_type) && is_exact(key[1] * down, key_type))
                return up;
        }
    return 0;
}

/* Of a layer's query norm; pairs that cannot be held keep their factor of one. */
static enum status of_heads(float **out, bool *rounded, const struct convert_job *job, int layer) {
    struct checkpoint *base = job->options.base;
    const struct checkpoint_tensor *query =
        checkpoint_find_mixer(base, layer, &attention_kind, ATTENTION_Q_NORM);
    const struct checkpoint_tensor *key =
        checkpoint_find_mixer(base, layer, &attention_kind, ATTENTION_K_NORM);
    float *q = NULL, *k = NULL;
    *out = NULL;
    enum status status = read_all(&q, job, query);
    if (!status) status = read_all(&k, job, key);
    for (int64_t i = 0, half = query->count / 2; !status && i < half; i++) {
        float factor = pair_factor((float[]){q[i], q[i + half]}, (float[]){k[i], k[i + half]},
                                   query->stored, key->stored);
        if (factor == 0) *rounded = true;
        q[i] = q[i + half] = factor == 0 ? 1 : factor;
    }
    if (!status && any_but_one(q, query->count))
        *out = q;
    else
        free(q);
    free(k);
    return status;
}

static enum status of_head_norm(float **out, const struct convert_job *job,
                                const struct convert_tensor *tensor) {
    bool rounded = false;
    enum status status = of_heads(out, &rounded, job, tensor->spec.layer);
    bool key = tensor->spec.role == TENSOR_OF_MIXER + ATTENTION_K_NORM;
    for (int64_t i = 0; !status && *out && key && i < tensor->spec.shape[0]; i++)
        (*out)[i] = 1 / (*out)[i];
    return status;
}

/* ---- all of it */

static bool applies(const struct convert_job *job) {
    return job->options.format == FORMAT_QWEN35;
}

static enum status check_heads(struct convert_job *job) {
    enum status status = STATUS_OK;
    for (int i = 0; i < job->config->n_layers && !status; i++) {
        float *factors = NULL;
        if (!config_is_attention(job->config, i)) continue;
        status = of_heads(&factors, &job->rounded_norms, job, i);
        free(factors);
    }
    return status;
}

enum status fold_prepare(struct convert_job *job) {
    float *factors = NULL;
    if (!applies(job)) return STATUS_OK;
    enum status status = of_norm(&factors, job, -1, TENSOR_FINAL_NORM);
    job->untied = !status && factors && job->config->tie_word_embeddings;
    if (job->untied) job->config->tie_word_embeddings = false;
    free(factors);
    return status ? status : check_heads(job);
}

enum status fold_factors(float **out, const struct convert_job *job,
                         const struct convert_tensor *tensor) {
    const struct tensor_spec *spec = &tensor->spec;
    enum tensor_role norm = (enum tensor_role)spec->role;
    *out = NULL;
    if (!applies(job) || (!spec->reads && !spec->less_one)) return STATUS_OK;
    if (spec->row && spec->less_one) return of_head_norm(out, job, tensor);
    if (spec->row) norm = TENSOR_INPUT_NORM;
    if (norm == TENSOR_GATE || norm == TENSOR_UP) norm = TENSOR_POST_NORM;
    if (norm == TENSOR_HEAD) norm = TENSOR_FINAL_NORM;
    enum status status = of_norm(out, job, spec->layer, norm);
    for (int64_t i = 0; !status && *out && spec->less_one && i < spec->shape[0]; i++)
        (*out)[i] = 1 / (*out)[i];
    return status;
}
