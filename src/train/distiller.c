#include "train/distiller.h"

#include <math.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "measure/scorer.h"
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
    void *head_gradient, *norm_gradient;             /* of the student; NULL: frozen */
    bool draws; /* targets come from the student's own prediction */
    struct random_stream stream;
    int64_t stream_first;
    float *host_logits;   /* [chunk, V]; only for drawing */
    int32_t *host_target; /* [chunk] */
    /* The teacher's side of batches that come again. */
    int64_t slots, slot_tokens;
    void *kept_logits; /* acc [slots, slot_tokens, V] */
    void *kept_lse;    /* acc [slots, slot_tokens] */
    bool *filled;      /* [slots] */
};

/* As the scorer's, but no more than there are tokens. */
static int chunk_of(const struct model *student, int64_t tokens) {
    int chunk = scorer_chunk(student);
    return tokens < chunk ? (int)tokens : chunk;
}

uint64_t distiller_bytes(const struct model *student, int64_t tokens) {
    const struct backend *backend = student->backend;
    uint64_t vocabulary = (uint64_t)student->config->vocab_size;
    uint64_t width = (uint64_t)student->config->hidden_size;
    uint64_t acc = dtype_size(backend->acc), act = dtype_size(backend->act);
    return (uint64_t)chunk_of(student, tokens) * (vocabulary * (2 * acc + act) + 2 * width * act);
}

uint64_t distiller_kept_bytes(const struct model *teacher, int64_t slots, int64_t tokens) {
    return (uint64_t)slots * (uint64_t)tokens * (uint64_t)(teacher->config->vocab_size + 1) *
           dtype_size(teacher->backend->acc);
}

static void drop_kept(struct distiller *distiller) {
    struct backend *backend = distiller->student->backend;
    backend->free(backend, distiller->kept_logits);
    backend->free(backend, distiller->kept_lse);
    free(distiller->filled);
    distiller->kept_logits = distiller->kept_lse = NULL;
    distiller->filled = NULL;
    distiller->slots = 0;
}

enum status distiller_keep(struct distiller *distiller, int64_t slots, int64_t tokens) {
    struct backend *backend = distiller->student->backend;
    size_t positions = (size_t)(slots * tokens), acc = dtype_size(backend->acc);
    size_t vocabulary = (size_t)distiller->teacher->config->vocab_size;
    drop_kept(distiller);
    distiller->kept_logits =
        backend->alloc(backend, positions * vocabulary * acc, "teacher's logits");
    distiller->kept_lse = backend->alloc(backend, positions * acc, "teacher's logits");
    distiller->filled = memory_calloc((size_t)slots, sizeof *distiller->filled);
    if (!distiller->kept_logits || !distiller->kept_lse || !distiller->filled) return STATUS_FAILED;
    distiller->slots = slots;
    distiller->slot_tokens = tokens;
    return STATUS_OK;
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
        {&distiller->teacher_logits, distiller->teacher ? rows * vocabulary * acc : 0},
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
        if (!buffers[i].bytes) continue;
        *buffers[i].to = backend->alloc(backend, buffers[i].bytes, "logits");
        if (!*buffers[i].to) return STATUS_FAILED;
    }
    distiller->host = memory_calloc(rows, sizeof *distiller->host);
    distiller->host_weight = memory_calloc(rows, sizeof *distiller->host_weight);
    return distiller->host && distiller->host_weight ? STATUS_OK : STATUS_FAILED;
}

enum status distiller_open(struct distiller **out, const struct model *student,
                           const struct model *teacher, enum loss_kind loss, double temperature,
                           int64_t tokens) {
    struct distiller *distiller = memory_calloc(1, sizeof *distiller);
    if (!distiller) return STATUS_FAILED;
    distiller->student = student;
    distiller->teacher = teacher;
    distiller->kind = loss;
    distiller->temperature = temperature;
    distiller->chunk = chunk_of(student, tokens);
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
    drop_kept(distiller);
    free(distiller->host);
    free(distiller->host_weight);
    free(distiller->host_logits);
    free(distiller->host_target);
    free(distiller);
}

