/* Reading a token set in a child process: see contain.h. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/contain.h"
#include "data/tokenset_internal.h"

/* What comes first through the pipe; the arrays follow in the order of the fields. */
struct header {
    uint64_t sources_bytes; /* with the terminator */
    bool has_mask;
    struct tokenset set; /* its pointers mean nothing */
};

struct reading {
    const char *path;
    struct tokenset *set;
};

static enum status read_set(void *context) {
    struct reading *reading = context;
    return tokenset_read_here(&reading->set, reading->path);
}

static bool send_set(int pipe, void *context) {
    const struct tokenset *set = ((const struct reading *)context)->set;
    struct header header = {
        .sources_bytes = strlen(set->sources) + 1, .has_mask = set->loss_mask != NULL, .set = *set};
    return contain_send(pipe, &header, sizeof header) &&
           contain_send(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
           contain_send(pipe, set->ids, set->tokens * sizeof *set->ids) &&
           (!set->loss_mask || contain_send(pipe, set->loss_mask, set->tokens)) &&
           contain_send(pipe, set->sources, header.sources_bytes);
}

static enum status receive_set(bool *broken, int pipe, void *context) {
    struct tokenset *set = ((struct reading *)context)->set;
    struct header header;
    *broken = !contain_receive(pipe, &header, sizeof header);
    if (*broken) return STATUS_OK;
    *set = header.set;
    set->row_offsets = memory_calloc(set->rows + 1, sizeof *set->row_offsets);
    set->ids = memory_calloc(set->tokens, sizeof *set->ids);
    set->loss_mask = header.has_mask ? memory_calloc(set->tokens, 1) : NULL;
    set->sources = memory_calloc(header.sources_bytes, 1);
    if (!set->row_offsets || !set->ids || (header.has_mask && !set->loss_mask) || !set->sources)
        return STATUS_FAILED;
    *broken =
        !(contain_receive(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
          contain_receive(pipe, set->ids, set->tokens * sizeof *set->ids) &&
          (!set->loss_mask || contain_receive(pipe, set->loss_mask, set->tokens)) &&
          contain_receive(pipe, set->sources, header.sources_bytes));
    return STATUS_OK;
}

enum status tokenset_read(struct tokenset **out, const char *path) {
    struct reading reading = {path, memory_calloc(1, sizeof *reading.set)};
    if (!reading.set) return STATUS_FAILED;
    struct contain_task task = {path, read_set, send_set, receive_set, &reading};
    enum status status = contain_run(&task);
    if (status)
        tokenset_free(reading.set);
    else
        *out = reading.set;
    return status;
}
