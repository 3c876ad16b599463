/* SPDX-License-Identifier: BSD-3-Clause */
/* State of contexts of GPUs: what all kinds of them have alike. */
#include "gpu.h"

/* --- life ----------------------------------------------------------------- */

static bool state_is_usable(struct umemiGpuState const *own) {
  return umemi_driver_is_usable(own->gpu->ops->driver);
}

/* What the context holds besides blocks. */
static umemStatusType state_give_back(struct umemiGpuState *own,
                                      umemError *error) {
  struct umemiGpuOps const *ops = own->gpu->ops;
  umemStatusType first = umemOK;
  umemError later;
  for (struct umemiGpuImport *import = own->imports; import;
       import = import->next) {
    umemStatusType status =
        ops->ipc_close(import->adr, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  if (!own->pool)
    return first;
  umemStatusType status =
      ops->pool_free(own->pool, first == umemOK ? error : &later);
  return first == umemOK ? status : first;
}

/* As nobody will know of it afterwards, what fails before is tried twice. */
static umemStatusType state_close(struct umemiGpuState *own, umemError *error) {
  struct umemiGpuVisit visit;
  if ((!own->pool && !own->imports) || !state_is_usable(own))
    return umemOK;
  umemError ignored;
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK && umemi_gpu_enter(own->gpu, &visit, &ignored) != umemOK)
    return status;
  status = state_give_back(own, error);
  return umemi_gpu_leave(&visit, status, error);
}

/* Queued work may still use what is imported. */
static umemStatusType state_settle(struct umemiGpuState *own,
                                   umemError *error) {
  return own->imports && state_is_usable(own) ? umemi_gpu_settle(own, error)
                                              : umemOK;
}

umemStatusType umemi_gpu_dtor(void *state, umemError *error) {
  struct umemiGpuState *own = state;
  umemError later;
  umemStatusType settled = state_settle(own, error);
  umemStatusType status = state_close(own, settled == umemOK ? error : &later);
  while (own->imports) {
    struct umemiGpuImport *import = own->imports;
    own->imports = import->next;
    free(import);
  }
  free(own);
  return settled == umemOK ? status : settled;
}

/* Nothing can come after work that is not executed. */
static umemStatusType state_check_capture(struct umemiGpuState *own,
                                          umemError *error) {
  struct umemiGpuVisit visit;
  bool is_free = false;
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = own->gpu->ops->stream_is_free(own->after, &is_free, error);
  if (status == umemOK && !is_free)
    status = umem_error_fill(error, umemRuntimeError, 0, 0,
                             "the context's stream is being captured: calls "
                             "cannot come after its work");
  return umemi_gpu_leave(&visit, status, error);
}

umemStatusType umemi_gpu_check(void *state, uintptr_t adr, size_t nbytes,
                               umemAccess access, umemError *error) {
  struct umemiGpuState *own = state;
  (void)adr, (void)nbytes, (void)access;
  return own->after ? state_check_capture(own, error)
                    : umemi_driver_guard(own->gpu->ops->driver, error);
}

umemStatusType umemi_gpu_settle(struct umemiGpuState *own, umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = umemi_gpu_begin(own->gpu, own->after, &turn, error);
  return status == umemOK ? umemi_gpu_end(&turn, umemOK, error) : status;
}

umemStatusType umemi_gpu_begin_anyway(struct umemiGpuState *own,
                                      struct umemiGpuTurn *turn,
                                      umemError *error) {
  umemStatusType status = umemi_gpu_begin(own->gpu, own->after, turn, error);
  return status == umemOK ? umemOK
                          : umemi_gpu_begin(own->gpu, own->after, turn, error);
}

umemStatusType umemi_gpu_give(struct umemiGpuState *own, umemiGpuGive *give,
                              uintptr_t adr, umemError *error) {
  struct umemiGpuOps const *ops = own->gpu->ops;
  struct umemiGpuTurn turn;
  umemError ignored;
  umemStatusType status = umemi_gpu_begin_anyway(own, &turn, error);
  if (status != umemOK)
    return status;
  status = ops->stream_wait(turn.lane->stream, error);
  if (status == umemOK ||
      ops->stream_wait(turn.lane->stream, &ignored) == umemOK)
    status = give(adr, error);
  return umemi_gpu_end(&turn, status, error);
}

/* --- spaces --------------------------------------------------------------- */

umemSpace umemi_gpu_space(struct umemiGpu const *gpu) {
  return (umemSpace){umemCudaDevice, {(uint64_t)gpu->number, 0}};
}

umemSpace umemi_gpu_common_space(void) {
  return (umemSpace){umemCudaDevice, {UINT64_MAX, 0}};
}

/* --- construct ------------------------------------------------------------ */

static umemStatusType state_make_pool(struct umemiGpuState *own,
                                      umemError *error) {
  struct umemiGpuVisit visit;
  umemError ignored;
  if (!own->gpu->facts.pools)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the device, or its driver, has no memory pools");
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = own->gpu->ops->pool_new(own->gpu->number, &own->pool, error);
  umemStatusType left = umemi_gpu_leave(&visit, status, error);
  if (left != status)
    own->gpu->ops->pool_free(own->pool, &ignored);
  return left;
}

/* Is the stream one of the device's? */
static umemStatusType state_check_stream(struct umemiGpuState *own,
                                         umemError *error) {
  struct umemiGpuVisit visit;
  bool ours = true;
  if (!own->after)
    return umemOK;
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status =
      own->gpu->ops->stream_is_of(own->after, own->gpu->context, &ours, error);
  if (status == umemOK && !ours)
    status = umem_error_fill(error, umemValueError, 0, 0,
                             "the stream is not of the device, or is each "
                             "thread's own");
  return umemi_gpu_leave(&visit, status, error);
}

static umemStatusType state_begin(struct umemiGpuState *own,
                                  struct umemiGpuPlan const *plan,
                                  umemError *error) {
  umemStatusType status =
      umemi_gpu_open(plan->ops, plan->device, &own->gpu, error);
  if (status == umemOK)
    status = state_check_stream(own, error);
  if (status != umemOK)
    return status;
  if (plan->managed && !own->gpu->facts.managed)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the device has no managed memory");
  if (plan->pooled)
    status = state_make_pool(own, error);
  return status;
}

umemStatusType umemi_gpu_ctor(void *ctx, struct umemiGpuPlan const *plan,
                              umemError *error) {
  if (plan->flags & ~plan->known)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "flags 0x%x are unknown",
                           (unsigned)(plan->flags & ~plan->known));
  struct umemiGpuState *own = umemi_os.calloc(1, sizeof *own);
  if (!own)
    return umemi_no_memory(error, "a CUDA context", sizeof *own);
  own->after = plan->after;
  own->flags = plan->flags;
  own->id = umemi_context(ctx)->id;
  umemStatusType status = state_begin(own, plan, error);
  if (status == umemOK)
    umemi_ctor_end(ctx, plan->vtbl, own, own->gpu->facts.name, 0);
  else
    free(own);
  return status;
}

