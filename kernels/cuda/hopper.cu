/* What the host tells the tensor memory accelerator. */
#include "kernels/cuda/hopper.cuh"

bool tma_map_rows(struct cuda_backend *cuda, CUtensorMap *map, const bf16 *at, int64_t tokens,
                  int64_t width, int64_t stride, int rows) {
    typedef CUresult (*encode_function)(
        CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
        const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
        CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    void *entry = NULL;
    enum cudaDriverEntryPointQueryResult found;
    if (!cuda_check(cuda,
                    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                     cudaEnableDefault, &found),
                    "looking for cuTensorMapEncodeTiled"))
        return false;
    const cuuint64_t sizes[] = {(cuuint64_t)width, (cuuint64_t)tokens};
    const cuuint64_t strides[] = {(cuuint64_t)stride * sizeof(bf16)};
    const cuuint32_t box[] = {PANEL, (cuuint32_t)rows}, steps[] = {1, 1};
    CUresult result =
        entry ? ((encode_function)entry)(
                    map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)at, sizes, strides, box,
                    steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
              : CUDA_ERROR_NOT_FOUND;
    if (result != CUDA_SUCCESS) cuda_fail(cuda, "describing a tensor to the device: %d", result);
    return result == CUDA_SUCCESS;
}
