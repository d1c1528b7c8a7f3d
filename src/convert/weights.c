/* The weights of a hybrid, tensor by tensor of its files, in bounded memory. */
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/writer.h"
#include "convert/convert_internal.h"
#include "convert/fold.h"
#include "mixers/attention/attention.h"
#include "mixers/fit.h"

/* ---- which tensors the files have */

static struct convert_stored *stored_for(struct convert_job *job, const char *name) {
    struct convert_stored *last = job->n_stored ? &job->stored[job->n_stored - 1] : NULL;
    if (last && strcmp(last->name, name) == 0) return last;
    return &job->stored[job->n_stored++];
}

static void add_piece(struct convert_job *job, size_t tensor, int piece) {
    const struct tensor_spec *spec = &job->tensors[tensor].spec;
    struct convert_stored *stored = stored_for(job, spec->pieces[piece].name);
    int index = stored->n_pieces++;
    stored->name = spec->pieces[piece].name;
    stored->rank = spec->rank;
    memcpy(stored->shape, spec->pieces[piece].shape, sizeof stored->shape);
    stored->pieces[index].tensor = tensor;
    stored->pieces[index].piece = piece;
    enum dtype dtype = job->tensors[tensor].dtype;
    if (index && dtype != stored->dtype) dtype = DTYPE_F32; /* holds both */
    stored->dtype = dtype;
}

enum status convert_list_stored(struct convert_job *job) {
    job->stored = memory_calloc(job->count * TENSOR_MAX_PIECES, sizeof *job->stored);
    if (!job->stored) return STATUS_FAILED;
    for (size_t i = 0; i < job->count; i++)
        for (int p = 0; p < job->tensors[i].spec.n_pieces; p++) add_piece(job, i, p);
    for (size_t i = 0; i < job->n_stored; i++) {
        const struct convert_stored *stored = &job->stored[i];
        uint64_t bytes = dtype_size(stored->dtype);
        for (int k = 0; k < stored->rank; k++) bytes *= (uint64_t)stored->shape[k];
        for (int p = 0; p < stored->n_pieces; p++)
            job->tensors[stored->pieces[p].tensor].dtype = stored->dtype;
        job->bytes += bytes;
    }
    return STATUS_OK;
}

/* ---- their bytes */

/* The state of one writer_write. */
struct fill {
    const struct convert_job *job;
    struct writer *writer;
    struct progress progress;
    double done;   /* bytes */
    char *block;   /* [BLOCK_BYTES] to be written */
    float *values; /* [BLOCK_BYTES / 4] before that */
};

enum { BLOCK_BYTES = 8 << 20, BLOCK_VALUES = BLOCK_BYTES / 4 };

/* What one tensor of the result is made of while it is written. */
struct source {
    const struct convert_tensor *tensor;
    int64_t columns;
    float *made;    /* [rows, columns] of a new mixer's; else NULL */
    float *factors; /* as fold_factors has them, or NULL */
};

static enum status put(struct fill *fill, size_t bytes) {
    if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
    enum status status = writer_put(fill->writer, fill->block, bytes);
    fill->done += (double)bytes;
    progress_update(&fill->progress, fill->done / 1e6);
    return status;
}

static enum status put_zeros(struct fill *fill, size_t bytes) {
    enum status status = STATUS_OK;
    memset(fill->block, 0, bytes < BLOCK_BYTES ? bytes : BLOCK_BYTES);
    for (size_t n; bytes && !status; bytes -= n) {
        n = bytes < BLOCK_BYTES ? bytes : BLOCK_BYTES;
        status = put(fill, n);
    }
    return status;
}

/* What the files hold is what the base's files hold. */
static bool is_plain(const struct source *source) {
    const struct convert_tensor *tensor = source->tensor;
    const struct checkpoint_tensor *from = tensor->source;
    if (!from || source->factors || tensor->spec.scale != 1 || tensor->spec.less_one) return false;
    for (int i = 0; i < tensor->spec.rank; i++)
        if (from->shape[i] != tensor->spec.shape[i]) return false;
    return from->dtype == tensor->dtype;
}

