#include "train/loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "measure/scorer.h"
#include "model/block.h"

static const char *const names[] = {
    [LOSS_REVERSE_KL] = "rkl", [LOSS_FORWARD_KL] = "fkl", [LOSS_CROSS_ENTROPY] = "ce"};
enum { KINDS = sizeof names / sizeof *names };

const char *loss_name(enum loss_kind kind) {
    return names[kind];
}

enum status loss_from_name(enum loss_kind *out, const char *name) {
    for (int kind = 0; kind < KINDS; kind++)
        if (strcmp(name, names[kind]) == 0) {
            *out = (enum loss_kind)kind;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "there is no loss \"%s\"", name);
}

struct loss {
    const struct model *student, *teacher;
    struct train_loss settings;
    int chunk;
    struct acc *student_logits, *teacher_logits;             /* [chunk, V] */
    struct act *dlogits;                                     /* [chunk, V] */
    struct act *normed, *dnormed;                            /* [chunk, D] */
    struct acc *rstd, *teacher_rstd, *lse, *values, *weight; /* [chunk] */
    void *argmax, *target;                                   /* int32 [chunk] */
    double *host;                                            /* [chunk] */
    float *host_weight;                                      /* [chunk] */
    float *host_logits;                                      /* [chunk, V]; only for drawing */
    int32_t *host_target;                                    /* [chunk] */
    /* The teacher's side of batches that come again. */
    int64_t slots, slot_tokens;
    struct acc *kept_logits; /* [slots, slot_tokens, V] */
    struct acc *kept_lse;    /* [slots, slot_tokens] */
    bool *filled;            /* [slots] */
};

/* As the scorer's, but no more than there are tokens. */
static int chunk_of(const struct model *student, int64_t tokens) {
    int chunk = scorer_chunk(student);
    return tokens < chunk ? (int)tokens : chunk;
}

uint64_t loss_bytes(const struct model *student, int64_t tokens) {
    const struct backend *backend = student->backend;
    uint64_t vocabulary = (uint64_t)student->config->vocab_size;
    uint64_t width = (uint64_t)student->config->hidden_size;
    uint64_t acc = dtype_size(backend->acc), act = dtype_size(backend->act);
    return (uint64_t)chunk_of(student, tokens) * (vocabulary * (2 * acc + act) + 2 * width * act);
}

uint64_t loss_kept_bytes(const struct model *teacher, int64_t slots, int64_t tokens) {
    return (uint64_t)slots * (uint64_t)tokens * (uint64_t)(teacher->config->vocab_size + 1) *
           dtype_size(teacher->backend->acc);
}

static void drop_kept(struct loss *loss) {
    struct backend *backend = loss->student->backend;
    backend->free(backend, loss->kept_logits);
    backend->free(backend, loss->kept_lse);
    free(loss->filled);
    loss->kept_logits = loss->kept_lse = NULL;
    loss->filled = NULL;
    loss->slots = 0;
}

enum status loss_keep(struct loss *loss, int64_t slots, int64_t tokens) {
    struct backend *backend = loss->student->backend;
    size_t positions = (size_t)(slots * tokens), acc = dtype_size(backend->acc);
    size_t vocabulary = (size_t)loss->teacher->config->vocab_size;
    drop_kept(loss);
    loss->kept_logits = backend->alloc(backend, positions * vocabulary * acc, "teacher's logits");
    loss->kept_lse = backend->alloc(backend, positions * acc, "teacher's logits");
    loss->filled = memory_calloc((size_t)slots, sizeof *loss->filled);
    if (!loss->kept_logits || !loss->kept_lse || !loss->filled) return STATUS_FAILED;
    loss->slots = slots;
    loss->slot_tokens = tokens;
    return STATUS_OK;
}

/* Arrays on the backend. */
struct buffer {
    void **at;
    size_t bytes;
};
enum { BUFFERS = 12 };

static void list_buffers(struct buffer out[BUFFERS], struct loss *loss) {
    const struct backend *backend = loss->student->backend;
    size_t rows = (size_t)loss->chunk, acc = dtype_size(backend->acc);
    size_t act = dtype_size(backend->act);
    size_t vocabulary = (size_t)loss->student->config->vocab_size;
    size_t width = (size_t)loss->student->config->hidden_size;
    const struct buffer buffers[BUFFERS] = {
        {(void **)&loss->student_logits, rows * vocabulary * acc},
        {(void **)&loss->teacher_logits, loss->teacher ? rows * vocabulary * acc : 0},
        {(void **)&loss->dlogits, rows * vocabulary * act},
        {(void **)&loss->normed, rows * width * act},
        {(void **)&loss->dnormed, rows * width * act},
        {(void **)&loss->rstd, rows * acc},
        {(void **)&loss->teacher_rstd, rows * acc},
        {(void **)&loss->lse, rows * acc},
        {(void **)&loss->values, rows * acc},
        {(void **)&loss->weight, rows * acc},
        {&loss->argmax, rows * sizeof(int32_t)},
        {&loss->target, rows * sizeof(int32_t)},
    };
    memcpy(out, buffers, sizeof buffers);
}

