/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of CUDA devices. */
#include "../gpu/gpupeer.h"

/* --- alloc and free ------------------------------------------------------- */

static umemStatusType cuda_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct umemiGpuState *cuda = state;
  struct umemiGpuVisit visit;
  (void)alignment; /* the fundamental one at most */
  nbytes += !nbytes;
  if (cuda->pool)
    return umemi_gpu_pool_alloc(cuda, nbytes, adr_out, error);
  umemStatusType status = umemi_gpu_enter(cuda->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = cuda->gpu->ops->alloc(nbytes, adr_out, error);
  return umemi_gpu_leave_with(&visit, status, cuda->gpu->ops->free, *adr_out,
                              error);
}

static umemStatusType cuda_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuState *cuda = state;
  (void)nbytes;
  if (!umemi_gpu_is_usable(cuda->gpu))
    return umemOK;
  if (cuda->pool)
    return umemi_gpu_pool_free(cuda, adr, error);
  return umemi_gpu_give(cuda, cuda->gpu->ops->free, adr, error);
}

/* --- bytes ---------------------------------------------------------------- */

static umemStatusType cuda_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_read(cuda, adr, out, nbytes, error);
  return umemi_gpu_explain(cuda, status, adr, nbytes, error);
}

static umemStatusType cuda_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_write(cuda, adr, in, nbytes, error);
  return umemi_gpu_explain(cuda, status, adr, nbytes, error);
}

static umemStatusType cuda_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_set(cuda, adr, c, nbytes, error);
  return umemi_gpu_explain(cuda, status, adr, nbytes, error);
}

/* --- where it is, and how it is moved ------------------------------------- */

static size_t cuda_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiGpuState const *cuda = state;
  out[0] = umemi_gpu_space(cuda->gpu);
  out[1] = umemi_gpu_common_space();
  return 2;
}

/* Another device may, once it was let; but not to what is in a pool. */
static bool cuda_can_reach(void *state, void *dest_state) {
  struct umemiGpuState const *cuda = state, *dest = dest_state;
  return !cuda->pool && atomic_load(&dest->gpu->peers) >> cuda->gpu->number & 1;
}

static void cuda_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  (void)state, (void)adr;
  if (access == (umemRead | umemWrite)) {
    out->method = "cuMemcpyDtoD";
    return;
  }
  out->method = access == umemRead ? "cuMemcpyDtoH" : "cuMemcpyHtoD";
  out->lanes = nbytes < umemi_tuning()->gpu_share_from ? 1 : UMEMI_GPU_THREADS;
  out->whole = 1;
}

/* --- staging -------------------------------------------------------------- */

static umemStatusType cuda_stage_alloc(void *state, size_t nbytes,
                                       void **ptr_out, umemError *error) {
  struct umemiGpuState *cuda = state;
  return umemi_gpu_stage_take(cuda->gpu, nbytes, ptr_out, error);
}

static void cuda_stage_free(void *state, void *ptr, size_t nbytes) {
  struct umemiGpuState *cuda = state;
  umemi_gpu_stage_give(cuda->gpu, ptr, nbytes);
}

static struct umemVtbl const cuda_vtbl = {
    .size = sizeof cuda_vtbl,
    .type = umemCudaDevice,
    .name = "Cuda",
    .fundamental_align = UMEMI_GPU_ALIGN,
    .max_align = UMEMI_GPU_ALIGN,
    .dtor = umemi_gpu_dtor,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .read = cuda_read,
    .write = cuda_write,
    .spaces = cuda_spaces,
    .check = umemi_gpu_check,
    .calloc = umemi_no_calloc,
    .flush = umemi_no_flush,
    .discard = umemi_no_discard,
    .copy_peer = umemi_gpu_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = cuda_set,
    .next_data = umemi_no_next_data,
    .limits = cuda_limits,
    .export_handle = umemi_gpu_export_handle,
    .import_handle = umemi_gpu_import_handle,
    .stage_alloc = cuda_stage_alloc,
    .stage_free = cuda_stage_free,
    .can_reach = cuda_can_reach,
    .punch = umemi_no_punch,
    .read_2d = umemi_gpu_read_2d,
    .write_2d = umemi_gpu_write_2d,
    .copy_peer_2d = umemi_gpu_copy_peer_2d};

/* --- construct ------------------------------------------------------------ */

static umemStatusType cuda_ctor(umemCuda *ctx, int device,
                                umemCudaOptions *options,
                                umemCudaOptions const *given,
                                umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, cuda_vtbl.name, error);
  if (status == umemOK && given)
    status = umemi_take_options(options, sizeof *options, given, error);
  if (status == umemOK && options->reserved)
    status = umem_error_fill(error, umemValueError, 0, 0, "reserved is not 0");
  if (status != umemOK)
    return status;
  struct umemiGpuPlan plan = {.ops = &umemi_cuda,
                              .vtbl = &cuda_vtbl,
                              .device = device,
                              .flags = options->flags,
                              .known = UMEM_CUDA_POOL | UMEM_CUDA_PEER,
                              .pooled = options->flags & UMEM_CUDA_POOL,
                              .peers = options->flags & UMEM_CUDA_PEER,
                              .after = options->stream};
  return umemi_gpu_ctor(ctx, &plan, error);
}

umemStatusType umemCuda_ctor(umemCuda *ctx, int device) {
  struct umemiCall call;
  umemCudaOptions options = {.size = sizeof options};
  umemi_begin(&call);
  umemStatusType status = cuda_ctor(ctx, device, &options, NULL, &call.error);
  return umemi_end(&call, status, ctx, "umemCuda_ctor(device %d)", device);
}

umemStatusType umemCuda_ctor_ex(umemCuda *ctx, int device,
                                umemCudaOptions const *options) {
  struct umemiCall call;
  umemCudaOptions taken = {.size = sizeof taken};
  umemi_begin(&call);
  umemStatusType status = cuda_ctor(ctx, device, &taken, options, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCuda_ctor_ex(device %d, flags 0x%x)", device,
                   (unsigned)taken.flags);
}
