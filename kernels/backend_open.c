/* Choosing the device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernels/backend.h"
#include "kernels/cuda/open.h"

/* The N of "cuda" (0) or "cuda:N"; -1 when `device` is something else. */
static int parse_cuda(const char *device) {
    if (strcmp(device, "cuda") == 0) return 0;
    if (strncmp(device, "cuda:", 5) != 0) return -1;
    const char *digits = device + 5;
    size_t length = strspn(digits, "0123456789");
    return length > 0 && length < 4 && digits[length] == '\0' ? atoi(digits) : -1;
}

enum status backend_open(struct backend **out, const char *device) {
    if (strcmp(device, "cpu") == 0) return backend_open_cpu(out);
    if (strcmp(device, "auto") == 0) {
        if (backend_open_cuda(out, 0) == STATUS_OK) return STATUS_OK;
        log_note_at_work("device: cpu (%s)", status_message());
        return backend_open_cpu(out);
    }
    int number = parse_cuda(device);
    if (number < 0)
        return status_set(STATUS_USAGE, "unknown device \"%s\": auto, cpu, cuda or cuda:N", device);
    enum status status = backend_open_cuda(out, number);
    return status ? status_set(status, "device \"%s\": %s", device, status_message()) : STATUS_OK;
}

const char *backend_cuda_version(char out[BACKEND_CUDA_VERSION_SIZE]) {
    int versions[3]; /* 12040, 12080, 120405 */
    *out = '\0';
    if (!cuda_versions(versions)) return out;
    char driver[32] = "no driver";
    if (versions[1])
        snprintf(driver, sizeof driver, "driver %d.%d", versions[1] / 1000,
                 versions[1] % 1000 / 10);
    snprintf(out, BACKEND_CUDA_VERSION_SIZE, "%d.%d (%s, cuBLASLt %d.%d.%d)", versions[0] / 1000,
             versions[0] % 1000 / 10, driver, versions[2] / 10000, versions[2] % 10000 / 100,
             versions[2] % 100);
    return out;
}
