/* OpenBLAS as the CPU ops need it: one thread, and kernels for the processor that there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ops.h"

/* OpenBLAS's own, absent from the CBLAS standard. The last two are missing where it was built for
 * one processor. */
void openblas_set_num_threads(int threads);
char *openblas_get_config(void);
char *openblas_get_corename(void);
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

/* The kernels that this processor can run, by their name in OpenBLAS; NULL: leave the choice. */
static const char *find_kernels(void) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return NULL;
}

/* OpenBLAS knows the processors of its time by their model numbers. On a later one a release such
 * as 0.3.21 falls back to SSE3, which takes four times as long as AVX-512. The environment variable
 * that names the kernels is read when OpenBLAS begins, so it begins once more; a user's own value
 * stands. */
static void choose_kernels(void) {
    static const char variable[] = "OPENBLAS_CORETYPE";
    const char *kernels = find_kernels();
    if (!kernels || !gotoblas_dynamic_init || !gotoblas_dynamic_quit || getenv(variable)) return;
    if (strcmp(openblas_get_corename(), "Prescott") != 0) return;
    if (setenv(variable, kernels, 1)) return;
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv(variable);
}

void cpu_begin_blas(char *kind, size_t size) {
    choose_kernels();
    /* Our loops are parallel and call BLAS on slices: one BLAS thread each, no oversubscription. */
    openblas_set_num_threads(1);
    snprintf(kind, size, "cpu, %s, kernels for %s", openblas_get_config(), openblas_get_corename());
}
