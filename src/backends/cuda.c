/* SPDX-License-Identifier: BSD-3-Clause */
/* CUDA devices: declared on every machine, not supported yet. */
#include "../internal.h"

static umemStatusType cuda_ctor(umemCuda *ctx, umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, "Cuda", error);
  if (status != umemOK)
    return status;
  return umem_error_fill(error, umemNotSupportedError, 0, 0, UMEMI_NO_CUDA);
}

umemStatusType umemCuda_ctor(umemCuda *ctx, int device) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = cuda_ctor(ctx, &call.error);
  return umemi_end(&call, status, ctx, "umemCuda_ctor(device %d)", device);
}
