/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of CUDA that the host can use: page-locked, and managed. */
#include "../gpu/gpupeer.h"

/* --- pointers ------------------------------------------------------------- */

/* All devices reach this memory, so what all of them do comes first. */

static umemStatusType pointer_view_begin(void *state, uintptr_t adr,
                                         size_t nbytes, umemAccess access,
                                         void **ptr_out, umemError *error) {
  (void)nbytes, (void)access;
  umemStatusType status = umemi_gpu_settle_all(state, error);
  if (status == umemOK)
    *ptr_out = (void *)adr;
  return status;
}

static umemStatusType pointer_read(void *state, uintptr_t adr, void *out,
                                   size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle_all(state, error);
  if (status == umemOK)
    umemi_host_copy(out, (void const *)adr, nbytes);
  return status;
}

static umemStatusType pointer_write(void *state, uintptr_t adr, void const *in,
                                    size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle_all(state, error);
  if (status == umemOK)
    umemi_host_copy((void *)adr, in, nbytes);
  return status;
}

static umemStatusType pointer_copy_peer(void *src_state, uintptr_t src_adr,
                                        void *dest_state, uintptr_t dest_adr,
                                        size_t nbytes, umemError *error) {
  struct umemiGpuState const *src = src_state, *dest = dest_state;
  umemStatusType status = umemi_gpu_settle_all(src_state, error);
  if (status == umemOK && src->after != dest->after)
    status = umemi_gpu_settle_all(dest_state, error);
  if (status == umemOK)
    umemi_host_copy((void *)dest_adr, (void const *)src_adr, nbytes);
  return status;
}

static umemStatusType pointer_set(void *state, uintptr_t adr, int c,
                                  size_t nbytes, umemError *error) {
  umemStatusType status = umemi_gpu_settle_all(state, error);
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
  struct umemiGpuState const *cuda = state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  out[1] = (umemSpace){UMEM_SPACE_PINNED, {umemCudaDevice, cuda->flags}};
  return 2;
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
  if (!umemi_gpu_is_usable(cuda->gpu))
    return umemOK;
  return umemi_gpu_give(cuda, give, adr, error);
}

static umemStatusType host_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuState *cuda = state;
  (void)nbytes;
  return pointer_free(cuda, adr, cuda->gpu->ops->host_free, error);
}

#define KIND_METHODS                                                           \
  .size = sizeof(struct umemVtbl), .caps = UMEM_CAP_VIEWS_IN_PLACE,            \
  .fundamental_align = UMEMI_GPU_ALIGN, .max_align = UMEMI_GPU_ALIGN,          \
  .dtor = umemi_gpu_dtor, .check = umemi_gpu_check, .calloc = umemi_no_calloc, \
  .flush = umemi_no_flush, .discard = umemi_no_discard,                        \
  .view_end = umemi_no_view_end, .next_data = umemi_no_next_data,              \
  .export_handle = umemi_no_export_handle,                                     \
  .import_handle = umemi_no_import_handle,                                     \
  .stage_alloc = umemi_no_stage_alloc, .stage_free = umemi_no_stage_free,      \
  .can_reach = umemi_no_can_reach, .punch = umemi_no_punch

#define POINTER_METHODS                                                        \
  KIND_METHODS, UMEMI_NO_ROWS, .read = pointer_read, .write = pointer_write,   \
                               .copy_peer = pointer_copy_peer,                 \
                               .view_begin = pointer_view_begin,               \
                               .set = pointer_set, .limits = pointer_limits

static struct umemVtbl const host_vtbl = {
    POINTER_METHODS,     .type = umemCudaHostDevice, .name = "CudaHost",
    .alloc = host_alloc, .free = host_free,          .spaces = host_spaces};

/* --- managed memory ------------------------------------------------------- */

static size_t managed_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiGpuState const *cuda = state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  out[1] = (umemSpace){umemCudaManagedDevice, {0, 0}};
  out[2] = umemi_gpu_space(cuda->gpu);
  out[3] = umemi_gpu_common_space();
  return cuda->flags & UMEM_CUDA_MANAGED_HOST ? 2 : 4; /* the host's alone */
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

/* --- managed memory that the host may not touch --------------------------- */

/*
 * On some devices managed memory is the host's only while no device does
 * anything: another thread that only copies device memory would end the process
 * that touches it. There the driver moves and sets the bytes.
 */

static umemStatusType exclusive_read(void *state, uintptr_t adr, void *out,
                                     size_t nbytes, umemError *error) {
  return umemi_gpu_mem_read(state, adr, out, nbytes, error);
}

static umemStatusType exclusive_write(void *state, uintptr_t adr,
                                      void const *in, size_t nbytes,
                                      umemError *error) {
  return umemi_gpu_mem_write(state, adr, in, nbytes, error);
}

static umemStatusType exclusive_set(void *state, uintptr_t adr, int c,
                                    size_t nbytes, umemError *error) {
  return umemi_gpu_mem_set(state, adr, c, nbytes, error);
}

static void exclusive_limits(void *state, unsigned access, uintptr_t adr,
                             size_t nbytes, struct umemLimits *out) {
  (void)state, (void)adr, (void)nbytes;
  out->method = access == umemRead    ? "cuMemcpyDtoH"
                : access == umemWrite ? "cuMemcpyHtoD"
                                      : "cuMemcpyDtoD";
}

