#include "analysis/scorer.h"

#include <math.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "model/block.h"

struct scorer {
    const struct model *teacher, *student;
    int chunk;                     /* predictions at a time */
    void *gathered;                /* acc [chunk, D] of scattered tokens */
    void *teacher_logits, *logits; /* acc [chunk, V] */
    void *normed;                  /* act [chunk, D] */
    void *rstd, *lse;              /* acc [chunk] */
    int32_t *argmax, *target;      /* device [chunk] */
    void *branch_lse;              /* acc [chunk] */
    int32_t *branch_argmax;        /* device [chunk] */
    void *values[METRIC_COUNT];    /* acc [chunk] */
    double *host;                  /* [METRIC_COUNT][chunk] */
    int32_t *host_argmax;          /* [chunk] */
    bool keep_nonfinite;
};

/* One chunk of the predictions, and where its results go. */
struct part {
    const struct predictions *predictions;
    int64_t from, count;
    double *sums;    /* [slots][METRIC_COUNT] */
    int64_t *greedy; /* [slots], or NULL */
};

int scorer_chunk(const struct model *model) {
    bool on_cpu = model->backend->act == model->backend->acc;
    int64_t elements = INT64_C(1) << (on_cpu ? 24 : 28);
    int64_t rows = elements / model->config->vocab_size / 64 * 64;
    return rows < 64 ? 64 : rows > 2048 ? 2048 : (int)rows;
}

void scorer_keep_nonfinite(struct scorer *scorer) {
    scorer->keep_nonfinite = true;
}

uint64_t scorer_bytes(const struct model *model) {
    uint64_t per_row = 2 * (uint64_t)model->config->vocab_size * dtype_size(model->backend->acc);
    uint64_t per_element = dtype_size(model->backend->act) + dtype_size(model->backend->acc);
    return (uint64_t)scorer_chunk(model) *
           (per_row + (uint64_t)model->config->hidden_size * per_element);
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
        {&scorer->gathered, rows * (size_t)width * acc},
        {&scorer->normed, rows * (size_t)width * dtype_size(backend->act)},
        {&scorer->rstd, rows * acc},
        {&scorer->lse, rows * acc},
        {(void **)&scorer->argmax, rows * sizeof(int32_t)},
        {(void **)&scorer->target, rows * sizeof(int32_t)},
        {&scorer->branch_lse, rows * acc},
        {(void **)&scorer->branch_argmax, rows * sizeof(int32_t)},
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
    scorer->host_argmax = memory_calloc(rows, sizeof *scorer->host_argmax);
    return scorer->host && scorer->host_argmax ? STATUS_OK : STATUS_FAILED;
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
    backend->free(backend, scorer->gathered);
    backend->free(backend, scorer->normed);
    backend->free(backend, scorer->rstd);
    backend->free(backend, scorer->lse);
    backend->free(backend, scorer->argmax);
    backend->free(backend, scorer->target);
    backend->free(backend, scorer->branch_lse);
    backend->free(backend, scorer->branch_argmax);
    for (int m = 0; m < METRIC_COUNT; m++) backend->free(backend, scorer->values[m]);
    free(scorer->host);
    free(scorer->host_argmax);
    free(scorer);
}

/* The hidden states of a part's tokens, one after another: a pointer into `hidden` acc [tokens, D]
 * when they are that already, else copies, run by run. */
static const void *gather(struct scorer *scorer, const struct part *part, const void *hidden,
                          int width) {
    struct backend *backend = scorer->student->backend;
    const int64_t *token = part->predictions->token + part->from;
    size_t bytes = (size_t)width * dtype_size(backend->acc);
    for (int64_t first = 0, end; first < part->count; first = end) {
        end = first + 1;
        while (end < part->count && token[end] == token[end - 1] + 1) end++;
        const char *from = (const char *)hidden + (size_t)token[first] * bytes;
        if (end - first == part->count) return from;
        backend->copy(backend, (char *)scorer->gathered + (size_t)first * bytes, from,
                      (size_t)(end - first) * bytes);
    }
    return scorer->gathered;
}

/* Logits of the part's tokens under a model's head. */
static void compute_logits(struct scorer *scorer, const struct model *model, void *logits,
                           const struct part *part, const void *hidden) {
    const void *rows = gather(scorer, part, hidden, model->config->hidden_size);
    model_logits(model, logits, scorer->normed, scorer->rstd, rows, part->count);
}

/* The first choices of a part's logits to the host. The teacher's are there; a branch's go where
 * they leave the teacher's summary alone, which later branches need. */
