#include "analysis/probe_cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "scores/numbers.h"

/* All that decides the states, below a first line and the model's fingerprint. */
static enum status describe(char **out, const char *first, const char *weights,
                            const struct model *model, const struct tokenset *set,
                            const struct probe_rows *rows) {
    const struct backend *backend = model->backend;
    char places[SHA256_HEX_SIZE];
    enum status status = sha256_bytes(places, rows->rows, (size_t)rows->count * sizeof *rows->rows);
    if (status) return status;
    *out = text_format("%s\nmodel %s\ntoken set %s\n%lld rows %s\n"
                       "%lld to train on, %d at a time, the others %lld tokens at a time\n"
                       "computed on %s with %s and %s\n",
                       first, weights, set->fingerprint, (long long)rows->count, places,
                       (long long)rows->training, rows->unit, (long long)rows->tokens,
                       backend->kind, dtype_name(backend->act), dtype_name(backend->acc));
    return *out ? STATUS_OK : STATUS_FAILED;
}

enum status probe_cache_identity(char **out, const struct model *model, const struct tokenset *set,
                                 const struct probe_rows *rows) {
    char weights[SHA256_HEX_SIZE], first[64];
    int64_t numbers;
    enum status status = numbers_version(&numbers, "teacher-states");
    if (!status) status = checkpoint_fingerprint(model->checkpoint, weights);
    if (status) return status;
    snprintf(first, sizeof first, "apriel-tool states %lld", (long long)numbers);
    return describe(out, first, weights, model, set, rows);
}

enum status probe_cache_older_identity(char **out, const struct model *model,
                                       const struct tokenset *set, const struct probe_rows *rows) {
    char weights[SHA256_HEX_SIZE];
    enum status status = checkpoint_sampled_fingerprint(model->checkpoint, weights);
    return status ? status : describe(out, "apriel-tool 0.1.0", weights, model, set, rows);
}
