#include "analysis/step_rows.h"

#include "analysis/record.h"

int64_t step_rows_count(const struct step_rows *rows, int64_t count) {
    int64_t all = count * rows->batch;
    return all < rows->training ? all : rows->training;
}

int64_t step_rows_unit(const struct step_rows *rows, int64_t count) {
    int64_t a = step_rows_count(rows, count), b = rows->batch;
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int64_t step_rows_batches(const struct step_rows *rows, int64_t count) {
    int64_t batches = step_rows_count(rows, count) / step_rows_unit(rows, count);
    return batches < count ? batches : count;
}

int64_t step_rows_tokens(const struct tokenset *set, int64_t row) {
    return (int64_t)(set->row_offsets[row + 1] - set->row_offsets[row]);
}

int64_t step_rows_largest(const struct step_rows *rows, const struct tokenset *set, int64_t steps) {
    int64_t largest = 0, training = rows->training;
    int batch = rows->batch;
    for (int64_t step = 0; step < steps; step++) {
        int64_t tokens = 0;
        for (int i = 0; i < batch; i++)
            tokens += step_rows_tokens(set, (step * batch + i) % training);
        if (tokens > largest) largest = tokens;
        if (step * batch > training + batch && training % batch == 0) break; /* repeats */
    }
    return largest;
}

/* Whether rows [first, end), wrapping at `wrap`, have a token to predict. */
static bool any_target(const struct tokenset *set, int64_t first, int64_t end, int64_t wrap) {
    for (int64_t i = first; i < end; i++) {
        int64_t row = i % wrap;
        for (uint64_t t = set->row_offsets[row] + 1; t < set->row_offsets[row + 1]; t++)
            if (!set->loss_mask || set->loss_mask[t]) return true;
    }
    return false;
}

enum status step_rows_check(const struct step_rows *rows, const struct tokenset *set, int64_t steps,
                            bool targets, const char *path) {
    int64_t all = (int64_t)set->rows, training = rows->training, heldout = all - training;
    int batch = rows->batch;
    if (training < 1)
        return status_set(STATUS_USAGE,
                          "--heldout %lld: \"%s\" has %lld row%s, which leaves none to train on",
                          (long long)heldout, path, (long long)all, all == 1 ? "" : "s");
    enum status status = record_check_mask(set, path);
    if (status || (!set->loss_mask && !targets)) return status;
    const char *cause = set->loss_mask ? "the loss mask leaves" : "rows of one token leave";
    if (!any_target(set, training, all, all))
        return status_fail("\"%s\": %s no token to predict in the %lld held-out rows: use a "
                           "larger --heldout",
                           path, cause, (long long)heldout);
    for (int64_t step = 0; step < steps; step++) {
        int64_t first = step * batch;
        if (!any_target(set, first, first + batch, training))
            return status_fail("\"%s\": %s no token to predict in the rows of step %lld (from row "
                               "%lld on): use a larger --batch",
                               path, cause, (long long)step, (long long)(first % training));
        if (first >= training && training % batch == 0) break; /* repeats */
    }
    return STATUS_OK;
}
