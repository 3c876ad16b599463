/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts that programs create, beside the primary ones: plain ones, and green
   ones, which have a share of a device and keep its primary context. */
#include "inner.h"

static cuContext context_create(cuDevice device, bool is_green) {
  struct context *context = sim_new(sizeof *context);
  sim_context_init(context, device);
  sim_context_start(context);
  context->retains = 1;
  context->is_green = is_green;
  return (cuContext)context->object.handle;
}

/* --- plain ones ----------------------------------------------------------- */

static cuCode create(cuContext *context_out, cuDevice device) {
  if (!sim_is_device(device))
    return UMEMI_CUDA_ERROR_INVALID_DEVICE;
  *context_out = context_create(device, false);
  return sim_stack_push(*context_out);
}

cuCode cuCtxCreate_v2(cuContext *context_out, unsigned flags, cuDevice device) {
  ENTER(cuCtxCreate_v2, NOTHING);
  (void)flags;
  return sim_leave(create(context_out, device));
}

cuCode cuCtxCreate_v4(cuContext *context_out, void *parameters, unsigned flags,
                      cuDevice device) {
  ENTER(cuCtxCreate_v4, NOTHING);
  (void)parameters, (void)flags;
  return sim_leave(create(context_out, device));
}

cuCode cuCtxDestroy_v2(cuContext context) {
  ENTER(cuCtxDestroy_v2, NOTHING);
  struct context *found = sim_context(context);
  if (!found || found->primary || found->is_green)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  sim_context_destroy(found);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- green ones ----------------------------------------------------------- */

enum { GREEN_DEFAULT_STREAM = 1 };

static struct context *green_find(cuGreen green) {
  struct context *found = sim_context((cuContext)green);
  return found && found->is_green ? found : NULL;
}

/* Whatever share it is to have. */
cuCode cuGreenCtxCreate(cuGreen *green_out, void *description, cuDevice device,
                        unsigned flags) {
  ENTER(cuGreenCtxCreate, NOTHING);
  (void)description;
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  if (flags != GREEN_DEFAULT_STREAM)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  sim_primary_retain(device);
  *green_out = (cuGreen)context_create(device, true);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuGreenCtxDestroy(cuGreen green) {
  ENTER(cuGreenCtxDestroy, NOTHING);
  struct context *found = green_find(green);
  if (!found)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  int device = found->device;
  sim_context_destroy(found);
  return sim_leave(sim_primary_release(device));
}

cuCode cuCtxFromGreenCtx(cuContext *context_out, cuGreen green) {
  ENTER(cuCtxFromGreenCtx, NOTHING);
  if (!green_find(green))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  *context_out = (cuContext)green;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuGreenCtxStreamCreate(cuStream *stream_out, cuGreen green,
                              unsigned flags, int priority) {
  ENTER(cuGreenCtxStreamCreate, NOTHING);
  struct context *found = green_find(green);
  (void)priority;
  if (!found)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  if (flags != UMEMI_CU_STREAM_NON_BLOCKING)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *stream_out = sim_stream_new(found, flags);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}
