#include "measure/scorer.h"

#include <math.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/loss.h"
#include "model/block.h"

struct scorer {
    const struct model *teacher, *student;
    int chunk;                           /* predictions at a time */
    struct acc *gathered;                /* [chunk, D] of scattered tokens */
    struct acc *teacher_logits, *logits; /* [chunk, V] */
    struct act *normed;                  /* [chunk, D] */
    struct acc *rstd, *lse;              /* [chunk] */
    int32_t *argmax, *target;            /* device [chunk] */
    struct acc *branch_lse;              /* [chunk] */
    int32_t *branch_argmax;              /* device [chunk] */
    int held_most;                       /* branches whose values wait for one download */
    char *values;                        /* acc [held_most][METRIC_COUNT][chunk] */
    double *host;                        /* likewise */
    int32_t *host_argmax;                /* [chunk] */
    bool keep_nonfinite;
    int held;    /* branches whose values are on the device */
    int *branch; /* [held_most]: which, 0: the teacher */
};

/* A download waits for the device, so there one serves many branches; on the CPU the values had
 * better be used while they are in its caches. */
static int most_held(const struct model *model) {
    return model->backend->discrete ? 64 : 1;
}

/* One chunk of the predictions, and where its results go. */
struct part {
    const struct predictions *predictions;
    int64_t from, count;
    double *sums;    /* [1 + branches][slots][METRIC_COUNT] */
    int64_t *greedy; /* [1 + branches][slots], or NULL */
};

int scorer_chunk(const struct model *model) {
    int64_t elements = INT64_C(1) << (model->backend->discrete ? 28 : 26);
    int64_t rows = elements / model->config->vocab_size / 64 * 64;
    return rows < 64 ? 64 : rows > 2048 ? 2048 : (int)rows;
}

void scorer_keep_nonfinite(struct scorer *scorer) {
    scorer->keep_nonfinite = true;
}

uint64_t scorer_bytes(const struct model *model) {
    uint64_t values =
        2 * (uint64_t)model->config->vocab_size + (uint64_t)most_held(model) * METRIC_COUNT;
    uint64_t per_row = values * dtype_size(model->backend->acc);
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
    size_t values = (size_t)scorer->held_most * METRIC_COUNT * rows;
    struct {
        void **to;
        size_t bytes;
    } buffers[] = {
        {(void **)&scorer->teacher_logits, logits},
        {(void **)&scorer->logits, logits},
        {(void **)&scorer->gathered, rows * (size_t)width * acc},
        {(void **)&scorer->normed, rows * (size_t)width * dtype_size(backend->act)},
        {(void **)&scorer->rstd, rows * acc},
        {(void **)&scorer->lse, rows * acc},
        {(void **)&scorer->argmax, rows * sizeof(int32_t)},
        {(void **)&scorer->target, rows * sizeof(int32_t)},
        {(void **)&scorer->branch_lse, rows * acc},
        {(void **)&scorer->branch_argmax, rows * sizeof(int32_t)},
        {(void **)&scorer->values, values * acc},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].to = backend->alloc(backend, buffers[i].bytes, "logits");
        if (!*buffers[i].to) return STATUS_FAILED;
    }
    scorer->host = memory_calloc(values, sizeof *scorer->host);
    scorer->host_argmax = memory_calloc(rows, sizeof *scorer->host_argmax);
    scorer->branch = memory_calloc((size_t)scorer->held_most, sizeof *scorer->branch);
    return scorer->host && scorer->host_argmax && scorer->branch ? STATUS_OK : STATUS_FAILED;
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
    scorer->held_most = most_held(student);
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
    backend->free(backend, scorer->values);
    free(scorer->host);
    free(scorer->branch);
    free(scorer->host_argmax);
    free(scorer);
}

/* The hidden states of a part's tokens, one after another: where `source` has them when they are
 * neighbours, else copies, run by run. */
