/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of CUDA that the host can use: page-locked, and managed. */
#include "../gpu/gpu.h"

/* --- pointers ------------------------------------------------------------- */

static umemStatusType pointer_view_begin(void *state, uintptr_t adr,
                                         size_t nbytes, umemAccess access,
                                         void **ptr_out, umemError *error) {
  (void)nbytes, (void)access;
  umemStatusType status = umemi_gpu_settle(state, error);
  if (status == umemOK)
    *ptr_out = (void *)adr;
  return status;
}

static umemStatusType pointer_read(void *state, uintptr_t adr, void *out,
                                   size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle(state, error);
  if (status == umemOK)
    umemi_host_copy(out, (void const *)adr, nbytes);
  return status;
}

static umemStatusType pointer_write(void *state, uintptr_t adr, void const *in,
                                    size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle(state, error);
  if (status == umemOK)
    umemi_host_copy((void *)adr, in, nbytes);
  return status;
}

static umemStatusType pointer_copy_peer(void *src_state, uintptr_t src_adr,
                                        void *dest_state, uintptr_t dest_adr,
                                        size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle(src_state, error);
  if (status == umemOK && src_state != dest_state)
    status = umemi_gpu_settle(dest_state, error);
  if (status == umemOK)
    umemi_host_copy((void *)dest_adr, (void const *)src_adr, nbytes);
  return status;
}

static umemStatusType pointer_set(void *state, uintptr_t adr, int c,
                                  size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle(state, error);
  if (status == umemOK)
    memset((void *)adr, c, nbytes);
  return status;
}

static void pointer_limits(void *state, unsigned access, uintptr_t adr,
                           size_t nbytes, struct umemLimits *out) {
  (void)state, (void)access, (void)adr, (void)nbytes;
  out->method = umemi_host_method(nbytes);
}

/* --- page-locked host memory ---------------------------------------------- */

static size_t host_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  return 1;
}

static umemStatusType host_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct umemiGpuState *cuda = state;
  struct umemiGpuVisit visit;
  void *ptr;
  (void)alignment;
  umemStatusType status = umemi_gpu_enter(cuda->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = cuda->gpu->ops->host_alloc(
      nbytes + !nbytes, cuda->flags & UMEM_CUDA_HOST_WRITECOMBINED, &ptr,
      error);
  if (status == umemOK)
    *adr_out = (uintptr_t)ptr;
  return umemi_gpu_leave_with(&visit, status, cuda->gpu->ops->host_free,
                              *adr_out, error);
}

static umemStatusType pointer_free(struct umemiGpuState *cuda, uintptr_t adr,
                                   umemiGpuGive *give, umemError *error) {
  if (!umemi_driver_is_usable(cuda->gpu->ops->driver))
    return umemOK;
  return umemi_gpu_give(cuda, give, adr, error);
}

static umemStatusType host_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuState *cuda = state;
  (void)nbytes;
  return pointer_free(cuda, adr, cuda->gpu->ops->host_free, error);
}

#define POINTER_METHODS                                                        \
  .size = sizeof(struct umemVtbl), .caps = UMEM_CAP_VIEWS_IN_PLACE,            \
  .fundamental_align = UMEMI_GPU_ALIGN, .max_align = UMEMI_GPU_ALIGN,          \
  .dtor = umemi_gpu_dtor, .read = pointer_read, .write = pointer_write,        \
  .check = umemi_gpu_check, .calloc = umemi_no_calloc,                         \
  .flush = umemi_no_flush, .discard = umemi_no_discard,                        \
  .copy_peer = pointer_copy_peer, .view_begin = pointer_view_begin,            \
  .view_end = umemi_no_view_end, .set = pointer_set,                           \
  .next_data = umemi_no_next_data, .limits = pointer_limits,                   \
  .export_handle = umemi_no_export_handle,                                     \
  .import_handle = umemi_no_import_handle,                                     \
  .stage_alloc = umemi_no_stage_alloc, .stage_free = umemi_no_stage_free,      \
  .can_reach = umemi_no_can_reach, UMEMI_NO_ROWS

static struct umemVtbl const host_vtbl = {
    POINTER_METHODS,     .type = umemCudaHostDevice, .name = "CudaHost",
    .alloc = host_alloc, .free = host_free,          .spaces = host_spaces};

/* --- managed memory ------------------------------------------------------- */

static size_t managed_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiGpuState const *cuda = state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  out[1] = umemi_gpu_space(cuda->gpu);
  out[2] = umemi_gpu_common_space();
  return cuda->flags & UMEM_CUDA_MANAGED_HOST ? 1 : 3; /* the host's alone */
}

static umemStatusType managed_alloc(void *state, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  struct umemiGpuState *cuda = state;
  struct umemiGpuVisit visit;
  (void)alignment;
  umemStatusType status = umemi_gpu_enter(cuda->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = cuda->gpu->ops->managed_alloc(
      nbytes + !nbytes, cuda->flags & UMEM_CUDA_MANAGED_HOST, adr_out, error);
  return umemi_gpu_leave_with(&visit, status, cuda->gpu->ops->free, *adr_out,
                              error);
}

static umemStatusType managed_free(void *state, uintptr_t adr, size_t nbytes,
                                   umemError *error) {
  struct umemiGpuState *cuda = state;
  (void)nbytes;
  return pointer_free(cuda, adr, cuda->gpu->ops->free, error);
}

static struct umemVtbl const managed_vtbl = {
    POINTER_METHODS,       .type = umemCudaManagedDevice,
    .name = "CudaManaged", .alloc = managed_alloc,
    .free = managed_free,  .spaces = managed_spaces};

/* --- construct ------------------------------------------------------------ */

umemStatusType umemCudaHost_ctor(umemCudaHost *ctx, uint32_t flags) {
  struct umemiCall call;
  struct umemiGpuPlan plan = {.ops = &umemi_cuda,
                              .vtbl = &host_vtbl,
                              .flags = flags,
                              .known = UMEM_CUDA_HOST_WRITECOMBINED};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, host_vtbl.name, &call.error);
  if (status == umemOK)
    status = umemi_gpu_ctor(ctx, &plan, &call.error);
  return umemi_end(&call, status, ctx, "umemCudaHost_ctor(flags 0x%x)",
                   (unsigned)flags);
}

umemStatusType umemCudaManaged_ctor(umemCudaManaged *ctx, uint32_t flags,
                                    bool async, void *stream) {
  struct umemiCall call;
  struct umemiGpuPlan plan = {.ops = &umemi_cuda,
                              .vtbl = &managed_vtbl,
                              .managed = true,
                              .flags = flags,
                              .known = UMEM_CUDA_MANAGED_HOST,
                              .after = stream};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, managed_vtbl.name, &call.error);
  if (status == umemOK && stream && !async)
    status = umem_error_fill(&call.error, umemValueError, 0, 0,
                             "a stream is for async contexts");
  if (status == umemOK)
    status = umemi_gpu_ctor(ctx, &plan, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCudaManaged_ctor(flags 0x%x, async %d)",
                   (unsigned)flags, async);
}
