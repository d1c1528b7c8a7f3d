#include "analysis/distiller.h"

#include <math.h>
#include <stdlib.h>

#include "analysis/scorer.h"
#include "base/memory.h"
#include "model/block.h"

struct distiller {
    const struct model *student, *teacher;
    enum loss_kind kind;
    double temperature;
    int chunk;
    void *student_logits, *teacher_logits;           /* acc [chunk, V] */
    void *dlogits;                                   /* act [chunk, V] */
    void *normed, *dnormed;                          /* act [chunk, D] */
    void *rstd, *teacher_rstd, *lse, *loss, *weight; /* acc [chunk] */
    int32_t *argmax, *target;                        /* [chunk] */
    double *host;                                    /* [chunk] */
    float *host_weight;                              /* [chunk] */
};

uint64_t distiller_bytes(const struct model *student) {
    const struct backend *backend = student->backend;
    uint64_t vocabulary = (uint64_t)student->config->vocab_size;
    uint64_t width = (uint64_t)student->config->hidden_size;
    uint64_t acc = dtype_size(backend->acc), act = dtype_size(backend->act);
    return (uint64_t)scorer_chunk(student) * (vocabulary * (2 * acc + act) + 2 * width * act);
}

static enum status allocate(struct distiller *distiller) {
    struct backend *backend = distiller->student->backend;
    size_t rows = (size_t)distiller->chunk, acc = dtype_size(backend->acc);
    size_t act = dtype_size(backend->act);
    size_t vocabulary = (size_t)distiller->student->config->vocab_size;
    size_t width = (size_t)distiller->student->config->hidden_size;
    struct {
        void **to;
        size_t bytes;
    } buffers[] = {
        {&distiller->student_logits, rows * vocabulary * acc},
        {&distiller->teacher_logits, rows * vocabulary * acc},
        {&distiller->dlogits, rows * vocabulary * act},
        {&distiller->normed, rows * width * act},
        {&distiller->dnormed, rows * width * act},
        {&distiller->rstd, rows * acc},
        {&distiller->teacher_rstd, rows * acc},
        {&distiller->lse, rows * acc},
        {&distiller->loss, rows * acc},
        {&distiller->weight, rows * acc},
        {(void **)&distiller->argmax, rows * sizeof(int32_t)},
        {(void **)&distiller->target, rows * sizeof(int32_t)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].to = backend->alloc(backend, buffers[i].bytes, "logits");
        if (!*buffers[i].to) return STATUS_FAILED;
    }
    distiller->host = memory_calloc(rows, sizeof *distiller->host);
    distiller->host_weight = memory_calloc(rows, sizeof *distiller->host_weight);
    return distiller->host && distiller->host_weight ? STATUS_OK : STATUS_FAILED;
}

enum status distiller_open(struct distiller **out, const struct model *student,
                           const struct model *teacher, enum loss_kind loss, double temperature) {
    struct distiller *distiller = memory_calloc(1, sizeof *distiller);
    if (!distiller) return STATUS_FAILED;
    distiller->student = student;
    distiller->teacher = teacher;
    distiller->kind = loss;
    distiller->temperature = temperature;
    distiller->chunk = scorer_chunk(student);
    enum status status = allocate(distiller);
    if (status)
        distiller_close(distiller);
    else
        *out = distiller;
    return status;
}

void distiller_close(struct distiller *distiller) {
    if (!distiller) return;
    struct backend *backend = distiller->student->backend;
    void *buffers[] = {distiller->student_logits, distiller->teacher_logits,
                       distiller->dlogits,        distiller->normed,
                       distiller->dnormed,        distiller->rstd,
                       distiller->teacher_rstd,   distiller->lse,
                       distiller->loss,           distiller->weight,
                       distiller->argmax,         distiller->target};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        backend->free(backend, buffers[i]);
    free(distiller->host);
    free(distiller->host_weight);
    free(distiller);
}

