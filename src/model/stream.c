#include "model/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"

enum { CHUNKS = 8, CHUNK_BYTES = 16 << 20, MESSAGE_SIZE = 1024 };

struct chunk {
    void *host;         /* pinned [CHUNK_BYTES] */
    struct event *sent; /* the device has fetched it */
};

enum task { TASK_NONE, TASK_LOAD, TASK_DONE, TASK_QUIT };

struct layer_stream {
    struct model *model;
    struct layer places[2];
    struct layer *current; /* what the last take gave; never written to */
    int previous;          /* the index asked for before */
    int first, last;       /* where passes turn back; -1: nowhere */
    struct chunk chunks[CHUNKS];
    int next_chunk;
    struct event *room;   /* compute: the last use of the place that is filled now */
    struct event *loaded; /* upload: all of it is there */
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool cancelled;
    /* Under the mutex; target and index are set by the caller's thread alone: */
    enum task task;
    struct layer *target;
    int index; /* being loaded into target, or loaded and not taken yet; -1: none */
    enum status status;
    char message[MESSAGE_SIZE];
};

uint64_t layer_stream_host_bytes(void) {
    return (uint64_t)CHUNKS * CHUNK_BYTES;
}

/* Chunk by chunk: the host fills one while the device fetches those before it. */
static enum status send_part(struct layer_stream *stream, const struct weight_part *part) {
    const struct model *model = stream->model;
    struct backend *backend = model->backend;
    int64_t most = CHUNK_BYTES / PART_ELEMENT_BYTES;
    enum dtype type = weight_part_type(part);
    if (dtype_size(type) < PART_ELEMENT_BYTES) most = CHUNK_BYTES / (int64_t)dtype_size(type);
    for (int64_t first = 0; first < part->count && !stream->cancelled; first += most) {
        int64_t count = part->count - first < most ? part->count - first : most;
        struct chunk *chunk = &stream->chunks[stream->next_chunk];
        stream->next_chunk = (stream->next_chunk + 1) % CHUNKS;
        backend->event_sync(backend, chunk->sent);
        enum status status = weight_part_read(chunk->host, model, part, first, count);
        if (status) return status;
        backend->queue_upload(backend, QUEUE_WEIGHTS,
                              (char *)part->to + (size_t)first * dtype_size(part->to_type),
                              part->to_type, chunk->host, type, (size_t)count);
        backend->event_record(backend, chunk->sent, QUEUE_WEIGHTS);
    }
    if (part->tensor) checkpoint_drop(model->checkpoint, part->tensor);
    return STATUS_OK;
}

/* In the stream's thread. */
static enum status load(struct layer_stream *stream, const struct layer *layer, int index) {
    struct model *model = stream->model;
    struct backend *backend = model->backend;
    struct weight_part parts[LAYER_PARTS];
    int count = layer_parts(parts, layer, model, index);
    enum status status = STATUS_OK;
    for (int i = 0; i < count; i++)
        if (parts[i].tensor) checkpoint_prefetch(model->checkpoint, parts[i].tensor);
    backend->event_wait(backend, stream->room, QUEUE_WEIGHTS);
    for (int i = 0; i < count && !status; i++) status = send_part(stream, &parts[i]);
    backend->event_record(backend, stream->loaded, QUEUE_WEIGHTS);
    return status;
}

