#include "model/recorded.h"

void recorded_forget(struct recorded *recorded, struct backend *backend) {
    backend->graph_free(backend, recorded->graph);
    *recorded = (struct recorded){0};
}

enum status recorded_run(struct recorded *recorded, struct backend *backend,
                         enum status (*ops)(void *context), void *context) {
    if (recorded->graph && backend->replay(backend, recorded->graph)) return STATUS_OK;
    if (recorded->graph) recorded_forget(recorded, backend); /* what it refers to has moved */
    if (recorded->plain == 1 && backend->record(backend)) {
        enum status status = ops(context);
        recorded->graph = backend->record_end(backend);
        if (status) return status;
        if (recorded->graph && backend->replay(backend, recorded->graph)) return STATUS_OK;
    }
    if (recorded->plain < 2) recorded->plain++;
    return ops(context);
}
