#include "analysis/probe_cache.h"

#include <stdlib.h>

#include "base/text.h"
#include "base/version.h"

enum status probe_cache_identity(char **out, const struct model *model, const struct tokenset *set,
                                 const struct probe_rows *rows) {
    const struct backend *backend = model->backend;
    char weights[SHA256_HEX_SIZE], places[SHA256_HEX_SIZE];
    enum status status = checkpoint_fingerprint(model->checkpoint, weights);
    if (!status)
        status = sha256_bytes(places, rows->rows, (size_t)rows->count * sizeof *rows->rows);
    if (status) return status;
    *out = text_format("apriel-tool %s\nmodel %s\ntoken set %s\n%lld rows %s\n"
                       "%lld to train on, %d at a time, the others %lld tokens at a time\n"
                       "computed on %s with %s and %s\n",
                       VERSION, weights, set->fingerprint, (long long)rows->count, places,
                       (long long)rows->training, rows->unit, (long long)rows->tokens,
                       backend->kind, dtype_name(backend->act), dtype_name(backend->acc));
    return *out ? STATUS_OK : STATUS_FAILED;
}
