/* Layers that come in behind the arithmetic. A thread reads the next layer from the mapping (or
 * makes it up), checks that it is finite and packs it into a ring of pinned chunks, which the
 * device fetches beside what it computes; an event keeps the first use behind the last byte. Two
 * places on the device alternate, unless the model keeps its layers. */
#ifndef MODEL_STREAM_H
#define MODEL_STREAM_H

#include "model/loading.h"

struct layer_stream;

/* layer_stream_close stops the thread and frees the two places; accepts NULL. */
enum status layer_stream_open(struct layer_stream **out, struct model *model) STATUS_CHECKED;
void layer_stream_close(struct layer_stream *stream);

/* As model_layer, which calls it: the layer is there for whatever is queued from now on, and the
 * one behind it (the first, behind the last) is on its way. */
enum status layer_stream_take(struct layer_stream *stream, const struct layer **out,
                              int index) STATUS_CHECKED;

/* Passes go to and fro between these layers from now on, so that behind either of them the one
 * before it is next again; -1 and -1: every pass begins anew. */
void layer_stream_turn(struct layer_stream *stream, int first, int last);

/* Wait for what is on its way; after it nobody writes to any layer. */
void layer_stream_settle(struct layer_stream *stream);

/* Settle, and free the two places. */
void layer_stream_forget(struct layer_stream *stream);

/* Fill one part through the ring, in the calling thread, after settling; returns when all is queued
 * and later ops see it. */
enum status layer_stream_load(struct layer_stream *stream,
                              const struct weight_part *part) STATUS_CHECKED;

/* Pinned host bytes that it takes. */
uint64_t layer_stream_host_bytes(void);

#endif
