/* has_device NAME: whether that device can be opened. Exit status 77, which test runners count as
 * skipped, where it cannot; the reason goes to standard output. */
#include <stdio.h>

#include "kernels/backend.h"

int main(int count, char **arguments) {
    struct backend *backend;
    if (backend_open(&backend, count > 1 ? arguments[1] : "cuda")) {
        printf("%s\n", status_message());
        return 77;
    }
    printf("%s: %s\n", backend->name, backend->kind);
    backend->close(backend);
    return 0;
}
