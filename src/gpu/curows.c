/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows by the CUDA driver API. */
#include "cudriver.h"

static umemStatusType rows_none(char const *function, umemError *error) {
  return umem_error_fill(error, umemNotSupportedError, 0, 0,
                         "libcuda.so.1 has no %s()", function);
}

/* A host's address is in the member for the host's, and in no other. */
umemStatusType umemi_cu_copy_rows(struct umemiGpuRows const *rows,
                                  umemiGpuStream stream, umemError *error) {
  bool from_host = rows->way == UMEMI_GPU_WRITE;
  bool to_host = rows->way == UMEMI_GPU_READ;
  cuRows copy = {.srcPitch = rows->src_pitch,
                 .dstPitch = rows->dest_pitch,
                 .WidthInBytes = rows->row,
                 .Height = rows->rows};
  if (!umemi_cu()->Memcpy2DAsync)
    return rows_none("cuMemcpy2DAsync_v2", error);
  copy.srcMemoryType =
      from_host ? UMEMI_CU_MEMORYTYPE_HOST : UMEMI_CU_MEMORYTYPE_DEVICE;
  copy.srcHost = from_host ? (void const *)rows->src : NULL;
  copy.srcDevice = from_host ? 0 : rows->src;
  copy.dstMemoryType =
      to_host ? UMEMI_CU_MEMORYTYPE_HOST : UMEMI_CU_MEMORYTYPE_DEVICE;
  copy.dstHost = to_host ? (void *)rows->dest : NULL;
  copy.dstDevice = to_host ? 0 : rows->dest;
  return CUDA(Memcpy2DAsync, (&copy, stream));
}

umemStatusType umemi_cu_copy_rows_peer(struct umemiGpuRows const *rows,
                                       umemiGpuContext src_context,
                                       umemiGpuContext dest_context,
                                       umemiGpuStream stream,
                                       umemError *error) {
  cuPeerRows copy = {.srcMemoryType = UMEMI_CU_MEMORYTYPE_DEVICE,
                     .srcDevice = rows->src,
                     .srcContext = src_context,
                     .srcPitch = rows->src_pitch,
                     .srcHeight = rows->rows,
                     .dstMemoryType = UMEMI_CU_MEMORYTYPE_DEVICE,
                     .dstDevice = rows->dest,
                     .dstContext = dest_context,
                     .dstPitch = rows->dest_pitch,
                     .dstHeight = rows->rows,
                     .WidthInBytes = rows->row,
                     .Height = rows->rows,
                     .Depth = 1};
  return umemi_cu()->Memcpy3DPeerAsync
             ? CUDA(Memcpy3DPeerAsync, (&copy, stream))
             : rows_none("cuMemcpy3DPeerAsync", error);
}
