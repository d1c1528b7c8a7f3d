/* Ops that come again and again, with nothing changed but what the memory holds: carried out one by
 * one the first time, recorded the second, replayed from then on (backend.h says what that needs).
 */
#ifndef MODEL_RECORDED_H
#define MODEL_RECORDED_H

#include "kernels/backend.h"

/* Begins zeroed. */
struct recorded {
    struct graph *graph;
    int plain; /* times carried out one by one: after the first they are recorded, once */
};

/* Queue what `ops` queues: always the same, from one call to the next. */
enum status recorded_run(struct recorded *recorded, struct backend *backend,
                         enum status (*ops)(void *context), void *context) STATUS_CHECKED;

/* The next run begins anew; to be called too before `recorded` ends. */
void recorded_forget(struct recorded *recorded, struct backend *backend);

#endif
