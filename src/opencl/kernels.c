/* SPDX-License-Identifier: BSD-3-Clause */
/* What kernels need of our memory, and programs to run them: arguments, and the
   objects of OpenCL. */
#include "opencl.h"

static struct umemiOpenCl *kernels_of(umemOpenCL const *ctx) {
  return umemi_context(ctx)->state;
}

umemOpenCLTier umemOpenCL_get_tier(umemOpenCL const *ctx) {
  struct umemiCall call;
  umemOpenCLTier tier = umemOpenCLBest;
  umemi_begin(&call);
  umemStatusType status = umemi_need_kind(ctx, umemOpenCLDevice, &call.error);
  if (status == umemOK)
    tier = kernels_of(ctx)->space->tier->number;
  umemi_end(&call, status, ctx, "umemOpenCL_get_tier(%s)", umemi_name(ctx));
  return tier;
}

/* Made when it is asked for first: from then on our commands wait for what is
   in it. */
static umemStatusType kernels_user_queue(struct umemiOpenCl *opencl,
                                         umemError *error) {
  struct umemiClSpace *space = opencl->space;
  clInt code = UMEMI_CL_SUCCESS;
  clQueue none = NULL;
  if (atomic_load(&opencl->queue))
    return umemOK;
  clQueue queue =
      space->cl->clCreateCommandQueue(space->context, space->device, 0, &code);
  if (code == UMEMI_CL_SUCCESS &&
      !atomic_compare_exchange_strong(&opencl->queue, &none, queue))
    space->cl->clReleaseCommandQueue(queue); /* another thread's was first */
  return umemi_cl_failed(umemRuntimeError, code, "clCreateCommandQueue", error);
}

static umemStatusType kernels_get_objects(umemOpenCL const *ctx,
                                          void **context_out, void **device_out,
                                          void **queue_out, umemError *error) {
  umemStatusType status = umemi_need_kind(ctx, umemOpenCLDevice, error);
  if (status != umemOK)
    return status;
  struct umemiOpenCl *opencl = kernels_of(ctx);
  status = umemi_cl_guard(error);
  if (status == umemOK && queue_out)
    status = kernels_user_queue(opencl, error);
  if (status != umemOK)
    return status;
  if (context_out)
    *context_out = opencl->space->context;
  if (device_out)
    *device_out = opencl->space->device;
  if (queue_out)
    *queue_out = atomic_load(&opencl->queue);
  return umemOK;
}

umemStatusType umemOpenCL_get_objects(umemOpenCL const *ctx, void **context_out,
                                      void **device_out, void **queue_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      kernels_get_objects(ctx, context_out, device_out, queue_out, &call.error);
  return umemi_end(&call, status, ctx, "umemOpenCL_get_objects(%s)",
                   umemi_name(ctx));
}

/* The place of an address, even in a block of 0 bytes. */
static umemStatusType kernels_find(struct umemiOpenCl *opencl, uintptr_t adr,
                                   struct umemiClPlace *at, umemError *error) {
  umemStatusType status = umemi_cl_guard(error);
  return status == umemOK
             ? umemi_cl_space_find(opencl->space, adr, 0, at, error)
             : status;
}

static umemStatusType kernels_look_up(umemOpenCL const *ctx, uintptr_t adr,
                                      struct umemiClPlace *at,
                                      umemError *error) {
  umemStatusType status = umemi_need_kind(ctx, umemOpenCLDevice, error);
  return status == umemOK ? kernels_find(kernels_of(ctx), adr, at, error)
                          : status;
}

static umemStatusType kernels_set_arg(umemOpenCL const *ctx, clKernel kernel,
                                      clUint index, uintptr_t adr,
                                      umemError *error) {
  struct umemiClPlace at;
  umemStatusType status = kernels_look_up(ctx, adr, &at, error);
  if (status != umemOK)
    return status;
  if (!kernel)
    return umemi_null(error, "kernel");
  struct umemiOpenCl *opencl = kernels_of(ctx);
  struct umemiClTier const *tier = opencl->space->tier;
  if (tier->number == umemOpenCLBuffers && at.offset)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "is %zu bytes inside a buffer, which is passed as a "
                           "whole: pass its start, and the offset in another "
                           "argument",
                           at.offset);
  return umemi_cl_failed(umemRuntimeError,
                         tier->set_arg(opencl->space, kernel, index, &at),
                         tier->names.set_arg, error);
}

umemStatusType umemOpenCL_set_arg(umemOpenCL const *ctx, void *kernel,
                                  unsigned index, uintptr_t adr) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = kernels_set_arg(ctx, kernel, index, adr, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemOpenCL_set_arg(%s, argument %u, 0x%" PRIxPTR ")",
                   umemi_name(ctx), index, adr);
}

static umemStatusType kernels_get_mem(umemOpenCL const *ctx, uintptr_t adr,
                                      void **mem_out, size_t *offset_out,
                                      umemError *error) {
  struct umemiClPlace at;
  umemStatusType status = kernels_look_up(ctx, adr, &at, error);
  if (status != umemOK)
    return status;
  if (!mem_out || !offset_out)
    return umemi_null(error, mem_out ? "offset_out" : "mem_out");
  *mem_out = at.mem;
  *offset_out = at.mem ? at.offset : 0;
  return umemOK;
}

umemStatusType umemOpenCL_get_mem(umemOpenCL const *ctx, uintptr_t adr,
                                  void **mem_out, size_t *offset_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      kernels_get_mem(ctx, adr, mem_out, offset_out, &call.error);
  return umemi_end(&call, status, ctx, "umemOpenCL_get_mem(%s 0x%" PRIxPTR ")",
                   umemi_name(ctx), adr);
}
