/* Matrix products by oneDNN, whose kernels are made for the processor at run time. Calls come from
 * parallel loops, so that it has to use one thread. In the float64 build of the tests, loops. */
#include "kernels/cpu/gemm.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>

#include "kernels/cpu/ops.h"

#ifdef CPU_REAL_DOUBLE

void cpu_gemm(struct backend *backend, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
              int64_t k, const real *a, int64_t a_stride, const real *b, int64_t b_stride,
              bool accumulate, real *c, int64_t c_stride) {
    (void)backend;
    for (int64_t row = 0; row < m; row++) {
        real *to = c + row * c_stride;
        for (int64_t column = 0; column < n && !accumulate; column++) to[column] = 0;
        for (int64_t i = 0; i < k && !transpose_b; i++) {
            real left = transpose_a ? a[i * a_stride + row] : a[row * a_stride + i];
            for (int64_t column = 0; column < n; column++)
                to[column] += left * b[i * b_stride + column];
        }
        for (int64_t column = 0; column < n && transpose_b; column++) {
            const real *right = b + column * b_stride;
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < k; i++)
                sum += (transpose_a ? a[i * a_stride + row] : a[row * a_stride + i]) * right[i];
            to[column] += sum;
        }
    }
}

#else

void cpu_gemm(struct backend *backend, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
              int64_t k, const real *a, int64_t a_stride, const real *b, int64_t b_stride,
              bool accumulate, real *c, int64_t c_stride) {
    /* oneDNN cuts its work for as many threads as OpenMP announces, unless it finds itself in a
     * parallel region, and relies on being given them. A region of one thread does not count as
     * parallel, and fewer threads than announced leave parts of c as they were: announce one. */
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1,
                                      a, a_stride, b, b_stride, accumulate ? 1 : 0, c, c_stride);
    omp_set_num_threads(threads);
    if (status == dnnl_success) return;
    cpu_fail(backend,
             status == dnnl_out_of_memory ? "out of memory in a product of %lld x %lld x %lld"
                                          : "oneDNN refuses a product of %lld x %lld x %lld",
             (long long)m, (long long)n, (long long)k);
}

#endif

void cpu_gemm_kind(char *kind, size_t size) {
    const dnnl_version_t *version = dnnl_version();
    dnnl_set_default_fpmath_mode(dnnl_fpmath_mode_strict); /* ONEDNN_DEFAULT_FPMATH_MODE is not */
    snprintf(kind, size, "cpu, oneDNN %d.%d.%d, instruction sets 0x%x", version->major,
             version->minor, version->patch, (unsigned)dnnl_get_effective_cpu_isa());
}

const char *backend_library_version(void) {
    static char text[32];
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", version->major, version->minor, version->patch);
    return text;
}
