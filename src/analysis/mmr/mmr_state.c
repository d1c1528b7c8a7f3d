/* The training state of an unfinished probe: to the database and back, a part at a time, so that
 * the host never holds a whole one. */
#include <stdlib.h>

#include "analysis/mmr/mmr_work.h"
#include "base/file.h"
#include "base/memory.h"

size_t mmr_state_part(const struct mmr_settings *settings) {
    return settings->state_part ? settings->state_part : MMR_STATE_PART;
}

/* A state is written to the log of the database and from there into the database, where those of
 * an earlier call already have the places of the whole group's. */
static bool has_room(struct mmr_work *work, uint64_t bytes) {
    uint64_t needed = bytes * (work->state_there ? 1 : 1 + (uint64_t)work->arrangement.together),
             room;
    if (work->state_saved || !file_free_bytes(&room, work->settings->database) || room >= needed)
        return true;
    char text[2][32];
    if (!work->state_warned)
        log_warn(
            "training states of %s are not saved, \"%s\" has %s free on its disk: a probe that "
            "is interrupted begins again",
            memory_format(text[0], bytes), work->settings->database, memory_format(text[1], room));
    work->state_warned = true;
    return false;
}

bool mmr_state_fits(struct mmr_work *work, const struct probe *probe) {
    /* Rounds go on from the states of the round before: then a full disk must end the run. */
    return work->settings->stable_steps || has_room(work, probe_state_bytes(probe));
}

enum status mmr_state_put(struct mmr_work *work, const struct probe *probe, int layer, int64_t seed,
                          int64_t step) {
    size_t bytes = probe_state_bytes(probe), most = mmr_state_part(work->settings);
    void *host = memory_aligned(most < bytes ? most : bytes);
    if (!host) return STATUS_FAILED;
    enum status status = store_drop_probe_state(work->store, work->run, layer, seed);
    int64_t part = 0;
    for (size_t from = 0; !status && from < bytes; from += most) {
        size_t size = bytes - from < most ? bytes - from : most;
        probe_save(probe, host, from, size);
        status =
            store_put_probe_part(work->store, work->run, layer, seed, part++, step, host, size);
    }
    free(host);
    return status;
}

/* A saved state is as foreign as the rest of a database: it must be one that this run can have
 * saved. Its numbers need not be finite, those of a probe that diverged are not. */
static enum status check_state(const struct mmr_work *work, size_t bytes, size_t expected,
                               int layer, int64_t step) {
    int64_t steps = work->settings->probe.schedule.steps;
    if (bytes != expected)
        return status_fail("\"%s\": the saved training state of layer %d has %zu bytes, expected "
                           "%zu",
                           work->settings->database, layer, bytes, expected);
    if (step < 1 || step > steps)
        return status_fail("\"%s\": the saved training state of layer %d is of step %lld, and a "
                           "probe has %lld",
                           work->settings->database, layer, (long long)step, (long long)steps);
    return STATUS_OK;
}

enum status mmr_state_restore(struct mmr_work *work, struct probe *probe, int layer, int64_t seed,
                              int64_t *step) {
    size_t bytes, size, expected = probe_state_bytes(probe);
    enum status status = store_find_probe_state(&bytes, step, work->store, work->run, layer, seed);
    if (status || !bytes) return status;
    status = check_state(work, bytes, expected, layer, *step);
    int64_t part = 0;
    for (size_t from = 0; !status && from < bytes; from += size) {
        void *host;
        status = store_get_probe_part(&host, &size, work->store, work->run, layer, seed, part++);
        if (status) break;
        if (size <= bytes - from)
            probe_restore(probe, host, from, size);
        else
            status = status_fail("\"%s\": the saved training state of layer %d has changed",
                                 work->settings->database, layer);
        free(host);
    }
    work->state_there = true;
    return status;
}
