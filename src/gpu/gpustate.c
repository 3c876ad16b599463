/* SPDX-License-Identifier: BSD-3-Clause */
/* State of contexts of GPUs: what all kinds of them have alike. */
#include "gpu.h"

/* --- life ----------------------------------------------------------------- */

/* What the context holds besides blocks. */
static umemStatusType state_give_back(struct umemiGpuState *own,
                                      umemError *error) {
  umemError later;
  umemStatusType first = umemi_gpu_end_imports(own, true, error);
  if (!own->pool)
    return first;
  umemStatusType status =
      own->gpu->ops->pool_free(own->pool, first == umemOK ? error : &later);
  return first == umemOK ? status : first;
}

/* The handles are lost afterwards, so entering is tried twice. */
static umemStatusType state_close(struct umemiGpuState *own, umemError *error) {
  struct umemiGpuVisit visit;
  if ((!own->pool && !own->imports) || !umemi_gpu_is_usable(own->gpu))
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
  return own->imports && umemi_gpu_is_usable(own->gpu)
             ? umemi_gpu_settle_all(own, error)
             : umemOK;
}

umemStatusType umemi_gpu_dtor(void *state, umemError *error) {
  static umemStatusType (*const steps[])(
      struct umemiGpuState *, umemError *) = {state_settle, state_close,
                                              umemi_gpu_let_go};
  struct umemiGpuState *own = state;
  umemStatusType first = umemOK;
  umemError later;
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    umemStatusType status = steps[i](own, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  umemi_gpu_end_imports(own, false, &later);
  first = umemi_gpu_given(own->gpu, first);
  umemStatusType closed =
      umemi_gpu_close(own->gpu, first == umemOK ? error : &later);
  free(own);
  return first == umemOK ? closed : first;
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

umemStatusType umemi_gpu_settle_all(struct umemiGpuState *own,
                                    umemError *error) {
  umemStatusType status = umemi_gpu_settle(own, error);
  return status == umemOK && !own->after
             ? umemi_gpu_settle_others(own->gpu, error)
             : status;
}

umemStatusType umemi_gpu_begin_anyway(struct umemiGpuState *own,
                                      struct umemiGpuTurn *turn,
                                      umemError *error) {
  umemStatusType status = umemi_gpu_begin(own->gpu, own->after, turn, error);
  return status == umemOK ? umemOK
                          : umemi_gpu_begin(own->gpu, own->after, turn, error);
}

static umemStatusType state_settle_others(struct umemiGpuState *own,
                                          umemError *error) {
  umemError ignored;
  if (own->after || umemi_gpu_settle_others(own->gpu, &ignored) == umemOK)
    return umemOK;
  return umemi_gpu_settle_others(own->gpu, error);
}

static umemStatusType state_give(struct umemiGpuState *own, umemiGpuGive *give,
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

umemStatusType umemi_gpu_give(struct umemiGpuState *own, umemiGpuGive *give,
                              uintptr_t adr, umemError *error) {
  umemStatusType status = state_settle_others(own, error);
  if (status == umemOK)
    status = state_give(own, give, adr, error);
  return umemi_gpu_given(own->gpu, status);
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

/* Is the stream one of the device's primary context? */
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
    status = umem_error_fill(
        error, umemValueError, 0, 0,
        "the stream is not of the primary context of device %d: it is of "
        "another device, of a context of cuCtxCreate(), of a green context, or "
        "CU_STREAM_PER_THREAD",
        own->gpu->number);
  return umemi_gpu_leave(&visit, status, error);
}

static umemStatusType state_check_device(struct umemiGpuState *own,
                                         struct umemiGpuPlan const *plan,
                                         umemError *error) {
  umemStatusType status = state_check_stream(own, error);
  if (status == umemOK && plan->managed && !own->gpu->facts.managed)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the device has no managed memory");
  return status == umemOK && plan->pooled ? state_make_pool(own, error)
                                          : status;
}

static umemStatusType state_begin_on(struct umemiGpuState *own, int device,
                                     struct umemiGpuPlan const *plan,
                                     umemError *error) {
  umemError ignored;
  umemStatusType status = umemi_gpu_open(plan->ops, device, &own->gpu, error);
  if (status != umemOK)
    return status;
  status = state_check_device(own, plan, error);
  if (status != umemOK)
    umemi_gpu_close(own->gpu, &ignored);
  return status;
}

/* The question needs any context: this device's. */
static umemStatusType plan_ask_device(struct umemiGpuPlan const *plan,
                                      int asked, int *number_out,
                                      umemError *error) {
  struct umemiGpu *gpu;
  struct umemiGpuVisit visit;
  umemError later;
  umemStatusType status = umemi_gpu_open(plan->ops, asked, &gpu, error);
  if (status != umemOK)
    return status;
  status = umemi_gpu_enter(gpu, &visit, error);
  if (status == umemOK) {
    status = plan->ops->device_of_stream(plan->after, number_out, error);
    status = umemi_gpu_leave(&visit, status, error);
  }
  umemStatusType closed =
      umemi_gpu_close(gpu, status == umemOK ? error : &later);
  return status == umemOK ? closed : status;
}

/* The device of the plan's stream, by the thread's current context, or by that
   of the best device that answers. */
static umemStatusType plan_find_stream(struct umemiGpuPlan const *plan,
                                       int best, int count, int *number_out,
                                       umemError *error) {
  umemError ignored;
  struct umemiGpuOps const *ops = plan->ops;
  if (ops->current() >= 0 &&
      ops->device_of_stream(plan->after, number_out, &ignored) == umemOK)
    return umemOK;
  umemStatusType status = plan_ask_device(plan, best, number_out, error);
  for (int i = 0; status != umemOK && i < count; i++)
    if (i != best && plan_ask_device(plan, i, number_out, &ignored) == umemOK)
      return umemOK;
  return status;
}

/* Host memory can be had of any device: where the best one refuses, the next
   one may not. */
static umemStatusType state_begin_anywhere(struct umemiGpuState *own,
                                           struct umemiGpuPlan const *plan,
                                           umemError *error) {
  int best = 0, count = 0;
  umemError ignored;
  umemStatusType status = umemi_gpus_choose(plan->ops, &best, &count, error);
  if (status == umemOK && plan->after)
    status = plan_find_stream(plan, best, count, &best, error);
  if (status != umemOK)
    return status;
  status = state_begin_on(own, best, plan, error);
  for (int i = 0; status != umemOK && !plan->after && i < count; i++)
    if (i != best && state_begin_on(own, i, plan, &ignored) == umemOK)
      return umemOK;
  return status;
}

/* Does one of the devices forbid the host to touch managed memory while it
   works? One that does not answer may. */
static bool plan_is_exclusive(struct umemiGpuPlan const *plan,
                              struct umemiGpu const *gpu) {
  umemError ignored;
  bool is_shared = true;
  for (int i = 0; is_shared && plan->exclusive_vtbl && i < gpu->count; i++)
    if (plan->ops->managed_is_shared(i, &is_shared, &ignored) != umemOK)
      is_shared = false;
  return !is_shared;
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
  own->peers = plan->peers;
  own->id = umemi_context(ctx)->id;
  umemStatusType status = plan->any_device
                              ? state_begin_anywhere(own, plan, error)
                              : state_begin_on(own, plan->device, plan, error);
  if (status != umemOK) {
    free(own);
    return status;
  }
  struct umemVtbl const *vtbl =
      plan_is_exclusive(plan, own->gpu) ? plan->exclusive_vtbl : plan->vtbl;
  umemi_ctor_end(ctx, vtbl, own, own->gpu->facts.name, 0);
  return umemOK;
}
