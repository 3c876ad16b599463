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

/* The queue, retained, of the first context whose number is above `*number`;
   NULL: none has one. Another thread may destroy the context meanwhile. */
static clQueue queues_next(struct umemiClSpace *space, uint64_t *number,
                           clInt *code_out) {
  clQueue queue = NULL;
  umemi_lock(space->id);
  struct umemiOpenCl *opencl = space->contexts;
  while (opencl && (opencl->number <= *number || !atomic_load(&opencl->queue)))
    opencl = opencl->next;
  if (opencl) {
    *number = opencl->number;
    queue = atomic_load(&opencl->queue);
    *code_out = space->cl->clRetainCommandQueue(queue);
  }
  umemi_unlock(space->id);
  return queue;
}

umemStatusType umemi_cl_wait_for_users(struct umemiClSpace *space,
                                       umemError *error) {
  uint64_t number = 0;
  clInt code = UMEMI_CL_SUCCESS;
  for (clQueue queue; (queue = queues_next(space, &number, &code));) {
    if (code != UMEMI_CL_SUCCESS)
      return umemi_cl_failed(umemRuntimeError, code, "clRetainCommandQueue",
                             error);
    code = space->cl->clFinish(queue);
    clInt released = space->cl->clReleaseCommandQueue(queue);
    if (code != UMEMI_CL_SUCCESS)
      return umemi_cl_failed(umemRuntimeError, code, "clFinish", error);
    if (released != UMEMI_CL_SUCCESS)
      return umemi_cl_failed(umemRuntimeError, released,
                             "clReleaseCommandQueue", error);
  }
  return umemOK;
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
