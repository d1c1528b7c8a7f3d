#include "analysis/saved_state.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/state.h"

/* A state is written to the log of the database and from there into the database, where those of
 * an earlier call already have their places. */
bool saved_state_fits(struct saved_state *saved, uint64_t bytes) {
    uint64_t needed = bytes * (saved->there ? 1 : 1 + (uint64_t)saved->together), room;
    if (saved->needed || saved->saved || !file_free_bytes(&room, saved->database) || room >= needed)
        return true;
    char text[2][32];
    if (!saved->warned)
        log_warn(
            "training states of %s are not saved, \"%s\" has %s free on its disk: a probe that "
            "is interrupted begins again",
            memory_format(text[0], bytes), saved->database, memory_format(text[1], room));
    saved->warned = true;
    return false;
}

enum status saved_state_put(struct saved_state *saved, const struct parameters *parameters,
                            int layer, int64_t seed, int64_t step) {
    size_t bytes = state_bytes(parameters), most = saved->part;
    void *host = memory_aligned(most < bytes ? most : bytes);
    if (!host) return STATUS_FAILED;
    enum status status = store_drop_probe_state(saved->store, saved->run, layer, seed);
    int64_t part = 0;
    for (size_t from = 0; !status && from < bytes; from += most) {
        size_t size = bytes - from < most ? bytes - from : most;
        state_save(parameters, host, from, size);
        status =
            store_put_probe_part(saved->store, saved->run, layer, seed, part++, step, host, size);
    }
    free(host);
    return status;
}

/* A saved state is as foreign as the rest of a database: it must be one that this run can have
 * saved. Its numbers need not be finite, those of a training that diverged are not. */
static enum status check(const struct saved_state *saved, size_t bytes, size_t expected, int layer,
                         int64_t step) {
    if (bytes != expected)
        return status_fail("\"%s\": the saved training state of layer %d has %zu bytes, expected "
                           "%zu",
                           saved->database, layer, bytes, expected);
    if (step < 1 || step > saved->steps)
        return status_fail("\"%s\": the saved training state of layer %d is of step %lld, and a "
                           "probe has %lld",
                           saved->database, layer, (long long)step, (long long)saved->steps);
    return STATUS_OK;
}

enum status saved_state_restore(struct saved_state *saved, struct parameters *parameters, int layer,
                                int64_t seed, int64_t *step) {
    size_t bytes, size, expected = state_bytes(parameters);
    enum status status =
        store_find_probe_state(&bytes, step, saved->store, saved->run, layer, seed);
    if (status || !bytes) return status;
    status = check(saved, bytes, expected, layer, *step);
    int64_t part = 0;
    for (size_t from = 0; !status && from < bytes; from += size) {
        void *host;
        status = store_get_probe_part(&host, &size, saved->store, saved->run, layer, seed, part++);
        if (status) break;
        if (size <= bytes - from)
            state_restore(parameters, host, from, size);
        else
            status = status_fail("\"%s\": the saved training state of layer %d has changed",
                                 saved->database, layer);
        free(host);
    }
    saved->there = true;
    return status;
}