static void *work(void *context) {
    struct layer_stream *stream = context;
    /* The caller's thread, which feeds the device, keeps a core. */
    threads_limit();
    if (threads_count() > 2) threads_set(threads_count() - 1);
    (void)pthread_mutex_lock(&stream->mutex);
    for (;;) {
        while (stream->task != TASK_LOAD && stream->task != TASK_QUIT)
            (void)pthread_cond_wait(&stream->changed, &stream->mutex);
        if (stream->task == TASK_QUIT) break;
        const struct layer *target = stream->target;
        int index = stream->index;
        (void)pthread_mutex_unlock(&stream->mutex);
        enum status status = load(stream, target, index);
        (void)pthread_mutex_lock(&stream->mutex);
        stream->status = status;
        if (status) snprintf(stream->message, sizeof stream->message, "%s", status_message());
        if (stream->task == TASK_LOAD) stream->task = TASK_DONE;
        (void)pthread_cond_broadcast(&stream->changed);
    }
    (void)pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

enum status layer_stream_open(struct layer_stream **out, struct model *model) {
    struct backend *backend = model->backend;
    struct layer_stream *stream = memory_calloc(1, sizeof *stream);
    if (!stream) return STATUS_FAILED;
    stream->model = model;
    stream->index = stream->first = stream->last = -1;
    stream->places[0].index = stream->places[1].index = -1;
    (void)pthread_mutex_init(&stream->mutex, NULL);
    (void)pthread_cond_init(&stream->changed, NULL);
    stream->room = backend->event_open(backend);
    stream->loaded = backend->event_open(backend);
    enum status status = stream->room && stream->loaded ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; !status && i < CHUNKS; i++) {
        struct chunk *chunk = &stream->chunks[i];
        chunk->host = backend->host_alloc(backend, CHUNK_BYTES, "weights on their way");
        chunk->sent = chunk->host ? backend->event_open(backend) : NULL;
        if (!chunk->sent) status = STATUS_FAILED;
    }
    if (!status) {
        stream->started = pthread_create(&stream->thread, NULL, work, stream) == 0;
        if (!stream->started) status = status_fail("cannot start a thread that loads layers");
    }
    if (status)
        layer_stream_close(stream);
    else
        *out = stream;
    return status;
}

void layer_stream_settle(struct layer_stream *stream) {
    struct backend *backend = stream->model->backend;
    stream->cancelled = true;
    (void)pthread_mutex_lock(&stream->mutex);
    while (stream->task == TASK_LOAD) (void)pthread_cond_wait(&stream->changed, &stream->mutex);
    stream->task = TASK_NONE;
    stream->index = -1;
    (void)pthread_mutex_unlock(&stream->mutex);
    stream->cancelled = false;
    /* What was fetched already may still be on the bus. */
    backend->event_wait(backend, stream->loaded, QUEUE_COMPUTE);
}

