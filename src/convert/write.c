/* From a prepared job to a verified directory under its final name. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/output.h"
#include "convert/convert_internal.h"
#include "convert/modeling.h"

/* What belongs to a model besides config and weights. */
static const char *const companions[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "tekken.json",
};

static enum status copy_companion(const char *to, const char *name, const char *from,
                                  const char *fallback) {
    enum status status = STATUS_OK;
    char *source = file_join(from, name), *other = fallback ? file_join(fallback, name) : NULL;
    char *target = file_join(to, name);
    if (!source || !target || (fallback && !other)) {
        status = STATUS_FAILED;
        goto done;
    }
    if (file_exists(source))
        status = file_copy(target, source);
    else if (other && file_exists(other))
        status = file_copy(target, other);
done:
    free(source);
    free(other);
    free(target);
    return status;
}

static enum status write_config(const struct convert_job *job, const char *directory) {
    struct json *config = NULL;
    enum status status = convert_config_json(&config, job);
    if (!status) status = output_write_json(directory, "config.json", config, 2);
    js_free(config);
    return status;
}

/* One tensor of the result: its type as planned, every value finite. */
static enum status verify_tensor(const struct checkpoint *written,
                                 const struct checkpoint_tensor *tensor, enum dtype planned,
                                 struct progress *progress, double *done) {
    const int64_t step = 1 << 24;
    enum status status = STATUS_OK;
    if (tensor->stored != planned)
        return status_fail("\"%s\": tensor \"%s\" is %s after writing, expected %s", tensor->file,
                           tensor->name, dtype_name(tensor->stored), dtype_name(planned));
    for (int64_t first = 0; first < tensor->count && !status; first += step) {
        int64_t count = tensor->count - first < step ? tensor->count - first : step;
        if (interrupt_requested()) return status_set(STATUS_INTERRUPTED, "interrupted");
        status = checkpoint_check_range(written, tensor, first, count);
        checkpoint_drop_elements(written, tensor, first, count);
        *done += (double)count * (double)dtype_size(planned) / 1e6;
        progress_update(progress, *done);
    }
    checkpoint_drop(written, tensor);
    return status;
}

/* Read the result as any user would: shapes and completeness by checkpoint_open, values here. */
static enum status verify(const struct convert_job *job, const char *directory) {
    struct checkpoint *written = NULL;
    struct progress progress;
    double done = 0;
    enum status status = checkpoint_open(&written, directory, NULL);
    if (status) return status;
    if (checkpoint_count(written) != job->count)
        status = status_fail("\"%s\" has %zu tensors after writing, expected %zu", directory,
                             checkpoint_count(written), job->count);
    progress_begin(&progress, "verify", "MB", (double)job->bytes / 1e6, 0);
    for (size_t i = 0; i < job->count && !status; i++)
        status = verify_tensor(written, checkpoint_at(written, i), job->tensors[i].dtype, &progress,
                               &done);
    progress_end(&progress);
    checkpoint_close(written);
    return status;
}

enum status convert_write(const struct convert_job *job, const char *output,
                          const struct json *provenance, const char *fallback) {
    struct staging staging;
    enum status status = staging_begin(&staging, output);
    if (status) return status;
    status = convert_write_weights(job, staging.path);
    const char *from = checkpoint_directory(job->options.base);
    for (size_t i = 0; i < sizeof companions / sizeof *companions && !status; i++)
        status = copy_companion(staging.path, companions[i], from, fallback);
    if (!status) status = output_write_json(staging.path, "apriel-tool.json", provenance, 2);
    if (!status && modeling_needed(job->config->family)) status = modeling_write(staging.path);
    if (!status) status = card_write(staging.path, job, provenance, fallback ? fallback : from);
    /* last: without it nothing takes the directory for a model */
    if (!status) status = write_config(job, staging.path);
    if (!status) status = verify(job, staging.path);
    if (!status) status = staging_commit(&staging);
    staging_end(&staging);
    return status;
}