void distiller_train(struct distiller *distiller, void *head_gradient, void *norm_gradient) {
    distiller->head_gradient = head_gradient;
    distiller->norm_gradient = norm_gradient;
}

void distiller_draw_targets(struct distiller *distiller, const struct random_stream *stream,
                            int64_t first) {
    distiller->draws = true;
    distiller->stream = *stream;
    distiller->stream_first = first;
}

/* Whether a position enters the loss. */
static bool enters(const struct distiller *distiller, const struct positions *positions,
                   int64_t t) {
    return distiller->kind == LOSS_CROSS_ENTROPY && !distiller->draws ? positions->target[t] >= 0
                                                                      : positions->counted[t];
}

int64_t distiller_counted(const struct distiller *distiller, const struct positions *positions) {
    int64_t counted = 0;
    for (int64_t t = 0; t < positions->tokens; t++) counted += enters(distiller, positions, t);
    return counted;
}

/* The first token at which the cumulative probability reaches u. */
static int32_t draw(const float *logits, int64_t vocabulary, double u) {
    float largest = logits[0];
    for (int64_t v = 1; v < vocabulary; v++) largest = logits[v] > largest ? logits[v] : largest;
    double total = 0, sum = 0;
    for (int64_t v = 0; v < vocabulary; v++) total += (double)expf(logits[v] - largest);
    for (int64_t v = 0; v < vocabulary; v++) {
        sum += (double)expf(logits[v] - largest);
        if (sum >= u * total) return (int32_t)v;
    }
    return (int32_t)(vocabulary - 1);
}

/* A target for each of the chunk's rows, the first of which is position `from`. */
static enum status draw_targets(struct distiller *distiller, int64_t from, int64_t rows) {
    struct backend *backend = distiller->student->backend;
    int64_t vocabulary = distiller->student->config->vocab_size;
    if (!distiller->host_logits) {
        size_t chunk = (size_t)distiller->chunk;
        distiller->host_logits =
            memory_calloc(chunk * (size_t)vocabulary, sizeof *distiller->host_logits);
        distiller->host_target = memory_calloc(chunk, sizeof *distiller->host_target);
        if (!distiller->host_logits || !distiller->host_target) return STATUS_FAILED;
    }
    backend->download(backend, distiller->host_logits, DTYPE_F32, distiller->student_logits,
                      backend->acc, (size_t)(rows * vocabulary));
    enum status status = backend->sync(backend);
    if (status) return status;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        uint64_t index = (uint64_t)(distiller->stream_first + from + i);
        distiller->host_target[i] = draw(distiller->host_logits + i * vocabulary, vocabulary,
                                         random_uniform(&distiller->stream, index));
    }
    backend->upload_bytes(backend, distiller->target, distiller->host_target,
                          (size_t)rows * sizeof *distiller->host_target);
    return STATUS_OK;
}

/* What the teacher says at positions [from, from + rows) of a batch. */
struct target {
    void *logits, *lse;
};

static struct target find_target(struct distiller *distiller, int64_t slot, int64_t from,
                                 int64_t rows, const void *hidden) {
    const struct model *teacher = distiller->teacher;
    struct backend *backend = teacher->backend;
    int64_t vocabulary = teacher->config->vocab_size;
    struct target target = {distiller->teacher_logits, distiller->lse};
    if (slot >= 0) {
        size_t position = (size_t)(slot * distiller->slot_tokens + from);
        size_t acc = dtype_size(backend->acc);
        target.logits = (char *)distiller->kept_logits + position * (size_t)vocabulary * acc;
        target.lse = (char *)distiller->kept_lse + position * acc;
        if (distiller->filled[slot]) return target;
    }
    model_logits(teacher, target.logits, distiller->normed, distiller->teacher_rstd, hidden, rows);
    backend->logit_summary(backend, target.lse, distiller->argmax, target.logits,
                           distiller->temperature, rows, vocabulary);
    return target;
}