static enum status put_plain(struct fill *fill, const struct source *source, int64_t first,
                             int64_t count) {
    struct checkpoint *base = fill->job->options.base;
    const struct checkpoint_tensor *from = source->tensor->source;
    size_t size = dtype_size(from->dtype);
    enum status status = STATUS_OK;
    for (int64_t n; count && !status; first += n, count -= n) {
        n = count < BLOCK_BYTES / (int64_t)size ? count : BLOCK_BYTES / (int64_t)size;
        status = checkpoint_read_raw(base, from, first, n, fill->block);
        if (!status) status = put(fill, (size_t)n * size);
        checkpoint_drop_elements(base, from, first, n);
    }
    return status;
}

static enum status read_values(struct fill *fill, const struct source *source, int64_t first,
                               int64_t count) {
    const struct convert_tensor *tensor = source->tensor;
    if (source->made) {
        memcpy(fill->values, source->made + first, (size_t)count * sizeof *fill->values);
        return STATUS_OK;
    }
    if (tensor->source)
        return checkpoint_read_padded(fill->job->options.base, tensor->source,
                                      tensor->spec.shape[0], source->columns, first, count,
                                      fill->values);
    memset(fill->values, 0, (size_t)count * sizeof *fill->values);
    return STATUS_OK;
}

/* As the files have them. */
static void transform(float *values, const struct source *source, int64_t first, int64_t count) {
    const struct tensor_spec *spec = &source->tensor->spec;
    for (int64_t i = 0; source->factors && i < count; i++)
        values[i] *= source->factors[spec->less_one ? first + i : (first + i) % source->columns];
    for (int64_t i = 0; i < count; i++)
        values[i] = (values[i] - (float)spec->less_one) * (float)spec->scale;
}

/* Powers of two and padding lose nothing; what has no place in the type after all is refused. */
static enum status check_exact(const struct fill *fill, const struct source *source,
                               int64_t count) {
    const struct convert_tensor *tensor = source->tensor;
    if (!tensor->source || tensor->spec.less_one) return STATUS_OK;
    for (int64_t i = 0; i < count; i++) {
        float kept;
        dtype_to_f32(&kept, fill->block + (size_t)i * dtype_size(tensor->dtype), tensor->dtype, 1);
        if (kept != fill->values[i])
            return status_fail("\"%s\": tensor \"%s\": %g, which the format needs, has no place in "
                               "%s; convert the model to BF16 or F32 first",
                               tensor->source->file, tensor->source->name, (double)fill->values[i],
                               dtype_name(tensor->dtype));
    }
    return STATUS_OK;
}

static enum status put_values(struct fill *fill, const struct source *source, int64_t first,
                              int64_t count) {
    enum dtype dtype = source->tensor->dtype;
    enum status status = STATUS_OK;
    for (int64_t n; count && !status; first += n, count -= n) {
        n = count < BLOCK_VALUES ? count : BLOCK_VALUES;
        status = read_values(fill, source, first, n);
        if (status) return status;
        transform(fill->values, source, first, n);
        dtype_from_f32(fill->block, dtype, fill->values, (size_t)n);
        status = check_exact(fill, source, n);
        if (!status) status = put(fill, (size_t)n * dtype_size(dtype));
    }
    return status;
}

/* The values that a library has, as checkpoints have them. */
static enum status read_library(struct source *source, const struct convert_job *job) {
    const struct tensor_spec *spec = &source->tensor->spec;
    int64_t count = spec->shape[0] * source->columns;
    enum status status = library_layout_read(source->made, job->options.library, spec->layer,
                                             spec->role - TENSOR_OF_MIXER);
    for (int64_t i = 0; !status && spec->row->stored != 0 && i < count; i++)
        source->made[i] *= (float)spec->row->stored;
    return status;
}