static const void *gather(struct scorer *scorer, const struct part *part,
                          const struct scorer_source *source, int branch, int width) {
    struct backend *backend = scorer->student->backend;
    const int64_t *token = part->predictions->token + part->from;
    size_t bytes = (size_t)width * dtype_size(backend->acc);
    for (int64_t first = 0, end; first < part->count; first = end) {
        end = first + 1;
        while (end < part->count && token[end] == token[end - 1] + 1) end++;
        const void *from = source->rows(source->context, branch, token[first], end - first);
        if (end - first == part->count) return from;
        backend->copy(backend, (char *)scorer->gathered + (size_t)first * bytes, from,
                      (size_t)(end - first) * bytes);
    }
    return scorer->gathered;
}

/* Logits of the part's tokens under a model's head. */
static void compute_logits(struct scorer *scorer, const struct model *model, void *logits,
                           const struct part *part, const struct scorer_source *source,
                           int branch) {
    const void *rows = gather(scorer, part, source, branch, model->config->hidden_size);
    model_logits(model, logits, scorer->normed, scorer->rstd, rows, part->count);
}

/* The first choices of a part's logits to the host. The teacher's are there; a branch's go where
 * they leave the teacher's summary alone, which later branches need. */
static void download_choices(struct scorer *scorer, const struct part *part, const void *logits) {
    struct backend *backend = scorer->student->backend;
    int32_t *argmax = scorer->argmax;
    if (logits != scorer->teacher_logits) {
        argmax = scorer->branch_argmax;
        backend->loss->logit_summary(backend, scorer->branch_lse, argmax, logits, 1, part->count,
                                     scorer->student->config->vocab_size);
    }
    backend->download_bytes(backend, scorer->host_argmax, argmax,
                            (size_t)part->count * sizeof *argmax);
}

/* Add one branch's values of a part up by slot. */
static enum status add_values(const struct scorer *scorer, const struct part *part, int branch,
                              const double *values) {
    const struct predictions *predictions = part->predictions;
    int64_t entry = (int64_t)branch * predictions->slots;
    for (int64_t i = 0; i < part->count; i++) {
        int64_t p = part->from + i, slot = entry + predictions->slot[p];
        int32_t target = predictions->target[p];
        double *sum = part->sums + slot * METRIC_COUNT;
        for (int m = 0; m < METRIC_COUNT; m++) {
            bool counts = m == METRIC_CE ? target >= 0 : predictions->counted[p];
            double value = values[m * scorer->chunk + i];
            if (counts && !isfinite(value) && !scorer->keep_nonfinite)
                return status_fail("%s is not finite at token %lld of the batch", metric_name(m),
                                   (long long)predictions->token[p]);
            if (counts) sum[m] += isfinite(value) ? value : NAN;
        }
        if (part->greedy) part->greedy[slot] += target >= 0 && scorer->host_argmax[i] == target;
    }
    return STATUS_OK;
}

/* Fetch and add up what is held on the device. */
static enum status fetch(struct scorer *scorer, const struct part *part) {
    struct backend *backend = scorer->student->backend;
    size_t size = (size_t)METRIC_COUNT * (size_t)scorer->chunk;
    if (scorer->held == 0) return STATUS_OK;
    backend->download(backend, scorer->host, DTYPE_F64, scorer->values, backend->acc,
                      (size_t)scorer->held * size);
    enum status status = backend->sync(backend);
    for (int i = 0; !status && i < scorer->held; i++)
        status = add_values(scorer, part, scorer->branch[i], scorer->host + (size_t)i * size);
    scorer->held = 0;
    return status;
}

