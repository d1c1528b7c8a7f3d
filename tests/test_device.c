/* Choosing a device: names, fallback and refusals, on machines with and without a GPU. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "check_main.h"
#include "kernels/backend.h"
#include "kernels/cpu/ops.h"
#include "kernels/ops/products.h"

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

/* What a backend gives whose product leaves a part undone, as a library does that was promised more
 * threads than it got. */
static const struct product_ops *whole;

static void half_product(struct backend *backend, struct product to, const struct act *a,
                         int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                         int64_t n, int64_t k) {
    whole->matmul(backend, to, a, a_stride, w, bias, m / 2, n, k);
}

static void no_product(struct backend *backend, struct acc *dw, const struct act *dout,
                       const struct act *a, int64_t a_stride, int64_t m, int64_t n, int64_t k) {
}

static void no_product_of_inputs(struct backend *backend, struct product to, const struct act *dout,
                                 const struct act *w, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m * k; i++) ((float *)to.narrow)[i] = NAN;
}

/* Right but for two neighbours in their places, whose sum is the right one. */
static void two_exchanged(struct backend *backend, struct product to, const struct act *a,
                          int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                          int64_t n, int64_t k) {
    whole->matmul(backend, to, a, a_stride, w, bias, m, n, k);
    float *row = (float *)to.narrow + 287 * n, kept = row[190];
    row[190] = row[191];
    row[191] = kept;
}

START_TEST(wrong_products_are_found) {
    struct backend *backend = NULL;
    ck_assert_int_eq(backend_open(&backend, "cpu"), STATUS_OK);
    ck_assert_int_eq(cpu_check_products(backend), STATUS_OK);
    whole = backend->products;
    struct product_ops broken = *whole;
    backend->products = &broken;
    broken.matmul = half_product;
    ck_assert_int_eq(cpu_check_products(backend), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "the product of 288 x 192 values is wrong"));
    broken = *whole;
    broken.matmul = two_exchanged;
    ck_assert_int_eq(cpu_check_products(backend), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "at row 287, column 190, not "));
    broken = *whole;
    broken.matmul_backward_weight = no_product;
    ck_assert_int_eq(cpu_check_products(backend), STATUS_FAILED);
    broken = *whole;
    broken.matmul_backward_input = no_product_of_inputs;
    ck_assert_int_eq(cpu_check_products(backend), STATUS_FAILED);
    backend->products = whole;
    ck_assert_int_eq(cpu_check_products(backend), STATUS_OK);
    backend->close(backend);
}
END_TEST

CHECK_MAIN("device", cpu_always_opens, unknown_names_are_refused, auto_falls_back_and_cuda_fails,
           a_device_beyond_the_last_is_refused, wrong_products_are_found)
