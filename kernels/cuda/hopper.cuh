/* Hopper's own instructions (sm_90a) under the names that PTX gives them: mbarriers, the tensor
 * memory accelerator (tma, which PTX calls cp.async.bulk), matrix products of a warpgroup (wgmma),
 * registers handed from one warpgroup to another (setmaxnreg). Who uses them for what is not known
 * here. Facts from NVIDIA's PTX ISA, chapters "Asynchronous warpgroup level matrix instructions"
 * and "Tensor copies".
 *
 * A tile of ROWS rows and E columns of BF16 lies in shared memory as E / 64 panels of ROWS rows of
 * 128 bytes, written by the copy engine with its 128-byte swizzle; panels start at multiples of
 * 1024 bytes. */
#ifndef KERNELS_CUDA_HOPPER_CUH
#define KERNELS_CUDA_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

/* Machine code for 9.0 is in the build (kernels/cuda/meson.build) and the device runs it. */
static inline bool hopper_usable(const struct cuda_backend *cuda) {
#ifdef HOPPER_TARGET
    return cuda->major == 9 && cuda->minor == 0;
#else
    return false;
#endif
}

enum { PANEL = 64, PANEL_ROW = 2 * PANEL }; /* columns; bytes of a row */

/* The copy engine's view of rows of `width` elements `stride` apart; it reads boxes of `rows` rows
 * of a panel, and zeros past the last token. */
bool tma_map_rows(struct cuda_backend *cuda, CUtensorMap *map, const bf16 *at, int64_t tokens,
                  int64_t width, int64_t stride, int rows);

__device__ inline void mbarrier_init(uint64_t *barrier, int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals));
}

__device__ inline void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void mbarrier_arrive(uint64_t *barrier) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

/* Arrives, and the phase also waits for that many bytes of copies. */
__device__ inline void mbarrier_expect_tx(uint64_t *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* Until the phase of that parity is over. */
__device__ inline void mbarrier_wait(uint64_t *barrier, int parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
                 "@done bra over;\n"
                 "bra again;\n"
                 "over:\n}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

/* A place in a ring of buffers and the parity of its present round. */
template <int STAGES> struct mbarrier_ring {
    int stage, parity;

    __device__ mbarrier_ring() : stage(0), parity(0) {
    }
    __device__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

__device__ inline void tma_load_box(void *to, const CUtensorMap *map, int column, int row,
                                    uint64_t *barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
                 "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
                 : "memory");
}

/* All panels of a tile. */
template <int ROWS, int E>
__device__ inline void tma_load_tile(bf16 *to, const CUtensorMap *map, int column, int row,
                                     uint64_t *barrier) {
#pragma unroll
    for (int panel = 0; panel < E / PANEL; panel++)
        tma_load_box(to + panel * ROWS * PANEL, map, column + panel * PANEL, row, barrier);
}

/* `bytes` a multiple of 16, as the addresses. */
__device__ inline void tma_load_bytes(void *to, const void *from, int bytes, uint64_t *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

template <int REGISTERS> __device__ inline void setmaxnreg_inc() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ inline void setmaxnreg_dec() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Named barriers of two warpgroups, of which one waits and the other goes on. */
__device__ inline void named_barrier_sync(int id) {
    asm volatile("bar.sync %0, 256;" ::"r"(id) : "memory");
}

__device__ inline void named_barrier_arrive(int id) {
    asm volatile("bar.arrive %0, 256;" ::"r"(id) : "memory");
}

/* What this thread wrote to shared memory by ordinary stores or copies becomes visible to wgmma and
 * the copy engine; a barrier must follow. */
__device__ inline void share_with_async_proxy() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING> __device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* Keeps the compiler from moving uses of a result before the wait. */
template <int PIECES> __device__ inline void wgmma_hold(float (&d)[PIECES][4]) {
#pragma unroll
    for (int n = 0; n < PIECES; n++)
        asm volatile("" : "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])::"memory");
}

/* The operand at `at` whose rows of 128 bytes hold the summed index (16 columns at a time) ... */
__device__ inline uint64_t wgmma_operand_rows(const bf16 *at) {
    return (uint64_t)((shared_address(at) & 0x3ffff) >> 4) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* ... or the other index, with the summed index going down the rows; `panel` bytes from one
 * panel of 64 columns to the next. */
__device__ inline uint64_t wgmma_operand_columns(const bf16 *at, int panel) {
    return (uint64_t)((shared_address(at) & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

#define WGMMA_D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])

/* d [64, N] (+)= a [64, 16] b [16, N]. Warp w of the warpgroup holds rows 16w.. as `mma.sync`
 * does: in lane 4g + t rows g and g + 8, columns 2t and 2t + 1 of eight. COLUMNS: b by
 * wgmma_operand_columns, else by wgmma_operand_rows. */
template <int N> struct wgmma;

template <> struct wgmma<64> {
    template <bool COLUMNS>
    __device__ static void shared(float (&d)[8][4], uint64_t a, uint64_t b, int accumulate) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31"
                     "}, %32, %33, p, 1, 1, 0, %35;\n}"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7)
                     : "l"(a), "l"(b), "r"(accumulate), "n"(COLUMNS));
    }
    template <bool COLUMNS>
    __device__ static void registers(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31"
                     "}, {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(COLUMNS));
    }
};

template <> struct wgmma<96> {
    template <bool COLUMNS>
    __device__ static void shared(float (&d)[12][4], uint64_t a, uint64_t b, int accumulate) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %50, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "
                     "%44, %45, %46, %47"
                     "}, %48, %49, p, 1, 1, 0, %51;\n}"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7), WGMMA_D4(8), WGMMA_D4(9), WGMMA_D4(10),
                       WGMMA_D4(11)
                     : "l"(a), "l"(b), "r"(accumulate), "n"(COLUMNS));
    }
    template <bool COLUMNS>
    __device__ static void registers(float (&d)[12][4], const uint32_t (&a)[4], uint64_t b) {
        asm volatile("wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "
                     "%44, %45, %46, %47"
                     "}, {%48, %49, %50, %51}, %52, 1, 1, 1, %53;"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7), WGMMA_D4(8), WGMMA_D4(9), WGMMA_D4(10),
                       WGMMA_D4(11)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(COLUMNS));
    }
};

template <> struct wgmma<128> {
    template <bool COLUMNS>
    __device__ static void shared(float (&d)[16][4], uint64_t a, uint64_t b, int accumulate) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "
                     "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "
                     "%58, %59, %60, %61, %62, %63"
                     "}, %64, %65, p, 1, 1, 0, %67;\n}"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7), WGMMA_D4(8), WGMMA_D4(9), WGMMA_D4(10),
                       WGMMA_D4(11), WGMMA_D4(12), WGMMA_D4(13), WGMMA_D4(14), WGMMA_D4(15)
                     : "l"(a), "l"(b), "r"(accumulate), "n"(COLUMNS));
    }
    template <bool COLUMNS>
    __device__ static void registers(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "
                     "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "
                     "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "
                     "%58, %59, %60, %61, %62, %63"
                     "}, {%64, %65, %66, %67}, %68, 1, 1, 1, %69;"
                     : WGMMA_D4(0), WGMMA_D4(1), WGMMA_D4(2), WGMMA_D4(3), WGMMA_D4(4), WGMMA_D4(5),
                       WGMMA_D4(6), WGMMA_D4(7), WGMMA_D4(8), WGMMA_D4(9), WGMMA_D4(10),
                       WGMMA_D4(11), WGMMA_D4(12), WGMMA_D4(13), WGMMA_D4(14), WGMMA_D4(15)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(COLUMNS));
    }
};

#endif