/* Compare a part's logits with the teacher's. */
static enum status compare(struct scorer *scorer, const struct part *part, int branch,
                           const void *logits) {
    struct backend *backend = scorer->student->backend;
    struct acc *metric[METRIC_COUNT];
    for (int m = 0; m < METRIC_COUNT; m++)
        metric[m] = acc_at(backend, (struct acc *)scorer->values,
                           ((int64_t)scorer->held * METRIC_COUNT + m) * scorer->chunk);
    backend->loss->compare_logits(backend, metric[METRIC_KL], metric[METRIC_RKL], metric[METRIC_CE],
                                  metric[METRIC_TOP1], scorer->teacher_logits, scorer->lse,
                                  scorer->argmax, logits, scorer->target, part->count,
                                  scorer->student->config->vocab_size);
    scorer->branch[scorer->held++] = branch;
    if (part->greedy) download_choices(scorer, part, logits);
    return part->greedy || scorer->held == scorer->held_most ? fetch(scorer, part) : STATUS_OK;
}

/* One chunk of the teacher and of every branch. */
static enum status score_part(struct scorer *scorer, const struct part *part,
                              const struct scorer_source *teacher,
                              const struct scorer_source *source) {
    struct backend *backend = scorer->student->backend;
    backend->upload_bytes(backend, scorer->target, part->predictions->target + part->from,
                          (size_t)part->count * sizeof(int32_t));
    compute_logits(scorer, scorer->teacher, scorer->teacher_logits, part, teacher, 0);
    backend->loss->logit_summary(backend, scorer->lse, scorer->argmax, scorer->teacher_logits, 1,
                                 part->count, scorer->teacher->config->vocab_size);
    enum status status = compare(scorer, part, 0, scorer->teacher_logits);
    for (int b = 0; !status && b < source->branches; b++) {
        status = interrupt_check();
        if (status) break;
        progress_within(((double)part->from + part->count * (b + 1.0) / (source->branches + 1)) /
                            (double)part->predictions->count,
                        "scores");
        compute_logits(scorer, scorer->student, scorer->logits, part, source, b);
        status = compare(scorer, part, b + 1, scorer->logits);
    }
    return status ? status : fetch(scorer, part);
}

/* Branches one after another in one array. */
struct array {
    const char *hidden;
    size_t branch_bytes, token_bytes;
};

static const void *array_rows(void *context, int branch, int64_t from, int64_t rows) {
    const struct array *array = context;
    (void)rows;
    return array->hidden + (size_t)branch * array->branch_bytes + (size_t)from * array->token_bytes;
}

enum status scorer_score_from(struct scorer *scorer, const struct predictions *predictions,
                              const void *teacher, const struct scorer_source *source, double *sums,
                              int64_t *greedy) {
    size_t entries = (size_t)(source->branches + 1) * (size_t)predictions->slots;
    size_t size = dtype_size(scorer->teacher->backend->acc);
    struct array array = {.hidden = teacher,
                          .token_bytes = (size_t)scorer->teacher->config->hidden_size * size};
    struct scorer_source trunk = {.rows = array_rows, .context = &array};
    for (size_t i = 0; i < entries * METRIC_COUNT; i++) sums[i] = 0;
    for (size_t i = 0; greedy && i < entries; i++) greedy[i] = 0;
    enum status status = STATUS_OK;
    scorer->held = 0;
    for (int64_t from = 0; !status && from < predictions->count; from += scorer->chunk) {
        int64_t count = predictions->count - from;
        if (count > scorer->chunk) count = scorer->chunk;
        status = interrupt_check();
        if (status) break;
        struct part part = {predictions, from, count, sums, greedy};
        status = score_part(scorer, &part, &trunk, source);
    }
    return status;
}

enum status scorer_score(struct scorer *scorer, const struct predictions *predictions,
                         const void *teacher, const void *branch, int64_t stride, int branches,
                         double *sums, int64_t *greedy) {
    const struct model *model = scorer->student;
    size_t size = dtype_size(model->backend->acc);
    struct array array = {.hidden = branch,
                          .branch_bytes = (size_t)stride * size,
                          .token_bytes = (size_t)model->config->hidden_size * size};
    struct scorer_source source = {.branches = branches, .rows = array_rows, .context = &array};
    return scorer_score_from(scorer, predictions, teacher, &source, sums, greedy);
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
