#include "model/parked.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

struct place {
    char *device;
    struct event *arrived; /* in: the fetched bytes are there */
    struct event *free;    /* compute or out: nothing that was queued still needs the place */
    bool lent;             /* fetched into, neither stored nor marked free yet */
    bool held;             /* by parked_room */
};

struct state {
    char *host;
    struct event *stored; /* out: the bytes are in host memory */
};

struct parked {
    struct backend *backend;
    struct place places[PARKED_PLACES];
    struct state *states; /* [count] */
    struct event *used;   /* compute: what was queued before a store */
    int count, next;
};

enum status parked_open(struct parked **out, struct backend *backend, int count, size_t bytes) {
    struct parked *parked = memory_calloc(1, sizeof *parked);
    if (!parked) return STATUS_FAILED;
    parked->backend = backend;
    parked->states = memory_calloc((size_t)count, sizeof *parked->states);
    parked->used = backend->event_open(backend);
    bool good = parked->states && parked->used;
    for (int i = 0; good && i < PARKED_PLACES; i++) {
        struct place *place = &parked->places[i];
        place->device = backend->alloc(backend, bytes, "states on their way");
        place->arrived = place->device ? backend->event_open(backend) : NULL;
        place->free = place->arrived ? backend->event_open(backend) : NULL;
        good = place->free != NULL;
        /* Transfers are queued elsewhere and must find the memory allocated. */
        if (good) backend->event_record(backend, place->free, QUEUE_COMPUTE);
    }
    for (; good && parked->count < count; parked->count++) {
        struct state *state = &parked->states[parked->count];
        state->host = backend->host_alloc(backend, bytes, "parked states");
        state->stored = state->host ? backend->event_open(backend) : NULL;
        good = state->stored != NULL;
    }
    if (!good)
        parked_close(parked);
    else
        *out = parked;
    return good ? STATUS_OK : STATUS_FAILED;
}

void parked_close(struct parked *parked) {
    if (!parked) return;
    struct backend *backend = parked->backend;
    for (int i = 0; i < PARKED_PLACES; i++) {
        struct place *place = &parked->places[i];
        if (place->free) backend->event_wait(backend, place->free, QUEUE_COMPUTE);
        backend->free(backend, place->device);
        backend->event_close(backend, place->arrived);
        backend->event_close(backend, place->free);
    }
    for (int i = 0; parked->states && i < parked->count; i++) {
        if (parked->states[i].stored) backend->event_sync(backend, parked->states[i].stored);
        backend->event_close(backend, parked->states[i].stored);
        backend->host_free(backend, parked->states[i].host);
    }
    backend->event_close(backend, parked->used);
    free(parked->states);
    free(parked);
}

/* The next place, whose earlier users will be done before `queue` goes on. */
static struct place *take_place(struct parked *parked, enum queue queue) {
    struct backend *backend = parked->backend;
    for (int i = 0; i < PARKED_PLACES; i++) {
        struct place *place = &parked->places[i];
        if (place->lent) backend->event_record(backend, place->free, QUEUE_COMPUTE);
        place->lent = false;
    }
    do parked->next = (parked->next + 1) % PARKED_PLACES;
    while (parked->places[parked->next].held);
    struct place *place = &parked->places[parked->next];
    backend->event_wait(backend, place->free, queue);
    return place;
}

void *parked_fetch(struct parked *parked, int index, size_t from, size_t bytes) {
    struct backend *backend = parked->backend;
    struct state *state = &parked->states[index];
    struct place *place = take_place(parked, QUEUE_IN);
    backend->event_wait(backend, state->stored, QUEUE_IN);
    backend->queue_upload(backend, QUEUE_IN, place->device, DTYPE_U8, state->host + from, DTYPE_U8,
                          bytes);
    backend->event_record(backend, place->arrived, QUEUE_IN);
    place->lent = true;
    backend->event_wait(backend, place->arrived, QUEUE_COMPUTE);
    return place->device;
}

void *parked_room(struct parked *parked) {
    struct place *place = take_place(parked, QUEUE_COMPUTE);
    place->held = true;
    return place->device;
}

void parked_store(struct parked *parked, int index, const void *from, size_t bytes) {
    struct backend *backend = parked->backend;
    struct state *state = &parked->states[index];
    backend->event_record(backend, parked->used, QUEUE_COMPUTE);
    backend->event_wait(backend, parked->used, QUEUE_OUT);
    backend->queue_download(backend, QUEUE_OUT, state->host, from, bytes);
    backend->event_record(backend, state->stored, QUEUE_OUT);
    for (int i = 0; i < PARKED_PLACES; i++) {
        struct place *place = &parked->places[i];
        if (place->device != from) continue;
        backend->event_record(backend, place->free, QUEUE_OUT);
        place->lent = place->held = false;
    }
}

void parked_wait(struct parked *parked, int index) {
    parked->backend->event_wait(parked->backend, parked->states[index].stored, QUEUE_COMPUTE);
}
