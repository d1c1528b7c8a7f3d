/* Memory functions: conversion both ways between every pair of types, bytes, copies, zeros. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "tests/ops/ops.h"

enum { COUNT = 40001 };

/* Values that every type holds exactly must survive every pair of conversions. */
static void round_trip(struct ops *ops, enum dtype host, enum dtype device) {
    struct backend *backend = ops->backend;
    static unsigned char bytes[COUNT * 8], back[COUNT * 8];
    float value;
    size_t size = dtype_size(host);
    for (int i = 0; i < COUNT; i++) {
        value = (float)(i % 255 - 127) * 0.125f;
        if (host == DTYPE_F64)
            memcpy(bytes + (size_t)i * size, &(double){value}, sizeof(double));
        else
            dtype_from_f32(bytes + (size_t)i * size, host, &value, 1);
    }
    memset(back, 0x5A, sizeof back);
    void *memory = backend->alloc(backend, COUNT * dtype_size(device), "a round trip");
    if (!memory) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    backend->upload(backend, memory, device, bytes, host, COUNT);
    backend->download(backend, back, host, memory, device, COUNT);
    if (backend->sync(backend)) ops_fail(ops, "%s", status_message());
    if (memcmp(bytes, back, COUNT * size) != 0)
        ops_fail(ops, "%s through %s came back changed", dtype_name(host), dtype_name(device));
    backend->free(backend, memory);
}

static void bytes_and_copies(struct ops *ops) {
    struct backend *backend = ops->backend;
    unsigned char bytes[1001], back[1001];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7 + 1);
    unsigned char *first = backend->alloc(backend, sizeof bytes, "bytes");
    unsigned char *second = backend->alloc(backend, sizeof bytes, "bytes");
    if (!first || !second) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    backend->upload_bytes(backend, first, bytes, sizeof bytes);
    backend->zero(backend, second, sizeof bytes);
    backend->copy(backend, second + 10, first + 20, 900);
    backend->download_bytes(backend, back, second, sizeof back);
    if (backend->sync(backend)) ops_fail(ops, "%s", status_message());
    for (size_t i = 0; i < sizeof back; i++)
        if (back[i] != (i < 10 || i >= 910 ? 0 : bytes[i + 10])) {
            ops_fail(ops, "byte %zu after zero and copy is %d", i, back[i]);
            break;
        }
    backend->free(backend, first);
    backend->free(backend, second);
    backend->free(backend, NULL);
}

/* A thread beside the ops' own sends values while ops are queued, as the loader of layers does. */
struct sender {
    struct backend *backend;
    void *to;
    const void *pinned;
    enum dtype to_type, type;
    struct event *room, *sent;
};

static void *send(void *context) {
    struct sender *s = context;
    s->backend->event_wait(s->backend, s->room, QUEUE_WEIGHTS);
    s->backend->queue_upload(s->backend, QUEUE_WEIGHTS, s->to, s->to_type, s->pinned, s->type,
                             COUNT);
    s->backend->event_record(s->backend, s->sent, QUEUE_WEIGHTS);
    return NULL;
}

/* Pinned memory up beside the arithmetic, a copy behind it, and down beside it again. */
static void queues(struct ops *ops, enum dtype host, enum dtype device) {
    struct backend *b = ops->backend;
    size_t size = dtype_size(host), device_size = dtype_size(device);
    char *pinned = b->host_alloc(b, 2 * COUNT * 8, "pinned values");
    char *first = b->alloc(b, COUNT * device_size, "values");
    char *second = b->alloc(b, COUNT * device_size, "values");
    struct event *room = b->event_open(b), *sent = b->event_open(b), *back = b->event_open(b);
    if (!pinned || !first || !second || !room || !sent || !back) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    static float values[COUNT], got[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = (float)(i % 255 - 127) * 0.125f;
    dtype_from_f32(pinned, host, values, COUNT);
    memset(pinned + COUNT * 8, 0x5A, COUNT * 8);
    b->zero(b, first, COUNT * device_size);
    b->event_record(b, room, QUEUE_COMPUTE);
    struct sender sender = {b, first, pinned, device, host, room, sent};
    pthread_t thread;
    if (pthread_create(&thread, NULL, send, &sender) == 0)
        (void)pthread_join(thread, NULL);
    else
        ops_fail(ops, "no second thread");
    b->event_wait(b, sent, QUEUE_COMPUTE);
    b->copy(b, second, first, COUNT * device_size);
    b->event_record(b, room, QUEUE_COMPUTE);
    b->event_wait(b, room, QUEUE_OUT);
    b->queue_download(b, QUEUE_OUT, pinned + COUNT * 8, second, COUNT * device_size);
    b->event_record(b, back, QUEUE_OUT);
    b->event_sync(b, back);
    dtype_to_f32(got, pinned + COUNT * 8, device, COUNT);
    if (memcmp(got, values, sizeof got) != 0)
        ops_fail(ops, "%s as %s came back changed from the queues (%zu bytes each)",
                 dtype_name(host), dtype_name(device), size);
    if (b->sync(b)) ops_fail(ops, "%s", status_message());
    b->free(b, first);
    b->free(b, second);
    b->event_close(b, room);
    b->event_close(b, sent);
    b->event_close(b, back);
    b->event_close(b, NULL);
    b->host_free(b, pinned);
    b->host_free(b, NULL);
}

/* From the residual stream's type to that of matrix inputs: as dtype_from_f32 rounds. */
static void cast(struct ops *ops) {
    struct backend *backend = ops->backend;
    static float values[COUNT], expected[COUNT], back[COUNT];
    static unsigned char rounded[COUNT * 8];
    for (int i = 0; i < COUNT; i++) values[i] = (float)sin(0.37 * i) * (float)(1 + i % 97);
    dtype_from_f32(rounded, backend->act, values, COUNT);
    dtype_to_f32(expected, rounded, backend->act, COUNT);
    void *in = backend->alloc(backend, COUNT * dtype_size(backend->acc), "values");
    void *out = backend->alloc(backend, COUNT * dtype_size(backend->act), "cast values");
    if (!in || !out) {
        ops_fail(ops, "%s", status_message());
        return;
    }
    backend->upload(backend, in, backend->acc, values, DTYPE_F32, COUNT);
    backend->cast(backend, out, in, COUNT);
    backend->download(backend, back, DTYPE_F32, out, backend->act, COUNT);
    if (backend->sync(backend)) ops_fail(ops, "%s", status_message());
    if (memcmp(back, expected, sizeof back) != 0) ops_fail(ops, "cast rounds otherwise");
    backend->free(backend, in);
    backend->free(backend, out);
}

void case_memory(struct ops *ops) {
    struct backend *backend = ops->backend;
    enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64};
    size_t hosts = backend->acc == DTYPE_F64 ? 4 : 3;
    for (size_t h = 0; h < hosts; h++) {
        round_trip(ops, types[h], backend->act);
        round_trip(ops, types[h], backend->acc);
    }
    bytes_and_copies(ops);
    for (size_t h = 0; h < 3 && backend->acc != DTYPE_F64; h++) {
        queues(ops, types[h], backend->act);
        queues(ops, types[h], backend->acc);
    }
    cast(ops);
    if (backend->discrete && backend->memory_peak(backend) < COUNT)
        ops_fail(ops, "a peak of %llu bytes", (unsigned long long)backend->memory_peak(backend));
    if (backend->memory_free(backend) == 0) ops_fail(ops, "no free memory is known");
    if (backend->alloc(backend, (size_t)1 << 60, "too much"))
        ops_fail(ops, "2^60 bytes were allocated");
}
