#include "train/state.h"

/* The arrays of a parameter that its state consists of. */
enum { STATE_ARRAYS = 3 };

static void *array_of(const struct parameter *parameter, int index) {
    return index == 0 ? parameter->master : index == 1 ? parameter->moment1 : parameter->moment2;
}

size_t state_bytes(const struct parameters *parameters) {
    size_t values = (size_t)parameters_count(parameters) * STATE_ARRAYS;
    return values * dtype_size(parameters->model->backend->acc);
}

/* Bytes [from, from + bytes) of the state go to the host, or come from it. */
static void transfer(const struct parameters *parameters, char *host, size_t from, size_t bytes,
                     bool up) {
    struct backend *backend = parameters->model->backend;
    size_t start = 0, end = from + bytes;
    for (size_t i = 0; i < parameters->count; i++)
        for (int array = 0; array < STATE_ARRAYS; array++) {
            const struct parameter *parameter = &parameters->list[i];
            size_t stop = start + (size_t)parameter->count * dtype_size(backend->acc);
            size_t low = from > start ? from : start, high = end < stop ? end : stop;
            char *device = array_of(parameter, array);
            if (low < high && up)
                backend->upload_bytes(backend, device + (low - start), host + (low - from),
                                      high - low);
            else if (low < high)
                backend->download_bytes(backend, host + (low - from), device + (low - start),
                                        high - low);
            start = stop;
        }
}

void state_save(const struct parameters *parameters, void *host, size_t from, size_t bytes) {
    transfer(parameters, host, from, bytes, false);
}

void state_restore(struct parameters *parameters, const void *host, size_t from, size_t bytes) {
    transfer(parameters, (char *)(uintptr_t)host, from, bytes, true);
    if (from + bytes == state_bytes(parameters)) parameters_write_live(parameters);
}
