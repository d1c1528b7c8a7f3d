/* Curves on their way to the database. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "distill/work.h"

static const double INTERVAL = 5; /* seconds between transactions */

static enum status write_pending(struct distill_work *work) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < work->pending_count; i++)
        status = store_put_training_step(work->store, work->run, &work->pending[i]);
    return status;
}

enum status distill_write_notes(struct distill_work *work) {
    if (!work->pending_count) return STATUS_OK;
    enum status status = store_begin(work->store);
    if (status) return status;
    status = write_pending(work);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    if (!status) work->pending_count = 0;
    work->written_at = log_seconds();
    return status;
}

enum status distill_note_step(struct distill_work *work, int64_t step) {
    const struct student *student = &work->engine->state;
    if (work->pending_count == work->pending_room) {
        size_t room = 2 * work->pending_room + 64;
        struct store_training_step *more = memory_resize(work->pending, room, sizeof *more);
        if (!more) return STATUS_FAILED;
        work->pending = more;
        work->pending_room = room;
    }
    work->pending[work->pending_count++] =
        (struct store_training_step){.step = step,
                                     .loss = student->loss,
                                     .norm = student->norm,
                                     .rate = distill_engine_rate(work->engine, step),
                                     .tokens = distill_engine_tokens(work->engine, step),
                                     .seconds = work->state.seconds,
                                     .taken = student->updated};
    return log_seconds() - work->written_at > INTERVAL ? distill_write_notes(work) : STATUS_OK;
}

enum status distill_note_values(struct distill_work *work,
                                const struct statistics values[METRIC_COUNT]) {
    enum status status = store_begin(work->store);
    if (status) return status;
    for (int metric = 0; !status && metric < METRIC_COUNT; metric++) {
        const struct store_training_value value = {
            .step = work->state.step,
            .metric = (char *)(uintptr_t)metric_name((enum metric)metric),
            .value = values[metric].mean,
            .stderr_value = values[metric].stderr_mean,
            .n = values[metric].n};
        status = store_put_training_value(work->store, work->run, &value);
    }
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    return status;
}