static enum status make_values(struct source *source, const struct convert_job *job) {
    const struct tensor_spec *spec = &source->tensor->spec;
    const struct model_config *base = checkpoint_config(job->options.base);
    struct replacement_source from;
    struct mixer_choices choices;
    const struct mixer_sizes *mixer = convert_new_mixer(&choices, job, spec->layer);
    size_t count = (size_t)(spec->shape[0] * source->columns);
    int heads, kv_heads;
    source->made = memory_calloc(count, sizeof *source->made);
    if (!source->made) return STATUS_FAILED;
    if (job->options.library) return read_library(source, job);
    enum status status = replacement_source_open(&from, job->options.base, spec->layer);
    if (status) return status;
    format_heads(&heads, &kv_heads, job->options.format, base);
    replacement_source_pad(&from, heads, kv_heads);
    struct mixer_fit *padded = NULL;
    if (choices.fit && heads != base->n_heads)
        status = mixer_fit_pad(&padded, choices.fit, mixer, &from.host);
    if (padded) choices.fit = padded;
    if (!status)
        status = mixer_init(source->made, spec->role - TENSOR_OF_MIXER, mixer, &choices,
                            &from.attention);
    mixer_fit_free(padded);
    for (size_t i = 0; spec->row->stored != 0 && i < count; i++)
        source->made[i] *= (float)spec->row->stored;
    return status;
}

static enum status source_open(struct source *out, const struct convert_job *job,
                               const struct convert_tensor *tensor) {
    *out = (struct source){.tensor = tensor, .columns = 1};
    for (int i = 1; i < tensor->spec.rank; i++) out->columns *= tensor->spec.shape[i];
    enum status status = fold_factors(&out->factors, job, tensor);
    if (!status && tensor->made) status = make_values(out, job);
    return status;
}

static void source_close(struct source *source, const struct convert_job *job) {
    const struct convert_tensor *tensor = source->tensor;
    struct checkpoint *base = job->options.base;
    if (tensor->source) checkpoint_drop(base, tensor->source);
    for (int i = 0; tensor->made && i < ATTENTION_TENSORS; i++) {
        const struct checkpoint_tensor *from =
            checkpoint_find_mixer(base, tensor->spec.layer, &attention_kind, i);
        if (from) checkpoint_drop(base, from);
    }
    free(source->made);
    free(source->factors);
}

/* The rows of a piece, with zeros in the gaps between its runs. */
static enum status put_piece(struct fill *fill, const struct convert_tensor *tensor, int index) {
    const struct tensor_piece *piece = &tensor->spec.pieces[index];
    struct source source;
    enum status status = source_open(&source, fill->job, tensor);
    bool plain = !status && is_plain(&source);
    int64_t run = piece->run * source.columns;
    size_t gap =
        (size_t)((piece->stride - piece->run) * source.columns) * dtype_size(tensor->dtype);
    for (int64_t row = 0; row < piece->rows && !status; row += piece->run) {
        int64_t first = (piece->first + row) * source.columns;
        status =
            plain ? put_plain(fill, &source, first, run) : put_values(fill, &source, first, run);
        if (!status && gap) status = put_zeros(fill, gap);
    }
    source_close(&source, fill->job);
    return status;
}

static enum status fill_tensor(void *context, size_t index, struct writer *writer) {
    struct fill *fill = context;
    const struct convert_stored *stored = &fill->job->stored[index];
    enum status status = STATUS_OK;
    fill->writer = writer;
    for (int p = 0; p < stored->n_pieces && !status; p++)
        status =
            put_piece(fill, &fill->job->tensors[stored->pieces[p].tensor], stored->pieces[p].piece);
    return status;
}

enum status convert_write_weights(const struct convert_job *job, const char *directory) {
    enum status status = STATUS_FAILED;
    struct fill fill = {
        .job = job, .block = memory_aligned(BLOCK_BYTES), .values = memory_aligned(BLOCK_BYTES)};
    struct writer_tensor *tensors = memory_calloc(job->n_stored, sizeof *tensors);
    if (!tensors || !fill.block || !fill.values) goto done;
    for (size_t i = 0; i < job->n_stored; i++) {
        const struct convert_stored *stored = &job->stored[i];
        memcpy(tensors[i].name, stored->name, sizeof tensors[i].name);
        memcpy(tensors[i].shape, stored->shape, sizeof tensors[i].shape);
        tensors[i].rank = stored->rank;
        tensors[i].dtype = stored->dtype;
    }
    progress_begin(&fill.progress, "convert", "MB", (double)job->bytes / 1e6, 0);
    status = writer_write(directory, tensors, job->n_stored, job->options.max_shard_bytes,
                          fill_tensor, &fill);
    progress_end(&fill.progress);
done:
    free(tensors);
    free(fill.block);
    free(fill.values);
    return status;
}
