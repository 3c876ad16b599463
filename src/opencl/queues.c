/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: every command has one to itself, so that threads do not wait for each
 * other's, nor meet in a driver that cannot have it (PoCL 3.1 hangs). Taken by
 * exchange and given back by compare-and-swap, as slots.c does.
 */
#include "opencl.h"

static clQueue queues_reuse(struct umemiClSpace *space) {
  for (size_t i = 0; i < UMEMI_CL_QUEUES; i++) {
    clQueue queue = atomic_exchange(&space->queues[i], NULL);
    if (queue)
      return queue;
  }
  return NULL;
}

static bool queues_keep(struct umemiClSpace *space, clQueue queue) {
  for (size_t i = 0; i < UMEMI_CL_QUEUES; i++) {
    clQueue none = NULL;
    if (atomic_compare_exchange_strong(&space->queues[i], &none, queue))
      return true;
  }
  return false;
}

umemStatusType umemi_cl_wait_for_user(struct umemiOpenCl const *opencl,
                                      umemError *error) {
  clQueue queue = atomic_load(&opencl->queue);
  clInt code = queue ? opencl->space->cl->clFinish(queue) : UMEMI_CL_SUCCESS;
  return umemi_cl_failed(umemRuntimeError, code, "clFinish", error);
}

umemStatusType umemi_cl_turn_begin(struct umemiOpenCl *opencl,
                                   struct umemiClTurn *turn, umemError *error) {
  struct umemiClSpace *space = opencl->space;
  clInt code = UMEMI_CL_SUCCESS;
  umemStatusType status = umemi_cl_wait_for_user(opencl, error);
  if (status != umemOK)
    return status;
  turn->space = space;
  turn->queue = queues_reuse(space);
  if (!turn->queue)
    turn->queue = space->cl->clCreateCommandQueue(space->context, space->device,
                                                  0, &code);
  return umemi_cl_failed(umemRuntimeError, code, "clCreateCommandQueue", error);
}

/* One in which a command failed may be good for nothing more. */
void umemi_cl_turn_end(struct umemiClTurn *turn, clInt code) {
  struct umemiClSpace *space = turn->space;
  if (code != UMEMI_CL_SUCCESS || !queues_keep(space, turn->queue))
    space->cl->clReleaseCommandQueue(turn->queue);
}

clInt umemi_cl_queues_end(struct umemiClSpace *space) {
  clInt first = UMEMI_CL_SUCCESS;
  for (clQueue queue; (queue = queues_reuse(space));) {
    clInt code = space->cl->clReleaseCommandQueue(queue);
    first = first == UMEMI_CL_SUCCESS ? code : first;
  }
  return first;
}
