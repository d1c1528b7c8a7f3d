/* The buffers of a pass: one row each is all there is to say of it. They lie one behind another in
 * one block of memory, which is as large as the kinds that use it need: a block has one mixer at a
 * time, so different kinds share it. */
#ifndef MIXERS_BUFFERS_H
#define MIXERS_BUFFERS_H

#include "mixers/mixer.h"

enum buffer_time {
    BUFFER_FORWARD,
    BUFFER_KEPT,     /* of the forward pass, when a backward pass follows */
    BUFFER_BACKWARD, /* of the backward pass; another block */
};

/* What decides how large buffers are. */
struct buffer_room {
    struct backend *backend;
    struct sequences sequences; /* the largest batch: count, tokens and longest are read */
    bool gradients;             /* a backward pass follows */
};

struct buffer_row {
    const char *name;
    bool acc; /* else act */
    enum buffer_time time;
    /* Elements a token; 0: not with these sizes. Or, where that does not say it, `bytes`. */
    int64_t (*width)(const struct mixer_sizes *, const struct mixer_host *);
    size_t (*bytes)(const struct buffer_room *, const struct mixer_sizes *,
                    const struct mixer_host *);
};

/* Where the rows of the forward (or backward) pass stand in a block of memory at `base`, into
 * out[row]; rows of other times stay as they are. NULL as `base` only counts. Returns the bytes. */
size_t buffers_lay_out(void **out, char *base, const struct buffer_row *rows, int count,
                       const struct mixer_sizes *sizes, const struct mixer_host *host,
                       const struct buffer_room *room, bool backward);

#endif
