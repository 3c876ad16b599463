/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles of memory of GPUs, for other processes: the driver's, of a whole
   block, and where in it. */
#include "gpu.h"

/* What a payload holds: the driver's handle is of a whole block. */
struct payload {
  unsigned char handle[UMEMI_GPU_IPC];
  uint64_t offset, length;
  unsigned char device[UMEMI_GPU_ID];
};
_Static_assert(sizeof(struct payload) <= UMEM_HANDLE_PAYLOAD, "a payload fits");

static bool payload_has(struct payload const *payload, size_t nbytes) {
  return payload->offset <= payload->length &&
         nbytes <= payload->length - payload->offset;
}

static umemStatusType payload_make(struct umemiGpu const *gpu, uintptr_t adr,
                                   size_t nbytes, struct payload *payload,
                                   umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  uintptr_t start;
  size_t length;
  umemStatusType status = ops->block_of(adr, &start, &length, error);
  if (status != umemOK)
    return status;
  payload->offset = adr - start;
  payload->length = length;
  memcpy(payload->device, gpu->facts.id, sizeof payload->device);
  if (!payload_has(payload, nbytes))
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "%zu bytes leave the device's block of %zu bytes at "
                           "0x%" PRIxPTR,
                           nbytes, length, start);
  return ops->ipc_export(start, payload->handle, error);
}

/* By the device that has the memory: the handle says which one that is. */
static umemStatusType payload_export(struct umemiGpu *gpu, uintptr_t adr,
                                     size_t nbytes, unsigned char *payload_out,
                                     umemError *error) {
  struct umemiGpuVisit visit;
  struct payload payload = {.offset = 0};
  umemStatusType status = umemi_gpu_enter(gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = payload_make(gpu, adr, nbytes, &payload, error);
  memcpy(payload_out, &payload, sizeof payload);
  return umemi_gpu_leave(&visit, status, error);
}

umemStatusType umemi_gpu_export_handle(void *state, uintptr_t adr,
                                       size_t nbytes,
                                       unsigned char *payload_out,
                                       umemError *error) {
  struct umemiGpuState *own = state;
  struct umemiGpuPlace place;
  if (own->pool)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "blocks of a pool are not for other processes");
  umemStatusType status = umemi_gpu_find(own, adr, &place, error);
  if (status == umemOK)
    status = payload_export(place.at->gpu, adr, nbytes, payload_out, error);
  return umemi_gpu_found(&place, status, error);
}

/* Memory of another device is reached by peer access, which a context asks
   for. */
static umemStatusType payload_check(struct umemiGpuState *own,
                                    struct payload const *payload,
                                    size_t nbytes, umemError *error) {
  bool is_own =
      memcmp(payload->device, own->gpu->facts.id, sizeof payload->device) == 0;
  if (!is_own && !own->peers)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "the handle is of another device: import it in a "
                           "context of that one, or of one with peer access "
                           "(UMEM_CUDA_PEER)");
  if (!payload_has(payload, nbytes))
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "%zu bytes at %" PRIu64 " leave the handle's block "
                           "of %" PRIu64 " bytes",
                           nbytes, payload->offset, payload->length);
  return umemOK;
}

/* The block stays open as long as the context lives. */
umemStatusType umemi_gpu_import_handle(void *state, unsigned char const *bytes,
                                       size_t nbytes, uintptr_t *adr_out,
                                       umemError *error) {
  struct payload payload;
  uintptr_t start = 0;
  memcpy(&payload, bytes, sizeof payload);
  umemStatusType status = payload_check(state, &payload, nbytes, error);
  if (status == umemOK)
    status = umemi_gpu_import(state, payload.handle, (size_t)payload.length,
                              &start, error);
  if (status == umemOK)
    *adr_out = start + (uintptr_t)payload.offset;
  return status;
}