/* Not the process's: no call of the library may use the address as a pointer.
   Devices can, but not all that they have is managed. */
static size_t exclusive_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiGpuState const *cuda = state;
  out[0] = (umemSpace){umemCudaManagedDevice, {0, 0}};
  out[1] = umemi_gpu_space(cuda->gpu);
  out[2] = umemi_gpu_common_space();
  return 3;
}

static struct umemVtbl const exclusive_vtbl = {
    KIND_METHODS,
    .type = umemCudaManagedDevice,
    .name = "CudaManaged",
    .alloc = managed_alloc,
    .free = managed_free,
    .spaces = exclusive_spaces,
    .read = exclusive_read,
    .write = exclusive_write,
    .set = exclusive_set,
    .copy_peer = umemi_gpu_copy_peer,
    .view_begin = umemi_no_view_begin,
    .limits = exclusive_limits,
    .read_2d = umemi_gpu_read_2d,
    .write_2d = umemi_gpu_write_2d,
    .copy_peer_2d = umemi_gpu_copy_peer_2d};

/* --- construct ------------------------------------------------------------ */

static umemStatusType host_ctor(umemCudaHost *ctx,
                                umemCudaHostOptions const *options,
                                umemError *error) {
  struct umemiGpuPlan plan = {
      .ops = &umemi_cuda,
      .vtbl = &host_vtbl,
      .device = options->device,
      .any_device = !(options->flags & UMEM_CUDA_HOST_ON_DEVICE),
      .flags = options->flags,
      .known = UMEM_CUDA_HOST_WRITECOMBINED | UMEM_CUDA_HOST_ON_DEVICE,
      .after = options->stream};
  if (plan.any_device && options->device)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "device %d is for UMEM_CUDA_HOST_ON_DEVICE",
                           options->device);
  return umemi_gpu_ctor(ctx, &plan, error);
}

umemStatusType umemCudaHost_ctor_ex(umemCudaHost *ctx,
                                    umemCudaHostOptions const *options) {
  struct umemiCall call;
  umemCudaHostOptions taken = {.size = sizeof taken};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, host_vtbl.name, &call.error);
  if (status == umemOK && options)
    status = umemi_take_options(&taken, sizeof taken, options, &call.error);
  if (status == umemOK)
    status = host_ctor(ctx, &taken, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCudaHost_ctor_ex(flags 0x%x, device %d)",
                   (unsigned)taken.flags, taken.device);
}

umemStatusType umemCudaHost_ctor(umemCudaHost *ctx, uint32_t flags) {
  struct umemiCall call;
  umemCudaHostOptions options = {.size = sizeof options, .flags = flags};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, host_vtbl.name, &call.error);
  if (status == umemOK)
    status = host_ctor(ctx, &options, &call.error);
  return umemi_end(&call, status, ctx, "umemCudaHost_ctor(flags 0x%x)",
                   (unsigned)flags);
}

/* Host memory proper is the host's at all times. */
static umemStatusType managed_ctor(umemCudaManaged *ctx,
                                   umemCudaManagedOptions const *options,
                                   umemError *error) {
  bool const is_hosts = options->flags & UMEM_CUDA_MANAGED_HOST;
  struct umemiGpuPlan plan = {
      .ops = &umemi_cuda,
      .vtbl = &managed_vtbl,
      .exclusive_vtbl = is_hosts ? NULL : &exclusive_vtbl,
      .managed = true,
      .device = options->device,
      .any_device = !(options->flags & UMEM_CUDA_MANAGED_ON_DEVICE),
      .flags = options->flags,
      .known = UMEM_CUDA_MANAGED_HOST | UMEM_CUDA_MANAGED_ON_DEVICE,
      .after = options->stream};
  if (plan.any_device && options->device)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "device %d is for UMEM_CUDA_MANAGED_ON_DEVICE",
                           options->device);
  return umemi_gpu_ctor(ctx, &plan, error);
}

umemStatusType umemCudaManaged_ctor_ex(umemCudaManaged *ctx,
                                       umemCudaManagedOptions const *options) {
  struct umemiCall call;
  umemCudaManagedOptions taken = {.size = sizeof taken};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, managed_vtbl.name, &call.error);
  if (status == umemOK && options)
    status = umemi_take_options(&taken, sizeof taken, options, &call.error);
  if (status == umemOK)
    status = managed_ctor(ctx, &taken, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCudaManaged_ctor_ex(flags 0x%x, device %d)",
                   (unsigned)taken.flags, taken.device);
}

umemStatusType umemCudaManaged_ctor(umemCudaManaged *ctx, uint32_t flags,
                                    bool async, void *stream) {
  struct umemiCall call;
  umemCudaManagedOptions options = {
      .size = sizeof options, .flags = flags, .stream = stream};
  umemi_begin(&call);
  umemStatusType status = umemi_ctor_begin(ctx, managed_vtbl.name, &call.error);
  if (status == umemOK && stream && !async)
    status = umem_error_fill(&call.error, umemValueError, 0, 0,
                             "a stream is for async contexts");
  if (status == umemOK)
    status = managed_ctor(ctx, &options, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCudaManaged_ctor(flags 0x%x, async %d)",
                   (unsigned)flags, async);
}
