#include "mixers/buffers.h"

enum { ALIGNMENT = 256 }; /* as a device's allocator gives */

static size_t bytes_of(const struct buffer_row *row, const struct mixer_sizes *sizes,
                       const struct mixer_host *host, const struct buffer_room *room) {
    if (row->bytes) return row->bytes(room, sizes, host);
    const struct backend *backend = room->backend;
    size_t element = dtype_size(row->acc ? backend->acc : backend->act);
    return (size_t)(room->sequences.tokens * row->width(sizes, host)) * element;
}

size_t buffers_lay_out(void **out, char *base, const struct buffer_row *rows, int count,
                       const struct mixer_sizes *sizes, const struct mixer_host *host,
                       const struct buffer_room *room, bool backward) {
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        const struct buffer_row *row = &rows[i];
        if ((row->time == BUFFER_BACKWARD) != backward) continue;
        size_t bytes =
            row->time == BUFFER_KEPT && !room->gradients ? 0 : bytes_of(row, sizes, host, room);
        if (base) out[i] = bytes ? base + used : NULL;
        used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return used;
}