static enum status run_chunk(struct distiller *distiller, const struct positions *positions,
                             int64_t slot, int64_t from, int64_t rows, double scale,
                             const void *student, const void *teacher, void *dh, double *sum) {
    const struct model *model = distiller->student;
    struct backend *backend = model->backend;
    int64_t width = model->config->hidden_size, vocabulary = model->config->vocab_size;
    for (int64_t i = 0; i < rows; i++)
        distiller->host_weight[i] = enters(distiller, positions, from + i) ? (float)scale : 0;
    backend->upload(backend, distiller->weight, backend->acc, distiller->host_weight, DTYPE_F32,
                    (size_t)rows);
    backend->upload_bytes(backend, distiller->target, positions->target + from,
                          (size_t)rows * sizeof(int32_t));
    struct target target = {0};
    if (distiller->teacher) target = find_target(distiller, slot, from, rows, teacher);
    model_logits(model, distiller->student_logits, distiller->normed, distiller->rstd, student,
                 rows);
    enum status status = STATUS_OK;
    if (distiller->draws) status = draw_targets(distiller, from, rows);
    if (status) return status;
    backend->distill_loss(backend, distiller->loss, distiller->dlogits, distiller->kind,
                          distiller->temperature, distiller->student_logits, target.logits,
                          target.lse, distiller->target, distiller->weight, rows, vocabulary);
    backend->matmul_backward_input(backend, distiller->dnormed, backend->act, distiller->dlogits,
                                   model->head, false, rows, vocabulary, width);
    if (distiller->head_gradient) /* normed is the student's: its logits came last */
        backend->matmul_backward_weight(backend, distiller->head_gradient, distiller->dlogits,
                                        distiller->normed, width, rows, vocabulary, width);
    backend->rmsnorm_backward(backend, dh, distiller->norm_gradient, distiller->dnormed, student,
                              model->final_norm, distiller->rstd, rows, width);
    backend->download(backend, distiller->host, DTYPE_F64, distiller->loss, backend->acc,
                      (size_t)rows);
    status = backend->sync(backend);
    for (int64_t i = 0; !status && i < rows; i++)
        if (enters(distiller, positions, from + i)) *sum += distiller->host[i];
    return status;
}

enum status distiller_run(struct distiller *distiller, const struct positions *positions,
                          int64_t slot, const void *student, const void *teacher, void *dh,
                          double *loss) {
    struct backend *backend = distiller->student->backend;
    size_t size = dtype_size(backend->acc);
    int64_t student_width = distiller->student->config->hidden_size;
    int64_t teacher_width = distiller->teacher ? distiller->teacher->config->hidden_size : 0;
    int64_t counted = distiller_counted(distiller, positions);
    backend->zero(backend, dh, (size_t)(positions->tokens * student_width) * size);
    double sum = 0;
    for (int64_t from = 0; from < positions->tokens; from += distiller->chunk) {
        int64_t rows = positions->tokens - from;
        if (rows > distiller->chunk) rows = distiller->chunk;
        if (!positions_any(positions, from, from + rows)) continue;
        enum status status = interrupt_check();
        if (status) return status;
        status = run_chunk(distiller, positions, slot, from, rows, 1 / (double)counted,
                           (const char *)student + (size_t)(from * student_width) * size,
                           teacher ? (const char *)teacher + (size_t)(from * teacher_width) * size
                                   : NULL,
                           (char *)dh + (size_t)(from * student_width) * size, &sum);
        if (status) return status;
    }
    if (slot >= 0) distiller->filled[slot] = true;
    *loss = counted && isfinite(sum) ? sum / (double)counted : NAN;
    return STATUS_OK;
}
