/* SPDX-License-Identifier: BSD-3-Clause */
/* Primary contexts: one for each device, which all that is in the process
   retains and releases, and anything may reset. */
#include "inner.h"

cuContext sim_primary_retain(int device) {
  struct context *context = &sim.devices[device].primary;
  if (!context->retains || context->was_reset)
    sim_context_start(context);
  context->retains++;
  sim.live[SIMCU_RETAINS]++;
  return (cuContext)context->object.handle;
}

cuCode cuDevicePrimaryCtxRetain(cuContext *context_out, cuDevice device) {
  ENTER(cuDevicePrimaryCtxRetain, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  *context_out = sim_primary_retain(device);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode sim_primary_release(int device) {
  struct context *context = &sim.devices[device].primary;
  if (!context->retains) {
    sim_violation("the primary context of device %d is not retained",
                  context->device);
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  }
  if (context->retains == 1)
    sim_context_end(context, !context->was_reset);
  context->retains--;
  sim.live[SIMCU_RETAINS]--;
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuDevicePrimaryCtxRelease_v2(cuDevice device) {
  ENTER(cuDevicePrimaryCtxRelease_v2, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  return sim_leave(sim_primary_release(device));
}

/* Releases nothing: those that retained it still must. Threads whose current
   context it is are not told. */
static cuCode primary_reset(cuDevice device) {
  if (!sim_is_device(device))
    return UMEMI_CUDA_ERROR_INVALID_DEVICE;
  struct context *context = &sim.devices[device].primary;
  sim_context_end(context, false);
  context->was_reset = context->retains;
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuDevicePrimaryCtxReset_v2(cuDevice device) {
  ENTER(cuDevicePrimaryCtxReset_v2, NOTHING);
  return sim_leave(primary_reset(device));
}

/* Its name before CUDA 11.0, which drivers still have. */
cuCode cuDevicePrimaryCtxReset(cuDevice device) {
  ENTER(cuDevicePrimaryCtxReset, NOTHING);
  return sim_leave(primary_reset(device));
}

cuCode cuDevicePrimaryCtxGetState(cuDevice device, unsigned *flags_out,
                                  int *is_active_out) {
  ENTER(cuDevicePrimaryCtxGetState, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  struct context const *context = &sim.devices[device].primary;
  *flags_out = 0;
  *is_active_out = context->retains && !context->was_reset;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}
