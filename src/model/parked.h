/* States that do not fit on the device and wait in pinned host memory. They come and go through a
 * few places on the device, beside the arithmetic: while one is worked on, the next comes in and
 * the last goes out. */
#ifndef MODEL_PARKED_H
#define MODEL_PARKED_H

#include "kernels/backend.h"

struct parked;

enum { PARKED_PLACES = 4 };

/* Room for `count` states of up to `bytes` bytes. */
enum status parked_open(struct parked **out, struct backend *backend, int count,
                        size_t bytes) STATUS_CHECKED;
void parked_close(struct parked *parked); /* accepts NULL */

/* Bytes [from, from + bytes) of a stored state on the device, for ops that are queued from now on
 * and before the next call. */
void *parked_fetch(struct parked *parked, int index, size_t from, size_t bytes);

/* A place for a new state that stays until it is stored. One at a time. */
void *parked_room(struct parked *parked);

/* Keep what a place, or other memory on the device, holds as state `index`; whatever was queued up
 * to now has its effect. Memory that is no place may be written to again after parked_wait. */
void parked_store(struct parked *parked, int index, const void *place, size_t bytes);

/* Ops that are queued from now on begin when state `index` has been stored. */
void parked_wait(struct parked *parked, int index);

#endif