/* --- memory of others ----------------------------------------------------- */

/* The state of a context of CUDA; NULL, and a TypeError, of others. */
static struct umemiGpuState *state_find(void const *ctx, umemError *error) {
  if (umemi_need_live(ctx, "", error) != umemOK)
    return NULL;
  umemDeviceType type = umemi_context(ctx)->vtbl->type;
  if (type == umemCudaDevice || type == umemCudaHostDevice ||
      type == umemCudaManagedDevice)
    return umemi_context(ctx)->state;
  umem_error_fill(error, umemTypeError, 0, 0,
                  "context is a %s, and not one of CUDA", umemi_name(ctx));
  return NULL;
}

static umemStatusType state_pin(void const *ctx, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuVisit visit;
  struct umemiGpuState *own = state_find(ctx, error);
  if (!own)
    return error->type;
  if (!adr || nbytes == 0)
    return umem_error_fill(error, umemValueError, 0, 0, "there is no memory");
  if (umemi_wraps(adr, nbytes))
    return umem_error_fill(error, umemIndexError, 0, 0, "the range wraps");
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = own->gpu->ops->pin((void *)adr, nbytes, error);
  return umemi_gpu_leave_with(&visit, status, own->gpu->ops->unpin, adr, error);
}

umemStatusType umem_pin(void const *ctx, uintptr_t adr, size_t nbytes) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = state_pin(ctx, adr, nbytes, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_pin(%s, 0x%" PRIxPTR ", %zu bytes)", umemi_name(ctx),
                   adr, nbytes);
}

static umemStatusType state_unpin(void const *ctx, uintptr_t adr,
                                  umemError *error) {
  struct umemiGpuState *own = state_find(ctx, error);
  if (!own)
    return error->type;
  if (!adr)
    return umem_error_fill(error, umemValueError, 0, 0, "there is no memory");
  return umemi_gpu_give(own, own->gpu->ops->unpin, adr, error);
}

umemStatusType umem_unpin(void const *ctx, uintptr_t adr) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = state_unpin(ctx, adr, &call.error);
  return umemi_end(&call, status, ctx, "umem_unpin(%s, 0x%" PRIxPTR ")",
                   umemi_name(ctx), adr);
}