enum status distiller_positions(struct positions *out, const struct hidden *hidden, int64_t from,
                                int count, int64_t wrap) {
    int64_t *rows = memory_calloc((size_t)count, sizeof *rows);
    if (!rows) return STATUS_FAILED;
    for (int i = 0; i < count; i++) rows[i] = hidden->rows[(from + i) % wrap];
    enum status status = positions_create_rows(out, hidden->set, rows, count);
    free(rows);
    return status;
}

/* Whether a position enters the loss. */
static bool enters(const struct distiller *distiller, const struct positions *positions,
                   int64_t t) {
    return distiller->kind == LOSS_CROSS_ENTROPY ? positions->target[t] >= 0
                                                 : positions->counted[t];
}

static enum status run_chunk(struct distiller *distiller, const struct positions *positions,
                             int64_t from, int64_t rows, double scale, const void *student,
                             const void *teacher, void *dh, double *sum) {
    const struct model *model = distiller->student;
    struct backend *backend = model->backend;
    int64_t width = model->config->hidden_size, vocabulary = model->config->vocab_size;
    for (int64_t i = 0; i < rows; i++)
        distiller->host_weight[i] = enters(distiller, positions, from + i) ? (float)scale : 0;
    backend->upload(backend, distiller->weight, backend->acc, distiller->host_weight, DTYPE_F32,
                    (size_t)rows);
    backend->upload_bytes(backend, distiller->target, positions->target + from,
                          (size_t)rows * sizeof(int32_t));
    model_logits(distiller->teacher, distiller->teacher_logits, distiller->normed,
                 distiller->teacher_rstd, teacher, rows);
    backend->logit_summary(backend, distiller->lse, distiller->argmax, distiller->teacher_logits,
                           distiller->temperature, rows, vocabulary);
    model_logits(model, distiller->student_logits, distiller->normed, distiller->rstd, student,
                 rows);
    backend->distill_loss(backend, distiller->loss, distiller->dlogits, distiller->kind,
                          distiller->temperature, distiller->student_logits,
                          distiller->teacher_logits, distiller->lse, distiller->target,
                          distiller->weight, rows, vocabulary);
    backend->matmul_backward_input(backend, distiller->dnormed, backend->act, distiller->dlogits,
                                   model->head, false, rows, vocabulary, width);
    backend->rmsnorm_backward(backend, dh, NULL, distiller->dnormed, student, model->final_norm,
                              distiller->rstd, rows, width);
    backend->download(backend, distiller->host, DTYPE_F64, distiller->loss, backend->acc,
                      (size_t)rows);
    enum status status = backend->sync(backend);
    for (int64_t i = 0; !status && i < rows; i++)
        if (enters(distiller, positions, from + i)) *sum += distiller->host[i];
    return status;
}

enum status distiller_run(struct distiller *distiller, const struct positions *positions,
                          const void *student, const void *teacher, void *dh, double *loss) {
    struct backend *backend = distiller->student->backend;
    size_t size = dtype_size(backend->acc);
    int64_t student_width = distiller->student->config->hidden_size, counted = 0;
    int64_t teacher_width = distiller->teacher->config->hidden_size;
    for (int64_t t = 0; t < positions->tokens; t++) counted += enters(distiller, positions, t);
    backend->zero(backend, dh, (size_t)(positions->tokens * student_width) * size);
    double sum = 0;
    for (int64_t from = 0; from < positions->tokens; from += distiller->chunk) {
        int64_t rows = positions->tokens - from;
        if (rows > distiller->chunk) rows = distiller->chunk;
        if (!positions_any(positions, from, from + rows)) continue;
        enum status status =
            run_chunk(distiller, positions, from, rows, 1 / (double)counted,
                      (const char *)student + (size_t)(from * student_width) * size,
                      (const char *)teacher + (size_t)(from * teacher_width) * size,
                      (char *)dh + (size_t)(from * student_width) * size, &sum);
        if (status) return status;
    }
    *loss = counted && isfinite(sum) ? sum / (double)counted : NAN;
    return STATUS_OK;
}