static void download_choices(struct scorer *scorer, const struct part *part, const void *logits) {
    struct backend *backend = scorer->student->backend;
    int32_t *argmax = scorer->argmax;
    if (logits != scorer->teacher_logits) {
        argmax = scorer->branch_argmax;
        backend->logit_summary(backend, scorer->branch_lse, argmax, logits, 1, part->count,
                               scorer->student->config->vocab_size);
    }
    backend->download_bytes(backend, scorer->host_argmax, argmax,
                            (size_t)part->count * sizeof *argmax);
}

/* Compare a part's logits with the teacher's and add them up by slot. */
static enum status add_part(struct scorer *scorer, const struct part *part, const void *logits) {
    struct backend *backend = scorer->student->backend;
    const struct predictions *predictions = part->predictions;
    void **values = scorer->values;
    int vocabulary = scorer->student->config->vocab_size;
    backend->compare_logits(backend, values[METRIC_KL], values[METRIC_RKL], values[METRIC_CE],
                            values[METRIC_TOP1], scorer->teacher_logits, scorer->lse,
                            scorer->argmax, logits, scorer->target, part->count, vocabulary);
    for (int m = 0; m < METRIC_COUNT; m++)
        backend->download(backend, scorer->host + m * scorer->chunk, DTYPE_F64, values[m],
                          backend->acc, (size_t)part->count);
    if (part->greedy) download_choices(scorer, part, logits);
    enum status status = backend->sync(backend);
    if (status) return status;
    for (int64_t i = 0; i < part->count; i++) {
        int64_t p = part->from + i;
        int32_t slot = predictions->slot[p], target = predictions->target[p];
        double *sum = part->sums + (int64_t)slot * METRIC_COUNT;
        for (int m = 0; m < METRIC_COUNT; m++) {
            bool counts = m == METRIC_CE ? target >= 0 : predictions->counted[p];
            double value = scorer->host[m * scorer->chunk + i];
            if (counts && !isfinite(value) && !scorer->keep_nonfinite)
                return status_fail("%s is not finite at token %lld of the batch", metric_name(m),
                                   (long long)predictions->token[p]);
            if (counts) sum[m] += isfinite(value) ? value : NAN;
        }
        if (part->greedy) part->greedy[slot] += target >= 0 && scorer->host_argmax[i] == target;
    }
    return STATUS_OK;
}

/* One chunk of the teacher and of every branch. */
static enum status score_part(struct scorer *scorer, struct part part, const void *teacher,
                              const void *branch, int64_t stride, int branches) {
    struct backend *backend = scorer->student->backend;
    size_t size = dtype_size(backend->acc), slots = (size_t)part.predictions->slots;
    backend->upload_bytes(backend, scorer->target, part.predictions->target + part.from,
                          (size_t)part.count * sizeof(int32_t));
    compute_logits(scorer, scorer->teacher, scorer->teacher_logits, &part, teacher);
    backend->logit_summary(backend, scorer->lse, scorer->argmax, scorer->teacher_logits, 1,
                           part.count, scorer->teacher->config->vocab_size);
    enum status status = add_part(scorer, &part, scorer->teacher_logits);
    for (int b = 0; !status && b < branches; b++) {
        part.sums += slots * METRIC_COUNT;
        if (part.greedy) part.greedy += slots;
        compute_logits(scorer, scorer->student, scorer->logits, &part,
                       (const char *)branch + (size_t)(b * stride) * size);
        status = add_part(scorer, &part, scorer->logits);
    }
    return status;
}

enum status scorer_score(struct scorer *scorer, const struct predictions *predictions,
                         const void *teacher, const void *branch, int64_t stride, int branches,
                         double *sums, int64_t *greedy) {
    size_t entries = (size_t)(branches + 1) * (size_t)predictions->slots;
    for (size_t i = 0; i < entries * METRIC_COUNT; i++) sums[i] = 0;
    for (size_t i = 0; greedy && i < entries; i++) greedy[i] = 0;
    enum status status = STATUS_OK;
    for (int64_t from = 0; !status && from < predictions->count; from += scorer->chunk) {
        int64_t count = predictions->count - from;
        if (count > scorer->chunk) count = scorer->chunk;
        if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
        struct part part = {predictions, from, count, sums, greedy};
        status = score_part(scorer, part, teacher, branch, stride, branches);
    }
    return status;
}

enum status scorer_score_positions(struct scorer *scorer, const struct positions *positions,
                                   const void *teacher, const void *branch, int64_t stride,
                                   int branches, double *sums) {
    struct predictions predictions;
    enum status status = predictions_of_positions(&predictions, positions);
    if (!status)
        status = scorer_score(scorer, &predictions, teacher, branch, stride, branches, sums, NULL);
    predictions_free(&predictions);
    return status;
}
