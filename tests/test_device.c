/* Choosing a device: names, fallback and refusals, on machines with and without a GPU. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "check_main.h"
#include "kernels/backend.h"

START_TEST(cpu_always_opens) {
    struct backend *backend = NULL;
    ck_assert_int_eq(backend_open(&backend, "cpu"), STATUS_OK);
    ck_assert_str_eq(backend->name, "cpu");
    backend->close(backend);
}
END_TEST

START_TEST(unknown_names_are_refused) {
    const char *names[] = {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cuda:1000", "CPU"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct backend *backend = NULL;
        ck_assert_int_eq(backend_open(&backend, names[i]), STATUS_USAGE);
        ck_assert_ptr_null(strstr(status_message(), "\n"));
        ck_assert_ptr_nonnull(strstr(status_message(), "unknown device"));
        ck_assert_ptr_null(backend);
    }
}
END_TEST

/* `auto` and `cuda` must agree on whether there is a GPU. */
START_TEST(auto_falls_back_and_cuda_fails) {
    struct backend *chosen = NULL, *cuda = NULL;
    ck_assert_int_eq(backend_open(&chosen, "auto"), STATUS_OK);
    enum status status = backend_open(&cuda, "cuda");
    if (strcmp(chosen->name, "cpu") == 0) {
        ck_assert_int_eq(status, STATUS_FAILED);
        ck_assert_ptr_null(cuda);
        ck_assert_int_eq(strncmp(status_message(), "device \"cuda\": ", 15), 0);
        ck_assert_uint_gt(strlen(status_message()), 15);
    } else {
        ck_assert_int_eq(status, STATUS_OK);
        ck_assert_str_eq(cuda->name, "cuda:0");
        cuda->close(cuda);
    }
    chosen->close(chosen);
}
END_TEST

START_TEST(a_device_beyond_the_last_is_refused) {
    struct backend *backend = NULL;
    ck_assert_int_eq(backend_open(&backend, "cuda:999"), STATUS_FAILED);
    ck_assert_int_eq(strncmp(status_message(), "device \"cuda:999\": ", 19), 0);
}
END_TEST

CHECK_MAIN("device", cpu_always_opens, unknown_names_are_refused, auto_falls_back_and_cuda_fails,
           a_device_beyond_the_last_is_refused)