static enum status allocate(struct loss *loss) {
    struct backend *backend = loss->student->backend;
    struct buffer buffers[BUFFERS];
    list_buffers(buffers, loss);
    for (int i = 0; i < BUFFERS; i++) {
        if (!buffers[i].bytes) continue;
        *buffers[i].at = backend->alloc(backend, buffers[i].bytes, "logits");
        if (!*buffers[i].at) return STATUS_FAILED;
    }
    loss->host = memory_calloc((size_t)loss->chunk, sizeof *loss->host);
    loss->host_weight = memory_calloc((size_t)loss->chunk, sizeof *loss->host_weight);
    return loss->host && loss->host_weight ? STATUS_OK : STATUS_FAILED;
}

enum status loss_open(struct loss **out, const struct model *student, const struct model *teacher,
                      const struct train_loss *settings, int64_t tokens) {
    struct loss *loss = memory_calloc(1, sizeof *loss);
    if (!loss) return STATUS_FAILED;
    loss->student = student;
    loss->teacher = teacher;
    loss->settings = *settings;
    loss->chunk = chunk_of(student, tokens);
    enum status status = allocate(loss);
    if (status)
        loss_close(loss);
    else
        *out = loss;
    return status;
}

void loss_close(struct loss *loss) {
    if (!loss) return;
    struct backend *backend = loss->student->backend;
    struct buffer buffers[BUFFERS];
    list_buffers(buffers, loss);
    for (int i = 0; i < BUFFERS; i++) backend->free(backend, *buffers[i].at);
    drop_kept(loss);
    free(loss->host);
    free(loss->host_weight);
    free(loss->host_logits);
    free(loss->host_target);
    free(loss);
}

/* Whether a position enters the loss. */
static bool enters(const struct loss *loss, const struct loss_batch *batch, int64_t t) {
    return (loss->settings.kind == LOSS_CROSS_ENTROPY && !batch->draw) || loss->settings.ce > 0
               ? batch->positions->target[t] >= 0
               : batch->positions->counted[t];
}

int64_t loss_count(const struct loss *loss, const struct loss_batch *batch) {
    int64_t counted = 0;
    for (int64_t t = 0; t < batch->positions->tokens; t++) counted += enters(loss, batch, t);
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
static enum status draw_targets(struct loss *loss, const struct loss_draw *from_stream,
                                int64_t from, int64_t rows) {
    struct backend *backend = loss->student->backend;
    int64_t vocabulary = loss->student->config->vocab_size;
    if (!loss->host_logits) {
        size_t chunk = (size_t)loss->chunk;
        loss->host_logits = memory_calloc(chunk * (size_t)vocabulary, sizeof *loss->host_logits);
        loss->host_target = memory_calloc(chunk, sizeof *loss->host_target);
        if (!loss->host_logits || !loss->host_target) return STATUS_FAILED;
    }
    backend->download(backend, loss->host_logits, DTYPE_F32, loss->student_logits, backend->acc,
                      (size_t)(rows * vocabulary));
    enum status status = backend->sync(backend);
    if (status) return status;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        uint64_t index = (uint64_t)(from_stream->first + from + i);
        loss->host_target[i] = draw(loss->host_logits + i * vocabulary, vocabulary,
                                    random_uniform(&from_stream->stream, index));
    }
    backend->upload_bytes(backend, loss->target, loss->host_target,
                          (size_t)rows * sizeof *loss->host_target);
    return STATUS_OK;
}

/* What the teacher says at positions [from, from + rows) of a batch. */
struct target {
    void *logits, *lse;
};

static struct target find_target(struct loss *loss, const struct loss_batch *batch, int64_t from,
                                 int64_t rows) {
    const struct model *teacher = loss->teacher;
    struct backend *backend = teacher->backend;
    int64_t vocabulary = teacher->config->vocab_size;
    size_t acc = dtype_size(backend->acc);
    struct target target = {loss->teacher_logits, loss->lse};
    if (batch->slot >= 0) {
        size_t position = (size_t)(batch->slot * loss->slot_tokens + from);
        target.logits = (char *)loss->kept_logits + position * (size_t)vocabulary * acc;
        target.lse = (char *)loss->kept_lse + position * acc;
        if (loss->filled[batch->slot]) return target;
    }
    model_logits(teacher, target.logits, loss->normed, loss->teacher_rstd,
                 acc_at(backend, batch->teacher, from * teacher->config->hidden_size), rows);
    backend->loss->logit_summary(backend, target.lse, loss->argmax, target.logits,
                                 loss->settings.temperature, rows, vocabulary);
    return target;
}

