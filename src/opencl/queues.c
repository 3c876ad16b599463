/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: every command has one to itself, so that threads do not wait for each
 * other's, nor meet in a driver that cannot have it (PoCL 3.1 hangs).
 */
#include "opencl.h"

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
  turn->queue = umemi_kept_take(space->queues, UMEMI_CL_QUEUES);
  if (!turn->queue)
    turn->queue = space->cl->clCreateCommandQueue(space->context, space->device,
                                                  0, &code);
  return umemi_cl_failed(umemRuntimeError, code, "clCreateCommandQueue", error);
}

/* One in which a command failed may be good for nothing more. */
void umemi_cl_turn_end(struct umemiClTurn *turn, clInt code) {
  struct umemiClSpace *space = turn->space;
  if (code != UMEMI_CL_SUCCESS ||
      !umemi_kept_give(space->queues, UMEMI_CL_QUEUES, turn->queue))
    space->cl->clReleaseCommandQueue(turn->queue);
}

clInt umemi_cl_queues_end(struct umemiClSpace *space) {
  clInt first = UMEMI_CL_SUCCESS;
  for (clQueue queue;
       (queue = umemi_kept_take(space->queues, UMEMI_CL_QUEUES));) {
    clInt code = space->cl->clReleaseCommandQueue(queue);
    first = first == UMEMI_CL_SUCCESS ? code : first;
  }
  return first;
}
