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

/* The queue of the first context whose number is above `*number`, and what came
   of retaining it; NULL: no other one than `opencl` has any. Another thread may
   destroy the context meanwhile. */
static clQueue queues_next(struct umemiOpenCl const *opencl, uint64_t *number,
                           clInt *code_out) {
  struct umemiClSpace *space = opencl->space;
  clQueue queue = NULL;
  umemi_lock(space->id);
  struct umemiOpenCl *other = space->contexts;
  while (other && (other == opencl || other->number <= *number ||
                   !atomic_load(&other->queue)))
    other = other->next;
  if (other) {
    *number = other->number;
    queue = atomic_load(&other->queue);
    *code_out = space->cl->clRetainCommandQueue(queue);
  }
  umemi_unlock(space->id);
  return queue;
}

struct queues_failure {
  clInt code; /* of the first one */
  char const *function;
};

static void queues_note(struct queues_failure *failure, clInt code,
                        char const *function) {
  if (failure->code == UMEMI_CL_SUCCESS)
    *failure = (struct queues_failure){code, function};
}

umemStatusType umemi_cl_wait_for_users(struct umemiOpenCl const *opencl,
                                       umemError *error) {
  struct umemiCl const *cl = opencl->space->cl;
  struct queues_failure failure = {UMEMI_CL_SUCCESS, NULL};
  uint64_t number = 0;
  clInt retained = UMEMI_CL_SUCCESS;
  clQueue queue = atomic_load(&opencl->queue);
  if (queue)
    queues_note(&failure, cl->clFinish(queue), "clFinish");
  while ((queue = queues_next(opencl, &number, &retained))) {
    queues_note(&failure, retained, "clRetainCommandQueue");
    if (retained != UMEMI_CL_SUCCESS)
      continue;
    queues_note(&failure, cl->clFinish(queue), "clFinish");
    queues_note(&failure, cl->clReleaseCommandQueue(queue),
                "clReleaseCommandQueue");
  }
  return umemi_cl_failed(umemRuntimeError, failure.code, failure.function,
                         error);
}

umemStatusType umemi_cl_turn_begin_at_once(struct umemiClSpace *space,
                                           struct umemiClTurn *turn,
                                           umemError *error) {
  clInt code = UMEMI_CL_SUCCESS;
  turn->space = space;
  turn->queue = umemi_kept_take(space->queues, UMEMI_CL_QUEUES);
  if (!turn->queue)
    turn->queue = space->cl->clCreateCommandQueue(space->context, space->device,
                                                  0, &code);
  return umemi_cl_failed(umemRuntimeError, code, "clCreateCommandQueue", error);
}

umemStatusType umemi_cl_turn_begin(struct umemiOpenCl *opencl,
                                   struct umemiClTurn *turn, umemError *error) {
  umemStatusType status = umemi_cl_wait_for_users(opencl, error);
  return status == umemOK
             ? umemi_cl_turn_begin_at_once(opencl->space, turn, error)
             : status;
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