/* Targets of positions [from, from + rows) to the device, and weights that add up to `share` over
 * the whole step. */
static void upload_positions(struct loss *loss, const struct loss_batch *batch, int64_t from,
                             int64_t rows, double share, double denominator) {
    struct backend *backend = loss->student->backend;
    float scale = (float)(share / denominator);
    for (int64_t i = 0; i < rows; i++)
        loss->host_weight[i] = enters(loss, batch, from + i) ? scale : 0;
    backend->upload(backend, loss->weight, backend->acc, loss->host_weight, DTYPE_F32,
                    (size_t)rows);
    if (!batch->draw)
        backend->upload_bytes(backend, loss->target, batch->positions->target + from,
                              (size_t)rows * sizeof(int32_t));
}

/* Some positions of a batch, from `from` on; their states begin at `student` and `dh`. */
struct loss_part {
    const struct loss_batch *batch;
    int64_t from, rows;
    const struct acc *student;
    struct acc *dh;
    double denominator;
    const struct loss_sink *sink;
};

/* `share` of a loss of one kind, from the logits that are there: its gradient is added, and what
 * it adds to the loss goes into `*sum`. */
static enum status add_loss(struct loss *loss, double *sum, const struct loss_part *part,
                            enum loss_kind kind, double share, const struct target *target) {
    const struct model *model = loss->student;
    struct backend *backend = model->backend;
    int64_t width = model->config->hidden_size, vocabulary = model->config->vocab_size;
    int64_t rows = part->rows;
    upload_positions(loss, part->batch, part->from, rows, share, part->denominator);
    backend->loss->distill_loss(backend, loss->values, loss->dlogits, kind,
                                loss->settings.temperature, loss->student_logits, target->logits,
                                target->lse, loss->target, loss->weight, rows, vocabulary);
    backend->products->matmul_backward_input(backend, into_act(loss->dnormed), loss->dlogits,
                                             model->head, rows, vocabulary, width);
    if (part->sink->head) /* normed is the student's: its logits came last */
        backend->products->matmul_backward_weight(backend, part->sink->head, loss->dlogits,
                                                  loss->normed, width, rows, vocabulary, width);
    backend->norm->rmsnorm_backward(backend, part->dh, part->sink->norm, loss->dnormed,
                                    part->student, model->final_norm, loss->rstd, rows, width);
    backend->download(backend, loss->host, DTYPE_F64, loss->values, backend->acc, (size_t)rows);
    enum status status = backend->sync(backend);
    for (int64_t i = 0; !status && i < rows; i++)
        if (enters(loss, part->batch, part->from + i)) *sum += share * loss->host[i];
    return status;
}

static enum status run_part(struct loss *loss, double *sum, const struct loss_part *part) {
    const struct loss_batch *batch = part->batch;
    const double ce = loss->settings.ce;
    struct target target = {0};
    if (loss->teacher) target = find_target(loss, batch, part->from, part->rows);
    model_logits(loss->student, loss->student_logits, loss->normed, loss->rstd, part->student,
                 part->rows);
    enum status status = STATUS_OK;
    if (batch->draw) status = draw_targets(loss, batch->draw, part->from, part->rows);
    if (!status && ce < 1) status = add_loss(loss, sum, part, loss->settings.kind, 1 - ce, &target);
    if (!status && ce > 0) status = add_loss(loss, sum, part, LOSS_CROSS_ENTROPY, ce, &target);
    return status;
}

enum status loss_run(struct loss *loss, double *sum, struct acc *dh, const struct acc *student,
                     const struct loss_batch *batch, double denominator,
                     const struct loss_sink *sink) {
    struct backend *backend = loss->student->backend;
    const struct positions *positions = batch->positions;
    int64_t width = loss->student->config->hidden_size;
    backend->zero(backend, dh, (size_t)(positions->tokens * width) * dtype_size(backend->acc));
    *sum = 0;
    for (int64_t from = 0; from < positions->tokens; from += loss->chunk) {
        int64_t rows = positions->tokens - from;
        if (rows > loss->chunk) rows = loss->chunk;
        if (!positions_any(positions, from, from + rows)) continue;
        enum status status = interrupt_check();
        if (status) return status;
        const struct loss_part part = {batch,
                                       from,
                                       rows,
                                       acc_at(backend, student, from * width),
                                       acc_at(backend, dh, from * width),
                                       denominator,
                                       sink};
        status = run_part(loss, sum, &part);
        if (status) return status;
    }
    if (batch->slot >= 0) loss->filled[batch->slot] = true;
    if (!isfinite(*sum)) *sum = NAN;
    return STATUS_OK;
}
