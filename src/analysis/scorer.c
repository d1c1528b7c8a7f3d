#include "analysis/scorer.h"

#include <math.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "model/block.h"

struct scorer {
    const struct model *teacher, *student;
    int chunk;                     /* tokens at a time */
    void *teacher_logits, *logits; /* acc [chunk, V] */
    void *normed;                  /* act [chunk, D] */
    void *rstd, *lse;              /* acc [chunk] */
    int32_t *argmax, *target;      /* device [chunk] */
    void *values[METRIC_COUNT];    /* acc [chunk] */
    double *host;                  /* [METRIC_COUNT][chunk] */
};

int scorer_chunk(const struct model *model) {
    bool on_cpu = model->backend->act == model->backend->acc;
    int64_t elements = INT64_C(1) << (on_cpu ? 24 : 28);
    int64_t rows = elements / model->config->vocab_size / 64 * 64;
    return rows < 64 ? 64 : rows > 2048 ? 2048 : (int)rows;
}

uint64_t scorer_bytes(const struct model *model) {
    uint64_t per_row = 2 * (uint64_t)model->config->vocab_size * dtype_size(model->backend->acc);
    return (uint64_t)scorer_chunk(model) *
           (per_row + (uint64_t)model->config->hidden_size * dtype_size(model->backend->act));
}

static enum status allocate(struct scorer *scorer) {
    const struct model *model = scorer->student;
    struct backend *backend = model->backend;
    size_t rows = (size_t)scorer->chunk, acc = dtype_size(backend->acc);
    size_t logits = rows * (size_t)model->config->vocab_size * acc;
    int width = scorer->teacher->config->hidden_size;
    if (model->config->hidden_size > width) width = model->config->hidden_size;
    struct {
        void **to;
        size_t bytes;
    } buffers[] = {
        {&scorer->teacher_logits, logits},
        {&scorer->logits, logits},
        {&scorer->normed, rows * (size_t)width * dtype_size(backend->act)},
        {&scorer->rstd, rows * acc},
        {&scorer->lse, rows * acc},
        {(void **)&scorer->argmax, rows * sizeof(int32_t)},
        {(void **)&scorer->target, rows * sizeof(int32_t)},
        {&scorer->values[METRIC_CE], rows * acc},
        {&scorer->values[METRIC_KL], rows * acc},
        {&scorer->values[METRIC_RKL], rows * acc},
        {&scorer->values[METRIC_TOP1], rows * acc},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].to = backend->alloc(backend, buffers[i].bytes, "logits");
        if (!*buffers[i].to) return STATUS_FAILED;
    }
    scorer->host = memory_calloc(rows * METRIC_COUNT, sizeof *scorer->host);
    return scorer->host ? STATUS_OK : STATUS_FAILED;
}

enum status scorer_open(struct scorer **out, const struct model *teacher,
                        const struct model *student, int chunk_tokens) {
    if (teacher->config->vocab_size != student->config->vocab_size)
        return status_fail("the models' vocabularies differ: %d and %d tokens",
                           teacher->config->vocab_size, student->config->vocab_size);
    struct scorer *scorer = memory_calloc(1, sizeof *scorer);
    if (!scorer) return STATUS_FAILED;
    scorer->teacher = teacher;
    scorer->student = student;
    scorer->chunk = chunk_tokens > 0 ? chunk_tokens : scorer_chunk(student);
    enum status status = allocate(scorer);
    if (status)
        scorer_close(scorer);
    else
        *out = scorer;
    return status;
}

void scorer_close(struct scorer *scorer) {
    if (!scorer) return;
    struct backend *backend = scorer->student->backend;
    backend->free(backend, scorer->teacher_logits);
    backend->free(backend, scorer->logits);
    backend->free(backend, scorer->normed);
    backend->free(backend, scorer->rstd);
    backend->free(backend, scorer->lse);
    backend->free(backend, scorer->argmax);
    backend->free(backend, scorer->target);
    for (int m = 0; m < METRIC_COUNT; m++) backend->free(backend, scorer->values[m]);
    free(scorer->host);
    free(scorer);
}

/* Compare one chunk's logits with the teacher's and add them up by row. */
static enum status add_chunk(struct scorer *scorer, const struct positions *positions,
                             const void *logits, int64_t from, int64_t rows, double *sums) {
    struct backend *backend = scorer->student->backend;
    void **values = scorer->values;
    backend->compare_logits(backend, values[METRIC_KL], values[METRIC_RKL], values[METRIC_CE],
                            values[METRIC_TOP1], scorer->teacher_logits, scorer->lse,
                            scorer->argmax, logits, scorer->target, rows,
                            scorer->student->config->vocab_size);
    for (int m = 0; m < METRIC_COUNT; m++)
        backend->download(backend, scorer->host + m * scorer->chunk, DTYPE_F64, values[m],
                          backend->acc, (size_t)rows);
    enum status status = backend->sync(backend);
    if (status) return status;
    for (int64_t i = 0; i < rows; i++) {
        int64_t t = from + i;
        double *sum = sums + (int64_t)positions->row[t] * METRIC_COUNT;
        for (int m = 0; m < METRIC_COUNT; m++) {
            bool counts = m == METRIC_CE ? positions->target[t] >= 0 : positions->counted[t];
            double value = scorer->host[m * scorer->chunk + i];
            if (counts && !isfinite(value))
                return status_fail("%s is not finite at token %lld of the batch", metric_name(m),
                                   (long long)t);
            if (counts) sum[m] += value;
        }
    }
    return STATUS_OK;
}

enum status scorer_score(struct scorer *scorer, const struct positions *positions,
                         const void *teacher, const void *branch, int64_t stride, int branches,
                         double *sums) {
    struct backend *backend = scorer->student->backend;
    size_t size = dtype_size(backend->acc);
    size_t per_branch = (size_t)positions->rows * METRIC_COUNT;
    for (size_t i = 0; i < (size_t)(branches + 1) * per_branch; i++) sums[i] = 0;
    for (int64_t from = 0; from < positions->tokens; from += scorer->chunk) {
        int64_t rows = positions->tokens - from;
        if (rows > scorer->chunk) rows = scorer->chunk;
        if (!positions_any(positions, from, from + rows)) continue;
        if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
        int64_t teacher_start = from * scorer->teacher->config->hidden_size;
        int64_t start = from * scorer->student->config->hidden_size;
        backend->upload_bytes(backend, scorer->target, positions->target + from,
                              (size_t)rows * sizeof(int32_t));
        model_logits(scorer->teacher, scorer->teacher_logits, scorer->normed, scorer->rstd,
                     (const char *)teacher + (size_t)teacher_start * size, rows);
        backend->logit_summary(backend, scorer->lse, scorer->argmax, scorer->teacher_logits, 1,
                               rows, scorer->teacher->config->vocab_size);
        enum status status = add_chunk(scorer, positions, scorer->teacher_logits, from, rows, sums);
        for (int b = 0; !status && b < branches; b++) {
            int64_t offset = b * stride + start;
            model_logits(scorer->student, scorer->logits, scorer->normed, scorer->rstd,
                         (const char *)branch + (size_t)offset * size, rows);
            status = add_chunk(scorer, positions, scorer->logits, from, rows,
                               sums + (size_t)(b + 1) * per_branch);
        }
        if (status) return status;
    }
    return STATUS_OK;
}