void layer_stream_close(struct layer_stream *stream) {
    if (!stream) return;
    struct backend *backend = stream->model->backend;
    if (stream->started) {
        layer_stream_settle(stream);
        (void)pthread_mutex_lock(&stream->mutex);
        stream->task = TASK_QUIT;
        (void)pthread_cond_broadcast(&stream->changed);
        (void)pthread_mutex_unlock(&stream->mutex);
        (void)pthread_join(stream->thread, NULL);
        backend->event_sync(backend, stream->loaded);
    }
    for (int i = 0; i < 2; i++) layer_free(&stream->places[i], backend);
    for (int i = 0; i < CHUNKS; i++) {
        if (stream->chunks[i].sent) backend->event_sync(backend, stream->chunks[i].sent);
        backend->event_close(backend, stream->chunks[i].sent);
        backend->host_free(backend, stream->chunks[i].host);
    }
    backend->event_close(backend, stream->room);
    backend->event_close(backend, stream->loaded);
    (void)pthread_cond_destroy(&stream->changed);
    (void)pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

enum status layer_stream_load(struct layer_stream *stream, const struct weight_part *part) {
    struct backend *backend = stream->model->backend;
    if (stream->index >= 0) layer_stream_settle(stream); /* the ring has one user at a time */
    /* The memory may have been in use, or not have been there, a moment ago. */
    backend->event_record(backend, stream->room, QUEUE_COMPUTE);
    backend->event_wait(backend, stream->room, QUEUE_WEIGHTS);
    enum status status = send_part(stream, part);
    backend->event_record(backend, stream->loaded, QUEUE_WEIGHTS);
    backend->event_wait(backend, stream->loaded, QUEUE_COMPUTE);
    return status;
}

void layer_stream_forget(struct layer_stream *stream) {
    layer_stream_settle(stream);
    stream->current = NULL;
    for (int i = 0; i < 2; i++) layer_free(&stream->places[i], stream->model->backend);
}

void layer_stream_turn(struct layer_stream *stream, int first, int last) {
    stream->first = first;
    stream->last = last;
}

static bool fits(const struct layer *layer, const struct layer_config *config) {
    return layer->weights[WEIGHT_INPUT_NORM] && mixer_same(&layer->mixer.sizes, &config->mixer);
}

/* Ask for a layer while nothing is on its way. */
static void begin(struct layer_stream *stream, int index) {
    struct model *model = stream->model;
    struct backend *backend = model->backend;
    struct layer *target = model->resident ? &model->resident[index]
                                           : &stream->places[stream->current == stream->places];
    enum status status = STATUS_OK;
    if (!fits(target, &model->config->layers[index])) {
        layer_free(target, backend);
        status = layer_alloc(target, model, index);
    }
    target->index = -1;
    backend->event_record(backend, stream->room, QUEUE_COMPUTE);
    (void)pthread_mutex_lock(&stream->mutex);
    stream->target = target;
    stream->index = index;
    stream->status = status;
    if (status) snprintf(stream->message, sizeof stream->message, "%s", status_message());
    stream->task = status ? TASK_DONE : TASK_LOAD;
    (void)pthread_cond_broadcast(&stream->changed);
    (void)pthread_mutex_unlock(&stream->mutex);
}

/* Wait for the layer that was asked for. */
static enum status finish(struct layer_stream *stream) {
    struct backend *backend = stream->model->backend;
    (void)pthread_mutex_lock(&stream->mutex);
    while (stream->task == TASK_LOAD) (void)pthread_cond_wait(&stream->changed, &stream->mutex);
    stream->task = TASK_NONE;
    enum status status =
        stream->status ? status_set(stream->status, "%s", stream->message) : STATUS_OK;
    (void)pthread_mutex_unlock(&stream->mutex);
    backend->event_wait(backend, stream->loaded, QUEUE_COMPUTE);
    if (status) {
        layer_free(stream->target, backend);
    } else {
        stream->target->index = stream->index;
        stream->model->loaded_bytes += layer_bytes(stream->model, stream->index);
    }
    stream->index = -1;
    return status;
}

/* Where layer `index` is, all of it; or NULL. */
static struct layer *find(struct layer_stream *stream, int index) {
    struct layer *places = stream->places;
    if (stream->model->resident) places = stream->model->resident + index;
    for (int i = 0; i < (stream->model->resident ? 1 : 2); i++)
        if (places[i].index == index) return &places[i];
    return NULL;
}

/* The layer that a pass over the model needs after `index`, in the direction that it goes in, and
 * that is not there; -1 when there is none. */
static int layer_after(struct layer_stream *stream, int index) {
    const struct model *model = stream->model;
    int count = model->config->n_layers;
    bool back = stream->previous == index + 1 && index > 0;
    if (index == stream->first || index == stream->last) back = index == stream->last;
    if (stream->first == stream->last && index == stream->last) return -1;
    for (int i = 1, next = index; i <= count; i++) {
        next = (next + (back ? count - 1 : 1)) % count;
        if (!find(stream, next)) return next;
        if (!model->resident) return -1;
    }
    return -1;
}

enum status layer_stream_take(struct layer_stream *stream, const struct layer **out, int index) {
    struct layer *there = find(stream, index);
    if (there && (stream->model->resident || there == stream->current)) {
        *out = there;
        return STATUS_OK;
    }
    if (!there) {
        if (stream->index >= 0 && stream->index != index) layer_stream_settle(stream);
        if (stream->index < 0) begin(stream, index);
        enum status status = finish(stream);
        if (status) return status;
        there = stream->target;
    }
    *out = stream->current = there;
    int next = layer_after(stream, index);
    stream->previous = index;
    if (next >= 0) begin(stream, next);
    return STATUS_OK;
}
